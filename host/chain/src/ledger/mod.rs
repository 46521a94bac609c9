//! The chain as it is committed: its store, its head, who decides on it. No tasks, no modules.

mod attested;
mod candidate;
pub(crate) mod checkpoints;
mod genesis;
mod genesis_stream;
mod log;
mod rows;
mod tombstone;

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use subnode_chain_core::{Checkpoints, Committees, Link};
use subnode_storage::{ChainStore, Retention, Stage, View};
use subnode_types::{BlockRef, ChainName, NodeId, Validator};
use tokio::sync::watch;

pub use self::tombstone::bury;
pub(crate) use self::{
    attested::{Attested, Attesting, attestations_kept, attested_at, attested_row, last_attested, proof_row, proofs},
    candidate::{Basis, BlockId, Candidate, Offered, block_id, changes_bytes, unfit_key},
    genesis::{Opened, genesis_batch, load_or_create},
    log::{ConsensusLog, Logged},
    rows::{
        GUARD_KEY, REPAIR_KEY, adoption, author, batch, decided, decode_head, encode_head, kept, last_seed, load_committees, load_wanted,
        log_write, unkept, upgrades, wanted_row, writes,
    },
    tombstone::guard,
};
use crate::error::RpcError;

/// See the module.
pub(crate) struct Ledger {
    name: ChainName,
    store: Arc<ChainStore>,
    /// Which states get roots; none of a chain without a committee.
    rule: Option<Checkpoints>,
    attesting: Attesting,
    /// The chain among all of a network; none where it was made before there were any.
    key: Option<[u8; 32]>,
    /// Held before the head's lock where both are.
    committees: RwLock<Committees>,
    head: RwLock<BlockRef>,
    /// Counts commits and reverts.
    commits: watch::Sender<u64>,
}

/// A state that was gathered from other nodes, and all that the chain goes on from there with.
pub(crate) struct SyncedState {
    pub(crate) stage: Stage,
    /// The block whose state it is.
    pub(crate) link: Link,
    pub(crate) block: Vec<u8>,
    pub(crate) committees: Committees,
}

impl Ledger {
    pub(crate) fn new(name: ChainName, store: Arc<ChainStore>, opened: Opened) -> Self {
        let Opened { head, committees, rule, attesting, key } = opened;
        Self {
            name,
            store,
            rule,
            attesting,
            key,
            committees: RwLock::new(committees),
            head: RwLock::new(head),
            commits: watch::Sender::new(0),
        }
    }

    pub(crate) fn store(&self) -> &Arc<ChainStore> {
        &self.store
    }

    /// Which states get roots; none of a chain without a committee.
    pub(crate) fn rule(&self) -> Option<Checkpoints> {
        self.rule
    }

    /// The chain among all of a network; none where it was made before there were any.
    pub(crate) fn key(&self) -> Option<[u8; 32]> {
        self.key
    }

    /// How it attests, as its genesis says.
    pub(crate) fn attesting(&self) -> Attesting {
        self.attesting
    }

    pub(crate) fn head(&self) -> BlockRef {
        self.head.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Moves the head, and the committees where it changes them. The members of all of them, where others are than were.
    pub(crate) fn move_to(&self, head: BlockRef, committees: Option<Committees>) -> Option<Vec<NodeId>> {
        let mut known = self.committees.write().unwrap_or_else(PoisonError::into_inner);
        let before = known.members();
        if let Some(changed) = committees {
            *known = changed;
        }
        known.forget_before(head.height + 1);
        let members = known.members();
        drop(known);
        *self.head.write().unwrap_or_else(PoisonError::into_inner) = head;
        (members != before).then(|| Vec::from_iter(members))
    }

    /// The committees, held.
    pub(crate) fn committees(&self) -> RwLockReadGuard<'_, Committees> {
        self.committees.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Who decides the next block.
    pub(crate) fn committee(&self) -> Vec<Validator> {
        let next = self.head().height + 1;
        self.committees().at(next).to_vec()
    }

    /// Whether a node is in one of the committees that decide the next blocks.
    pub(crate) fn is_member(&self, node: NodeId) -> bool {
        self.committees().has_member(node)
    }

    /// A view of the store, and the head it is of: while a block is committed or undone, the store's head is another than [`Self::head`].
    pub(crate) fn view(&self) -> (View, BlockRef) {
        let (view, head) = self.store.view_of_head();
        let head = head.and_then(|head| decode_head(&head).ok());
        // Opening a chain has decoded its head, and what is written since is encoded from one.
        (view, head.unwrap_or_else(|| panic!("the head of chain {} does not decode", self.name)))
    }

    /// Counts a commit or a revert.
    pub(crate) fn count_commit(&self) {
        self.commits.send_modify(|commits| *commits += 1);
    }

    /// Has those look again who wait for commits.
    pub(crate) fn wake(&self) {
        self.commits.send_modify(|_| {});
    }

    /// Changes with each commit, each revert and each [`Self::wake`].
    pub(crate) fn commits(&self) -> watch::Receiver<u64> {
        self.commits.subscribe()
    }

    /// Waits until no revert is under way.
    pub(crate) async fn settled(&self) {
        // Whoever ends a revert counts it, and this listens before it looks.
        let mut commits = self.commits();
        while !self.store.is_settled() && commits.changed().await.is_ok() {}
    }

    /// Keeps so much of the past, and as much as other nodes need to catch up.
    pub(crate) fn retain(&self, retention: Retention) {
        let retention = match (retention, self.rule) {
            (Retention::Last(heights), Some(rule)) => Retention::Last(heights.max(rule.history())),
            (Retention::Within { bytes, versions_min }, Some(rule)) => {
                Retention::Within { bytes, versions_min: versions_min.max(rule.history()) }
            }
            (other, _) => other,
        };
        self.store.set_retention(retention);
    }

    /// The error that clients hear while the chain's slice of storage is full.
    pub(crate) fn full(&self) -> Option<RpcError> {
        let (wanted, limit) = self.store.full()?;
        Some(RpcError::full(self.store.live_bytes(), wanted, limit))
    }
}
