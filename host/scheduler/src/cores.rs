use std::{
    collections::BTreeMap,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use subnode_types::Parts;

use crate::{
    fair_queue::{FairQueue, Flow, Waiter},
    workers,
};

/// Work that is done turn by turn.
pub trait Work: Send + Sync {
    /// Does a turn of it, some 100 us. It must not panic.
    fn turn(self: Arc<Self>) -> Turn;
}

/// A turn that ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// CPU time that it took.
    pub ns: u64,
    /// Whether it wants another.
    pub again: bool,
}

/// The cores that chains take turns on.
pub struct Cores {
    shared: Arc<Shared>,
}

/// What workers have of the cores: it does not keep them alive.
struct Shared {
    inner: Mutex<Inner>,
    /// Something waits, or all is over.
    changed: Condvar,
    workers: usize,
    yielding: bool,
    opened: Instant,
}

#[derive(Default)]
struct Inner {
    queue: FairQueue,
    waiting: BTreeMap<Waiter, Arc<dyn Work>>,
    next_waiter: Waiter,
    started: usize,
    idle: usize,
    closed: bool,
}

impl Cores {
    /// So many cores. Their workers are started once there is something to do for them.
    #[must_use]
    pub fn new(cores: usize) -> Arc<Self> {
        Self::with(cores, false)
    }

    /// The same with workers that give way to all else on the machine, as a server's should: to clients' connections, to the chains that
    /// are due, and to whatever else runs there.
    #[must_use]
    pub fn yielding(cores: usize) -> Arc<Self> {
        Self::with(cores, true)
    }

    fn with(cores: usize, yielding: bool) -> Arc<Self> {
        let cores = cores.max(1);
        let inner = Inner { queue: FairQueue::new(cores), ..Inner::default() };
        let shared = Shared { inner: Mutex::new(inner), changed: Condvar::new(), workers: cores, yielding, opened: Instant::now() };
        Arc::new(Self { shared: Arc::new(shared) })
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.shared.workers
    }

    /// A chain's share of them.
    #[must_use]
    pub fn join(self: &Arc<Self>, parts: Parts) -> Arc<Share> {
        let flow = self.shared.lock().queue.join(parts);
        Arc::new(Share { cores: self.clone(), flow, ran_ns: AtomicU64::new(0), fuel: AtomicU64::new(0), turns: AtomicU64::new(0) })
    }
}

impl Drop for Cores {
    fn drop(&mut self) {
        self.shared.lock().closed = true;
        self.shared.changed.notify_all();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same with the queue's time as of now.
    fn lock_now(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.lock();
        inner.queue.pass(u64::try_from(self.opened.elapsed().as_nanos()).unwrap_or(u64::MAX));
        inner
    }

    /// What a worker does, until all is over: the next turn, whosever it is.
    fn work(&self) {
        let mut inner = self.lock();
        loop {
            let Some((flow, waiter)) = inner.queue.next() else {
                if inner.closed {
                    return;
                }
                inner.idle += 1;
                inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
                inner.idle -= 1;
                continue;
            };
            let work = inner.waiting.remove(&waiter);
            drop(inner);
            let turn = work.as_ref().map_or(Turn { ns: 0, again: false }, |work| work.clone().turn());
            // Work that is done goes outside the lock: it may be the last to know its chain.
            let work = work.filter(|_| turn.again);
            inner = self.lock_now();
            if let Some(work) = work {
                inner.queue.wait(flow, waiter);
                inner.waiting.insert(waiter, work);
            }
            inner.queue.end(flow, turn.ns);
        }
    }

    /// Keeps work whose place is in the queue, and sees that there is somebody to do it.
    fn enlist(self: &Arc<Self>, mut inner: MutexGuard<'_, Inner>, waiter: Waiter, work: Arc<dyn Work>) {
        inner.waiting.insert(waiter, work);
        if inner.idle > 0 {
            drop(inner);
            self.changed.notify_one();
        } else if inner.started < self.workers {
            let shared = self.clone();
            match workers::start(inner.started, self.yielding, move || shared.work()) {
                Ok(()) => inner.started += 1,
                Err(error) if inner.started == 0 => tracing::error!(%error, "no thread for calls"),
                Err(_) => {}
            }
        }
    }
}

impl Inner {
    fn next_waiter(&mut self) -> Waiter {
        self.next_waiter += 1;
        self.next_waiter
    }
}

/// A chain's share of the cores. Dropped once nothing of the chain is left.
pub struct Share {
    cores: Arc<Cores>,
    flow: Flow,
    ran_ns: AtomicU64,
    fuel: AtomicU64,
    turns: AtomicU64,
}

/// What a chain used so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// CPU time, in nanoseconds.
    pub ran_ns: u64,
    /// Fuel.
    pub fuel: u64,
    /// Turns.
    pub turns: u64,
}

