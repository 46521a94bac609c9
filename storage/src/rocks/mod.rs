//! Chains in one RocksDB, a column family each.

mod alive;
mod append;
mod dump;
mod families;
mod options;
mod record;
mod writer;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::Duration,
};

use rocksdb::{BoundColumnFamily, DBWithThreadMode, ErrorKind, MultiThreaded, ReadOptions};
use subnode_types::ChainName;
use tokio::sync::Semaphore;

use crate::{
    ChainStore, Frame, Import, OpenError, Retention, Store, StoreError, StoreUsage,
    archive::Begun,
    rows::{Dump, Op, Purpose, Row, Rows, Written},
};
use alive::Alive;
use families::{Families, family_name};
pub use options::RocksOptions;
use record::Entry;
use writer::{DiskGuard, Order, Writer};

type Db = DBWithThreadMode<MultiThreaded>;

/// The layout on disk that this release writes, and the only one it reads.
const FORMAT: u32 = 2;
/// Where the format is, in the default family.
const FORMAT_KEY: &[u8] = b"subnode-format";

/// Chains in one RocksDB.
pub struct RocksStore {
    families: Arc<Families>,
    writer: Arc<Writer>,
    cache: rocksdb::Cache,
    db: Arc<Db>,
}

impl RocksStore {
    /// Opens the store in a directory, which is made if it is not there.
    ///
    /// # Errors
    /// Each variant of [`OpenError`] says what a person can do.
    pub fn open(path: &Path, options: &RocksOptions) -> Result<Self, OpenError> {
        let directory = |reason| OpenError::Directory { path: path.into(), reason };
        std::fs::create_dir_all(path).map_err(directory)?;
        // RocksDB's words for an unwritable directory are about its own files.
        let probe = path.join(".writable");
        std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(directory)?;

        append::sweep(path).map_err(directory)?;

        let cache = rocksdb::Cache::new_lru_cache(options.cache_bytes);
        let database = options.database();
        let mut families = if path.join("CURRENT").exists() {
            Db::list_cf(&database, path).map_err(|error| open_error(path, &error))?
        } else {
            vec!["default".into()]
        };
        families.extend(families::lacking(&families, options.families_at_open));
        let descriptors: Vec<_> = families.iter().map(|name| rocksdb::ColumnFamilyDescriptor::new(name, options::family(&cache))).collect();
        let db = Db::open_cf_descriptors(&database, path, descriptors).map_err(|error| open_error(path, &error))?;
        check_format(&db, path)?;
        let db = Arc::new(db);
        let other = |error: StoreError| OpenError::Other { path: path.into(), reason: error.to_string() };
        let families = Arc::new(Families::open(db.clone(), cache.clone(), &families, options.families_ready).map_err(other)?);
        let guard = DiskGuard::new(path.into(), options.disk_free_bytes_min);
        let writer =
            Writer::start(db.clone(), guard).map_err(|reason| other(StoreError::Io(format!("no thread for the writer: {reason}"))))?;
        Ok(Self { families, writer: Arc::new(writer), cache, db })
    }

    fn rows(&self, name: &ChainName, entry: &Entry) -> Arc<RocksRows> {
        let family = family_name(entry.family);
        let (families, name) = (Arc::downgrade(&self.families), name.clone());
        Arc::new(RocksRows {
            db: self.db.clone(),
            writer: self.writer.clone(),
            families,
            name,
            family,
            alive: entry.alive.clone(),
            loading: entry.loading.clone(),
        })
    }
}

fn open_error(path: &Path, error: &rocksdb::Error) -> OpenError {
    let reason = error.to_string();
    let path: PathBuf = path.into();
    if reason.contains("lock file") || reason.contains("LOCK") {
        return OpenError::InUse(path);
    }
    match error.kind() {
        ErrorKind::Corruption => OpenError::Corrupt { path, reason },
        _ => OpenError::Other { path, reason },
    }
}

