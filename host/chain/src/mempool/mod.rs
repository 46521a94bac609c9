//! Transactions that wait to be checked, and those that wait for a block.

mod shared_pool;
mod submissions;

use std::sync::atomic::{AtomicU64, Ordering};

use subnode_chain_core::{Pool, PoolLimits};
use subnode_sandbox::Tenant;
use tokio::sync::{Mutex, MutexGuard, Notify, TryLockError};

pub(crate) use self::{
    shared_pool::{Drawings, HeldPool, Reserved, SharedPool},
    submissions::{Origin, Submission, Submissions, Submitted},
};

/// See the module.
pub(crate) struct Mempool {
    pool: SharedPool,
    /// The pool's mark, for those who compare it later: never ahead of it.
    mark: AtomicU64,
    /// Set when the pool may hold ready transactions that the consensus module has not been told of.
    ready: Notify,
    /// Held while a transaction that the runtime completed from the pool is admitted: they are completed one after the other.
    completing: Mutex<()>,
    pub(crate) submissions: Submissions,
}

impl Mempool {
    /// The pool, and where the transactions to check come out.
    pub(crate) fn new(limits: PoolLimits, tenant: Tenant) -> (Self, Submitted) {
        let (submissions, submitted) = submissions::queue(tenant.clone());
        let pool = SharedPool::new(Pool::new(limits), tenant);
        (Self { pool, mark: AtomicU64::new(0), ready: Notify::new(), completing: Mutex::new(()), submissions }, submitted)
    }

    /// The pool, which guests are lent.
    pub(crate) fn pool(&self) -> &SharedPool {
        &self.pool
    }

    /// The pool, held.
    pub(crate) fn lock(&self) -> HeldPool<'_> {
        self.pool.lock()
    }

    /// The last mark of the pool that was noted.
    pub(crate) fn mark(&self) -> u64 {
        self.mark.load(Ordering::Acquire)
    }

    /// Notes the mark of a pool that is held.
    pub(crate) fn note_mark(&self, pool: &HeldPool<'_>) {
        self.mark.store(pool.mark(), Ordering::Release);
    }

    /// Has the consensus module told of ready transactions.
    pub(crate) fn tell_ready(&self) {
        self.ready.notify_one();
    }

    /// Resolves once it is to be told.
    pub(crate) async fn to_tell(&self) {
        self.ready.notified().await;
    }

    /// Takes the turn to complete a transaction, if nobody has it.
    pub(crate) fn try_turn(&self) -> Result<MutexGuard<'_, ()>, TryLockError> {
        self.completing.try_lock()
    }

    /// Waits for it.
    pub(crate) async fn turn(&self) -> MutexGuard<'_, ()> {
        self.completing.lock().await
    }
}
