//! How the nodes of a chain reach each other: what `chain` asks of a network, and what a network hands to it.
//!
//! `network` implements the traits over QUIC, the simulator over a link that a seed decides.
//!
//! Not here: what a frame means (`chain`), how it travels (`network`).

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use subnode_scheduler::Bandwidth;
use subnode_types::{NodeId, Purpose};
use tokio::sync::oneshot;

/// A future of a trait object.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The network of a node.
pub trait Network: Send + Sync {
    /// Takes part in a chain, known by this key among all of the network, with this bandwidth.
    ///
    /// # Errors
    /// Why not.
    fn join(&self, chain: [u8; 32], members: &[NodeId], bandwidth: Arc<Bandwidth>) -> Result<Joined, String>;
}

/// A chain's part in the network. It leaves once all are dropped.
pub struct Joined {
    /// What it sends with.
    pub peers: Arc<dyn Peers>,
    /// What members send to its consensus.
    pub consensus: Box<dyn Inbox>,
    /// All else that is sent to it: transactions, notices, questions. Two, so that consensus that waits for its module holds none of these up.
    pub inbox: Box<dyn Inbox>,
}

/// The other nodes of a chain.
pub trait Peers: Send + Sync {
    /// Changes who belongs to the chain's committee.
    fn set_members(&self, members: &[NodeId]);
    /// Nodes that are connected and have the chain.
    fn connected(&self) -> Vec<NodeId>;
    /// Sends a frame to all that are connected. It may be lost.
    fn broadcast(&self, purpose: Purpose, frame: Bytes);
    /// Bytes and frames so far.
    fn traffic(&self) -> Traffic;
    /// Counts what a node sent as a broken rule: a node that breaks too many is dropped.
    fn fault(&self, node: NodeId, what: &str);
    /// Asks a node.
    fn ask(&self, to: NodeId, purpose: Purpose, question: Bytes) -> Boxed<'_, Result<Bytes, String>>;
}

/// Bytes and frames of a chain, to and from all its nodes together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sent.
    pub sent_bytes: u64,
    /// Received.
    pub received_bytes: u64,
    /// Not sent, since a node took them too slowly.
    pub dropped_frames: u64,
}

/// What other nodes send.
pub trait Inbox: Send {
    /// The next of it, the nodes in turn; none once the chain has left. Dropping the future loses nothing.
    fn next(&mut self) -> Boxed<'_, Option<Incoming>>;
}

/// Something that another node sent. Nothing of it is checked but its length, and that consensus comes from a member.
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
    /// Who.
    pub from: NodeId,
    /// What for.
    pub purpose: Purpose,
    /// What. It takes room of its sender's until it is dropped: a node whose frames wait sends no more.
    pub frame: Bytes,
}

/// A question of another node. One that is dropped is refused.
#[derive(Debug)]
pub struct Request {
    /// Who.
    pub from: NodeId,
    /// What for.
    pub purpose: Purpose,
    /// What.
    pub frame: Bytes,
    answer: oneshot::Sender<Bytes>,
}

impl Request {
    /// A question, and where its answer comes; that it does not come is a refusal.
    #[must_use]
    pub fn new(from: NodeId, purpose: Purpose, frame: Bytes) -> (Self, oneshot::Receiver<Bytes>) {
        let (answer, answered) = oneshot::channel();
        (Self { from, purpose, frame, answer }, answered)
    }

    /// Answers it.
    pub fn answer(self, frame: Bytes) {
        // A node that is gone needs none.
        drop(self.answer.send(frame));
    }
}
