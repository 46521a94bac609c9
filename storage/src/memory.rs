//! Chains in memory, for developers and simulation. Nothing survives the process.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use subnode_types::ChainName;
use tokio::sync::Semaphore;

use crate::{
    ChainStore, Frame, Import, Retention, Store, StoreError, StoreUsage,
    archive::Begun,
    rows::{Dump, Op, Purpose, Row, Rows, Written},
};

/// Chains in memory.
#[derive(Default)]
pub struct MemoryStore {
    /// Bound: the chains of one developer or simulation. The storage slice of each chain bounds the bytes of its rows.
    chains: Mutex<BTreeMap<ChainName, MemoryChain>>,
    tombstones: Tombstones,
    latency: Option<Latency>,
}

/// What outlives chains that were deleted. Bound: none but the process: an operator deletes chains, and some hundred bytes are left of each.
type Tombstones = Arc<Mutex<BTreeMap<[u8; 32], Vec<u8>>>>;

/// How long a write takes.
type Latency = Arc<dyn Fn() -> Duration + Send + Sync>;

struct MemoryChain {
    rows: Arc<MemoryRows>,
    /// None while it is being imported.
    record: Option<Vec<u8>>,
}

/// Values by key. Bound: the chain's storage slice, in bytes, and what a map's entries take besides.
type Sorted = BTreeMap<Box<[u8]>, Box<[u8]>>;

struct MemoryRows {
    rows: Arc<RwLock<Sorted>>,
    /// What is gathered to take its place.
    staging: Mutex<Option<Arc<MemoryRows>>>,
    tombstones: Tombstones,
    loading: Arc<Semaphore>,
    latency: Option<Latency>,
}

impl MemoryRows {
    fn new(latency: Option<Latency>, tombstones: Tombstones) -> Self {
        Self { rows: Arc::default(), staging: Mutex::default(), tombstones, loading: Arc::new(Semaphore::new(1)), latency }
    }
}

impl MemoryStore {
    /// Chains on a simulated disk: each write takes so long, and one that is given up meanwhile is lost.
    #[must_use]
    pub fn with_latency(latency: Arc<dyn Fn() -> Duration + Send + Sync>) -> Self {
        Self { latency: Some(latency), ..Self::default() }
    }

    fn rows(&self) -> Arc<MemoryRows> {
        Arc::new(MemoryRows::new(self.latency.clone(), self.tombstones.clone()))
    }

    fn new_chain(&self) -> MemoryChain {
        MemoryChain { rows: self.rows(), record: None }
    }

    fn chains(&self) -> MutexGuard<'_, BTreeMap<ChainName, MemoryChain>> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for MemoryStore {
    fn register(&self, name: &ChainName, record: &[u8]) -> Result<(), StoreError> {
        self.chains().entry(name.clone()).or_insert_with(|| self.new_chain()).record = Some(record.to_vec());
        Ok(())
    }

    fn record(&self, name: &ChainName) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.chains().get(name).and_then(|chain| chain.record.clone()))
    }

    fn open(&self, name: &ChainName, retention: Retention) -> Result<Arc<ChainStore>, StoreError> {
        let rows = {
            let mut chains = self.chains();
            let chain = chains.entry(name.clone()).or_insert_with(|| self.new_chain());
            chain.record.get_or_insert_default();
            chain.rows.clone()
        };
        ChainStore::open(rows, retention)
    }

    fn delete(&self, name: &ChainName) -> Result<(), StoreError> {
        self.chains().remove(name);
        Ok(())
    }

    fn bury(&self, name: &ChainName, key: &[u8; 32], tombstone: &[u8]) -> Result<(), StoreError> {
        self.tombstones.lock().unwrap_or_else(PoisonError::into_inner).insert(*key, tombstone.to_vec());
        self.delete(name)
    }

    fn names(&self) -> Vec<ChainName> {
        self.chains().iter().filter(|(_, chain)| chain.record.is_some()).map(|(name, _)| name.clone()).collect()
    }

    fn import(&self, name: &ChainName, header: &Frame) -> Result<Option<Import>, StoreError> {
        let mut chains = self.chains();
        let chain = chains.entry(name.clone()).or_insert_with(|| self.new_chain());
        if chain.record.is_some() {
            return Ok(None);
        }
        match Import::open(chain.rows.clone(), header)? {
            Begun::Here(import) => Ok(Some(import)),
            Begun::Another => Ok(None),
            Begun::Unknown => {
                chain.rows = self.rows();
                Import::open(chain.rows.clone(), header).map(Begun::here)
            }
        }
    }

    fn unfinished(&self) -> Vec<ChainName> {
        self.chains().iter().filter(|(_, chain)| chain.record.is_none()).map(|(name, _)| name.clone()).collect()
    }

    fn damaged(&self) -> Vec<(ChainName, String)> {
        Vec::new()
    }

    fn usage(&self) -> StoreUsage {
        StoreUsage { families: self.chains().len() as u64, ..StoreUsage::default() }
    }
}

