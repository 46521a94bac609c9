//! Which column family a chain has, its record, and families made ahead.
//!
//! Making a family takes longer the more there are (1 ms at none, 46 ms at 256), dropping one as well, so neither is done while
//! somebody waits: a chain takes a family of the reserve, and one that is deleted leaves its family to a thread, which empties it for
//! the next. What counts is the chain's row in the default family, written with a sync; a family that no row names is kept ready
//! once it is empty.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread::JoinHandle,
};

use rocksdb::WriteOptions;
use subnode_types::ChainName;

use super::{Db, options, store_error};
use crate::StoreError;

/// Before a chain's name in the default family.
const ROW_PREFIX: &[u8] = b"chain/";
/// Before the name of a chain, where a state is gathered to take its place.
const STAGE_PREFIX: &[u8] = b"stage/";
/// Before a number in a family's name.
const FAMILY_PREFIX: &str = "f/";
/// Whether a row is of a chain, or of one that is being imported.
const WHOLE: u8 = 0;
const PARTIAL: u8 = 1;

/// The name of a family.
pub(super) fn family_name(family: u64) -> String {
    format!("{FAMILY_PREFIX}{family:08}")
}

/// The number in a family's name.
fn number(family: &str) -> Option<u64> {
    family.strip_prefix(FAMILY_PREFIX)?.parse().ok()
}

/// Names of families to make, so that there are so many.
pub(super) fn lacking(families: &[String], wanted: usize) -> Vec<String> {
    let numbers: Vec<u64> = families.iter().filter_map(|family| number(family)).collect();
    let next = numbers.iter().max().map_or(0, |last| last.saturating_add(1));
    (next..).take(wanted.saturating_sub(numbers.len())).map(family_name).collect()
}

fn row_key(name: &ChainName) -> Vec<u8> {
    [ROW_PREFIX, name.as_str().as_bytes()].concat()
}

fn stage_key(name: &ChainName) -> Vec<u8> {
    [STAGE_PREFIX, name.as_str().as_bytes()].concat()
}

/// The rows of a prefix, by chain.
fn load(db: &Db, prefix: &[u8]) -> Result<BTreeMap<ChainName, Entry>, StoreError> {
    let mut entries = BTreeMap::new();
    let mut rows = db.raw_iterator();
    rows.seek(prefix);
    while let Some((key, value)) = rows.item().filter(|(key, _)| key.starts_with(prefix)) {
        let name = std::str::from_utf8(&key[prefix.len()..]).ok().and_then(|name| name.parse::<ChainName>().ok());
        let (Some(name), Some((entry, _))) = (name, decode(value)) else {
            return Err(StoreError::Corrupt("a chain's row does not decode".into()));
        };
        entries.insert(name, entry);
        rows.next();
    }
    rows.status().map_err(store_error)?;
    Ok(entries)
}

#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) family: u64,
    pub(super) partial: bool,
    /// Unset once the chain is deleted: its family may be another's then.
    pub(super) alive: Arc<AtomicBool>,
}

enum Chore {
    Refill,
    Empty(u64),
}

/// Families that are kept when chains are deleted, as a multiple of those kept ready: further ones are dropped.
const KEPT: usize = 4;

