//! Blocks of the next height: those that are here, and those that are asked for. [`Candidates`] decides which.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use subnode_chain_core::{Candidates, Obtain, wire::Asked};
use subnode_peers::Peers;
use subnode_sandbox::Tenant;
use subnode_types::NodeId;
use tokio::task::{AbortHandle, JoinSet};

use crate::{
    authors::CandidateAuthors,
    exchange::{Fetched, persistently},
    ledger::{BlockId, Candidate, Offered},
};

/// See the module.
pub(crate) struct Proposals {
    authors: Arc<CandidateAuthors>,
    candidates: Candidates,
    /// Bound: [`CANDIDATES_MAX`](subnode_chain_core::CANDIDATES_MAX) with those that are wanted, of 64 MiB at most; the memory slice is charged
    /// for their bytes.
    here: BTreeMap<BlockId, Candidate>,
    /// Bound: one for each that is wanted, and those that were given up since the actor last looked: 256 of some KiB. The memory slice is
    /// charged for the bytes that they fetch.
    fetches: JoinSet<Fetched>,
    /// Those of the fetches that were not given up. Bound: one of some 100 bytes for each block that is wanted.
    fetching: BTreeMap<BlockId, AbortHandle>,
}

/// A block to get.
pub(super) struct Wanted {
    pub(super) id: BlockId,
    pub(super) proposer: Option<NodeId>,
}

impl Proposals {
    /// None yet. The authors are those of the blocks that are here.
    pub(super) fn new(authors: Arc<CandidateAuthors>) -> Self {
        authors.clear();
        Self { authors, candidates: Candidates::default(), here: BTreeMap::new(), fetches: JoinSet::new(), fetching: BTreeMap::new() }
    }

    /// Forgets all of them.
    pub(super) fn clear(&mut self) {
        *self = Self::new(self.authors.clone());
    }

    pub(super) fn get(&self, id: &BlockId) -> Option<&Candidate> {
        self.here.get(id)
    }

    pub(super) fn take(&mut self, id: &BlockId) -> Option<Candidate> {
        self.candidates.take(id);
        self.authors.remove(id);
        self.here.remove(id)
    }

    pub(super) fn insert(&mut self, candidate: Candidate) {
        self.candidates.insert(candidate.id);
        self.authors.insert(&candidate);
        self.here.insert(candidate.id, candidate);
    }

    /// Keeps a block that was built here. The one before it is dropped, unless it was shared.
    pub(super) fn keep_built(&mut self, candidate: Candidate) {
        if let Some(before) = self.candidates.insert_built(candidate.id) {
            self.here.remove(&before);
            self.authors.remove(&before);
        }
        self.authors.insert(&candidate);
        self.here.insert(candidate.id, candidate);
    }

    /// What others may have of a block, which is not dropped from then on.
    pub(super) fn share(&mut self, id: &BlockId) -> Option<Arc<Offered>> {
        self.candidates.share(id);
        Some(self.here.get(id)?.offered.clone())
    }

    /// Has a block got from other nodes after a while, unless it is here or asked for. False where there is no room for what would come.
    pub(super) fn obtain(&mut self, wanted: Wanted, after: Duration, peers: Arc<dyn Peers>, tenant: Tenant) -> bool {
        let Wanted { id, proposer } = wanted;
        let instead_of = match self.candidates.obtain(id, proposer) {
            Obtain::Known => return true,
            Obtain::Full => return false,
            Obtain::Ask { instead_of } => instead_of,
        };
        for fetch in instead_of.iter().filter_map(|id| self.fetching.remove(id)) {
            fetch.abort();
        }
        let fetch = self.fetches.spawn(async move {
            tokio::time::sleep(after).await;
            persistently(peers, tenant, Asked::Candidate(id), proposer).await
        });
        self.fetching.insert(id, fetch);
        true
    }

    /// The next block that has come; none while none is asked for.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub(super) async fn next_fetched(&mut self) -> Option<(Wanted, Fetched)> {
        loop {
            // One that was given up is an error.
            let Ok(fetched) = self.fetches.join_next().await? else { continue };
            let id = fetched.manifest.id();
            self.fetching.remove(&id);
            if let Some(proposer) = self.candidates.came(&id) {
                return Some((Wanted { id, proposer }, fetched));
            }
        }
    }
}
