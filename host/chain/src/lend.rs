//! What this crate lends to guests: a view of the store, and the pool.

use std::{
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use subnode_chain_core::{Draw, Pool, Transaction};
use subnode_sandbox::{Entry, HostFault, Occupancy, PoolReader, Pooled, Ready, StateReader, Table, Tenant, Unavailable};
use subnode_storage::{self as storage, StoreError, View};

/// A view of the store as guests read it.
pub struct ViewReader(pub View);

fn table(table: Table) -> storage::Table {
    match table {
        Table::State => storage::Table::State,
        Table::Index => storage::Table::Index,
        Table::Block => storage::Table::Block,
    }
}

fn fault(error: StoreError) -> HostFault {
    match error {
        StoreError::Reverted => HostFault::Reverted,
        other => HostFault::Storage(other.to_string()),
    }
}

impl StateReader for ViewReader {
    fn read(&self, from: Table, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), HostFault> {
        self.0.read(table(from), key, found).map_err(fault)
    }

    fn scan(&self, from: Table, start: &[u8], end: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, HostFault> {
        let rows = self.0.scan(table(from), start, end, limit).map_err(fault)?;
        Ok(rows.into_iter().map(|row| Entry { key: row.key, value: row.value }).collect())
    }

    fn seek(&mut self, height: u64) -> Result<Result<(), Unavailable>, HostFault> {
        match self.0.seek(height) {
            Ok(()) => Ok(Ok(())),
            Err(StoreError::Unavailable { .. }) => {
                let (oldest, newest) = self.0.heights().map_err(fault)?;
                Ok(Err(Unavailable { oldest, newest }))
            }
            Err(error) => Err(fault(error)),
        }
    }
}

/// The pool, shared by admission, building and queries. Held for moments only. Its bytes count against the chain's memory.
#[derive(Clone)]
pub(crate) struct SharedPool {
    counted: Arc<Mutex<Counted>>,
    tenant: Tenant,
}

struct Counted {
    pool: Pool,
    /// Bytes of it that are taken from the chain's memory.
    bytes: u64,
}

/// The pool while it is held; what changed of its bytes is taken from the chain's memory, or given back, when it is let go.
pub(crate) struct HeldPool<'a> {
    counted: MutexGuard<'a, Counted>,
    tenant: &'a Tenant,
}

impl Deref for HeldPool<'_> {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.counted.pool
    }
}

impl DerefMut for HeldPool<'_> {
    fn deref_mut(&mut self) -> &mut Pool {
        &mut self.counted.pool
    }
}

impl Drop for HeldPool<'_> {
    fn drop(&mut self) {
        let bytes = self.counted.pool.bytes() as u64;
        let before = std::mem::replace(&mut self.counted.bytes, bytes);
        if bytes > before {
            self.tenant.memory().take_anyway(bytes - before);
        } else if bytes < before {
            self.tenant.memory().give(before - bytes);
        }
    }
}

impl SharedPool {
    pub(crate) fn new(pool: Pool, tenant: Tenant) -> Self {
        Self { counted: Arc::new(Mutex::new(Counted { pool, bytes: 0 })), tenant }
    }

    pub(crate) fn lock(&self) -> HeldPool<'_> {
        HeldPool { counted: self.counted.lock().unwrap_or_else(PoisonError::into_inner), tenant: &self.tenant }
    }

    pub(crate) fn ready(&self) -> u32 {
        u32::try_from(self.lock().ready()).unwrap_or(u32::MAX)
    }

    pub(crate) fn for_query(&self) -> Box<dyn PoolReader> {
        Box::new(LentPool { pool: self.clone(), draw: None, left: 0, drawn: Arc::default() })
    }

    /// The pool for a build, which draws at most `limit` transactions and notes their ids in `drawn`.
    pub(crate) fn for_build(&self, limit: usize, drawn: Drawn) -> Box<dyn PoolReader> {
        let draw = self.lock().draw();
        Box::new(LentPool { pool: self.clone(), draw: Some(draw), left: limit, drawn })
    }
}

/// Ids of the transactions a build drew.
pub(crate) type Drawn = Arc<Mutex<Vec<Vec<u8>>>>;

struct LentPool {
    pool: SharedPool,
    draw: Option<Draw>,
    left: usize,
    drawn: Drawn,
}

fn pooled((transaction, ready): (Arc<Transaction>, bool)) -> Pooled {
    Pooled {
        id: transaction.id.clone(),
        sender: transaction.sender.clone(),
        sequence: transaction.sequence,
        data: transaction.data.clone(),
        ready,
    }
}

impl PoolReader for LentPool {
    fn next(&mut self, limit: usize, found: &mut dyn FnMut(Ready<'_>)) {
        let Some(draw) = &mut self.draw else { return };
        let pool = self.pool.lock();
        let next: Vec<_> = std::iter::from_fn(|| draw.next(&pool)).take(limit.min(self.left)).collect();
        drop(pool);
        self.left -= next.len();
        self.drawn.lock().unwrap_or_else(PoisonError::into_inner).extend(next.iter().map(|drawn| drawn.id.clone()));
        for Transaction { id, sender, sequence, data, .. } in next.iter().map(AsRef::as_ref) {
            found(Ready { id, sender, sequence: *sequence, data });
        }
    }

    fn skip_sender(&mut self, sender: &[u8]) {
        if let Some(draw) = &mut self.draw {
            draw.skip_sender(sender);
        }
    }

    fn get(&self, id: &[u8]) -> Option<Pooled> {
        self.pool.lock().get(id).map(pooled)
    }

    fn by_sender(&self, sender: &[u8], limit: usize) -> Vec<Pooled> {
        self.pool.lock().by_sender(sender).take(limit).map(pooled).collect()
    }

    fn all(&self, limit: usize) -> Vec<Pooled> {
        self.pool.lock().all().take(limit).map(pooled).collect()
    }

    fn next_sequence(&self, sender: &[u8]) -> Option<u64> {
        self.pool.lock().next_sequence(sender)
    }

    fn counts(&self) -> Occupancy {
        let pool = self.pool.lock();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Occupancy { ready: count(pool.ready()), waiting: count(pool.waiting()) }
    }

    fn since(&self, mark: u64, limit: usize) -> (Vec<Vec<u8>>, u64) {
        self.pool.lock().since(mark, limit)
    }
}
