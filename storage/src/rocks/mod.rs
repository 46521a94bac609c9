//! Chains in one RocksDB, a column family each.

mod options;
mod writer;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use rocksdb::{BoundColumnFamily, DBWithThreadMode, ErrorKind, MultiThreaded, ReadOptions};
use subnode_types::ChainName;

use crate::{
    ChainStore, OpenError, Retention, Store, StoreError,
    rows::{Op, Rows, Written},
};
pub use options::RocksOptions;
use writer::Writer;

type Db = DBWithThreadMode<MultiThreaded>;

/// The layout on disk that this release writes, and the newest it reads.
const FORMAT: u32 = 1;
/// Where the format is, in the default family.
const FORMAT_KEY: &[u8] = b"subnode-format";
/// Before a chain's name in its family's name.
const FAMILY_PREFIX: &str = "chain/";

/// Chains in one RocksDB.
pub struct RocksStore {
    db: Arc<Db>,
    writer: Arc<Writer>,
    cache: rocksdb::Cache,
    names: Mutex<BTreeSet<ChainName>>,
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

        let cache = rocksdb::Cache::new_lru_cache(options.cache_bytes);
        let database = options.database();
        let families = if path.join("CURRENT").exists() {
            Db::list_cf(&database, path).map_err(|error| open_error(path, &error))?
        } else {
            vec!["default".into()]
        };
        let descriptors: Vec<_> = families.iter().map(|name| rocksdb::ColumnFamilyDescriptor::new(name, options::family(&cache))).collect();
        let db = Db::open_cf_descriptors(&database, path, descriptors).map_err(|error| open_error(path, &error))?;
        check_format(&db, path)?;
        let db = Arc::new(db);
        let names = families.iter().filter_map(|family| family.strip_prefix(FAMILY_PREFIX)?.parse().ok()).collect();
        Ok(Self { writer: Arc::new(Writer::start(db.clone())), db, cache, names: Mutex::new(names) })
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
            Ok(_) => Ok(()),
            Err(_) => Err(OpenError::Corrupt { path: path.into(), reason: "format row does not decode".into() }),
        },
    }
}

fn family_name(name: &ChainName) -> String {
    format!("{FAMILY_PREFIX}{name}")
}

impl Store for RocksStore {
    fn open(&self, name: &ChainName, retention: Retention) -> Result<Arc<ChainStore>, StoreError> {
        let family = family_name(name);
        if self.db.cf_handle(&family).is_none() {
            self.db.create_cf(&family, &options::family(&self.cache)).map_err(store_error)?;
            self.names.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone());
        }
        ChainStore::open(Arc::new(RocksRows { db: self.db.clone(), writer: self.writer.clone(), family }), retention)
    }

    fn delete(&self, name: &ChainName) -> Result<(), StoreError> {
        let family = family_name(name);
        if self.db.cf_handle(&family).is_some() {
            self.db.drop_cf(&family).map_err(store_error)?;
            self.names.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        }
        Ok(())
    }

    fn names(&self) -> Vec<ChainName> {
        self.names.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
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
    family: String,
}

impl RocksRows {
    fn family(&self) -> Result<Arc<BoundColumnFamily<'_>>, StoreError> {
        self.db.cf_handle(&self.family).ok_or(StoreError::Closed)
    }
}

impl Rows for RocksRows {
    fn read(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        if let Some(value) = self.db.get_pinned_cf(&self.family()?, key).map_err(store_error)? {
            found(&value);
        }
        Ok(())
    }

    fn scan(&self, start: &[u8], end: &[u8], row: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(end);
        let mut rows = self.db.raw_iterator_cf_opt(&self.family()?, options);
        rows.seek(start);
        while let Some((key, value)) = rows.item() {
            if !row(key, value) {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(store_error)
    }

    fn write(&self, ops: Vec<Op>) -> Written {
        let done = self.writer.submit(self.family.clone(), ops);
        Box::pin(async move { done.await.unwrap_or(Err(StoreError::Closed)) })
    }
}
