//! Which column family a chain has, its record, and families made ahead.
//!
//! Making a family takes longer the more there are (1 ms at none, 46 ms at 256), dropping one as well, so neither is done while
//! somebody waits: a chain takes a family of the reserve, and one that is deleted leaves its family to a thread, which empties it for
//! the next. What counts is the chain's row in the default family, written with a sync; a family that no row names is kept ready
//! once it is empty.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread::JoinHandle,
};

use rocksdb::WriteBatchWithTransaction;
use subnode_types::ChainName;

use super::{
    Db,
    alive::Alive,
    options,
    record::{self, Entry, ROW_PREFIX, STAGE_PREFIX, row_key, stage_key, synced, tombstone_key},
    store_error,
};
use crate::StoreError;

/// Before a number in a family's name.
const FAMILY_PREFIX: &str = "f/";
/// Chains whose rows in the default family change at once; others wait for as long as a synced write takes.
const CHANGES_AT_ONCE: usize = 32;

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

enum Chore {
    Refill,
    /// A family that no row names, and what may still be written to it.
    Empty(u64, Option<Arc<Alive>>),
}

/// Families that are kept when chains are deleted, as a multiple of those kept ready: further ones are dropped.
const KEPT: usize = 4;

pub(super) struct Families {
    db: Arc<Db>,
    cache: rocksdb::Cache,
    inner: Arc<Mutex<Inner>>,
    /// Held while the rows of a chain are read and written again, by the hash of its name.
    changing: [Mutex<()>; CHANGES_AT_ONCE],
    /// None once it is being dropped.
    chores: Option<Mutex<mpsc::Sender<Chore>>>,
    thread: Option<JoinHandle<()>>,
}

