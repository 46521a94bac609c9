//! Who wants to be told what.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use subnode_sandbox::{Lease, Subscription, Tenant, Topic};
use tokio::sync::mpsc;

/// Subscriptions of one chain, and of one client: an eighth, so that others have theirs.
const SUBSCRIPTIONS_MAX: usize = 4096;
const SUBSCRIPTIONS_PER_SESSION_MAX: usize = 512;
const FILTER_BYTES_MAX: usize = 64 << 10;
/// A notification's method: a name.
const METHOD_BYTES_MAX: usize = 256;
/// What a subscription is charged beside its filter and its method's name, and a notification beside its text.
const OVERHEAD_BYTES: usize = 256;

/// A text for a subscriber.
pub struct Notification {
    /// Which of the client's subscriptions.
    pub subscription: u64,
    /// The notification's method name.
    pub method: Arc<str>,
    /// JSON text.
    pub json: Vec<u8>,
    /// Dropped with the text.
    _waiting: (Waiting, Lease),
}

/// Where a subscriber hears. What waits there is bounded in number and in bytes.
#[derive(Clone)]
pub(crate) struct Sink {
    queue: mpsc::Sender<Notification>,
    waiting: Arc<AtomicUsize>,
    bytes_max: usize,
}

/// Bytes that wait in a sink.
struct Waiting {
    sink: Arc<AtomicUsize>,
    bytes: usize,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.sink.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Sink {
    /// A sink that lets so many notifications wait, which take so many bytes at most.
    pub(crate) fn new(capacity: usize, bytes_max: usize) -> (Self, mpsc::Receiver<Notification>) {
        // Bound: `capacity` notifications of `bytes_max` bytes together, which are taken before one is queued.
        let (queue, receiver) = mpsc::channel(capacity);
        (Self { queue, waiting: Arc::default(), bytes_max }, receiver)
    }

    fn wait(&self, bytes: usize) -> Option<Waiting> {
        let more = |waiting: usize| waiting.checked_add(bytes).filter(|sum| *sum <= self.bytes_max);
        self.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Waiting { sink: self.waiting.clone(), bytes })
    }
}

#[derive(Clone)]
pub(crate) struct Subscriber {
    pub(crate) id: u64,
    pub(crate) topic: Topic,
    pub(crate) filter: Arc<[u8]>,
    method: Arc<str>,
    sink: Sink,
    session: u64,
    _memory: Arc<Lease>,
}

impl Subscriber {
    /// Queues a text, charged to the chain's memory. False where the client is gone or reads too slowly, or there is no memory: it is then dropped
    /// rather than waited for.
    pub(crate) fn send(&self, json: Vec<u8>, tenant: &Tenant) -> bool {
        let bytes = json.len() + OVERHEAD_BYTES;
        let Some(waiting) = self.sink.wait(bytes) else { return false };
        let Some(memory) = tenant.lease_free(bytes as u64) else { return false };
        let told = Notification { subscription: self.id, method: self.method.clone(), json, _waiting: (waiting, memory) };
        self.sink.queue.try_send(told).is_ok()
    }
}

/// Why a subscription is not made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum NotSubscribed {
    #[error("too many subscriptions: {SUBSCRIPTIONS_MAX} on this chain")]
    Chain,
    #[error("too many subscriptions: {SUBSCRIPTIONS_PER_SESSION_MAX} on this connection")]
    Session,
    #[error("filter too large: at most {FILTER_BYTES_MAX} bytes")]
    TooLarge,
    #[error("no memory for another subscription on this chain")]
    Memory,
}

/// All of a chain. What they take is charged to its memory.
pub(crate) struct Subscriptions {
    tenant: Tenant,
    /// Bound: [`SUBSCRIPTIONS_MAX`] of [`FILTER_BYTES_MAX`] bytes, [`SUBSCRIPTIONS_PER_SESSION_MAX`] of one client; the memory slice is
    /// charged for their bytes.
    all: Mutex<BTreeMap<u64, Subscriber>>,
    /// How many there are, to be read without the lock on every commit.
    count: AtomicUsize,
}

