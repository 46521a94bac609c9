//! Blocks of the next height: those that are here, and those that are asked for.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use subnode_chain_core::wire::Asked;
use subnode_sandbox::Tenant;
use subnode_types::NodeId;
use tokio::task::{AbortHandle, JoinSet};

use crate::{
    exchange::{Fetched, persistently},
    ledger::{BlockId, CANDIDATES_MAX, Candidate, Offered},
    peers::Peers,
};

/// Blocks of one proposer that are asked for at once: those of this round and of the next, two where it says two things.
const WANTED_PER_MEMBER: usize = 4;

/// See the module.
#[derive(Default)]
pub(crate) struct Proposals {
    here: BTreeMap<BlockId, Candidate>,
    /// The last that was built here, until it is shared.
    built: Option<BlockId>,
    wanted: BTreeMap<BlockId, Fetching>,
    fetches: JoinSet<Fetched>,
    /// How many fetches there were.
    asked: u64,
}

/// A block to get.
pub(super) struct Wanted {
    pub(super) id: BlockId,
    pub(super) proposer: Option<NodeId>,
}

/// A block that is asked for.
struct Fetching {
    /// How many were asked for before.
    number: u64,
    /// Who proposed it.
    proposer: Option<NodeId>,
    fetch: AbortHandle,
}

impl Proposals {
    pub(super) fn get(&self, id: &BlockId) -> Option<&Candidate> {
        self.here.get(id)
    }

    pub(super) fn take(&mut self, id: &BlockId) -> Option<Candidate> {
        self.here.remove(id)
    }

    pub(super) fn insert(&mut self, candidate: Candidate) {
        self.here.insert(candidate.id, candidate);
    }

    /// Keeps a block that was built here. The one before it is dropped, unless it was shared.
    pub(super) fn keep_built(&mut self, candidate: Candidate) {
        if let Some(before) = self.built.replace(candidate.id) {
            self.here.remove(&before);
        }
        self.insert(candidate);
    }

    /// What others may have of a block, which is not dropped from then on.
    pub(super) fn share(&mut self, id: &BlockId) -> Option<Arc<Offered>> {
        let offered = self.here.get(id)?.offered.clone();
        if self.built.as_ref() == Some(id) {
            self.built = None;
        }
        Some(offered)
    }

    /// Has a block got from other nodes after a while, unless it is here or asked for. Blocks that nobody has would be asked for until the next one
    /// is decided, so the oldest gives way: of the same proposer's, or of all. False where there is no room for what would come.
    pub(super) fn obtain(&mut self, wanted: Wanted, after: Duration, peers: Arc<dyn Peers>, tenant: Tenant) -> bool {
        let Wanted { id, proposer } = wanted;
        if self.here.contains_key(&id) || self.wanted.contains_key(&id) {
            return true;
        }
        if self.wanted.values().filter(|other| other.proposer == proposer).count() >= WANTED_PER_MEMBER {
            self.give_up(|other| other.proposer == proposer);
        } else if self.is_full() {
            self.give_up(|_| true);
        }
        if self.is_full() {
            return false;
        }
        let fetch = self.fetches.spawn(async move {
            tokio::time::sleep(after).await;
            persistently(peers, tenant, Asked::Candidate(id), proposer).await
        });
        self.wanted.insert(id, Fetching { number: self.asked, proposer, fetch });
        self.asked += 1;
        true
    }

    fn is_full(&self) -> bool {
        self.wanted.len() + self.here.len() >= CANDIDATES_MAX
    }

    /// Gives the oldest of some fetches up.
    fn give_up(&mut self, which: impl Fn(&Fetching) -> bool) {
        let oldest = self.wanted.iter().filter(|(_, fetching)| which(fetching)).min_by_key(|(_, fetching)| fetching.number);
        if let Some(id) = oldest.map(|(id, _)| *id)
            && let Some(fetching) = self.wanted.remove(&id)
        {
            fetching.fetch.abort();
        }
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
            if let Some(Fetching { proposer, .. }) = self.wanted.remove(&id) {
                return Some((Wanted { id, proposer }, fetched));
            }
        }
    }
}
