//! Keeps up with the other nodes: hears how far they are, and gets the blocks that this one lacks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use subnode_chain_core::wire::{Asked, Notice};
use subnode_types::NodeId;
use tokio::sync::{mpsc, oneshot};

use crate::{
    agreement::Decided,
    fetch::{self, Fetched},
    message::Message,
    peers::Peers,
    shared::Shared,
};

/// How often a node says how far it is, whatever happens: what it said before may be lost.
const ANNOUNCED_EVERY: Duration = Duration::from_secs(1);
/// How long a node that is one block behind waits for its own consensus to come to it.
const GRACE: Duration = Duration::from_millis(300);
/// Nodes whose heights are remembered.
const NODES_MAX: usize = 512;

/// Gets missing blocks, until the chain ends.
pub(crate) async fn run(shared: Arc<Shared>, peers: Arc<dyn Peers>, mut notices: mpsc::Receiver<(NodeId, Notice)>) {
    let mut heads: BTreeMap<NodeId, u64> = BTreeMap::new();
    let mut announce = tokio::time::interval(ANNOUNCED_EVERY);
    announce.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            notice = notices.recv() => match notice {
                Some((from, Notice::Head(height))) if heads.len() < NODES_MAX || heads.contains_key(&from) => {
                    heads.insert(from, height);
                }
                Some(_) => {}
                None => return,
            },
            _ = announce.tick() => {
                let connected = peers.connected();
                heads.retain(|node, _| connected.contains(node));
                shared.announce();
            }
        }
        catch_up(&shared, &peers, &mut heads).await;
    }
}

/// Gets blocks while others have any that this node lacks.
async fn catch_up(shared: &Arc<Shared>, peers: &Arc<dyn Peers>, heads: &mut BTreeMap<NodeId, u64>) {
    loop {
        let height = shared.head().height + 1;
        let Some(furthest) = heads.values().max().copied().filter(|furthest| *furthest >= height) else { return };
        if furthest == height {
            // All of them are about to commit it.
            let mut commits = shared.commits.subscribe();
            if tokio::time::timeout(GRACE, commits.changed()).await.is_ok_and(|changed| changed.is_ok()) {
                continue;
            }
        }
        let nodes: Vec<_> = heads.iter().filter(|(_, head)| **head >= height).map(|(node, _)| *node).collect();
        let Some(fetched) = fetch::fetch(peers, &shared.tenant, Asked::Decided(height), &nodes).await else {
            // They say so again if it is so.
            heads.retain(|node, _| !nodes.contains(node));
            return;
        };
        let Fetched { manifest, block, certificate, from } = fetched;
        let (done, answered) = oneshot::channel();
        let decided = Decided { height, manifest, block, certificate, done };
        if shared.mailbox.send(Message::Decided(decided)).await.is_err() {
            return;
        }
        match answered.await {
            Ok(Ok(())) => {}
            Ok(Err(reason)) => {
                tracing::warn!(chain = %shared.name, peer = %from, height, reason, "a block from another node is refused");
                heads.remove(&from);
            }
            Err(_) => return,
        }
    }
}
