//! Keeps up with the other nodes: hears how far they are, and gets the blocks that this one lacks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use subnode_chain_core::wire::Notice;
use subnode_peers::Peers;
use subnode_types::NodeId;
use tokio::time::Instant;

use super::{gather, notices::Notices};
use crate::{
    exchange::{Ahead, Fetched, agreed, believed, having},
    guests::Checker,
    parts::Parts,
};

/// How often a node says how far it is, whatever happens: what it said before may be lost.
const ANNOUNCED_EVERY: Duration = Duration::from_secs(1);
/// How long a node that is one block behind waits for its own consensus to come to it.
const GRACE: Duration = Duration::from_millis(300);
/// Intervals of states that a node has to be behind: the newest state that is vouched for is up to two behind the head.
const BEHIND: u64 = 3;
/// How long a block is waited for that perhaps no honest member has: this node hears nothing else meanwhile.
const DOUBTED_FOR: Duration = Duration::from_secs(2);
/// Nodes whose heights are remembered.
const NODES_MAX: usize = 512;

/// How long a node waits before it tries to get a state again.
const STATE_AGAIN: Duration = Duration::from_secs(10);

/// Gets what this node lacks.
struct Follower {
    parts: Arc<Parts>,
    peers: Arc<dyn Peers>,
    checker: Checker,
    /// Bound: [`NODES_MAX`] heights of 40 bytes, 20 KiB.
    heads: BTreeMap<NodeId, u64>,
    /// When a state may be tried next.
    state_at: Instant,
}

/// Gets missing blocks, until the chain ends.
pub(crate) async fn run(parts: Arc<Parts>, peers: Arc<dyn Peers>, checker: Checker, notices: Arc<Notices>) {
    let mut follower = Follower { parts, peers, checker, heads: BTreeMap::new(), state_at: Instant::now() };
    let mut announce = tokio::time::interval(ANNOUNCED_EVERY);
    announce.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            said = notices.take() => for (from, Notice::Head(height)) in said {
                follower.heard(from, height);
            },
            _ = announce.tick() => follower.announce(),
        }
        follower.take_state().await;
        follower.catch_up().await;
    }
}

impl Follower {
    fn heard(&mut self, from: NodeId, height: u64) {
        if self.heads.len() < NODES_MAX || self.heads.contains_key(&from) {
            self.heads.insert(from, height);
        }
    }

    fn announce(&mut self) {
        let connected = self.peers.connected();
        self.heads.retain(|node, _| connected.contains(node));
        self.parts.exchange.announce(self.parts.ledger.head().height);
    }

    /// Gets blocks while others have any that this node lacks.
    async fn catch_up(&mut self) {
        let parts = self.parts.clone();
        if parts.standing.is_repairing() {
            return;
        }
        let mut ahead = Ahead::new(self.peers.clone(), parts.tenant.clone());
        loop {
            let height = parts.ledger.head().height + 1;
            let committee = parts.ledger.committee();
            let heads = believed(&self.heads, &committee);
            let nodes = having(&heads, height);
            if nodes.is_empty() {
                return;
            }
            if having(&heads, height + 1).is_empty() {
                // All of them are about to commit it.
                let mut commits = parts.ledger.commits();
                if tokio::time::timeout(GRACE, commits.changed()).await.is_ok_and(|changed| changed.is_ok()) {
                    continue;
                }
            }
            let patience = if height <= agreed(&heads, &committee) { Duration::MAX } else { DOUBTED_FOR };
            let fetched = tokio::time::timeout(patience, ahead.get(height, &heads)).await.unwrap_or(None);
            let Some(fetched) = fetched else {
                // They say so again if it is so.
                self.heads.retain(|node, _| !nodes.contains(node));
                return;
            };
            let Fetched { manifest, block, certificate, from, memory: _memory } = fetched;
            match parts.actor.decided(height, manifest, block, certificate).await {
                Some(Ok(())) => {}
                Some(Err(reason)) => {
                    tracing::warn!(chain = %parts.name, peer = %from, height, reason, "a block from another node is refused");
                    self.heads.remove(&from);
                }
                None => return,
            }
        }
    }

    /// Gets the state of a later block where this node is too far behind to get all the blocks before it.
    async fn take_state(&mut self) {
        let parts = self.parts.clone();
        let Some(rule) = parts.ledger.rule() else { return };
        let head = parts.ledger.head().height;
        let (far, worthwhile) = if parts.standing.is_repairing() {
            (head + 1, head + 1)
        } else {
            (head.saturating_add(rule.every().saturating_mul(BEHIND)), head + rule.every())
        };
        let committee = parts.ledger.committee();
        let heads = believed(&self.heads, &committee);
        let mut nodes = if far <= agreed(&heads, &committee) { having(&heads, far) } else { Vec::new() };
        nodes.sort_by_key(|node| !committee.iter().any(|member| member.node == *node));
        if nodes.is_empty() || Instant::now() < self.state_at {
            return;
        }
        match gather::gather(&parts, &self.peers, &mut self.checker, rule, &nodes, worthwhile).await {
            Ok(Some(synced)) => {
                // The chain ends with it, unless this host cannot take it.
                if let Some(reason) = parts.actor.adopt(synced).await {
                    tracing::error!(chain = %parts.name, reason, "a state that was gathered could not be taken");
                }
            }
            Ok(None) => {}
            Err(reason) => tracing::warn!(chain = %parts.name, reason, "no state came of it; blocks will do meanwhile"),
        }
        self.state_at = Instant::now() + STATE_AGAIN;
    }
}
