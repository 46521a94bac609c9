//! Runs a call turn by turn, each until it has lasted its tenant's [`turn`](Tenant::turn) or the call returns. A chain that is due has its
//! turns on the thread that asks for them; other calls are handed over to a worker, which is how the next turn waits for its chain's time.
//!
//! A call hands the thread back after [`YIELD_FUEL`] of its own instructions (wasmtime sees to that) and after host functions that took long
//! ([`pause`]). That alone ends no turn: as long as the turn's time is not over, the call goes on at once.

use std::{
    any::Any,
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::{Pin, pin},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, Wake, Waker},
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use subnode_scheduler::{Place, Share, Turn, Work};
use tokio::runtime::Handle;

use crate::{HostFault, Tenant};

/// Fuel of a guest's own instructions after which it hands the thread back: 6 to 120 us, depending on the instructions. Handing it back and
/// going on costs 0.15 us.
pub(crate) const YIELD_FUEL: u64 = 100_000;
/// What a thread does for so long between two turns is charged to the second: half a microsecond saved at each.
const SAME_READING: Duration = Duration::from_micros(5);

thread_local! {
    /// When the turn that this thread has now began, and how long it may last.
    static RUNNING_TURN: Cell<Option<(Instant, Duration)>> = const { Cell::new(None) };
    /// The last reading of this thread's CPU time, and when it was.
    static LAST_READING: Cell<Option<(Instant, u64)>> = const { Cell::new(None) };
    /// CPU time that turns took on this thread.
    static IN_TURNS_NS: Cell<u64> = const { Cell::new(0) };
}

/// CPU time of this thread in nanoseconds.
fn thread_cpu_ns() -> u64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    let nanos = time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec);
    let nanos = u64::try_from(nanos).unwrap_or_default();
    LAST_READING.set(Some((Instant::now(), nanos)));
    nanos
}

/// The same for the beginning of something: a reading that has just been taken serves again. The system call for one takes 0.6 us, and this
/// a twentieth of it.
fn recent_thread_cpu_ns(now: Instant) -> u64 {
    let recent = LAST_READING.get().filter(|(at, _)| now.saturating_duration_since(*at) < SAME_READING);
    recent.map_or_else(thread_cpu_ns, |(_, nanos)| nanos)
}

/// Runs work that is done for a chain outside of turns (framing, committing), and charges its CPU time to the chain's share.
/// Turns within it are not charged twice.
pub async fn charged<T>(tenant: &Tenant, work: impl Future<Output = T>) -> T {
    let mut work = pin!(work);
    std::future::poll_fn(|cx| {
        let (before, in_turns) = (recent_thread_cpu_ns(Instant::now()), IN_TURNS_NS.get());
        let polled = work.as_mut().poll(cx);
        let took = thread_cpu_ns().saturating_sub(before);
        tenant.share().charge(took.saturating_sub(IN_TURNS_NS.get().saturating_sub(in_turns)));
        polled
    })
    .await
}

fn turn_is_over() -> bool {
    RUNNING_TURN.get().is_none_or(|(began, length)| began.elapsed() >= length)
}

/// Ends the turn if its time is over: for host functions, whose work no fuel interrupts.
pub(crate) async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|cx| {
        if paused || !turn_is_over() {
            return Poll::Ready(());
        }
        paused = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A call with all it works on, so that any thread can go on with it.
pub(crate) type Call<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A call on its way.
struct Job<T> {
    state: Mutex<State<T>>,
    share: Arc<Share>,
    /// How long a turn of it may last.
    turn: Duration,
    /// Whether a turn runs, in which a wake only says that the call wants to go on.
    running: AtomicBool,
    woken: AtomicBool,
    /// What host functions that wait, wait with.
    runtime: Option<Handle>,
}

struct State<T> {
    stage: Stage<T>,
    /// Of the task that awaits the call.
    waiter: Option<Waker>,
}

enum Stage<T> {
    /// It begins, or waits for something that is no turn.
    Here(Call<T>),
    /// It has its next turn, on the thread that asks.
    Begun(Call<T>),
    /// It waits for a worker.
    HandedOver(Call<T>, Place),
    Running,
    Done(Result<T, Box<dyn Any + Send>>),
    /// Nobody awaits it any more.
    Abandoned,
}

impl<T> Job<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wake_waiter(&self) {
        let waiter = self.state().waiter.clone();
        if let Some(waiter) = waiter {
            waiter.wake();
        }
    }
}

impl<T: Send + 'static> Job<T> {
    /// Runs a turn: what became of the call, whether it has more to do, and the CPU time. One that is pending without having more to do
    /// waits for something else.
    fn run(self: &Arc<Self>, call: &mut Call<T>) -> (Poll<T>, bool, u64) {
        let waker = Waker::from(self.clone());
        let began = Instant::now();
        let before = recent_thread_cpu_ns(began);
        RUNNING_TURN.set(Some((began, self.turn)));
        self.running.store(true, Ordering::SeqCst);
        let mut again;
        let polled = loop {
            let polled = call.as_mut().poll(&mut Context::from_waker(&waker));
            again = self.woken.swap(false, Ordering::SeqCst);
            if polled.is_ready() || !again || turn_is_over() {
                break polled;
            }
        };
        self.running.store(false, Ordering::SeqCst);
        // Another thread may have woken the call since.
        again |= self.woken.swap(false, Ordering::SeqCst);
        (polled, again, thread_cpu_ns().saturating_sub(before))
    }
}

