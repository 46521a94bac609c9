//! The real network, as chains use it.

use std::{collections::BTreeMap, net::SocketAddr, sync::Arc};

use bytes::Bytes;
use subnode_chain::{Boxed, Inbox, Joined, Network, PeerEvent, PeerTraffic, Peers};
use subnode_network::{ChainKey, Incoming, Membership, Part, PeerInfo, Traffic};
use subnode_scheduler::Bandwidth;
use subnode_types::{NodeId, Purpose};

/// How a node takes part in a network.
#[derive(Clone)]
pub struct Peering {
    /// The network.
    pub network: Arc<Overlay>,
    /// The secret of the node's key, which votes for it.
    pub secret: [u8; 32],
}

/// One QUIC endpoint for all chains, and where other nodes are.
pub struct Overlay {
    network: subnode_network::Network,
    /// Bound: 64 bytes for each node that the configuration names.
    addresses: Arc<BTreeMap<NodeId, SocketAddr>>,
}

impl Overlay {
    /// Of an open endpoint. Nodes without an address are not called, but may call.
    #[must_use]
    pub fn new(network: subnode_network::Network, addresses: BTreeMap<NodeId, SocketAddr>) -> Self {
        Self { network, addresses: Arc::new(addresses) }
    }

    /// Who is connected.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerInfo> {
        self.network.peers()
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

impl Network for Overlay {
    fn join(&self, chain: [u8; 32], members: &[NodeId], bandwidth: Arc<Bandwidth>) -> Result<Joined, String> {
        let members = located(&self.addresses, members);
        let (membership, inbox) = self.network.join(ChainKey(chain), members, bandwidth).map_err(|error| error.to_string())?;
        let peers = Arc::new(Neighbours { membership, addresses: self.addresses.clone() });
        Ok(Joined { peers, consensus: Box::new(Mailbox(inbox.consensus)), inbox: Box::new(Mailbox(inbox.others)) })
    }
}

struct Neighbours {
    membership: Membership,
    /// Bound: the same map of 64 bytes for each node that the configuration names.
    addresses: Arc<BTreeMap<NodeId, SocketAddr>>,
}

impl Peers for Neighbours {
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

    fn traffic(&self) -> PeerTraffic {
        let Traffic { sent_bytes, received_bytes, dropped_frames } = self.membership.traffic();
        PeerTraffic { sent_bytes, received_bytes, dropped_frames }
    }

    fn fault(&self, node: NodeId, what: &str) {
        self.membership.fault(node, what);
    }

    fn ask(&self, to: NodeId, purpose: Purpose, question: Bytes) -> Boxed<'_, Result<Bytes, String>> {
        Box::pin(async move { self.membership.request(to, purpose, question).await.map_err(|error| error.to_string()) })
    }
}

struct Mailbox(Part);

impl Inbox for Mailbox {
    fn next(&mut self) -> Boxed<'_, Option<PeerEvent>> {
        Box::pin(async move {
            Some(match self.0.next().await? {
                Incoming::Frame(received) => PeerEvent::Frame { from: received.from, purpose: received.purpose, frame: received.frame },
                Incoming::Request(mut request) => {
                    let (from, frame) = (request.from, std::mem::take(&mut request.frame));
                    PeerEvent::Question { from, frame, answer: Box::new(|answer| request.answer(answer)) }
                }
            })
        })
    }
}
