//! Moments that a developer returns to.

use std::{collections::VecDeque, sync::atomic::Ordering};

use subnode_chain_core::{ChainClock, PoolCopy};
use subnode_sandbox::{Change, Lease};
use subnode_storage::{Batch, ChainStore, StoreError, Table};

use crate::{
    RpcError,
    actor::Actor,
    blocks::{self, decode_head, encode_head, load_committees, writes},
    cursor::UndoneCursors,
    notifier,
    shared::Shared,
};

/// Snapshots kept; the oldest makes room.
const SNAPSHOTS_MAX: usize = 4096;
/// Bytes of pooled transactions that all of them keep; the oldest gives its own up.
const POOLED_BYTES_MAX: u64 = 64 << 20;
/// Snapshots may hold this multiple of what a chain's past may take; beyond, the oldest is given up. A suite of tests that returns to one again and
/// again has room, and one that was forgotten does not fill the machine.
const HELD_PAST_FACTOR: u64 = 4;
/// How the keys of rows begin that a revert leaves alone (wit/runtime.wit).
const OUTLIVING_PREFIX: u8 = 0xff;

/// The version that is genesis.
const GENESIS: u64 = 1;
/// Bytes of rows that are cleared at once for a genesis made anew: the keys of all are in memory then, and commits of other chains wait for them.
const CLEARED_BYTES_MAX: u64 = 256 << 20;

/// Moments to return to. The store holds the past from the oldest on.
#[derive(Default)]
pub(crate) struct Snapshots {
    kept: VecDeque<Snapshot>,
    next: u64,
}

struct Snapshot {
    id: u64,
    version: u64,
    clock: ChainClock,
    /// None where the pool was empty, or later snapshots needed the room.
    pool: Option<Pooled>,
}

struct Pooled {
    copy: PoolCopy,
    /// Given back with the copy.
    _memory: Lease,
}

impl Snapshots {
    fn hold(&self, store: &ChainStore) {
        store.hold(self.kept.front().map(|oldest| oldest.version));
    }

    /// Gives up the oldest where what it holds takes too much.
    pub(crate) fn bound_past(&mut self, shared: &Shared) {
        let (store, limit) = (&shared.store, shared.options.past_bytes_max.saturating_mul(HELD_PAST_FACTOR));
        // Commits drop some of the past each: as long as they have not come to the oldest snapshot, it holds nothing up.
        let Some(oldest) = self.kept.front().filter(|oldest| store.past_bytes() > limit && store.oldest_version() >= oldest.version) else {
            return;
        };
        tracing::warn!(
            chain = %shared.name, snapshot = oldest.id, bytes = store.past_bytes(), limit,
            "what a snapshot holds of the past takes too much memory: the snapshot is given up"
        );
        self.kept.pop_front();
        self.hold(store);
    }

    /// Gives up the transactions of the oldest, until those of all fit.
    fn bound_pools(&mut self) {
        let mut bytes: u64 = self.kept.iter().filter_map(|snapshot| snapshot.pool.as_ref()).map(|pool| pool.copy.bytes()).sum();
        for snapshot in &mut self.kept {
            if bytes <= POOLED_BYTES_MAX {
                break;
            }
            bytes -= snapshot.pool.take().map_or(0, |pool| pool.copy.bytes());
        }
    }
}

impl Actor {
    pub(crate) fn snapshot(&mut self) -> Result<u64, RpcError> {
        let copy = self.shared.pool.lock().copy();
        let pool = match copy.bytes() {
            0 => None,
            bytes => {
                let memory = self.shared.tenant.lease(bytes).map_err(|fault| RpcError::from_call(&fault.into()))?;
                Some(Pooled { copy, _memory: memory })
            }
        };
        if self.snapshots.kept.len() >= SNAPSHOTS_MAX {
            self.snapshots.kept.pop_front();
        }
        let id = self.snapshots.next;
        self.snapshots.next += 1;
        let clock = self.shared.clock().clone();
        self.snapshots.kept.push_back(Snapshot { id, version: self.shared.store.version(), clock, pool });
        self.snapshots.bound_pools();
        self.snapshots.hold(&self.shared.store);
        Ok(id)
    }

    pub(crate) async fn revert(&mut self, id: u64) -> Result<bool, RpcError> {
        let Some(position) = self.snapshots.kept.iter().position(|snapshot| snapshot.id == id) else { return Ok(false) };
        let Some(snapshot) = self.snapshots.kept.remove(position) else { return Ok(false) };
        let pool = snapshot.pool.as_ref().map(|pool| &pool.copy);
        if let Err(error) = self.revert_to(snapshot.version, &[OUTLIVING_PREFIX], snapshot.clock.clone(), pool).await {
            self.snapshots.kept.insert(position, snapshot);
            return Err(error);
        }
        // It is used once, and those after it are gone with what they were of.
        self.snapshots.kept.truncate(position);
        self.snapshots.hold(&self.shared.store);
        Ok(true)
    }

