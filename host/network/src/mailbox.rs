//! What peers sent to a chain and it has not taken yet. Each peer has bytes of its own there, and the peers are served in turn.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use subnode_peers::{Inbox, Incoming};
use subnode_scheduler::RoundRobin;
use subnode_types::{Boxed, NodeId};
use tokio::sync::{Notify, OwnedSemaphorePermit};

use crate::limits::lock;

/// A frame, and the room that it takes until it is dropped.
pub(crate) struct Held {
    frame: Bytes,
    _room: Vec<OwnedSemaphorePermit>,
}

impl Held {
    pub(crate) fn new(frame: Bytes, room: Vec<OwnedSemaphorePermit>) -> Self {
        Self { frame, _room: room }
    }
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.frame
    }
}

pub(crate) struct Mailbox {
    queue: Mutex<Queue>,
    more: Notify,
}

struct Queue {
    /// Bound: so many bytes for each peer as the chain gives it, 512 KiB of consensus and some 6 MiB of all else.
    waiting: RoundRobin<NodeId, Incoming>,
    closed: bool,
}

impl Mailbox {
    /// With so many bytes for each peer.
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self { queue: Mutex::new(Queue { waiting: RoundRobin::new(bytes_max), closed: false }), more: Notify::new() })
    }

    /// Queues what a peer sent at its price. What its peer has no room for is dropped; false where nobody takes anything any more.
    pub(crate) fn push(&self, from: NodeId, price: usize, incoming: Incoming) -> bool {
        let mut queue = lock(&self.queue);
        if queue.closed {
            return false;
        }
        if queue.waiting.push(from, price, incoming).is_ok() {
            self.more.notify_one();
        }
        true
    }

    /// Drops what a peer sent.
    pub(crate) fn forget(&self, from: &NodeId) {
        // Thousands of frames perhaps, which are dropped once others may push again.
        let dropped = lock(&self.queue).waiting.take(from);
        drop(dropped);
    }

    pub(crate) fn close(&self) {
        lock(&self.queue).closed = true;
        self.more.notify_one();
    }

    /// The oldest of the peer whose turn is next; none once this is closed and empty.
    async fn next(&self) -> Option<Incoming> {
        loop {
            {
                let mut queue = lock(&self.queue);
                if let Some((_, incoming)) = queue.waiting.pop() {
                    return Some(incoming);
                }
                if queue.closed {
                    return None;
                }
            }
            self.more.notified().await;
        }
    }
}

/// One of the two parts of what comes for a chain.
pub struct Part(pub(crate) Arc<Mailbox>);

impl Part {
    /// The oldest of the peer whose turn is next. None once the chain has left the network.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Incoming> {
        self.0.next().await
    }
}

impl Inbox for Part {
    fn next(&mut self) -> Boxed<'_, Option<Incoming>> {
        Box::pin(self.0.next())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// What comes for a chain. The two parts are taken by different tasks, so that consensus that waits holds nothing else up.
pub struct Inboxes {
    /// Frames of consensus, which come from members alone.
    pub consensus: Part,
    /// All else: transactions, notices, questions.
    pub others: Part,
}

impl Inboxes {
    /// The next of either, consensus first. None once the chain has left the network.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn next(&mut self) -> Option<Incoming> {
        tokio::select! {
            biased;
            Some(incoming) = self.consensus.next() => Some(incoming),
            Some(incoming) = self.others.next() => Some(incoming),
            else => None,
        }
    }
}
