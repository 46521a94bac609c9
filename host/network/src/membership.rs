use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use subnode_peers::Traffic;
use subnode_scheduler::Bandwidth;
use subnode_types::{Boxed, NodeId, Purpose, boxed};

use crate::{
    chain::Chain,
    dial::Dialer,
    peer::{RequestError, SendError},
    streams,
};

/// A chain's part in the network, or a content's, which it leaves when this is dropped.
pub struct Membership {
    dialer: Arc<Dialer>,
    chain: Arc<Chain>,
}

impl Membership {
    pub(crate) fn new(dialer: Arc<Dialer>, chain: Arc<Chain>) -> Self {
        Self { dialer, chain }
    }

    /// Changes who belongs to the chain.
    pub fn set_members(&self, members: BTreeMap<NodeId, Option<SocketAddr>>) {
        self.chain.set_members(members);
        self.dialer.reconcile();
    }

    /// Has another chain pay for the content that this is the membership of.
    pub fn set_bandwidth(&self, bandwidth: Arc<Bandwidth>) {
        self.chain.set_bandwidth(bandwidth);
    }

    /// Connected nodes that have the chain.
    #[must_use]
    pub fn connected(&self) -> Vec<NodeId> {
        self.dialer.registry.having(self.chain.key)
    }

    /// Sends a frame to a node.
    ///
    /// # Errors
    /// [`SendError`] says why not. A frame that is taken can still be lost with the connection.
    pub fn send(&self, to: NodeId, purpose: Purpose, frame: Bytes) -> Result<(), SendError> {
        let peer = self.dialer.registry.peer(to).ok_or(SendError::NotConnected)?;
        peer.send(&self.dialer.registry.tasks, &self.chain, purpose, frame)
    }

    /// Sends a frame to all connected nodes that have the chain; to how many.
    ///
    /// # Errors
    /// Where it is too long.
    pub fn broadcast(&self, purpose: Purpose, frame: &Bytes) -> Result<usize, SendError> {
        let mut sent = 0;
        for to in self.connected() {
            match self.send(to, purpose, frame.clone()) {
                Ok(()) => sent += 1,
                Err(SendError::NotConnected | SendError::Busy) => {}
                Err(too_long @ SendError::TooLong(..)) => return Err(too_long),
            }
        }
        Ok(sent)
    }

    /// Asks a node.
    ///
    /// # Errors
    /// [`RequestError`] says why there is no answer.
    pub fn request(&self, to: NodeId, purpose: Purpose, frame: Bytes) -> Boxed<'_, Result<Bytes, RequestError>> {
        boxed(async move {
            let peer = self.dialer.registry.peer(to).ok_or(SendError::NotConnected)?;
            peer.request(&self.chain, purpose, frame).await
        })
    }

    /// Counts what a node sent, and what the network does not look at, as a broken rule of the node's: after some it is dropped, and left alone for a
    /// minute.
    pub fn fault(&self, node: NodeId, what: &str) {
        if let Some(peer) = self.dialer.registry.peer(node) {
            streams::fault(&self.dialer.registry, &peer, &what);
        }
    }

    /// What the chain sent and received so far.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        self.chain.traffic()
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.dialer.registry.leave(&self.chain);
        self.dialer.reconcile();
    }
}
