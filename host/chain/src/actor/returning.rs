//! Snapshots, reverts, and changes of the state at a developer's will.

use subnode_chain_core::{ChainClock, PoolCopy};
use subnode_sandbox::Change;
use subnode_storage::{Batch, StoreError, Table};

use super::{snapshots::Pooled, state::Actor};
use crate::{
    error::RpcError,
    feed::UndoneCursors,
    ledger::{decode_head, encode_head, genesis_batch, load_committees, writes},
    notifier,
};

/// How the keys of rows begin that a revert leaves alone (wit/runtime.wit).
const OUTLIVING_PREFIX: u8 = 0xff;

/// The version that is genesis.
const GENESIS: u64 = 1;
/// Bytes of rows that are cleared at once for a genesis made anew: the keys of all are in memory then, and commits of other chains wait for them.
const CLEARED_BYTES_MAX: u64 = 256 << 20;

impl Actor {
    /// Remembers this moment; its id.
    pub(super) fn snapshot(&mut self) -> Result<u64, RpcError> {
        let copy = self.parts.mempool.lock().copy();
        let pool = match copy.bytes() {
            0 => None,
            bytes => {
                let memory = self.parts.tenant.lease(bytes).map_err(|fault| RpcError::from_call(&fault.into()))?;
                Some(Pooled { copy, _memory: memory })
            }
        };
        let clock = self.parts.standing.clock().clone();
        Ok(self.snapshots.add(self.parts.ledger.store(), clock, pool))
    }

    /// Returns to a moment, which is used once. Whether there was such a one.
    pub(super) async fn revert(&mut self, id: u64) -> Result<bool, RpcError> {
        let Some((position, snapshot)) = self.snapshots.take(id) else { return Ok(false) };
        let pool = snapshot.pool.as_ref().map(|pool| &pool.copy);
        if let Err(error) = self.revert_to(snapshot.version, &[OUTLIVING_PREFIX], snapshot.clock.clone(), pool).await {
            self.snapshots.put_back(position, snapshot);
            return Err(error);
        }
        self.snapshots.returned_to(position, self.parts.ledger.store());
        Ok(true)
    }

    /// Returns to genesis.
    pub(super) async fn reset(&mut self) -> Result<(), RpcError> {
        if self.parts.ledger.store().oldest_version() <= GENESIS {
            self.revert_to(GENESIS, &[], ChainClock::default(), None).await?;
        } else {
            self.begin_again().await?;
        }
        self.snapshots.returned_to(0, self.parts.ledger.store());
        Ok(())
    }

    async fn revert_to(&mut self, version: u64, outliving: &[u8], clock: ChainClock, pool: Option<&PoolCopy>) -> Result<(), RpcError> {
        if version < self.parts.ledger.store().oldest_version() {
            return Err(RpcError::rejected("that state is no longer kept; keep more history to return further"));
        }
        let cursors = match self.undone_from(version)? {
            Some(lowest) => notifier::tell_undone(&self.parts, lowest, lowest).await,
            None => UndoneCursors::default(),
        };
        let reverted = self.parts.ledger.store().revert_to(version, outliving).await;
        self.went_back(reverted, cursors, clock, pool).await
    }

    /// Makes genesis anew, where the past does not reach back to it.
    async fn begin_again(&mut self) -> Result<(), RpcError> {
        let parts = self.parts.clone();
        let (store, spec) = (parts.ledger.store(), &parts.spec);
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
        let genesis = genesis_batch(parts.guests.runtime(), &parts.tenant, spec, &parts.options, CLEARED_BYTES_MAX).await;
        let genesis = genesis.map_err(|error| RpcError::rejected(format!("the chain cannot begin again: {error}")))?;
        let cursors = notifier::tell_undone(&self.parts, 1, store.oldest_height()? + 1).await;
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
        self.parts.ledger.count_commit();
        gone?;
        self.give_waiting_up().await;
        Ok(())
    }

    fn take_up(&mut self, cursors: UndoneCursors, clock: ChainClock, pool: Option<&PoolCopy>) -> Result<(), StoreError> {
        self.seals.end();
        let head = self.parts.ledger.store().head().ok_or_else(|| StoreError::Corrupt("no head after a revert".into()))?;
        self.parts.move_to(decode_head(&head)?, Some(load_committees(self.parts.ledger.store())?));
        self.parts.feed.cursors.reverted(cursors);
        self.parts.standing.set_stuck(None);
        *self.parts.standing.clock() = clock;
        let refused = {
            let mut held = self.parts.mempool.lock();
            held.clear();
            let refused = pool.map_or(0, |pool| held.restore(pool));
            self.parts.mempool.note_mark(&held);
            refused
        };
        if refused > 0 {
            tracing::warn!(chain = %self.parts.name, transactions = refused, "the pool did not take all of a snapshot's transactions back");
        }
        if pool.is_some() {
            self.parts.mempool.tell_ready();
        }
        self.parts.guests.drop_idle();
        Ok(())
    }

    /// The lowest block that a return to a version undoes; none where it undoes amendments of the head alone.
    fn undone_from(&self, version: u64) -> Result<Option<u64>, StoreError> {
        let store = self.parts.ledger.store();
        let head = self.parts.ledger.head().height;
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

    /// Changes the state of the head. Whether that was still at `version`, which the changes were computed on.
    pub(super) async fn amend(&mut self, version: u64, changes: Vec<Change>) -> Result<bool, RpcError> {
        if self.parts.ledger.store().version() != version {
            return Ok(false);
        }
        let head = self.parts.ledger.head();
        let writes = writes(Table::State, changes).collect();
        self.parts.ledger.store().commit(Batch { head: encode_head(&head), writes }).await?;
        self.snapshots.bound_past(self.parts.ledger.store(), self.parts.options.past_bytes_max);
        self.parts.mempool.lock().forget_progress();
        Ok(true)
    }
}
