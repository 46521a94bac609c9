//! Runs a call turn by turn: it waits for a turn on the cores, runs until it has burnt [`TURN_FUEL`] or returns, and gives the
//! turn back.

use std::{
    cell::Cell,
    pin::pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

use crate::{HostFault, Tenant};

/// Fuel of a turn: some 80 microseconds. A chain that wakes up waits for no more than that, and ending a turn costs
/// a hundredth of it.
pub(crate) const TURN_FUEL: u64 = 100_000;
/// A guest that burnt its turn in host functions ends it after so much of its own fuel.
const LAST_FUEL: u64 = 2_000;

/// CPU time of this thread in nanoseconds.
pub(crate) fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec);
    u64::try_from(nanos).unwrap_or_default()
}

thread_local! {
    /// CPU time that turns took on this thread.
    static IN_TURNS_NS: Cell<u64> = const { Cell::new(0) };
}

/// Runs work that is done for a chain outside of turns (framing, committing), and charges its CPU time to the chain's share.
/// Turns within it are not charged twice.
pub async fn charged<T>(tenant: &Tenant, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        let (before, in_turns) = (thread_cpu_ns(), IN_TURNS_NS.get());
        let polled = work.as_mut().poll(cx);
        let took = thread_cpu_ns().saturating_sub(before);
        tenant.share().charge(took.saturating_sub(IN_TURNS_NS.get().saturating_sub(in_turns)));
        polled
    })
    .await
}

/// Counts an instance's turns, and what its turn has left.
///
/// wasmtime gives fuel out in intervals and lets the call yield after each. Charging for a host function starts an interval anew,
/// so a guest that calls often would never yield: hence what a charge leaves of the turn is reckoned here.
#[derive(Default)]
pub(crate) struct TurnMeter {
    ended: Arc<AtomicU64>,
    seen: u64,
    fuel_at_start: u64,
}

impl TurnMeter {
    pub(crate) fn counter(&self) -> Arc<AtomicU64> {
        self.ended.clone()
    }

    /// A call begins with so much fuel.
    pub(crate) fn begin(&mut self, fuel: u64) {
        self.seen = self.ended.load(Ordering::Relaxed);
        self.fuel_at_start = fuel;
    }

    /// The interval after which to yield, where `left` is the fuel left after a charge of `charged`.
    pub(crate) fn interval(&mut self, left: u64, charged: u64) -> u64 {
        let ended = self.ended.load(Ordering::Relaxed);
        if self.seen != ended {
            self.seen = ended;
            self.fuel_at_start = left.saturating_add(charged);
        }
        let burnt = self.fuel_at_start.saturating_sub(left);
        TURN_FUEL.saturating_sub(burnt).max(LAST_FUEL)
    }
}

/// Passes wakes on to a call's task, and notes that there was one.
#[derive(Default)]
struct Relay {
    task: Mutex<Option<Waker>>,
    woken: AtomicBool,
}

impl Relay {
    fn pass_on_to(&self, waker: &Waker) {
        let mut task = self.task.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *task {
            Some(known) => known.clone_from(waker),
            None => *task = Some(waker.clone()),
        }
    }

    fn take_woken(&self) -> bool {
        self.woken.swap(false, Ordering::Relaxed)
    }
}

impl Wake for Relay {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::Relaxed);
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(task) = task {
            task.wake();
        }
    }
}

/// Ends a turn that an async host function has used up.
pub(crate) async fn end_turn() {
    let mut ended = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut ended, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs a call in turns, for `wall` at most: a guest that waits burns no fuel.
pub(crate) async fn run<T>(
    tenant: &Tenant,
    turns: Arc<AtomicU64>,
    wall: Duration,
    call: impl Future<Output = wasmtime::Result<T>>,
) -> wasmtime::Result<T> {
    let mut ticket = tenant.share().ticket();
    let relay = Arc::new(Relay::default());
    let waker = Waker::from(relay.clone());
    let mut call = pin!(call);
    let in_turns = std::future::poll_fn(|cx| {
        std::task::ready!(ticket.poll_turn(cx));
        relay.pass_on_to(cx.waker());
        let before = thread_cpu_ns();
        let polled = call.as_mut().poll(&mut Context::from_waker(&waker));
        turns.fetch_add(1, Ordering::Relaxed);
        let took = thread_cpu_ns().saturating_sub(before);
        IN_TURNS_NS.set(IN_TURNS_NS.get().wrapping_add(took));
        // A call that has woken itself has more to do; one that has not waits for something else, and holds no place meanwhile.
        if polled.is_pending() && relay.take_woken() {
            ticket.go_on(took, cx);
        } else {
            ticket.end(took);
        }
        polled
    });
    // A timer is only made for a call that does not return at its first poll, as nearly all do.
    let mut in_turns = pin!(in_turns);
    let first = std::future::poll_fn(|cx| Poll::Ready(in_turns.as_mut().poll(cx))).await;
    if let Poll::Ready(result) = first {
        return result;
    }
    match tokio::time::timeout(wall, in_turns).await {
        Ok(result) => result,
        Err(_) => Err(HostFault::Timeout(wall).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn charges_bring_the_end_of_a_turn_nearer() {
        let mut meter = TurnMeter::default();
        meter.begin(1_000_000);
        assert_eq!(meter.interval(960_000, 20_000), TURN_FUEL - 40_000);
        assert_eq!(meter.interval(920_000, 20_000), TURN_FUEL - 80_000);
        assert_eq!(meter.interval(880_000, 20_000), LAST_FUEL);
        meter.counter().fetch_add(1, Ordering::Relaxed);
        assert_eq!(meter.interval(840_000, 20_000), TURN_FUEL - 20_000, "a new turn, of which one charge is gone");
    }
}
