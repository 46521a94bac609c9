//! Blocks that are fetched before it is their turn: one is executed while the next ones come.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use subnode_chain_core::wire::Asked;
use subnode_sandbox::Tenant;
use subnode_types::NodeId;
use tokio::task::JoinSet;

use crate::{
    fetch::{self, Fetched},
    peers::Peers,
};

/// Blocks fetched at once. Each takes memory of the chain's.
const BLOCKS: u64 = 8;

/// Nodes that have a height, by their heads.
pub(crate) fn having(heads: &BTreeMap<NodeId, u64>, height: u64) -> Vec<NodeId> {
    heads.iter().filter(|(_, head)| **head >= height).map(|(node, _)| *node).collect()
}

/// The blocks after a head.
pub(crate) struct Ahead {
    peers: Arc<dyn Peers>,
    tenant: Tenant,
    fetching: JoinSet<(u64, Option<Fetched>)>,
    /// Heights that are being fetched.
    asked: BTreeSet<u64>,
    /// What came of the others.
    here: BTreeMap<u64, Option<Fetched>>,
    /// The first height that was not asked for.
    next: u64,
}

impl Ahead {
    pub(crate) fn new(peers: Arc<dyn Peers>, tenant: Tenant) -> Self {
        Self { peers, tenant, fetching: JoinSet::new(), asked: BTreeSet::new(), here: BTreeMap::new(), next: 0 }
    }

    /// Gets the block at this height, and meanwhile those after it that any node has by its head; none where nobody gives it.
    pub(crate) async fn get(&mut self, height: u64, heads: &BTreeMap<NodeId, u64>) -> Option<Fetched> {
        self.next = self.next.max(height);
        while self.next < height + BLOCKS {
            let (next, mut nodes) = (self.next, having(heads, self.next));
            if nodes.is_empty() {
                break;
            }
            // Each node is the first to be asked for some of them.
            let turns = usize::try_from(next % nodes.len() as u64).unwrap_or(0);
            nodes.rotate_left(turns);
            let (peers, tenant) = (self.peers.clone(), self.tenant.clone());
            self.fetching.spawn(async move { (next, fetch::fetch(&peers, &tenant, Asked::Decided(next), &nodes).await) });
            self.asked.insert(next);
            self.next += 1;
        }
        // What has come another way.
        self.here = self.here.split_off(&height);
        while self.asked.contains(&height)
            && let Some(joined) = self.fetching.join_next().await
        {
            match joined {
                Ok((of, fetched)) => {
                    self.asked.remove(&of);
                    self.here.insert(of, fetched);
                }
                Err(error) => tracing::debug!(%error, "a block's fetching was lost"),
            }
        }
        match self.here.remove(&height).flatten() {
            Some(fetched) => Some(fetched),
            // Beside the others there may have been no memory for it, or what had come for it was refused.
            None => fetch::fetch(&self.peers, &self.tenant, Asked::Decided(height), &having(heads, height)).await,
        }
    }
}
