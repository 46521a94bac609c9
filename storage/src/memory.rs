//! Chains in memory, for developers and simulation. Nothing survives the process.

use std::{
    collections::BTreeMap,
    ops::Bound,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use subnode_types::ChainName;

use crate::{
    ChainStore, Retention, Store, StoreError,
    rows::{Op, Rows, Written},
};

/// Chains in memory.
#[derive(Default)]
pub struct MemoryStore {
    chains: Mutex<BTreeMap<ChainName, Arc<MemoryRows>>>,
}

/// Values by key.
type Sorted = BTreeMap<Box<[u8]>, Box<[u8]>>;

#[derive(Default)]
struct MemoryRows {
    rows: RwLock<Sorted>,
}

impl Store for MemoryStore {
    fn open(&self, name: &ChainName, retention: Retention) -> Result<Arc<ChainStore>, StoreError> {
        let rows = self.chains.lock().unwrap_or_else(PoisonError::into_inner).entry(name.clone()).or_default().clone();
        ChainStore::open(rows, retention)
    }

    fn delete(&self, name: &ChainName) -> Result<(), StoreError> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner).remove(name);
        Ok(())
    }

    fn names(&self) -> Vec<ChainName> {
        self.chains.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
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

    fn write(&self, ops: Vec<Op>) -> Written {
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        for (key, value) in ops {
            match value {
                Some(value) => drop(rows.insert(key.into(), value.into())),
                None => drop(rows.remove(key.as_slice())),
            }
        }
        Box::pin(std::future::ready(Ok(())))
    }
}
