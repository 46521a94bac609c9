use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll, Waker},
};

use subnode_types::Parts;

use crate::fair_queue::{FairQueue, Flow, Waiter};

/// The cores that chains take turns on.
#[derive(Debug)]
pub struct Cores {
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: FairQueue,
    /// Calls that wait, and those that were given a turn and do not know it yet.
    waiting: BTreeMap<Waiter, Waiting>,
    next_waiter: Waiter,
}

#[derive(Debug)]
struct Waiting {
    waker: Waker,
    granted: bool,
}

impl Cores {
    /// As many turns at once as there are `slots`.
    #[must_use]
    pub fn new(slots: usize) -> Arc<Self> {
        let inner = Inner { queue: FairQueue::new(slots.max(1)), waiting: BTreeMap::new(), next_waiter: 0 };
        Arc::new(Self { inner: Mutex::new(inner) })
    }

    /// A chain's share of them.
    #[must_use]
    pub fn join(self: &Arc<Self>, parts: Parts) -> Arc<Share> {
        let flow = self.lock().queue.join(parts);
        Arc::new(Share { cores: self.clone(), flow, ran_ns: AtomicU64::new(0), fuel: AtomicU64::new(0), turns: AtomicU64::new(0) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn end(&mut self, flow: Flow, ns: u64) -> Option<Waker> {
        let next = self.queue.end(flow, ns)?;
        self.grant(next)
    }

    /// Tells a call that it has a turn.
    fn grant(&mut self, waiter: Waiter) -> Option<Waker> {
        let waiting = self.waiting.get_mut(&waiter)?;
        waiting.granted = true;
        Some(waiting.waker.clone())
    }
}

/// A chain's share of the cores. Dropped once no call of the chain is left.
#[derive(Debug)]
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

impl Share {
    /// Changes how much of the cores this chain is entitled to.
    pub fn set_parts(&self, parts: Parts) {
        self.cores.lock().queue.set_parts(self.flow, parts);
    }

    /// What the chain used so far.
    pub fn usage(&self) -> Usage {
        Usage {
            ran_ns: self.ran_ns.load(Ordering::Relaxed),
            fuel: self.fuel.load(Ordering::Relaxed),
            turns: self.turns.load(Ordering::Relaxed),
        }
    }

    /// Whether a call of any chain waits for a turn.
    pub fn others_wait(&self) -> bool {
        self.cores.lock().queue.any_waits()
    }

    /// Charges CPU time that was taken for the chain outside a turn: committing a block, framing an answer.
    pub fn charge(&self, ns: u64) {
        self.ran_ns.fetch_add(ns, Ordering::Relaxed);
        self.cores.lock().queue.charge(self.flow, ns);
    }

    /// Counts fuel. It orders nobody.
    pub fn count_fuel(&self, fuel: u64) {
        self.fuel.fetch_add(fuel, Ordering::Relaxed);
    }

    /// A ticket for the turns of one call.
    #[must_use]
    pub fn ticket(self: &Arc<Self>) -> Ticket {
        Ticket { share: self.clone(), state: State::Idle }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.cores.lock().queue.leave(self.flow);
    }
}

/// The turns of one call. Dropping it gives its turn or its place back.
#[derive(Debug)]
pub struct Ticket {
    share: Arc<Share>,
    state: State,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Idle,
    Waiting(Waiter),
    Running,
}

impl Ticket {
    /// Waits for a turn. Once ready, [`Self::end`] or [`Self::go_on`] must follow it.
    pub fn poll_turn(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.share.cores.lock();
        match self.state {
            State::Running => return Poll::Ready(()),
            State::Idle => {
                let waiter = inner.next_waiter;
                if inner.queue.arrive(self.share.flow, waiter) {
                    self.state = State::Running;
                    return Poll::Ready(());
                }
                inner.next_waiter += 1;
                inner.waiting.insert(waiter, Waiting { waker: cx.waker().clone(), granted: false });
                self.state = State::Waiting(waiter);
            }
            State::Waiting(waiter) => match inner.waiting.get_mut(&waiter) {
                Some(waiting) if !waiting.granted => waiting.waker.clone_from(cx.waker()),
                _ => {
                    inner.waiting.remove(&waiter);
                    self.state = State::Running;
                    return Poll::Ready(());
                }
            },
        }
        Poll::Pending
    }

    /// Ends a turn that took `ns` of CPU time and asks for the next, which it may have at once. The caller is polled anew.
    pub fn go_on(&mut self, ns: u64, cx: &Context<'_>) {
        if self.state != State::Running {
            return;
        }
        self.count(ns);
        let mut inner = self.share.cores.lock();
        let waiter = inner.next_waiter;
        let Some(next) = inner.queue.go_on(self.share.flow, ns, waiter) else { return };
        inner.next_waiter += 1;
        inner.waiting.insert(waiter, Waiting { waker: cx.waker().clone(), granted: false });
        self.state = State::Waiting(waiter);
        let next = next.and_then(|next| inner.grant(next));
        drop(inner);
        if let Some(waker) = next {
            waker.wake();
        }
    }

    fn count(&self, ns: u64) {
        self.share.ran_ns.fetch_add(ns, Ordering::Relaxed);
        self.share.turns.fetch_add(1, Ordering::Relaxed);
    }

    /// Ends a turn that took `ns` of CPU time.
    pub fn end(&mut self, ns: u64) {
        if std::mem::replace(&mut self.state, State::Idle) == State::Running {
            self.count(ns);
            let next = self.share.cores.lock().end(self.share.flow, ns);
            if let Some(waker) = next {
                waker.wake();
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let next = match self.state {
            State::Idle => None,
            State::Running => self.share.cores.lock().end(self.share.flow, 0),
            State::Waiting(waiter) => {
                let mut inner = self.share.cores.lock();
                match inner.waiting.remove(&waiter) {
                    Some(Waiting { granted: true, .. }) => inner.end(self.share.flow, 0),
                    _ => {
                        inner.queue.cancel(self.share.flow, waiter);
                        None
                    }
                }
            }
        };
        if let Some(waker) = next {
            waker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn poll(ticket: &mut Ticket) -> bool {
        ticket.poll_turn(&mut Context::from_waker(Waker::noop())).is_ready()
    }

    #[test]
    fn a_slot_passes_from_call_to_call_and_back() {
        let cores = Cores::new(1);
        let share = cores.join(Parts::ONE);
        let (mut first, mut second, mut third) = (share.ticket(), share.ticket(), share.ticket());
        assert!(poll(&mut first));
        assert!(!poll(&mut second) && !poll(&mut third));
        first.end(1_000);
        drop(second);
        assert!(poll(&mut third), "a call that left passes its turn on");
        drop(third);
        assert!(poll(&mut first));
        assert_eq!(share.usage(), Usage { ran_ns: 1_000, fuel: 0, turns: 1 });
    }
}