/// A place among what waits for workers.
#[derive(Debug)]
pub struct Place(Waiter);

impl Share {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.cores.shared.lock()
    }

    /// Changes how much of the cores this chain is entitled to.
    pub fn set_parts(&self, parts: Parts) {
        self.lock().queue.set_parts(self.flow, parts);
    }

    /// What the chain used so far.
    pub fn usage(&self) -> Usage {
        Usage {
            ran_ns: self.ran_ns.load(Ordering::Relaxed),
            fuel: self.fuel.load(Ordering::Relaxed),
            turns: self.turns.load(Ordering::Relaxed),
        }
    }

    /// Whether no other chain wants the cores.
    pub fn is_alone(&self) -> bool {
        self.lock().queue.is_alone(self.flow)
    }

    /// Begins a turn on this thread if the chain used less than its share. [`Self::end`] or [`Self::go_on`] must follow it.
    #[must_use]
    pub fn begin_if_due(&self) -> bool {
        self.cores.shared.lock_now().queue.begin_if_due(self.flow)
    }

    /// Ends a turn of this thread that took `ns` of CPU time.
    pub fn end(&self, ns: u64) {
        self.count(ns);
        self.lock().queue.end(self.flow, ns);
    }

    /// Counts a worker's turn, which the queue knows of by itself.
    pub fn count(&self, ns: u64) {
        self.ran_ns.fetch_add(ns, Ordering::Relaxed);
        self.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends a turn of this thread that took `ns` of CPU time. None where the next begins at once, which is for a chain that still used less
    /// than its share; else a worker does it.
    pub fn go_on(&self, ns: u64, work: Arc<dyn Work>) -> Option<Place> {
        self.count(ns);
        let mut inner = self.cores.shared.lock_now();
        let waiter = inner.next_waiter();
        if inner.queue.go_on(self.flow, ns, waiter) {
            return None;
        }
        self.cores.shared.enlist(inner, waiter, work);
        Some(Place(waiter))
    }

    /// Has a worker do it, turn by turn, when the chain's time has come.
    pub fn hand_over(&self, work: Arc<dyn Work>) -> Place {
        let mut inner = self.lock();
        let waiter = inner.next_waiter();
        inner.queue.wait(self.flow, waiter);
        self.cores.shared.enlist(inner, waiter, work);
        Place(waiter)
    }

    /// Takes back what waits. A turn that has begun goes on.
    pub fn take_back(&self, place: Place) {
        let mut inner = self.lock();
        inner.queue.cancel(self.flow, place.0);
        let work = inner.waiting.remove(&place.0);
        drop(inner);
        drop(work);
    }

    /// Charges CPU time that was taken for the chain outside a turn: committing a block, framing an answer.
    pub fn charge(&self, ns: u64) {
        self.ran_ns.fetch_add(ns, Ordering::Relaxed);
        self.lock().queue.charge(self.flow, ns);
    }

    /// Counts fuel. It orders nobody.
    pub fn count_fuel(&self, fuel: u64) {
        self.fuel.fetch_add(fuel, Ordering::Relaxed);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.lock().queue.leave(self.flow);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Takes so many turns, and says when each was.
    struct Counted {
        turns: AtomicU64,
        said: mpsc::Sender<u64>,
    }

    impl Work for Counted {
        fn turn(self: Arc<Self>) -> Turn {
            let left = self.turns.fetch_sub(1, Ordering::Relaxed) - 1;
            let heard = self.said.send(left).is_ok();
            Turn { ns: 1_000, again: heard && left > 0 }
        }
    }

    #[test]
    fn work_is_done_turn_by_turn_beside_turns_of_this_thread() {
        let cores = Cores::new(1);
        let [busy, small] = [Parts::ONE, Parts::ONE].map(|parts| cores.join(parts));
        let (said, heard) = mpsc::channel();
        let (said_on, _heard_on) = mpsc::channel();
        let taken_back = busy.hand_over(Arc::new(Counted { turns: AtomicU64::new(u64::MAX), said: said_on }));
        let _done = busy.hand_over(Arc::new(Counted { turns: AtomicU64::new(5), said }));
        assert_eq!(heard.iter().take(5).collect::<Vec<_>>(), [4, 3, 2, 1, 0]);
        assert!(small.begin_if_due(), "what it did not use is owed to it");
        small.end(10_000);
        busy.take_back(taken_back);
        small.charge(1_000);
        assert_eq!(small.usage(), Usage { ran_ns: 11_000, fuel: 0, turns: 1 });
    }
}
