//! Transactions that wait to be checked, and those that wait for a block.

mod shared_pool;

use std::sync::atomic::{AtomicU64, Ordering};

use subnode_chain_core::{Pool, PoolLimits};
use subnode_sandbox::Tenant;
use tokio::sync::{Mutex, MutexGuard, Notify, TryLockError, mpsc, oneshot};

pub(crate) use self::shared_pool::{Drawings, HeldPool, Reserved, SharedPool};
use crate::error::RpcError;

/// Transactions that wait to be checked; further ones make their sender wait.
const WAITING: usize = 4096;
/// A transaction on its way to being checked.
pub(crate) struct Submission {
    pub(crate) data: Vec<u8>,
    pub(crate) origin: Origin,
}

/// Where a transaction comes from.
pub(crate) enum Origin {
    /// A client of this node's, which is answered with the transaction's id.
    Client(oneshot::Sender<Result<Option<Vec<u8>>, RpcError>>),
    /// The same, where the runtime completed it. The answer is none where its sequence is taken, or the chain was reverted: it has to be completed
    /// anew.
    Completed(oneshot::Sender<Result<Option<Vec<u8>>, RpcError>>),
    /// Another node, which sent it to all it knows.
    Peer,
}

/// See the module.
pub(crate) struct Mempool {
    pool: SharedPool,
    /// The pool's mark, for those who compare it later: never ahead of it.
    mark: AtomicU64,
    /// Set when the pool may hold ready transactions that the consensus module has not been told of.
    ready: Notify,
    /// Held while a transaction that the runtime completed from the pool is admitted: they are completed one after the other.
    completing: Mutex<()>,
    submissions: mpsc::Sender<Submission>,
}

impl Mempool {
    /// The pool, and where the transactions to check come out.
    pub(crate) fn new(limits: PoolLimits, tenant: Tenant) -> (Self, mpsc::Receiver<Submission>) {
        let (submissions, submitted) = mpsc::channel(WAITING);
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

    /// Hands a transaction in, once there is room.
    pub(crate) async fn submit(&self, submission: Submission) -> Result<(), RpcError> {
        self.submissions.send(submission).await.map_err(|_| RpcError::closing())
    }

    /// Hands a transaction in, if there is room. Whether there was.
    pub(crate) fn offer(&self, submission: Submission) -> bool {
        self.submissions.try_send(submission).is_ok()
    }
}
