//! Moments that a developer returns to.

use std::{collections::VecDeque, sync::Arc};

use subnode_chain_core::{ChainClock, PoolCopy};
use subnode_sandbox::{Change, Lease};
use subnode_storage::{Batch, ChainStore, Entry, StoreError, Table, Write};

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
/// How many times the memory of a chain's past snapshots may hold it; beyond, the oldest is given up. A suite of tests that returns to one
/// snapshot again and again has room, and one that was forgotten does not fill the machine.
const HELD_TIMES: u64 = 4;
/// Before the keys of rows that a revert leaves alone (wit/runtime.wit), and how many are.
const OUTLIVING_PREFIX: u8 = 0xff;
const OUTLIVING_MAX: usize = 64;

/// The version that is genesis.
const GENESIS: u64 = 1;
/// Bytes of rows that are cleared at once for a genesis made anew: the keys of all are in memory then.
const CLEARED_BYTES_MAX: u64 = 1 << 30;

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
        let (store, limit) = (&shared.store, shared.options.past_bytes_max.saturating_mul(HELD_TIMES));
        // Before the past is dropped up to the oldest, that is not what it holds.
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

fn no_longer_kept() -> RpcError {
    RpcError::rejected("that state is no longer kept; keep more history to return further")
}

/// The rows that a revert leaves alone.
fn outliving(store: &Arc<ChainStore>) -> Result<Vec<Entry>, StoreError> {
    store.view().scan(Table::State, &[OUTLIVING_PREFIX], None, OUTLIVING_MAX)
}

/// Gives the rows that a revert leaves alone the values they had before it.
async fn put_back(shared: &Shared, outliving: Vec<Entry>) -> Result<(), StoreError> {
    let store = &shared.store;
    let gone = self::outliving(store)?.into_iter().filter(|row| outliving.iter().all(|kept| kept.key != row.key));
    let mut changed: Vec<Write> = gone.map(|row| Write { table: Table::State, key: row.key, value: None }).collect();
    for row in outliving {
        if store.view().get(Table::State, &row.key)?.as_ref() != Some(&row.value) {
            changed.push(Write { table: Table::State, key: row.key, value: Some(row.value) });
        }
    }
    if changed.is_empty() {
        return Ok(());
    }
    store.commit(Batch { head: encode_head(&shared.head()), writes: changed }).await
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
        let outliving = outliving(&self.shared.store)?;
        self.revert_to(self.snapshots.kept[position].version).await?;
        let Some(snapshot) = self.snapshots.kept.split_off(position).into_iter().next() else { return Ok(false) };
        self.snapshots.hold(&self.shared.store);
        put_back(&self.shared, outliving).await?;
        *self.shared.clock() = snapshot.clock;
        if let Some(pool) = &snapshot.pool {
            let refused = self.shared.pool.lock().restore(&pool.copy);
            if refused > 0 {
                tracing::warn!(chain = %self.shared.name, transactions = refused, "the pool did not take all of a snapshot's transactions back");
            }
            self.shared.ready.notify_one();
        }
        Ok(true)
    }

    pub(crate) async fn reset(&mut self) -> Result<(), RpcError> {
        if self.shared.store.oldest_version() <= GENESIS {
            self.revert_to(GENESIS).await?;
        } else {
            self.begin_again().await?;
        }
        self.snapshots.kept.clear();
        self.snapshots.hold(&self.shared.store);
        *self.shared.clock() = ChainClock::default();
        Ok(())
    }

    async fn revert_to(&mut self, version: u64) -> Result<(), RpcError> {
        if version < self.shared.store.oldest_version() {
            return Err(no_longer_kept());
        }
        let cursors = match self.undone_from(version)? {
            Some(lowest) => notifier::tell_undone(&self.shared, lowest, lowest).await,
            None => UndoneCursors::default(),
        };
        let reverted = self.shared.store.revert_to(version).await;
        self.went_back(reverted, cursors).await
    }

    /// Makes genesis anew, where the past does not reach back to it.
    async fn begin_again(&mut self) -> Result<(), RpcError> {
        let Shared { store, runtime, tenant, spec, options, .. } = &*self.shared;
        if spec.is_empty() || store.live_bytes() > CLEARED_BYTES_MAX {
            return Err(no_longer_kept());
        }
        let genesis = blocks::genesis(runtime, tenant, spec, options).await;
        let genesis = genesis.map_err(|error| RpcError::rejected(format!("the chain cannot begin again: {error}")))?;
        let cursors = notifier::tell_undone(&self.shared, 1, store.oldest_height()? + 1).await;
        let begun = store.begin_again(genesis).await;
        self.went_back(begun, cursors).await
    }

    /// Goes on at the head that the store has again, or where it could not go back, at the one it has.
    async fn went_back(&mut self, done: Result<(), StoreError>, cursors: UndoneCursors) -> Result<(), RpcError> {
        if let Err(error) = done {
            self.shared.wake_clients();
            return Err(error.into());
        }
        self.end_seals();
        let head = self.shared.store.head().ok_or_else(|| StoreError::Corrupt("no head after a revert".into()))?;
        self.shared.set_head(decode_head(&head)?, Some(load_committees(&self.shared.store)?));
        self.shared.cursors.reverted(cursors);
        self.shared.pool.lock().clear();
        self.shared.drop_idle_guests();
        self.shared.commits.send_modify(|commits| *commits += 1);
        self.give_waiting_up().await;
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
        self.shared.pool.lock().forget_progress();
        Ok(true)
    }
}
