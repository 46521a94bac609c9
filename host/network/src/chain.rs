//! What the network knows of a chain: who belongs to it, where its frames go, what it may still send.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use subnode_scheduler::Bandwidth;
use subnode_types::{NodeId, Purpose};
use tokio::sync::{mpsc, oneshot};

use crate::frame::ChainKey;

/// Frames that wait for their chain: votes of two rounds of a large committee, blocks in parts, requests. A peer whose frames do not
/// fit waits, and so does nobody else.
const WAITING: [usize; 4] = [1024, 256, 64, 64];
const REQUESTS_WAITING: usize = 64;

/// What a peer sent to a chain.
#[derive(Debug)]
pub struct Received {
    /// Who.
    pub from: NodeId,
    /// What for.
    pub purpose: Purpose,
    /// What. Nothing of it is checked but its length.
    pub frame: Bytes,
}

/// What a peer asks a chain for.
#[derive(Debug)]
pub struct Request {
    /// Who.
    pub from: NodeId,
    /// What for.
    pub purpose: Purpose,
    /// What. Nothing of it is checked but its length.
    pub frame: Bytes,
    pub(crate) answer: oneshot::Sender<Bytes>,
}

impl Request {
    /// Answers it. One that is dropped is refused.
    pub fn answer(self, frame: Bytes) {
        // A peer that is gone needs none.
        drop(self.answer.send(frame));
    }
}

/// Bytes and frames of a chain, to all its peers together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Sent.
    pub sent_bytes: u64,
    /// Received.
    pub received_bytes: u64,
    /// Not sent, since a peer's queue was full.
    pub dropped_frames: u64,
}

pub(crate) struct Chain {
    pub(crate) key: ChainKey,
    members: Mutex<BTreeMap<NodeId, Option<SocketAddr>>>,
    frames: [mpsc::Sender<Received>; 4],
    requests: mpsc::Sender<Request>,
    bandwidth: Arc<Bandwidth>,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    dropped_frames: AtomicU64,
}

/// A chain's mailbox.
pub struct Inbox {
    frames: [mpsc::Receiver<Received>; 4],
    requests: mpsc::Receiver<Request>,
}

/// What comes for a chain.
#[derive(Debug)]
pub enum Incoming {
    /// A frame.
    Frame(Received),
    /// A question.
    Request(Request),
}

impl Inbox {
    /// What came first among the most urgent. None once the chain has left the network.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Incoming> {
        let [consensus, transactions, blocks, snapshot] = &mut self.frames;
        tokio::select! {
            biased;
            Some(frame) = consensus.recv() => Some(Incoming::Frame(frame)),
            Some(request) = self.requests.recv() => Some(Incoming::Request(request)),
            Some(frame) = blocks.recv() => Some(Incoming::Frame(frame)),
            Some(frame) = transactions.recv() => Some(Incoming::Frame(frame)),
            Some(frame) = snapshot.recv() => Some(Incoming::Frame(frame)),
            else => None,
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Chain {
    pub(crate) fn new(key: ChainKey, members: BTreeMap<NodeId, Option<SocketAddr>>, bandwidth: Arc<Bandwidth>) -> (Self, Inbox) {
        let [(consensus, of_consensus), (transactions, of_transactions), (blocks, of_blocks), (snapshot, of_snapshot)] =
            WAITING.map(mpsc::channel);
        let (requests, questions) = mpsc::channel(REQUESTS_WAITING);
        let chain = Self {
            key,
            members: Mutex::new(members),
            frames: [consensus, transactions, blocks, snapshot],
            requests,
            bandwidth,
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            dropped_frames: AtomicU64::new(0),
        };
        (chain, Inbox { frames: [of_consensus, of_transactions, of_blocks, of_snapshot], requests: questions })
    }

    pub(crate) fn members(&self) -> BTreeMap<NodeId, Option<SocketAddr>> {
        lock(&self.members).clone()
    }

    pub(crate) fn set_members(&self, members: BTreeMap<NodeId, Option<SocketAddr>>) {
        *lock(&self.members) = members;
    }

    pub(crate) fn is_member(&self, node: NodeId) -> bool {
        lock(&self.members).contains_key(&node)
    }

    pub(crate) fn address_of(&self, node: NodeId) -> Option<SocketAddr> {
        lock(&self.members).get(&node).copied().flatten()
    }

    /// Waits until the chain may send or receive more. Its consensus does not wait, and is charged all the same: the rest waits for it.
    pub(crate) async fn may_pass(&self, purpose: Purpose) {
        if purpose == Purpose::Consensus {
            return;
        }
        loop {
            let debt = self.bandwidth.debt();
            if debt.is_zero() {
                return;
            }
            tokio::time::sleep(debt).await;
        }
    }

    pub(crate) fn sent(&self, bytes: usize) {
        self.bandwidth.spend(bytes);
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.bandwidth.spend(bytes);
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) {
        self.dropped_frames.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            dropped_frames: self.dropped_frames.load(Ordering::Relaxed),
        }
    }

    /// Hands a frame to the chain, once it has room. False where the chain has left.
    pub(crate) async fn deliver(&self, received: Received) -> bool {
        self.frames[received.purpose as usize].send(received).await.is_ok()
    }

    /// The same for a question; false where too many wait.
    pub(crate) fn ask(&self, request: Request) -> bool {
        self.requests.try_send(request).is_ok()
    }
}