impl Subscriptions {
    pub(crate) fn new(tenant: Tenant) -> Self {
        Self { tenant, all: Mutex::default(), count: AtomicUsize::new(0) }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count.load(Ordering::Relaxed) == 0
    }

    pub(crate) fn add(&self, id: u64, session: u64, sink: Sink, wanted: Subscription) -> Result<(), NotSubscribed> {
        let Subscription { topic, filter, method } = wanted;
        if filter.len() > FILTER_BYTES_MAX || method.len() > METHOD_BYTES_MAX {
            return Err(NotSubscribed::TooLarge);
        }
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= SUBSCRIPTIONS_MAX {
            return Err(NotSubscribed::Chain);
        }
        if all.values().filter(|subscriber| subscriber.session == session).count() >= SUBSCRIPTIONS_PER_SESSION_MAX {
            return Err(NotSubscribed::Session);
        }
        let bytes = filter.len() + method.len() + OVERHEAD_BYTES;
        let memory = self.tenant.lease_free(bytes as u64).ok_or(NotSubscribed::Memory)?;
        let subscriber = Subscriber { id, topic, filter: filter.into(), method: method.into(), sink, session, _memory: Arc::new(memory) };
        all.insert(id, subscriber);
        self.count.store(all.len(), Ordering::Relaxed);
        Ok(())
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

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(filter: usize) -> Subscription {
        Subscription { topic: Topic::Blocks, filter: vec![0; filter], method: "eth_subscription".into() }
    }

    fn tenant(bytes: u64) -> Tenant {
        let cores = subnode_scheduler::Cores::new(1);
        Tenant::new("a".parse().expect("a name"), &cores, subnode_types::Parts::ONE, bytes)
    }

    #[test]
    fn a_subscription_is_charged_what_it_takes_and_a_client_has_a_share_of_them() {
        let tenant = tenant(1 << 20);
        let all = Subscriptions::new(tenant.clone());
        let (sink, _hears) = Sink::new(1, 1);
        let long = (0..64).map(|id| all.add(id, 1, sink.clone(), wanted(FILTER_BYTES_MAX))).filter(Result::is_ok).count();
        assert_eq!(long, 15, "a MiB has room for so many");
        assert_eq!(all.add(99, 1, sink.clone(), wanted(FILTER_BYTES_MAX)), Err(NotSubscribed::Memory));
        assert_eq!(all.add(99, 1, sink.clone(), wanted(FILTER_BYTES_MAX + 1)), Err(NotSubscribed::TooLarge));
        all.remove_session(1);
        assert_eq!(tenant.memory().used(), 0);
        for id in 0..SUBSCRIPTIONS_PER_SESSION_MAX as u64 {
            assert_eq!(all.add(id, 2, sink.clone(), wanted(0)), Ok(()));
        }
        assert_eq!(all.add(9_999, 2, sink.clone(), wanted(0)), Err(NotSubscribed::Session));
        assert_eq!(all.add(9_999, 3, sink, wanted(0)), Ok(()), "another client has its own");
    }

    #[test]
    fn notifications_that_nobody_reads_are_bounded_in_bytes_and_charged() {
        let tenant = tenant(1 << 20);
        let all = Subscriptions::new(tenant.clone());
        let (sink, mut hears) = Sink::new(1_000, 10_000);
        all.add(1, 1, sink, wanted(0)).expect("room");
        let before = tenant.memory().used();
        let subscriber = all.of(Topic::Blocks).pop().expect("one");
        let sent = (0..1_000).take_while(|_| subscriber.send(vec![0; 1_000], &tenant)).count();
        assert_eq!(sent, 10_000 / (1_000 + OVERHEAD_BYTES));
        assert_eq!(tenant.memory().used() - before, (sent * (1_000 + OVERHEAD_BYTES)) as u64);
        drop(hears.try_recv().expect("one waits"));
        assert!(subscriber.send(vec![0; 1_000], &tenant), "what was read makes room");
        drop(hears);
        assert_eq!(tenant.memory().used(), before);
    }
}
