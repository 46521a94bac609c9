//! A node's place in its network, and where other nodes are: what chains take part in.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use subnode_peers::{Joined, Peers, Traffic};
use subnode_scheduler::Bandwidth;
use subnode_types::{Boxed, NodeId, Purpose};

use crate::{
    frame::ChainKey,
    mailbox::Part,
    membership::Membership,
    network::{Network, PeerInfo},
};

/// One QUIC endpoint for all chains, and where other nodes are.
pub struct Overlay {
    network: Network,
    /// Bound: 64 bytes for each node that the configuration names.
    addresses: Arc<BTreeMap<NodeId, SocketAddr>>,
}

impl Overlay {
    /// Of an open endpoint. Nodes without an address are not called, but may call.
    #[must_use]
    pub fn new(network: Network, addresses: BTreeMap<NodeId, SocketAddr>) -> Self {
        Self { network, addresses: Arc::new(addresses) }
    }

    /// Who is connected.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.network.peers()
    }

    /// Takes part in giving a content to others, for which a chain that uses it pays.
    ///
    /// # Errors
    /// The reason why the node cannot.
    pub fn give(&self, content: ChainKey, bandwidth: Arc<Bandwidth>) -> Result<(Membership, Part), String> {
        let shared = self.network.share(content, BTreeMap::new(), bandwidth).map_err(|error| error.to_string())?;
        Ok((shared.0, shared.1.others))
    }

    /// Takes part in getting a content from the nodes that the configuration names, which are called.
    ///
    /// # Errors
    /// The reason why the node cannot.
    pub fn seek(&self, content: ChainKey, bandwidth: Arc<Bandwidth>) -> Result<Membership, String> {
        let from = self.addresses.iter().map(|(node, address)| (*node, Some(*address))).collect();
        let (membership, _refused) = self.network.share(content, from, bandwidth).map_err(|error| error.to_string())?;
        Ok(membership)
    }

    /// Nodes that the configuration names.
    pub fn configured(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.addresses.keys().copied()
    }

    /// This node.
    #[must_use]
    pub fn id(&self) -> NodeId {
        self.network.id()
    }
}

fn located(addresses: &BTreeMap<NodeId, SocketAddr>, members: &[NodeId]) -> BTreeMap<NodeId, Option<SocketAddr>> {
    members.iter().map(|member| (*member, addresses.get(member).copied())).collect()
}

impl subnode_peers::Network for Overlay {
    fn join(&self, chain: [u8; 32], members: &[NodeId], bandwidth: Arc<Bandwidth>) -> Result<Joined, String> {
        let members = located(&self.addresses, members);
        let (membership, inboxes) = self.network.join(ChainKey(chain), members, bandwidth).map_err(|error| error.to_string())?;
        let peers = Arc::new(Located { membership, addresses: self.addresses.clone() });
        Ok(Joined { peers, consensus: Box::new(inboxes.consensus), inbox: Box::new(inboxes.others) })
    }
}

/// The other nodes of a chain, and where they are.
struct Located {
    membership: Membership,
    /// Bound: the same map of 64 bytes for each node that the configuration names.
    addresses: Arc<BTreeMap<NodeId, SocketAddr>>,
}

impl Peers for Located {
    fn set_members(&self, members: &[NodeId]) {
        self.membership.set_members(located(&self.addresses, members));
    }

    fn connected(&self) -> Vec<NodeId> {
        self.membership.connected()
    }

    fn broadcast(&self, purpose: Purpose, frame: Bytes) {
        if let Err(error) = self.membership.broadcast(purpose, &frame) {
            tracing::warn!(%error, ?purpose, "a frame was not sent");
        }
    }

    fn traffic(&self) -> Traffic {
        self.membership.traffic()
    }

    fn fault(&self, node: NodeId, what: &str) {
        self.membership.fault(node, what);
    }

    fn ask(&self, to: NodeId, purpose: Purpose, question: Bytes) -> Boxed<'_, Result<Bytes, String>> {
        Box::pin(async move { self.membership.request(to, purpose, question).await.map_err(|error| error.to_string()) })
    }
}
