//! Start-time fair queueing (Goyal, Vin, Cheng 1996) with credit for chains that use little.
//!
//! Each chain has a virtual time: the time it ran, divided by its parts. The queue's own is that of the latest turn's start. A chain
//! behind the queue's time is *due*: it used less than its share, and its turns begin at once. Others wait, and the one with the least
//! time goes next. A chain that comes back from idling owes nothing, and has saved up [`CREDIT_NS`] at most.
//! The queue's time also passes by itself, at a quarter of the speed at which all cores would move it: where other programs keep turns from
//! being done, a chain that used less than a quarter of its share of the machine is due all the same.
//! A turn is charged an estimate when it begins, so that one chain does not begin many at once, and what it took when it ends.
//!
//! All operations are O(log chains).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use subnode_types::Parts;

/// What a turn is charged until it is known: about what one takes.
const ESTIMATE_NS: u64 = 100_000;
/// CPU time that a chain saves up while it idles: a block of a few hundred transfers.
const CREDIT_NS: u64 = 10_000_000;
/// A chain that had so many turns while no other had any has the cores for itself: a tenth of a second.
const LONE_TURNS: u32 = 1_000;
/// What part of its share a chain is sure of whatever else the machine does. With more, a busy chain would be due on a machine that is slow.
const SURE_PART: u128 = 4;
/// Keeps the division by parts exact enough: a nanosecond on the largest slice is still a thousand.
const SCALE: u128 = 1 << 20;

pub(crate) type Flow = u64;
pub(crate) type Waiter = u64;
/// Chains by virtual time.
type Ready = BTreeSet<(u128, Flow)>;

/// Chains whose work waits for a turn, and those that have one.
#[derive(Debug, Default)]
pub(crate) struct FairQueue {
    now: u128,
    cores: usize,
    /// Until when, in nanoseconds, the time has passed by itself.
    passed_ns: u64,
    /// Parts of the chains of which something waits or runs.
    active_parts: u64,
    /// The latest that any turn ended at.
    latest: u128,
    running: usize,
    chains: BTreeMap<Flow, Chain>,
    /// Chains whose work waits, by virtual time.
    ready: Ready,
    next_flow: Flow,
    /// The chain that had the last turns, and how many.
    lone: (Flow, u32),
}

#[derive(Debug)]
struct Chain {
    parts: Parts,
    time: u128,
    running: usize,
    waiting: VecDeque<Waiter>,
}

impl Chain {
    fn active_parts(&self) -> u64 {
        if self.running > 0 || !self.waiting.is_empty() { u64::from(self.parts.get()) } else { 0 }
    }

    fn set_time(&mut self, flow: Flow, time: u128, ready: &mut Ready) {
        if ready.remove(&(self.time, flow)) {
            ready.insert((time, flow));
        }
        self.time = time;
    }
}

fn virtual_time(ns: u64, parts: Parts) -> u128 {
    u128::from(ns) * SCALE / u128::from(parts.get())
}

impl FairQueue {
    pub(crate) fn new(cores: usize) -> Self {
        Self { cores, ..Self::default() }
    }

    /// Lets time pass, to so many nanoseconds after any fixed moment.
    pub(crate) fn pass(&mut self, now_ns: u64) {
        let passed = now_ns.saturating_sub(self.passed_ns);
        self.passed_ns += passed;
        if let Some(moved) = (u128::from(passed * self.cores as u64) * SCALE / SURE_PART).checked_div(u128::from(self.active_parts)) {
            self.now += moved;
        }
    }

    /// Changes a chain, and keeps count of what is active.
    fn change<T>(&mut self, flow: Flow, change: impl FnOnce(&mut Chain, &mut Ready) -> T) -> Option<T> {
        let chain = self.chains.get_mut(&flow)?;
        let before = chain.active_parts();
        let changed = change(chain, &mut self.ready);
        self.active_parts = (self.active_parts + chain.active_parts()).saturating_sub(before);
        Some(changed)
    }

    pub(crate) fn join(&mut self, parts: Parts) -> Flow {
        let flow = self.next_flow;
        self.next_flow += 1;
        self.chains.insert(flow, Chain { parts, time: self.now, running: 0, waiting: VecDeque::new() });
        flow
    }

    /// Forgets a chain. Nothing of it may wait or run.
    pub(crate) fn leave(&mut self, flow: Flow) {
        if let Some(chain) = self.chains.remove(&flow) {
            self.ready.remove(&(chain.time, flow));
            self.active_parts = self.active_parts.saturating_sub(chain.active_parts());
        }
    }

    pub(crate) fn set_parts(&mut self, flow: Flow, parts: Parts) {
        self.change(flow, |chain, _| chain.parts = parts);
    }

