//! Moments that a developer returns to.

use std::collections::VecDeque;

use subnode_chain_core::{ChainClock, PoolCopy};
use subnode_sandbox::Lease;
use subnode_storage::ChainStore;

/// Snapshots kept; the oldest makes room.
const SNAPSHOTS_MAX: usize = 4096;
/// Bytes of pooled transactions that all of them keep; the oldest gives its own up.
const POOLED_BYTES_MAX: u64 = 64 << 20;
/// Snapshots may hold this multiple of what a chain's past may take; beyond, the oldest is given up. A suite of tests that returns to one again and
/// again has room, and one that was forgotten does not fill the machine.
const HELD_PAST_FACTOR: u64 = 4;
/// Moments to return to. The store holds the past from the oldest on.
#[derive(Default)]
pub(crate) struct Snapshots {
    /// Bound: [`SNAPSHOTS_MAX`] of some 100 bytes, and [`POOLED_BYTES_MAX`] bytes of pooled transactions, which the memory slice is charged
    /// for.
    kept: VecDeque<Snapshot>,
    next: u64,
}

/// A moment.
pub(super) struct Snapshot {
    id: u64,
    pub(super) version: u64,
    pub(super) clock: ChainClock,
    /// None where the pool was empty, or later snapshots needed the room.
    pub(super) pool: Option<Pooled>,
}

/// A copy of the pool.
pub(super) struct Pooled {
    pub(super) copy: PoolCopy,
    /// Given back with the copy.
    pub(super) _memory: Lease,
}

impl Snapshots {
    fn hold(&self, store: &ChainStore) {
        store.hold(self.kept.front().map(|oldest| oldest.version));
    }

    /// Gives up the oldest where what it holds of the past takes more than this factor of `past_bytes_max`.
    pub(super) fn bound_past(&mut self, store: &ChainStore, past_bytes_max: u64) {
        let limit = past_bytes_max.saturating_mul(HELD_PAST_FACTOR);
        // Commits drop some of the past each: as long as they have not come to the oldest snapshot, it holds nothing up.
        let Some(oldest) = self.kept.front().filter(|oldest| store.past_bytes() > limit && store.oldest_version() >= oldest.version) else {
            return;
        };
        tracing::warn!(
            snapshot = oldest.id,
            bytes = store.past_bytes(),
            limit,
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

    /// Takes one of this version; its id.
    pub(super) fn add(&mut self, store: &ChainStore, clock: ChainClock, pool: Option<Pooled>) -> u64 {
        if self.kept.len() >= SNAPSHOTS_MAX {
            self.kept.pop_front();
        }
        let id = self.next;
        self.next += 1;
        self.kept.push_back(Snapshot { id, version: store.version(), clock, pool });
        self.bound_pools();
        self.hold(store);
        id
    }

    /// Takes one out, to return to: where it was among the others, and it.
    pub(super) fn take(&mut self, id: u64) -> Option<(usize, Snapshot)> {
        let position = self.kept.iter().position(|snapshot| snapshot.id == id)?;
        Some((position, self.kept.remove(position)?))
    }

    /// Puts it back where it was: the chain could not return to it.
    pub(super) fn put_back(&mut self, position: usize, snapshot: Snapshot) {
        self.kept.insert(position, snapshot);
    }

    /// The chain has returned to the one that was at this place: those after it are gone with what they were of.
    pub(super) fn returned_to(&mut self, position: usize, store: &ChainStore) {
        self.kept.truncate(position);
        self.hold(store);
    }
}