fn check_format(db: &Db, path: &Path) -> Result<(), OpenError> {
    let other = |error: rocksdb::Error| open_error(path, &error);
    match db.get(FORMAT_KEY).map_err(other)? {
        None => {
            let mut synced = rocksdb::WriteOptions::default();
            synced.set_sync(true);
            db.put_opt(FORMAT_KEY, FORMAT.to_be_bytes(), &synced).map_err(other)
        }
        Some(row) => match row.as_slice().try_into().map(u32::from_be_bytes) {
            Ok(found) if found > FORMAT => Err(OpenError::NewerFormat { path: path.into(), found, known: FORMAT }),
            Ok(found) if found < FORMAT => Err(OpenError::OlderFormat { path: path.into(), found }),
            Ok(_) => Ok(()),
            Err(_) => Err(OpenError::Corrupt { path: path.into(), reason: "format row does not decode".into() }),
        },
    }
}

impl Store for RocksStore {
    fn register(&self, name: &ChainName, record: &[u8]) -> Result<(), StoreError> {
        self.families.set(name, record)
    }

    fn record(&self, name: &ChainName) -> Result<Option<Vec<u8>>, StoreError> {
        self.families.record(name)
    }

    fn open(&self, name: &ChainName, retention: Retention) -> Result<Arc<ChainStore>, StoreError> {
        let entry = self.families.ensure(name, false)?;
        if entry.partial {
            return Err(StoreError::Closed);
        }
        ChainStore::open(self.rows(name, &entry), retention)
    }

    fn delete(&self, name: &ChainName) -> Result<(), StoreError> {
        self.families.delete(name, None)
    }

    fn bury(&self, name: &ChainName, key: &[u8; 32], tombstone: &[u8]) -> Result<(), StoreError> {
        self.families.delete(name, Some((key, tombstone)))
    }

    fn names(&self) -> Vec<ChainName> {
        self.families.names(false)
    }

    fn import(&self, name: &ChainName, header: &Frame) -> Result<Option<Import>, StoreError> {
        let entry = self.families.ensure(name, true)?;
        if !entry.partial {
            return Ok(None);
        }
        match Import::open(self.rows(name, &entry), header)? {
            Begun::Here(import) => Ok(Some(import)),
            Begun::Another => Ok(None),
            Begun::Unknown => {
                self.families.delete(name, None)?;
                let entry = self.families.ensure(name, true)?;
                if entry.partial { Import::open(self.rows(name, &entry), header).map(Begun::here) } else { Ok(None) }
            }
        }
    }

    fn unfinished(&self) -> Vec<ChainName> {
        self.families.names(true)
    }

    fn damaged(&self) -> Vec<(ChainName, String)> {
        self.families.damaged()
    }

    fn usage(&self) -> StoreUsage {
        let property = |name: &str| self.db.property_int_value(name).ok().flatten().unwrap_or_default();
        let (synced_writes, batches) = self.writer.counts();
        StoreUsage {
            disk_bytes: self.writer.guard().used_bytes(),
            disk_free_bytes: self.writer.guard().free_bytes(),
            memory_bytes: self.cache.get_usage() as u64 + property("rocksdb.cur-size-all-mem-tables"),
            synced_writes,
            batches,
            families: self.families.count() as u64,
        }
    }
}

fn store_error(error: rocksdb::Error) -> StoreError {
    let reason = error.to_string();
    match error.kind() {
        ErrorKind::Corruption => StoreError::Corrupt(reason),
        _ if reason.contains("No space left") => StoreError::Full(reason),
        _ => StoreError::Io(reason),
    }
}

struct RocksRows {
    db: Arc<Db>,
    writer: Arc<Writer>,
    /// Not kept alive: its thread ends with the store.
    families: Weak<Families>,
    name: ChainName,
    family: String,
    alive: Arc<Alive>,
    loading: Arc<Semaphore>,
}

