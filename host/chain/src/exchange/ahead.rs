//! Blocks that are fetched before it is their turn: one is executed while the next ones come.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use subnode_chain_core::wire::Asked;
use subnode_peers::Peers;
use subnode_sandbox::Tenant;
use subnode_types::{NodeId, Validator};
use tokio::task::JoinSet;

use super::fetch::{self, Fetched};

/// Blocks fetched at once. Each takes memory of the chain's.
const BLOCKS: u64 = 8;

/// Nodes that have a height, by their heads.
pub(crate) fn having(heads: &BTreeMap<NodeId, u64>, height: u64) -> Vec<NodeId> {
    heads.iter().filter(|(_, head)| **head >= height).map(|(node, _)| *node).collect()
}

/// The heads as far as they are to be believed: no other node is ahead of all members that are heard.
pub(crate) fn believed(heads: &BTreeMap<NodeId, u64>, committee: &[Validator]) -> BTreeMap<NodeId, u64> {
    let of_members = committee.iter().filter_map(|member| heads.get(&member.node));
    let highest = of_members.max().copied().unwrap_or(u64::MAX);
    let is_member = |node: &NodeId| committee.iter().any(|member| member.node == *node);
    heads.iter().map(|(node, head)| (*node, if is_member(node) { *head } else { highest.min(*head) })).collect()
}

/// The last head that an honest member is at, since a third of all votes is. Where too few members are heard to know, the highest of all.
pub(crate) fn agreed(heads: &BTreeMap<NodeId, u64>, committee: &[Validator]) -> u64 {
    let mut members: Vec<_> = committee.iter().filter_map(|member| Some((*heads.get(&member.node)?, member.power))).collect();
    members.sort_unstable_by(|one, other| other.cmp(one));
    let total: u128 = committee.iter().map(|member| u128::from(member.power)).sum();
    let mut power = 0;
    let honest = members.into_iter().find(|(_, of_one)| {
        power += u128::from(*of_one);
        power * 3 >= total
    });
    honest.map_or(u64::MAX, |(head, _)| head)
}

/// The blocks after a head.
pub(crate) struct Ahead {
    peers: Arc<dyn Peers>,
    tenant: Tenant,
    /// Bound: [`BLOCKS`] blocks of 64 MiB at most; the memory slice is charged for their bytes.
    fetching: JoinSet<(u64, Option<Fetched>)>,
    /// Heights that are being fetched.
    /// Bound: [`BLOCKS`] heights of 8 bytes.
    asked: BTreeSet<u64>,
    /// What came of the others.
    /// Bound: [`BLOCKS`] blocks of 64 MiB at most; the memory slice is charged for their bytes.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_are_not_ahead_of_members_nor_a_state_of_what_no_honest_member_has() {
        let node = |i: u8| NodeId([i; 32]);
        let committee: Vec<_> = (0..4).map(|i| Validator { node: node(i), power: 1 }).collect();
        let heads = |all: &[(u8, u64)]| all.iter().map(|(i, head)| (node(*i), *head)).collect::<BTreeMap<_, _>>();
        // A member lies, and a stranger.
        let heard = heads(&[(0, 100), (1, 9), (2, 10), (3, 8), (9, 1_000)]);
        assert_eq!(believed(&heard, &committee), heads(&[(0, 100), (1, 9), (2, 10), (3, 8), (9, 100)]));
        assert_eq!(agreed(&heard, &committee), 10);
        // Of three, none may lie.
        assert_eq!(agreed(&heard, &committee[..3]), 100);
        let stranger = heads(&[(9, 1_000)]);
        assert_eq!((believed(&stranger, &committee), agreed(&stranger, &committee)), (stranger.clone(), u64::MAX));
    }
}