    /// Brings a chain's time to where it is when something new of it comes.
    fn arrive(&mut self, flow: Flow) {
        if self.running == 0 && self.ready.is_empty() {
            // Nobody wants the cores: nobody is owed any either.
            self.now = self.now.max(self.latest);
        }
        let Some(chain) = self.chains.get_mut(&flow) else { return };
        if chain.running == 0 && chain.waiting.is_empty() {
            chain.time = chain.time.max(self.now.saturating_sub(virtual_time(CREDIT_NS, chain.parts)));
        }
    }

    /// Whether the chain is due, or has the cores for itself. With a turn on each core it is not due for another: among more threads than
    /// cores, the chain with the most would get the most.
    fn is_due(&self, flow: Flow) -> bool {
        let due = |chain: &Chain| chain.time <= self.now && chain.running < self.cores;
        self.is_alone(flow) || self.chains.get(&flow).is_none_or(due)
    }

    /// Whether no other chain had a turn for a while, or wants one.
    pub(crate) fn is_alone(&self, flow: Flow) -> bool {
        let others_active = || self.active_parts > self.chains.get(&flow).map_or(0, Chain::active_parts);
        self.chains.len() == 1 || (self.lone.0 == flow && self.lone.1 >= LONE_TURNS && !others_active())
    }

    /// Begins a turn at once if the chain is due.
    pub(crate) fn begin_if_due(&mut self, flow: Flow) -> bool {
        self.arrive(flow);
        let due = self.is_due(flow);
        if due {
            self.begin(flow);
        }
        due
    }

    /// Something of a chain waits for a turn, behind the chain's others: short work does not wait for long work to end.
    pub(crate) fn wait(&mut self, flow: Flow, waiter: Waiter) {
        self.arrive(flow);
        self.change(flow, |chain, ready| {
            chain.waiting.push_back(waiter);
            ready.insert((chain.time, flow));
        });
    }

    /// What waits does not want its turn any more.
    pub(crate) fn cancel(&mut self, flow: Flow, waiter: Waiter) {
        self.change(flow, |chain, ready| {
            chain.waiting.retain(|one| *one != waiter);
            if chain.waiting.is_empty() {
                ready.remove(&(chain.time, flow));
            }
        });
    }

    /// Begins the next turn, if anything waits.
    pub(crate) fn next(&mut self) -> Option<(Flow, Waiter)> {
        let (_, flow) = self.ready.first().copied()?;
        let waiter = self.change(flow, |chain, ready| {
            let waiter = chain.waiting.pop_front();
            if chain.waiting.is_empty() {
                ready.remove(&(chain.time, flow));
            }
            waiter
        })??;
        self.begin(flow);
        Some((flow, waiter))
    }

    fn begin(&mut self, flow: Flow) {
        let started = self.change(flow, |chain, ready| {
            let started = chain.time;
            chain.running += 1;
            chain.set_time(flow, started + virtual_time(ESTIMATE_NS, chain.parts), ready);
            started
        });
        let Some(started) = started else { return };
        self.now = self.now.max(started);
        self.running += 1;
        self.lone = if self.lone.0 == flow { (flow, self.lone.1.saturating_add(1)) } else { (flow, 0) };
    }

    /// A turn ends after `ns`. What goes on afterwards waits before its turn ends: a chain with one long call would else be missing
    /// whenever the next turn is given, and get every other one, whatever its parts.
    pub(crate) fn end(&mut self, flow: Flow, ns: u64) {
        let ended = self.change(flow, |chain, ready| {
            chain.running = chain.running.saturating_sub(1);
            let time = (chain.time + virtual_time(ns, chain.parts)).saturating_sub(virtual_time(ESTIMATE_NS, chain.parts));
            chain.set_time(flow, time, ready);
            time
        });
        let Some(ended) = ended else { return };
        self.running = self.running.saturating_sub(1);
        self.latest = self.latest.max(ended);
    }

    /// The same for what goes on: true where it has its next turn at once, and false where it waits for it.
    pub(crate) fn go_on(&mut self, flow: Flow, ns: u64, waiter: Waiter) -> bool {
        self.wait(flow, waiter);
        self.end(flow, ns);
        let due = self.is_due(flow);
        if due {
            self.cancel(flow, waiter);
            self.begin(flow);
        }
        due
    }

    /// Charges a chain for time it took outside its turns.
    pub(crate) fn charge(&mut self, flow: Flow, ns: u64) {
        self.arrive(flow);
        let charged = self.change(flow, |chain, ready| {
            let time = chain.time + virtual_time(ns, chain.parts);
            chain.set_time(flow, time, ready);
            time
        });
        self.latest = self.latest.max(charged.unwrap_or_default());
    }
}

#[cfg(test)]
mod tests;
