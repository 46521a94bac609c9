//! Who wants to be told what.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use subnode_sandbox::{Subscription, Topic};
use tokio::sync::mpsc;

/// Subscriptions of one chain.
const SUBSCRIPTIONS_MAX: usize = 4096;
const FILTER_BYTES_MAX: usize = 64 << 10;

/// A text for a subscriber.
#[derive(Clone, Debug)]
pub struct Notification {
    /// Which of the client's subscriptions.
    pub subscription: u64,
    /// The notification's method name.
    pub method: Arc<str>,
    /// JSON text.
    pub json: Vec<u8>,
}

/// Where a subscriber hears.
pub(crate) type Sink = mpsc::Sender<Notification>;

#[derive(Clone)]
pub(crate) struct Subscriber {
    pub(crate) id: u64,
    pub(crate) topic: Topic,
    pub(crate) filter: Arc<[u8]>,
    method: Arc<str>,
    sink: Sink,
    session: u64,
}

impl Subscriber {
    /// Queues a text. False where the client is gone or reads too slowly: it is then dropped rather than waited for.
    pub(crate) fn send(&self, json: Vec<u8>) -> bool {
        self.sink.try_send(Notification { subscription: self.id, method: self.method.clone(), json }).is_ok()
    }
}

#[derive(Default)]
pub(crate) struct Subscriptions {
    all: Mutex<BTreeMap<u64, Subscriber>>,
    /// How many there are, to be read without the lock on every commit.
    count: AtomicUsize,
}

impl Subscriptions {
    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    /// False where there is no room, or the filter is too long.
    pub(crate) fn add(&self, id: u64, session: u64, sink: Sink, wanted: Subscription) -> bool {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SUBSCRIPTIONS_MAX || wanted.filter.len() > FILTER_BYTES_MAX {
            return false;
        }
        let subscriber = Subscriber { id, topic: wanted.topic, filter: wanted.filter.into(), method: wanted.method.into(), sink, session };
        all.insert(id, subscriber);
        self.count.store(all.len(), Ordering::Relaxed);
        true
    }

    /// Whether this session had this subscription.
    pub(crate) fn remove(&self, id: u64, session: u64) -> bool {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.get(&id).is_some_and(|subscriber| subscriber.session == session);
        if own {
            all.remove(&id);
        }
        self.count.store(all.len(), Ordering::Relaxed);
        own
    }

    /// Ends a subscription whoever's it is: its client does not listen.
    pub(crate) fn remove_any(&self, id: u64) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&id);
        self.count.store(all.len(), Ordering::Relaxed);
    }

    pub(crate) fn remove_session(&self, session: u64) {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, subscriber| subscriber.session != session);
        self.count.store(all.len(), Ordering::Relaxed);
    }

    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Ends all.
    pub(crate) fn clear(&self) {
        self.all.lock().unwrap_or_else(PoisonError::into_inner).clear();
        self.count.store(0, Ordering::Relaxed);
    }

    pub(crate) fn of(&self, topic: Topic) -> Vec<Subscriber> {
        let all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().filter(|subscriber| subscriber.topic == topic).cloned().collect()
    }
}
