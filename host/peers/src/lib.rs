//! How the nodes of a chain reach each other: traits for what `chain` asks of a network, and for what a network hands
//! to a chain.
//!
//! `network` implements the traits over QUIC. The simulator implements them over a link that a seed decides.
//!
//! Not here: what a frame means (`chain`), how a frame travels (`network`).

use std::sync::Arc;

use bytes::Bytes;
use subnode_scheduler::Bandwidth;
use subnode_types::{Boxed, NodeId, Purpose};
use tokio::sync::oneshot;

/// The network of a node.
pub trait Network: Send + Sync {
    /// Joins a chain, which all nodes of the network know by this key. The chain's traffic is charged to `bandwidth`.
    ///
    /// # Errors
    /// The reason why the node cannot join.
    fn join(&self, chain: [u8; 32], members: &[NodeId], bandwidth: Arc<Bandwidth>) -> Result<Joined, String>;
}

/// A chain's part in the network. The chain leaves the network once all three fields are dropped.
pub struct Joined {
    /// What the chain sends with.
    pub peers: Arc<dyn Peers>,
    /// Consensus frames of members.
    pub consensus: Box<dyn Inbox>,
    /// Everything else that nodes send: transactions, notices, questions. A consensus frame that waits for the module
    /// does not hold up this inbox.
    pub inbox: Box<dyn Inbox>,
}

/// The other nodes of a chain.
pub trait Peers: Send + Sync {
    /// Changes who belongs to the chain's committee.
    fn set_members(&self, members: &[NodeId]);
    /// Nodes that are connected and have the chain.
    fn connected(&self) -> Vec<NodeId>;
    /// Sends a frame to all connected nodes. The frame may be lost.
    fn broadcast(&self, purpose: Purpose, frame: Bytes);
    /// Bytes and frames since the chain joined.
    fn traffic(&self) -> Traffic;
    /// Counts a broken rule of a node. A node that breaks too many rules is disconnected.
    fn fault(&self, node: NodeId, what: &str);
    /// Asks a node, and returns its answer or the reason why there is none.
    fn ask(&self, to: NodeId, purpose: Purpose, question: Bytes) -> Boxed<'_, Result<Bytes, String>>;
}

/// Bytes and frames of a chain, to and from all its nodes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Bytes sent.
    pub sent_bytes: u64,
    /// Bytes received.
    pub received_bytes: u64,
    /// Frames that were not sent, because a node took frames too slowly.
    pub dropped_frames: u64,
}

/// A queue of what other nodes send.
pub trait Inbox: Send {
    /// The next item, nodes served in turn; none once the chain has left. Dropping the future loses nothing.
    fn next(&mut self) -> Boxed<'_, Option<Incoming>>;
}

/// Something that another node sent. The network has checked the length, and that a consensus frame comes from a
/// member. Nothing else is checked.
#[derive(Debug)]
pub enum Incoming {
    /// A frame.
    Frame(Received),
    /// A question.
    Request(Request),
}

/// A frame of another node.
#[derive(Debug)]
pub struct Received {
    /// The sender.
    pub from: NodeId,
    /// What the frame is for.
    pub purpose: Purpose,
    /// The frame's bytes. They count against the sender's room until they are dropped. A sender without room waits.
    pub frame: Bytes,
}

/// A question of another node. Dropping a question refuses it.
#[derive(Debug)]
pub struct Request {
    /// The sender.
    pub from: NodeId,
    /// What the question is about.
    pub purpose: Purpose,
    /// The question's bytes.
    pub frame: Bytes,
    answer: oneshot::Sender<Bytes>,
}

impl Request {
    /// A question, and the receiver of its answer. A receiver that closes without an answer means a refusal.
    #[must_use]
    pub fn new(from: NodeId, purpose: Purpose, frame: Bytes) -> (Self, oneshot::Receiver<Bytes>) {
        let (answer, answered) = oneshot::channel();
        (Self { from, purpose, frame, answer }, answered)
    }

    /// Answers the question.
    pub fn answer(self, frame: Bytes) {
        // A node that is gone needs none.
        drop(self.answer.send(frame));
    }
}