struct Inner {
    /// Bound: the chains that the operator has, with some 200 bytes each.
    chains: BTreeMap<ChainName, Entry>,
    /// What is gathered to take a chain's place. Bound: one entry of some 200 bytes for each chain.
    staged: BTreeMap<ChainName, Entry>,
    /// Chains whose rows are damaged, and how. Bound: one text of some 100 bytes for each chain; it grows only when the store opens.
    damaged: BTreeMap<ChainName, String>,
    /// Bound: a number of 8 bytes for each empty family. A chain that is deleted adds one while there are fewer than [`KEPT`] times those that
    /// are kept ready.
    reserve: VecDeque<u64>,
    next: u64,
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Families {
    /// Reads which chains there are. `families` are the names that RocksDB lists.
    ///
    /// A chain is damaged whose row does not decode, or names a family that is not there or is another's as well. It does not open, and the
    /// others do. Its rows may be in any family that no row names, so none of these is emptied while there is a damaged chain.
    pub(super) fn open(db: Arc<Db>, cache: rocksdb::Cache, families: &[String], reserve: usize) -> Result<Self, StoreError> {
        let record::Loaded { entries: mut chains, unread } = record::load(&db, ROW_PREFIX)?;
        let numbers: Vec<u64> = families.iter().filter_map(|family| number(family)).collect();
        let mut damaged = BTreeMap::new();
        for key in &unread {
            let name = record::name_in(key, ROW_PREFIX);
            tracing::error!(chain = name.as_ref().map_or("of no name", |name| name.as_str()), "a chain's row does not decode");
            damaged.extend(name.map(|name| (name, "its row does not decode".to_owned())));
        }
        let mut claims = BTreeMap::<u64, u32>::new();
        chains.values().for_each(|entry| *claims.entry(entry.family).or_default() += 1);
        let used: BTreeSet<u64> = claims.keys().copied().collect();
        chains.retain(|name, entry| {
            let reason = match claims.get(&entry.family) {
                _ if !numbers.contains(&entry.family) => "its column family is not there",
                Some(2..) => "its column family is another chain's as well",
                _ => return true,
            };
            tracing::error!(chain = %name, family = entry.family, reason, "a chain is damaged");
            damaged.insert(name.clone(), reason.to_owned());
            false
        });
        let record::Loaded { entries: mut staged, unread: unread_stages } = record::load(&db, STAGE_PREFIX)?;
        // A state that is gathered can be gathered again.
        let is_sound =
            |name: &ChainName, entry: &Entry| chains.contains_key(name) && numbers.contains(&entry.family) && !used.contains(&entry.family);
        let unsound = staged.iter().filter(|(name, entry)| !is_sound(name, entry)).map(|(name, _)| stage_key(name));
        for key in unsound.chain(unread_stages) {
            tracing::warn!("a state that was being gathered is damaged, and is dropped");
            db.delete_opt(key, &synced()).map_err(store_error)?;
        }
        staged.retain(|name, entry| is_sound(name, entry));
        let used: BTreeSet<u64> = used.into_iter().chain(staged.values().map(|entry| entry.family)).collect();
        let is_whole = unread.is_empty() && damaged.is_empty();
        let next = numbers.iter().max().map_or(0, |last| last.saturating_add(1));
        let mut inner = Inner { chains, staged, damaged, reserve: VecDeque::new(), next };
        let mut chores = VecDeque::new();
        for family in numbers.into_iter().filter(|family| !used.contains(family)) {
            if is_empty(&db, family) {
                inner.reserve.push_back(family);
            } else if is_whole {
                chores.push_back(Chore::Empty(family, None));
            }
        }
        chores.push_back(Chore::Refill);
        let inner = Arc::new(Mutex::new(inner));
        // Bound: a chore of 16 bytes for each chain that the operator makes or deletes until the thread gets to it.
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
        let changing = std::array::from_fn(|_| Mutex::default());
        Ok(Self { db, cache, inner, changing, chores: Some(Mutex::new(sender)), thread: Some(thread) })
    }

    fn ask(&self, chore: Chore) {
        if let Some(chores) = &self.chores {
            // Without the thread families are made when they are needed, and dropped at the next start.
            drop(chores.lock().unwrap_or_else(PoisonError::into_inner).send(chore));
        }
    }

    /// Held while a chain's rows are read and written again: what is written in between would be lost.
    fn changing(&self, name: &ChainName) -> MutexGuard<'_, ()> {
        let mut hasher = DefaultHasher::new();
        name.as_str().hash(&mut hasher);
        let place = usize::try_from(hasher.finish() % CHANGES_AT_ONCE as u64).unwrap_or_default();
        self.changing[place].lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn get(&self, name: &ChainName) -> Option<Entry> {
        lock(&self.inner).chains.get(name).cloned()
    }

    pub(super) fn names(&self, partial: bool) -> Vec<ChainName> {
        lock(&self.inner).chains.iter().filter(|(_, entry)| entry.partial == partial).map(|(name, _)| name.clone()).collect()
    }

    /// Chains whose rows are damaged, and how.
    pub(super) fn damaged(&self) -> Vec<(ChainName, String)> {
        lock(&self.inner).damaged.iter().map(|(name, reason)| (name.clone(), reason.clone())).collect()
    }

    fn check_sound(&self, name: &ChainName) -> Result<(), StoreError> {
        match lock(&self.inner).damaged.get(name) {
            Some(reason) => Err(StoreError::Corrupt(format!("chain {name}: {reason}"))),
            None => Ok(()),
        }
    }

    pub(super) fn count(&self) -> usize {
        let inner = lock(&self.inner);
        inner.chains.len() + inner.staged.len() + inner.reserve.len()
    }

    pub(super) fn record(&self, name: &ChainName) -> Result<Option<Vec<u8>>, StoreError> {
        self.check_sound(name)?;
        let row = self.db.get(row_key(name)).map_err(store_error)?;
        Ok(row.as_deref().and_then(record::decode).filter(|(entry, _)| !entry.partial).map(|(_, record)| record.to_vec()))
    }

    /// What outlives a chain that was deleted.
    pub(super) fn tombstone(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.db.get(tombstone_key(key)).map_err(store_error)
    }

    /// A chain's family, or that of its import; it is given one if it has none.
    pub(super) fn ensure(&self, name: &ChainName, partial: bool) -> Result<Entry, StoreError> {
        let _changing = self.changing(name);
        match self.get(name) {
            Some(entry) => Ok(entry),
            None => self.put(name, b"", partial),
        }
    }

    /// Writes a whole chain's record, after having found it a family if it has none.
    pub(super) fn set(&self, name: &ChainName, record: &[u8]) -> Result<(), StoreError> {
        let _changing = self.changing(name);
        self.put(name, record, false).map(drop)
    }

    fn put(&self, name: &ChainName, record: &[u8], partial: bool) -> Result<Entry, StoreError> {
        self.check_sound(name)?;
        let known = self.get(name);
        let entry = match &known {
            Some(entry) => Entry { partial, ..entry.clone() },
            None => Entry::new(self.take()?, partial),
        };
        let written = self.db.put_opt(row_key(name), entry.encode(record), &synced()).map_err(store_error);
        if let Err(error) = written {
            if known.is_none() {
                lock(&self.inner).reserve.push_back(entry.family);
            }
            return Err(error);
        }
        lock(&self.inner).chains.insert(name.clone(), entry.clone());
        Ok(entry)
    }

    /// A family without rows that is nobody's.
    fn take(&self) -> Result<u64, StoreError> {
        let taken = loop {
            let Some(family) = lock(&self.inner).reserve.pop_front() else { break create(&self.db, &self.cache, &self.inner) };
            if is_empty(&self.db, family) {
                break Ok(family);
            }
            // Another chain's rows would be taken for this one's.
            tracing::error!(family, "a column family of the reserve has rows, and is emptied again");
            self.ask(Chore::Empty(family, None));
        };
        self.ask(Chore::Refill);
        taken
    }

    /// Where a state is gathered to take a chain's place.
    pub(super) fn stage(&self, name: &ChainName) -> Result<Entry, StoreError> {
        let _changing = self.changing(name);
        if let Some(entry) = self.staged(name) {
            return Ok(entry);
        }
        if self.get(name).is_none() {
            return Err(StoreError::Closed);
        }
        let entry = Entry::new(self.take()?, true);
        if let Err(error) = self.db.put_opt(stage_key(name), entry.encode(b""), &synced()) {
            lock(&self.inner).reserve.push_back(entry.family);
            return Err(store_error(error));
        }
        lock(&self.inner).staged.insert(name.clone(), entry.clone());
        Ok(entry)
    }

    pub(super) fn staged(&self, name: &ChainName) -> Option<Entry> {
        lock(&self.inner).staged.get(name).cloned()
    }

    /// Drops what was gathered.
    pub(super) fn unstage(&self, name: &ChainName) -> Result<(), StoreError> {
        let _changing = self.changing(name);
        self.drop_stage(name)
    }

    fn drop_stage(&self, name: &ChainName) -> Result<(), StoreError> {
        let Some(entry) = self.staged(name) else { return Ok(()) };
        self.db.delete_opt(stage_key(name), &synced()).map_err(store_error)?;
        lock(&self.inner).staged.remove(name);
        self.retire(&entry);
        Ok(())
    }

    /// What was gathered takes the chain's place, with the chain's record.
    pub(super) fn replace(&self, name: &ChainName) -> Result<(), StoreError> {
        let _changing = self.changing(name);
        let (before, staged) = {
            let inner = lock(&self.inner);
            let (Some(before), Some(staged)) = (inner.chains.get(name), inner.staged.get(name)) else { return Err(StoreError::Closed) };
            (before.clone(), staged.clone())
        };
        let record = self.record(name)?.ok_or(StoreError::Closed)?;
        let after = Entry { partial: false, ..staged };
        let mut both = WriteBatchWithTransaction::<false>::default();
        both.put(row_key(name), after.encode(&record));
        both.delete(stage_key(name));
        self.db.write_opt(both, &synced()).map_err(store_error)?;
        {
            let mut inner = lock(&self.inner);
            inner.staged.remove(name);
            inner.chains.insert(name.clone(), after);
        }
        self.retire(&before);
        Ok(())
    }

    /// Leaves a family that no row names to the thread, which empties it once what is being written to it has ended.
    fn retire(&self, entry: &Entry) {
        entry.alive.retire();
        self.ask(Chore::Empty(entry.family, Some(entry.alive.clone())));
    }

    /// Forgets a chain. `tombstone` outlives it, written in the same instant.
    pub(super) fn delete(&self, name: &ChainName, tombstone: Option<(&[u8; 32], &[u8])>) -> Result<(), StoreError> {
        let _changing = self.changing(name);
        self.drop_stage(name)?;
        let entry = self.get(name);
        if entry.is_none() && self.check_sound(name).is_ok() {
            return Ok(());
        }
        let mut batch = WriteBatchWithTransaction::<false>::default();
        batch.delete(row_key(name));
        if let Some((key, bytes)) = tombstone {
            batch.put(tombstone_key(key), bytes);
        }
        self.db.write_opt(batch, &synced()).map_err(store_error)?;
        {
            let mut inner = lock(&self.inner);
            inner.chains.remove(name);
            inner.damaged.remove(name);
        }
        if let Some(entry) = entry {
            self.retire(&entry);
        }
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

fn is_empty(db: &Db, family: u64) -> bool {
    db.cf_handle(&family_name(family)).is_some_and(|handle| {
        let mut rows = db.raw_iterator_cf(&handle);
        rows.seek_to_first();
        !rows.valid() && rows.status().is_ok()
    })
}

/// Deletes all rows of a family: whole files at once, and the rest by a mark that compaction honours.
pub(super) fn empty(db: &Db, family: &str) -> Result<(), rocksdb::Error> {
    let Some(handle) = db.cf_handle(family) else { return Ok(()) };
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
            Chore::Empty(family, writes) => {
                if let Some(writes) = writes {
                    writes.drain();
                }
                let kept = lock(inner).reserve.len() < reserve * KEPT;
                let emptied = if kept { empty(db, &family_name(family)) } else { db.drop_cf(&family_name(family)) };
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
