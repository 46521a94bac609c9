//! Keeps up with the other nodes: hears how far they are, and gets the blocks that this one lacks.

use std::{
    collections::BTreeMap,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use subnode_chain_core::wire::Notice;
use subnode_types::NodeId;
use tokio::{sync::oneshot, time::Instant};

use crate::{
    agreement::Decided,
    ahead::{Ahead, agreed, believed, having},
    checker::Checker,
    fetch::Fetched,
    message::Message,
    notices::Notices,
    peers::Peers,
    shared::Shared,
    state_sync,
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
    shared: Arc<Shared>,
    peers: Arc<dyn Peers>,
    checker: Checker,
    heads: BTreeMap<NodeId, u64>,
    /// When a state may be tried next.
    state_at: Instant,
}

/// Gets missing blocks, until the chain ends.
pub(crate) async fn run(shared: Arc<Shared>, peers: Arc<dyn Peers>, checker: Checker, notices: Arc<Notices>) {
    let mut follower = Follower { shared, peers, checker, heads: BTreeMap::new(), state_at: Instant::now() };
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
        self.shared.announce();
    }

    /// Gets blocks while others have any that this node lacks.
    async fn catch_up(&mut self) {
        let shared = self.shared.clone();
        if shared.state_sync.wanted.load(Ordering::Relaxed) {
            return;
        }
        let mut ahead = Ahead::new(self.peers.clone(), shared.tenant.clone());
        loop {
            let height = shared.head().height + 1;
            let committee = shared.committee();
            let heads = believed(&self.heads, &committee);
            let nodes = having(&heads, height);
            if nodes.is_empty() {
                return;
            }
            if having(&heads, height + 1).is_empty() {
                // All of them are about to commit it.
                let mut commits = shared.commits.subscribe();
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
            let (done, answered) = oneshot::channel();
            let decided = Decided { height, manifest, block, certificate, done };
            if shared.mailbox.send(Message::Decided(decided)).await.is_err() {
                return;
            }
            match answered.await {
                Ok(Ok(())) => {}
                Ok(Err(reason)) => {
                    tracing::warn!(chain = %shared.name, peer = %from, height, reason, "a block from another node is refused");
                    self.heads.remove(&from);
                }
                Err(_) => return,
            }
        }
    }

    /// Gets the state of a later block where this node is too far behind to get all the blocks before it.
    async fn take_state(&mut self) {
        let shared = self.shared.clone();
        let Some(rule) = shared.rule else { return };
        let head = shared.head().height;
        let (far, worthwhile) = if shared.state_sync.wanted.load(Ordering::Relaxed) {
            (head + 1, head + 1)
        } else {
            (head.saturating_add(rule.every().saturating_mul(BEHIND)), head + rule.every())
        };
        let committee = shared.committee();
        let heads = believed(&self.heads, &committee);
        let mut nodes = if far <= agreed(&heads, &committee) { having(&heads, far) } else { Vec::new() };
        nodes.sort_by_key(|node| !committee.iter().any(|member| member.node == *node));
        if nodes.is_empty() || Instant::now() < self.state_at {
            return;
        }
        match state_sync::gather(&shared, &self.peers, &mut self.checker, rule, &nodes, worthwhile).await {
            Ok(Some(gathered)) => {
                let (done, answered) = oneshot::channel();
                let sent = shared.mailbox.send(Message::Renew { gathered: Box::new(gathered), done }).await;
                // The chain ends with it, unless this host cannot take it.
                if let (Ok(()), Ok(Err(reason))) = (sent, answered.await) {
                    tracing::error!(chain = %shared.name, reason, "a state that was gathered could not be taken");
                }
            }
            Ok(None) => {}
            Err(reason) => tracing::warn!(chain = %shared.name, reason, "no state came of it; blocks will do meanwhile"),
        }
        self.state_at = Instant::now() + STATE_AGAIN;
    }
}