pub(super) struct Families {
    db: Arc<Db>,
    cache: rocksdb::Cache,
    inner: Arc<Mutex<Inner>>,
    /// None once it is being dropped.
    chores: Option<Mutex<mpsc::Sender<Chore>>>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    chains: BTreeMap<ChainName, Entry>,
    /// What is gathered to take a chain's place.
    staged: BTreeMap<ChainName, Entry>,
    reserve: VecDeque<u64>,
    next: u64,
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Families {
    /// Reads which chains there are. `families` are the names that RocksDB lists.
    pub(super) fn open(db: Arc<Db>, cache: rocksdb::Cache, families: &[String], reserve: usize) -> Result<Self, StoreError> {
        let chains = load(&db, ROW_PREFIX)?;
        let staged = load(&db, STAGE_PREFIX)?;
        let numbers: Vec<u64> = families.iter().filter_map(|family| number(family)).collect();
        if let Some((name, _)) = chains.iter().chain(&staged).find(|(_, entry)| !numbers.contains(&entry.family)) {
            return Err(StoreError::Corrupt(format!("chain {name} has no column family")));
        }
        let used: std::collections::BTreeSet<u64> = chains.values().chain(staged.values()).map(|entry| entry.family).collect();
        let mut inner =
            Inner { chains, staged, reserve: VecDeque::new(), next: numbers.iter().max().map_or(0, |last| last.saturating_add(1)) };
        let mut chores = VecDeque::new();
        for family in numbers.into_iter().filter(|family| !used.contains(family)) {
            if is_empty(&db, family) {
                inner.reserve.push_back(family);
            } else {
                chores.push_back(Chore::Empty(family));
            }
        }
        chores.push_back(Chore::Refill);
        let inner = Arc::new(Mutex::new(inner));
        let (sender, queue) = mpsc::channel();
        for chore in chores {
            // The receiver is right here.
            drop(sender.send(chore));
        }
        let thread = {
            let (db, cache, inner) = (db.clone(), cache.clone(), inner.clone());
            std::thread::Builder::new().name("subnode-families".into()).spawn(move || run(&db, &cache, &inner, &queue, reserve))
        };
        let thread = thread.map_err(|error| StoreError::Io(format!("no thread: {error}")))?;
        Ok(Self { db, cache, inner, chores: Some(Mutex::new(sender)), thread: Some(thread) })
    }

    fn ask(&self, chore: Chore) {
        if let Some(chores) = &self.chores {
            // Without the thread families are made when they are needed, and dropped at the next start.
            drop(chores.lock().unwrap_or_else(PoisonError::into_inner).send(chore));
        }
    }

    pub(super) fn get(&self, name: &ChainName) -> Option<Entry> {
        lock(&self.inner).chains.get(name).cloned()
    }

    pub(super) fn names(&self, partial: bool) -> Vec<ChainName> {
        lock(&self.inner).chains.iter().filter(|(_, entry)| entry.partial == partial).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn count(&self) -> usize {
        let inner = lock(&self.inner);
        inner.chains.len() + inner.staged.len() + inner.reserve.len()
    }

    pub(super) fn record(&self, name: &ChainName) -> Result<Option<Vec<u8>>, StoreError> {
        let row = self.db.get(row_key(name)).map_err(store_error)?;
        Ok(row.as_deref().and_then(decode).filter(|(entry, _)| !entry.partial).map(|(_, record)| record.to_vec()))
    }

    /// Writes a chain's row, after having found it a family if it has none.
    pub(super) fn set(&self, name: &ChainName, record: &[u8], partial: bool) -> Result<Entry, StoreError> {
        let known = self.get(name);
        let (family, alive) = match &known {
            Some(entry) => (entry.family, entry.alive.clone()),
            None => (self.take()?, Arc::new(AtomicBool::new(true))),
        };
        let entry = Entry { family, partial, alive };
        let kind = if partial { PARTIAL } else { WHOLE };
        let row = [&family.to_be_bytes()[..], &[kind], record].concat();
        let written = self.db.put_opt(row_key(name), row, &synced()).map_err(store_error);
        if let Err(error) = written {
            if known.is_none() {
                lock(&self.inner).reserve.push_back(family);
            }
            return Err(error);
        }
        lock(&self.inner).chains.insert(name.clone(), entry.clone());
        Ok(entry)
    }

    fn take(&self) -> Result<u64, StoreError> {
        let ready = {
            let mut inner = lock(&self.inner);
            inner.reserve.pop_front()
        };
        self.ask(Chore::Refill);
        match ready {
            Some(family) => Ok(family),
            None => create(&self.db, &self.cache, &self.inner),
        }
    }

    /// Where a state is gathered to take a chain's place.
    pub(super) fn stage(&self, name: &ChainName) -> Result<Entry, StoreError> {
        if let Some(entry) = self.staged(name) {
            return Ok(entry);
        }
        let family = self.take()?;
        let row = [&family.to_be_bytes()[..], &[PARTIAL]].concat();
        if let Err(error) = self.db.put_opt(stage_key(name), row, &synced()) {
            lock(&self.inner).reserve.push_back(family);
            return Err(store_error(error));
        }
        let entry = Entry { family, partial: true, alive: Arc::new(AtomicBool::new(true)) };
        lock(&self.inner).staged.insert(name.clone(), entry.clone());
        Ok(entry)
    }

    pub(super) fn staged(&self, name: &ChainName) -> Option<Entry> {
        lock(&self.inner).staged.get(name).cloned()
    }

    /// Drops what was gathered.
    pub(super) fn unstage(&self, name: &ChainName) -> Result<(), StoreError> {
        let Some(entry) = self.staged(name) else { return Ok(()) };
        self.db.delete_opt(stage_key(name), &synced()).map_err(store_error)?;
        lock(&self.inner).staged.remove(name);
        self.retire(&entry);
        Ok(())
    }

    /// What was gathered takes the chain's place, with the chain's record.
    pub(super) fn replace(&self, name: &ChainName) -> Result<(), StoreError> {
        let (before, staged) = {
            let inner = lock(&self.inner);
            let (Some(before), Some(staged)) = (inner.chains.get(name), inner.staged.get(name)) else { return Err(StoreError::Closed) };
            (before.clone(), staged.clone())
        };
        let record = self.record(name)?.ok_or(StoreError::Closed)?;
        let mut both = rocksdb::WriteBatchWithTransaction::<false>::default();
        both.put(row_key(name), [&staged.family.to_be_bytes()[..], &[WHOLE], &record].concat());
        both.delete(stage_key(name));
        self.db.write_opt(both, &synced()).map_err(store_error)?;
        {
            let mut inner = lock(&self.inner);
            inner.staged.remove(name);
            inner.chains.insert(name.clone(), Entry { partial: false, ..staged });
        }
        self.retire(&before);
        Ok(())
    }

    /// A family that no row names any more.
    fn retire(&self, entry: &Entry) {
        entry.alive.store(false, Ordering::Release);
        self.ask(Chore::Empty(entry.family));
    }

    pub(super) fn delete(&self, name: &ChainName) -> Result<(), StoreError> {
        self.unstage(name)?;
        let Some(entry) = self.get(name) else { return Ok(()) };
        self.db.delete_opt(row_key(name), &synced()).map_err(store_error)?;
        lock(&self.inner).chains.remove(name);
        self.retire(&entry);
        Ok(())
    }
}

impl Drop for Families {
    fn drop(&mut self) {
        drop(self.chores.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

fn decode(row: &[u8]) -> Option<(Entry, &[u8])> {
    let (family, rest) = row.split_first_chunk::<8>()?;
    let (kind, record) = rest.split_first()?;
    let partial = match *kind {
        WHOLE => false,
        PARTIAL => true,
        _ => return None,
    };
    Some((Entry { family: u64::from_be_bytes(*family), partial, alive: Arc::new(AtomicBool::new(true)) }, record))
}

fn is_empty(db: &Db, family: u64) -> bool {
    db.cf_handle(&family_name(family)).is_some_and(|handle| {
        let mut rows = db.raw_iterator_cf(&handle);
        rows.seek_to_first();
        !rows.valid() && rows.status().is_ok()
    })
}

/// Deletes all rows of a family: whole files at once, and the rest by a mark that compaction honours.
fn empty(db: &Db, family: u64) -> Result<(), rocksdb::Error> {
    let Some(handle) = db.cf_handle(&family_name(family)) else { return Ok(()) };
    // Before and after every row there can be.
    let (first, last) = ([0x00], [0xff]);
    db.delete_file_in_range_cf(&handle, first, last)?;
    db.delete_range_cf_opt(&handle, first, last, &synced())
}

fn create(db: &Db, cache: &rocksdb::Cache, inner: &Mutex<Inner>) -> Result<u64, StoreError> {
    let family = {
        let mut inner = lock(inner);
        inner.next += 1;
        inner.next - 1
    };
    db.create_cf(family_name(family), &options::family(cache)).map_err(store_error)?;
    Ok(family)
}

fn run(db: &Db, cache: &rocksdb::Cache, inner: &Mutex<Inner>, queue: &mpsc::Receiver<Chore>, reserve: usize) {
    while let Ok(chore) = queue.recv() {
        match chore {
            Chore::Empty(family) => {
                let kept = lock(inner).reserve.len() < reserve * KEPT;
                let emptied = if kept { empty(db, family) } else { db.drop_cf(&family_name(family)) };
                match emptied {
                    Ok(()) if kept => lock(inner).reserve.push_back(family),
                    Ok(()) => {}
                    Err(error) => tracing::warn!(%error, family, "a deleted chain's column family stays until the next start"),
                }
            }
            // Making one holds others up for as long, so not for each that is taken: those of deleted chains come back.
            Chore::Refill if lock(inner).reserve.len() * 2 >= reserve && reserve > 1 => {}
            Chore::Refill => {
                while lock(inner).reserve.len() < reserve {
                    match create(db, cache, inner) {
                        Ok(family) => lock(inner).reserve.push_back(family),
                        Err(error) => {
                            tracing::warn!(%error, "no column family could be made ahead");
                            break;
                        }
                    }
                }
            }
        }
    }
}
