//! Nodes that something is got from, piece by piece. None is believed: whoever asks says which answer is right.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use subnode_chain_core::wire::{self, Question};
use subnode_peers::Peers;
use subnode_types::{Boxed, ChainName, NodeId, Purpose};

/// Nodes to ask, and those of them that answered wrongly.
pub(crate) struct Sources {
    chain: ChainName,
    peers: Arc<dyn Peers>,
    purpose: Purpose,
    nodes: Vec<NodeId>,
    /// Bound: 32 bytes for each node that is asked.
    bad: Arc<Mutex<BTreeSet<NodeId>>>,
}

impl Sources {
    pub(crate) fn new(chain: ChainName, peers: Arc<dyn Peers>, purpose: Purpose, nodes: &[NodeId]) -> Self {
        Self { chain, peers, purpose, nodes: nodes.to_vec(), bad: Arc::default() }
    }

    /// Asks one node after the other, from the `first` on, until an answer is right. One that answers wrongly is asked no more.
    pub(crate) fn ask<T: Send + 'static>(
        &self,
        first: usize,
        question: &Question,
        right: impl Fn(&Bytes) -> Option<T> + Send + Sync + 'static,
    ) -> Boxed<'static, Option<T>> {
        let (chain, peers, purpose, bad) = (self.chain.clone(), self.peers.clone(), self.purpose, self.bad.clone());
        let nodes: Vec<NodeId> = (0..self.nodes.len()).map(|index| self.nodes[(first + index) % self.nodes.len()]).collect();
        let question = Bytes::from(wire::encode(question));
        Box::pin(async move {
            for node in nodes {
                if bad.lock().unwrap_or_else(PoisonError::into_inner).contains(&node) {
                    continue;
                }
                let Ok(answer) = peers.ask(node, purpose, question.clone()).await else { continue };
                if let Some(found) = right(&answer) {
                    return Some(found);
                }
                tracing::warn!(%chain, peer = %node, ?purpose, "a node answered with what it was not asked for: it is asked no more");
                bad.lock().unwrap_or_else(PoisonError::into_inner).insert(node);
            }
            None
        })
    }
}
