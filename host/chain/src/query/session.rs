//! Clients that can be told things.

use std::sync::{
    Arc, Mutex, PoisonError,
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
    chains: Mutex<Vec<Arc<Parts>>>,
}

impl Session {
    /// A session whose notifications arrive at the receiver; a client that lets `capacity` of them wait is told no more.
    pub fn new(capacity: usize) -> (Self, mpsc::Receiver<Notification>) {
        static NEXT: AtomicU64 = AtomicU64::new(1);
        let (sink, receiver) = mpsc::channel(capacity);
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        (Self { id, sink, chains: Mutex::default() }, receiver)
    }

    /// Ends its subscriptions of this chain with it.
    pub(super) fn remember(&self, chain: &Arc<Parts>) {
        let mut chains = self.chains.lock().unwrap_or_else(PoisonError::into_inner);
        if !chains.iter().any(|known| Arc::ptr_eq(known, chain)) {
            chains.push(chain.clone());
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for chain in self.chains.get_mut().unwrap_or_else(PoisonError::into_inner) {
            chain.feed.subscriptions.remove_session(self.id);
        }
    }
}
