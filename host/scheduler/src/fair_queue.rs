//! Start-time fair queueing (Goyal, Vin, Cheng 1996) for a number of slots.
//!
//! Each chain has a virtual time: the time it ran, divided by its parts. The waiting chain with the least runs next. A chain
//! that comes back from idling starts at the queue's own virtual time, so that it neither saves time up nor owes any.
//! A turn is charged an estimate when it begins, so that one chain does not take all slots at once, and what it took when it ends.
//!
//! `arrive`, `cancel` and `end` are O(log chains).

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use subnode_types::Parts;

/// What a turn is charged until it is known: about what one takes.
const ESTIMATE_NS: u64 = 100_000;
/// Keeps the division by parts exact enough: a nanosecond on the largest slice is still a thousand.
const SCALE: u128 = 1 << 20;

pub(crate) type Flow = u64;
pub(crate) type Waiter = u64;

/// Chains that wait for a slot, and those that have one.
#[derive(Debug)]
pub(crate) struct FairQueue {
    slots: usize,
    running: usize,
    now: u128,
    chains: BTreeMap<Flow, Chain>,
    /// Chains of which calls wait, by virtual time.
    ready: BTreeSet<(u128, Flow)>,
    next_flow: Flow,
}

#[derive(Debug)]
struct Chain {
    parts: Parts,
    time: u128,
    running: usize,
    waiting: VecDeque<Waiter>,
}

fn virtual_time(ns: u64, parts: Parts) -> u128 {
    u128::from(ns) * SCALE / u128::from(parts.get())
}

impl FairQueue {
    pub(crate) fn new(slots: usize) -> Self {
        Self { slots, running: 0, now: 0, chains: BTreeMap::new(), ready: BTreeSet::new(), next_flow: 0 }
    }

    pub(crate) fn join(&mut self, parts: Parts) -> Flow {
        let flow = self.next_flow;
        self.next_flow += 1;
        self.chains.insert(flow, Chain { parts, time: self.now, running: 0, waiting: VecDeque::new() });
        flow
    }

    /// Forgets a chain. None of its calls may wait or run.
    pub(crate) fn leave(&mut self, flow: Flow) {
        if let Some(chain) = self.chains.remove(&flow) {
            self.ready.remove(&(chain.time, flow));
        }
    }

    pub(crate) fn set_parts(&mut self, flow: Flow, parts: Parts) {
        if let Some(chain) = self.chains.get_mut(&flow) {
            chain.parts = parts;
        }
    }

    /// A call wants a turn. True where it has it at once; else it is told by a later [`Self::end`] or [`Self::cancel`].
    pub(crate) fn arrive(&mut self, flow: Flow, waiter: Waiter) -> bool {
        let Some(chain) = self.chains.get_mut(&flow) else { return true };
        if chain.running == 0 && chain.waiting.is_empty() {
            chain.time = chain.time.max(self.now);
        }
        if self.running < self.slots_for(flow) {
            self.begin(flow);
            return true;
        }
        let Some(chain) = self.chains.get_mut(&flow) else { return true };
        chain.waiting.push_back(waiter);
        self.ready.insert((chain.time, flow));
        false
    }

    /// Whether no chain that waits is entitled to run before this one.
    fn is_first(&self, flow: Flow) -> bool {
        let time = self.chains.get(&flow).map_or(0, |chain| chain.time);
        self.ready.first().is_none_or(|(first, _)| time <= *first)
    }

    /// How many turns may be under way for this chain to begin another. One that has none, and is entitled to run before all that
    /// wait, does so at once, beside those that run, which end their turns soon: half of the turns at a time can be such.
    fn slots_for(&self, flow: Flow) -> usize {
        // The queue's time is that of the latest turn: a chain beyond it has had its share for now.
        let below_share = self.chains.get(&flow).is_some_and(|chain| chain.running == 0 && chain.time <= self.now);
        if below_share && self.is_first(flow) { self.slots * 2 } else { self.slots }
    }

    pub(crate) fn any_waits(&self) -> bool {
        !self.ready.is_empty()
    }

    fn begin(&mut self, flow: Flow) {
        if let Some(chain) = self.chains.get_mut(&flow) {
            self.now = self.now.max(chain.time);
            self.running += 1;
            chain.running += 1;
            Self::set_time(&mut self.ready, flow, chain, chain.time + virtual_time(ESTIMATE_NS, chain.parts));
        }
    }

    fn set_time(ready: &mut BTreeSet<(u128, Flow)>, flow: Flow, chain: &mut Chain, time: u128) {
        if ready.remove(&(chain.time, flow)) {
            ready.insert((time, flow));
        }
        chain.time = time;
    }

    /// A call that waits does not want its turn any more.
    pub(crate) fn cancel(&mut self, flow: Flow, waiter: Waiter) {
        if let Some(chain) = self.chains.get_mut(&flow) {
            chain.waiting.retain(|one| *one != waiter);
            if chain.waiting.is_empty() {
                self.ready.remove(&(chain.time, flow));
            }
        }
    }

    /// A turn ends after `ns`, and the call wants another. None where it has it at once; else it waits, and the inner call, if there
    /// is one, has the slot from now on.
    ///
    /// Ending the turn and arriving anew would not do: a chain with one long call would be missing whenever the next is chosen, and
    /// get every other turn whatever its parts.
    pub(crate) fn go_on(&mut self, flow: Flow, ns: u64, waiter: Waiter) -> Option<Option<Waiter>> {
        self.settle(flow, ns);
        if self.is_first(flow) && self.running < self.slots_for(flow) {
            self.begin(flow);
            return None;
        }
        let chain = self.chains.get_mut(&flow)?;
        // Behind the chain's other calls: a short one does not wait for a long one to end.
        chain.waiting.push_back(waiter);
        self.ready.insert((chain.time, flow));
        Some(self.next())
    }

    /// A turn ends after `ns`. The call that has the slot from now on, if one waits.
    pub(crate) fn end(&mut self, flow: Flow, ns: u64) -> Option<Waiter> {
        self.settle(flow, ns);
        self.next()
    }

    /// Charges a turn that ends.
    fn settle(&mut self, flow: Flow, ns: u64) {
        if let Some(chain) = self.chains.get_mut(&flow) {
            chain.running = chain.running.saturating_sub(1);
            self.running = self.running.saturating_sub(1);
            let time = (chain.time + virtual_time(ns, chain.parts)).saturating_sub(virtual_time(ESTIMATE_NS, chain.parts));
            Self::set_time(&mut self.ready, flow, chain, time);
        }
    }

    /// Gives a free slot to the call that is to have it.
    fn next(&mut self) -> Option<Waiter> {
        if self.running >= self.slots {
            return None;
        }
        let (_, next) = self.ready.first().copied()?;
        let waiter = self.chains.get_mut(&next).and_then(|chain| {
            let waiter = chain.waiting.pop_front();
            if chain.waiting.is_empty() {
                self.ready.remove(&(chain.time, next));
            }
            waiter
        });
        self.begin(next);
        waiter
    }

    /// Charges a chain for time it took outside its turns.
    pub(crate) fn charge(&mut self, flow: Flow, ns: u64) {
        if let Some(chain) = self.chains.get_mut(&flow) {
            let time = chain.time.max(self.now) + virtual_time(ns, chain.parts);
            Self::set_time(&mut self.ready, flow, chain, time);
        }
    }
}

#[cfg(test)]
mod tests;