impl Rows for MemoryRows {
    fn read(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        if let Some(value) = self.rows.read().unwrap_or_else(PoisonError::into_inner).get(key) {
            found(value);
        }
        Ok(())
    }

    fn scan(&self, start: &[u8], end: &[u8], row: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        if start >= end {
            return Ok(());
        }
        let rows = self.rows.read().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in rows.range::<[u8], _>((Bound::Included(start), Bound::Excluded(end))) {
            if !row(key, value) {
                break;
            }
        }
        Ok(())
    }

    fn write_within(&self, ops: Vec<Op>, _purpose: Purpose, _patience: Duration) -> Written {
        let Some(latency) = &self.latency else {
            apply(&self.rows, ops);
            return Box::pin(std::future::ready(Ok(())));
        };
        let (rows, takes) = (self.rows.clone(), latency());
        Box::pin(async move {
            tokio::time::sleep(takes).await;
            apply(&rows, ops);
            Ok(())
        })
    }

    fn append(&self, rows: Vec<Row>) -> Written {
        self.write_within(rows.into_iter().map(|(key, value)| (key, Some(value))).collect(), Purpose::Data, Duration::ZERO)
    }

    fn loading(&self) -> Arc<Semaphore> {
        self.loading.clone()
    }

    fn clear(&self) -> Result<(), StoreError> {
        self.rows.write().unwrap_or_else(PoisonError::into_inner).clear();
        Ok(())
    }

    fn staging(&self) -> Result<Arc<dyn Rows>, StoreError> {
        let mut staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner);
        let rows = staging.get_or_insert_with(|| Arc::new(Self::new(self.latency.clone(), self.tombstones.clone())));
        Ok(rows.clone())
    }

    fn existing_staging(&self) -> Option<Arc<dyn Rows>> {
        self.staging.lock().unwrap_or_else(PoisonError::into_inner).clone().map(|rows| rows as Arc<dyn Rows>)
    }

    fn drop_staging(&self) -> Result<(), StoreError> {
        self.staging.lock().unwrap_or_else(PoisonError::into_inner).take();
        Ok(())
    }

    fn swap_in_staging(&self) -> Result<(), StoreError> {
        let staging = self.staging.lock().unwrap_or_else(PoisonError::into_inner).take().ok_or(StoreError::Closed)?;
        let rows = std::mem::take(&mut *staging.rows.write().unwrap_or_else(PoisonError::into_inner));
        *self.rows.write().unwrap_or_else(PoisonError::into_inner) = rows;
        Ok(())
    }

    fn tombstone(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        Ok(self.tombstones.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned())
    }

    fn dump(&self) -> Result<Box<dyn Dump>, StoreError> {
        Ok(Box::new(MemoryDump(self.rows.read().unwrap_or_else(PoisonError::into_inner).clone())))
    }
}

fn apply(rows: &RwLock<Sorted>, ops: Vec<Op>) {
    let mut rows = rows.write().unwrap_or_else(PoisonError::into_inner);
    for (key, value) in ops {
        match value {
            Some(value) => drop(rows.insert(key.into(), value.into())),
            None => drop(rows.remove(key.as_slice())),
        }
    }
}

struct MemoryDump(Sorted);

impl Dump for MemoryDump {
    fn next(&mut self, bytes: usize) -> Result<Vec<Row>, StoreError> {
        let (mut rows, mut taken) = (Vec::new(), 0);
        while taken < bytes
            && let Some((key, value)) = self.0.pop_first()
        {
            taken += key.len() + value.len();
            rows.push((key.into_vec(), value.into_vec()));
        }
        Ok(rows)
    }
}
