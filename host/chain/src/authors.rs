//! Who made the blocks that could be next, for the consensus module.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use subnode_sandbox::Authors;
use subnode_types::NodeId;

use crate::ledger::{BlockId, Candidate, block_id};

/// See the module.
#[derive(Default)]
pub(crate) struct CandidateAuthors {
    /// Bound: 64 bytes for each candidate that is here.
    by_block: Mutex<BTreeMap<BlockId, NodeId>>,
}

impl CandidateAuthors {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<BlockId, NodeId>> {
        self.by_block.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A candidate is here.
    pub(crate) fn insert(&self, candidate: &Candidate) {
        if let Some(author) = candidate.offered.manifest.author() {
            self.lock().insert(candidate.id, author.key());
        }
    }

    /// A candidate is gone.
    pub(crate) fn remove(&self, id: &BlockId) {
        self.lock().remove(id);
    }

    /// All candidates are gone.
    pub(crate) fn clear(&self) {
        self.lock().clear();
    }
}

impl Authors for CandidateAuthors {
    fn author(&self, id: &[u8]) -> Option<NodeId> {
        self.lock().get(&block_id(id)?).copied()
    }
}
