//! Clients that can be told things.

use std::sync::{
    Arc, Mutex, PoisonError, Weak,
    atomic::{AtomicU64, Ordering},
};

use tokio::sync::mpsc;

use crate::{
    feed::{Notification, Sink},
    parts::Parts,
};

/// A client that can be told things. Dropping it ends its subscriptions.
pub struct Session {
    pub(super) id: u64,
    pub(super) sink: Sink,
    /// A chain that ended is not kept by its clients.
    /// Bound: 8 bytes for each chain that runs and the client subscribed to; the port has one for each session.
    chains: Mutex<Vec<Weak<Parts>>>,
}

impl Session {
    /// A session whose notifications arrive at the receiver; a client that lets `capacity` of them wait, or so many bytes, is told no more.
    pub fn new(capacity: usize, bytes_max: usize) -> (Self, mpsc::Receiver<Notification>) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (sink, receiver) = Sink::new(capacity, bytes_max);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        (Self { id, sink, chains: Mutex::default() }, receiver)
    }

    /// Ends its subscriptions of this chain with it.
    pub(super) fn remember(&self, chain: &Arc<Parts>) {
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        chains.retain(|known| known.strong_count() > 0);
        if !chains.iter().any(|known| known.as_ptr() == Arc::as_ptr(chain)) {
            chains.push(Arc::downgrade(chain));
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for chain in self.chains.get_mut().unwrap_or_else(PoisonError::into_inner).iter().filter_map(Weak::upgrade) {
            chain.feed.subscriptions.remove_session(self.id);
        }
    }
}