impl RocksRows {
    fn family(&self) -> Result<Arc<BoundColumnFamily<'_>>, StoreError> {
        self.db.cf_handle(&self.family).ok_or(StoreError::Closed)
    }

    /// Another keyspace of the same chain.
    fn of(&self, entry: &Entry) -> Arc<dyn Rows> {
        let (db, writer, families) = (self.db.clone(), self.writer.clone(), self.families.clone());
        let (family, alive, loading) = (family_name(entry.family), entry.alive.clone(), entry.loading.clone());
        Arc::new(Self { db, writer, families, name: self.name.clone(), family, alive, loading })
    }

    /// Asked after each read: what a deleted chain's family has by then may be another chain's.
    fn check_alive(&self) -> Result<(), StoreError> {
        if self.alive.is_alive() { Ok(()) } else { Err(StoreError::Closed) }
    }
}

impl Rows for RocksRows {
    fn read(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        if let Some(value) = self.db.get_pinned_cf(&self.family()?, key).map_err(store_error)? {
            found(&value);
        }
        self.check_alive()
    }

    fn scan(&self, start: &[u8], end: &[u8], row: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end);
        let mut rows = self.db.raw_iterator_cf_opt(&self.family()?, options);
        rows.seek(start);
        while let Some((key, value)) = rows.item() {
            if !row(key, value) {
                return self.check_alive();
            }
            rows.next();
        }
        rows.status().map_err(store_error)?;
        self.check_alive()
    }

    fn write_within(&self, ops: Vec<Op>, purpose: Purpose, patience: Duration) -> Written {
        let done = self.writer.submit(Order { family: self.family.clone(), alive: self.alive.clone(), ops, purpose, patience });
        Box::pin(async move { done.await.unwrap_or(Err(StoreError::Closed)) })
    }

    fn append(&self, rows: Vec<Row>) -> Written {
        let (db, writer, family, alive) = (self.db.clone(), self.writer.clone(), self.family.clone(), self.alive.clone());
        let written = tokio::task::spawn_blocking(move || {
            writer.guard().room().check(Purpose::Data)?;
            // Whoever asked may be gone by now. The family is not emptied for another chain before the file is taken.
            let _held = alive.hold().ok_or(StoreError::Closed)?;
            append::append(&db, &family, &rows)
        });
        Box::pin(async move { written.await.unwrap_or(Err(StoreError::Closed)) })
    }

    fn loading(&self) -> Arc<Semaphore> {
        self.loading.clone()
    }

    fn clear(&self) -> Result<(), StoreError> {
        // Until it is done the family is not another chain's.
        let _held = self.alive.hold().ok_or(StoreError::Closed)?;
        families::empty(&self.db, &self.family).map_err(store_error)
    }

    fn staging(&self) -> Result<Arc<dyn Rows>, StoreError> {
        let families = self.families.upgrade().ok_or(StoreError::Closed)?;
        self.check_alive()?;
        Ok(self.of(&families.stage(&self.name)?))
    }

    fn existing_staging(&self) -> Option<Arc<dyn Rows>> {
        let entry = self.families.upgrade()?.staged(&self.name)?;
        Some(self.of(&entry))
    }

    fn drop_staging(&self) -> Result<(), StoreError> {
        self.families.upgrade().ok_or(StoreError::Closed)?.unstage(&self.name)
    }

    fn swap_in_staging(&self) -> Result<(), StoreError> {
        self.check_alive()?;
        self.families.upgrade().ok_or(StoreError::Closed)?.replace(&self.name)
    }

    fn tombstone(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.families.upgrade().ok_or(StoreError::Closed)?.tombstone(key)
    }

    fn dump(&self) -> Result<Box<dyn Dump>, StoreError> {
        let dump = dump::start(self.db.clone(), &self.family)?;
        self.check_alive()?;
        Ok(dump)
    }
}

#[cfg(test)]
mod tests;