    pub(crate) async fn reset(&mut self) -> Result<(), RpcError> {
        if self.shared.store.oldest_version() <= GENESIS {
            self.revert_to(GENESIS, &[], ChainClock::default(), None).await?;
        } else {
            self.begin_again().await?;
        }
        self.snapshots.kept.clear();
        self.snapshots.hold(&self.shared.store);
        Ok(())
    }

    async fn revert_to(&mut self, version: u64, outliving: &[u8], clock: ChainClock, pool: Option<&PoolCopy>) -> Result<(), RpcError> {
        if version < self.shared.store.oldest_version() {
            return Err(RpcError::rejected("that state is no longer kept; keep more history to return further"));
        }
        let cursors = match self.undone_from(version)? {
            Some(lowest) => notifier::tell_undone(&self.shared, lowest, lowest).await,
            None => UndoneCursors::default(),
        };
        let reverted = self.shared.store.revert_to(version, outliving).await;
        self.went_back(reverted, cursors, clock, pool).await
    }

    /// Makes genesis anew, where the past does not reach back to it.
    async fn begin_again(&mut self) -> Result<(), RpcError> {
        let Shared { store, runtime, tenant, spec, options, .. } = &*self.shared;
        if spec.is_empty() {
            let reason =
                "genesis is no longer kept, and a chain of an earlier run does not begin again; take a new directory, or keep all history";
            return Err(RpcError::rejected(reason));
        }
        if store.live_bytes() > CLEARED_BYTES_MAX {
            let reason =
                format!("genesis is no longer kept, and {} bytes are too many to begin again; start the chain anew", store.live_bytes());
            return Err(RpcError::rejected(reason));
        }
        let genesis = blocks::genesis(runtime, tenant, spec, options).await;
        let genesis = genesis.map_err(|error| RpcError::rejected(format!("the chain cannot begin again: {error}")))?;
        let cursors = notifier::tell_undone(&self.shared, 1, store.oldest_height()? + 1).await;
        let begun = store.begin_again(genesis).await;
        self.went_back(begun, cursors, ChainClock::default(), None).await
    }

    /// Goes on at the head that the store has again, or where it could not go back, at the one it has; and has those look again who wait for that.
    async fn went_back(
        &mut self,
        done: Result<(), StoreError>,
        cursors: UndoneCursors,
        clock: ChainClock,
        pool: Option<&PoolCopy>,
    ) -> Result<(), RpcError> {
        let gone = done.and_then(|()| self.take_up(cursors, clock, pool));
        self.shared.commits.send_modify(|commits| *commits += 1);
        gone?;
        self.give_waiting_up().await;
        Ok(())
    }

    fn take_up(&mut self, cursors: UndoneCursors, clock: ChainClock, pool: Option<&PoolCopy>) -> Result<(), StoreError> {
        self.end_seals();
        let head = self.shared.store.head().ok_or_else(|| StoreError::Corrupt("no head after a revert".into()))?;
        self.shared.set_head(decode_head(&head)?, Some(load_committees(&self.shared.store)?));
        self.shared.cursors.reverted(cursors);
        self.shared.set_stuck(None);
        *self.shared.clock() = clock;
        let refused = {
            let mut held = self.shared.pool.lock();
            held.clear();
            let refused = pool.map_or(0, |pool| held.restore(pool));
            self.shared.pool_mark.store(held.mark(), Ordering::Release);
            refused
        };
        if refused > 0 {
            tracing::warn!(chain = %self.shared.name, transactions = refused, "the pool did not take all of a snapshot's transactions back");
        }
        if pool.is_some() {
            self.shared.ready.notify_one();
        }
        self.shared.drop_idle_guests();
        Ok(())
    }

    /// The lowest block that a return to a version undoes; none where it undoes amendments of the head alone.
    fn undone_from(&self, version: u64) -> Result<Option<u64>, StoreError> {
        let store = &self.shared.store;
        let head = self.shared.head().height;
        // A block is undone if the one before it ended at the version or later.
        let (mut low, mut high) = (head.saturating_sub(store.version().saturating_sub(version)), head);
        while low < high {
            let middle = low + (high - low) / 2;
            if store.version_at(middle)?.is_some_and(|ended| ended >= version) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        Ok((low < head).then_some(low + 1))
    }

    pub(crate) async fn amend(&mut self, version: u64, changes: Vec<Change>) -> Result<bool, RpcError> {
        if self.shared.store.version() != version {
            return Ok(false);
        }
        let head = self.shared.head();
        let writes = writes(Table::State, changes).collect();
        self.shared.store.commit(Batch { head: encode_head(&head), writes }).await?;
        self.snapshots.bound_past(&self.shared);
        self.shared.pool.lock().forget_progress();
        Ok(true)
    }
}