impl<T: Send + 'static> Wake for Job<T> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.woken.store(true, Ordering::SeqCst);
        if !self.running.load(Ordering::SeqCst) {
            self.wake_waiter();
        }
    }
}

impl<T: Send + 'static> Work for Job<T> {
    fn turn(self: Arc<Self>) -> Turn {
        let mut state = self.state();
        let (mut call, place) = match std::mem::replace(&mut state.stage, Stage::Running) {
            Stage::HandedOver(call, place) => (call, place),
            other => {
                state.stage = other;
                return Turn { ns: 0, again: false };
            }
        };
        drop(state);
        let ran = catch_unwind(AssertUnwindSafe(|| {
            let _runtime = self.runtime.as_ref().map(Handle::enter);
            self.run(&mut call)
        }));
        let (stage, again, ns) = match ran {
            Ok((Poll::Ready(result), _, ns)) => (Stage::Done(Ok(result)), false, ns),
            Ok((Poll::Pending, true, ns)) => (Stage::HandedOver(call, place), true, ns),
            Ok((Poll::Pending, false, ns)) => (Stage::Here(call), false, ns),
            Err(panic) => (Stage::Done(Err(panic)), false, 0),
        };
        self.share.count(ns);
        let mut state = self.state();
        if matches!(state.stage, Stage::Abandoned) {
            drop(state);
            return Turn { ns, again: false };
        }
        state.stage = stage;
        drop(state);
        if !again {
            // It is done, or waits for something that may have woken it before its stage said so.
            self.wake_waiter();
        }
        Turn { ns, again }
    }
}

/// Awaits a call. Dropping it gives the call up: a turn of it that runs on a worker is its last.
struct Awaited<T: Send + 'static>(Arc<Job<T>>);

impl<T: Send + 'static> Future for Awaited<T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let job = &self.0;
        let mut state = job.state();
        match &mut state.waiter {
            Some(known) => known.clone_from(cx.waker()),
            None => state.waiter = Some(cx.waker().clone()),
        }
        let mut call = match std::mem::replace(&mut state.stage, Stage::Running) {
            Stage::Begun(call) => call,
            Stage::Here(call) if job.share.begin_if_due() => call,
            Stage::Here(call) => {
                let place = job.share.hand_over(job.clone());
                state.stage = Stage::HandedOver(call, place);
                return Poll::Pending;
            }
            Stage::Done(Ok(result)) => return Poll::Ready(result),
            Stage::Done(Err(panic)) => {
                drop(state);
                resume_unwind(panic)
            }
            other => {
                state.stage = other;
                return Poll::Pending;
            }
        };
        drop(state);
        let (polled, again, took) = job.run(&mut call);
        IN_TURNS_NS.set(IN_TURNS_NS.get().wrapping_add(took));
        if polled.is_pending() && again {
            let mut state = job.state();
            state.stage = match job.share.go_on(took, job.clone()) {
                Some(place) => Stage::HandedOver(call, place),
                None => {
                    // Clients and other calls of this thread come first.
                    cx.waker().wake_by_ref();
                    Stage::Begun(call)
                }
            };
            return Poll::Pending;
        }
        job.share.end(took);
        if polled.is_pending() {
            job.state().stage = Stage::Here(call);
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Awaited<T> {
    fn drop(&mut self) {
        let stage = std::mem::replace(&mut self.0.state().stage, Stage::Abandoned);
        match stage {
            Stage::HandedOver(_call, place) => self.0.share.take_back(place),
            Stage::Begun(_call) => self.0.share.end(0),
            Stage::Here(_) | Stage::Running | Stage::Done(_) | Stage::Abandoned => {}
        }
    }
}

/// Runs a call in turns, for `wall` at most: a guest that waits burns no fuel.
pub(crate) async fn run<T: Send + 'static>(tenant: &Tenant, wall: Duration, call: Call<T>) -> Result<T, HostFault> {
    let job = Job {
        state: Mutex::new(State { stage: Stage::Here(call), waiter: None }),
        share: tenant.share().clone(),
        turn: tenant.turn(),
        running: AtomicBool::new(false),
        woken: AtomicBool::new(false),
        runtime: Handle::try_current().ok(),
    };
    // A timer is only made for a call that does not return at its first poll, as nearly all do.
    let mut awaited = pin!(Awaited(Arc::new(job)));
    let first = std::future::poll_fn(|cx| Poll::Ready(awaited.as_mut().poll(cx))).await;
    if let Poll::Ready(result) = first {
        return Ok(result);
    }
    tokio::time::timeout(wall, awaited).await.map_err(|_| HostFault::Timeout(wall))
}
