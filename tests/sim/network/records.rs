//! What honest members sent to each other, and what arrived.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use subnode_network::Purpose;
use tokio::time::Instant;

/// From a member to a member, on a chain, for a purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Way {
    pub from: usize,
    pub to: usize,
    pub chain: usize,
    pub purpose: Purpose,
}

/// A frame that the network took.
#[derive(Clone, Copy, Debug)]
struct Sent {
    at: Instant,
    /// When the connection began that it was to go by.
    since: Instant,
}

#[derive(Default)]
struct State {
    sent: BTreeMap<Way, Vec<Sent>>,
    arrived: BTreeMap<Way, BTreeSet<u64>>,
    /// The longest way of a frame of consensus, and which it was.
    slowest: (Duration, Option<(Way, Duration)>),
    /// The longest that an answer took, and which it was.
    asked: (Duration, Option<(Way, Duration)>),
    refused: u64,
    faults: Vec<String>,
    /// Since when members are settled. How long frames and answers take is counted of those sent and asked since then: before, connections take the
    /// place of others.
    settled: Option<Instant>,
    stranger_frames: u64,
}

/// All that is noted in a run.
#[derive(Clone)]
pub(super) struct Records {
    state: Arc<Mutex<State>>,
    began: Instant,
}

/// What a frame begins with: its number, and when it was sent.
pub(super) const HEAD: usize = 16;

impl Records {
    pub(super) fn new() -> Self {
        Self { state: Arc::default(), began: Instant::now() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(super) fn set_settled(&self, settled: bool) {
        self.state().settled = settled.then(Instant::now);
    }

    /// Something that must not be.
    pub(super) fn fault(&self, what: String) {
        let mut state = self.state();
        if state.faults.len() < 5 {
            state.faults.push(what);
        }
    }

    /// The next frame of a way, of so many bytes.
    pub(super) fn frame(&self, way: Way, bytes: usize) -> Vec<u8> {
        let number = self.state().sent.entry(way).or_default().len() as u64;
        let now = u64::try_from(self.began.elapsed().as_micros()).unwrap();
        let mut frame = [number.to_be_bytes(), now.to_be_bytes()].concat();
        frame.resize(bytes.max(HEAD), 7);
        frame
    }

    /// The network took the frame.
    pub(super) fn sent(&self, way: Way, since: Instant) {
        self.state().sent.entry(way).or_default().push(Sent { at: Instant::now(), since });
    }

    /// A frame arrived.
    pub(super) fn arrived(&self, way: Way, frame: &[u8]) {
        let Some((head, _)) = frame.split_at_checked(HEAD) else { return self.fault(format!("{way:?}: half a frame arrived")) };
        let (number, at) = head.split_at(8);
        let [number, at] = [number, at].map(|bytes| u64::from_be_bytes(bytes.try_into().unwrap()));
        let took = self.began.elapsed().saturating_sub(Duration::from_micros(at));
        let mut state = self.state();
        if !state.arrived.entry(way).or_default().insert(number) {
            drop(state);
            return self.fault(format!("{way:?}: frame {number} arrived twice"));
        }
        let settled = state.settled.is_some_and(|since| self.began + Duration::from_micros(at) >= since);
        if way.purpose == Purpose::Consensus && settled && took > state.slowest.0 {
            state.slowest = (took, Some((way, Duration::from_micros(at))));
        }
    }

    /// A frame of nobody honest's arrived.
    pub(super) fn arrived_from_stranger(&self) {
        self.state().stranger_frames += 1;
    }

    /// A question that was sent this way at a time was answered, or not.
    pub(super) fn answered(&self, way: Way, at: Instant, answered: Result<(), String>) {
        let (mut state, took) = (self.state(), at.elapsed());
        if state.settled.is_none_or(|since| at < since) {
            return;
        }
        if took > state.asked.0 {
            state.asked = (took, Some((way, at.duration_since(self.began))));
        }
        if let Err(reason) = answered {
            state.refused += 1;
            drop(state);
            self.fault(format!("a member's question was not answered: {reason}, after {took:?}"));
        }
    }

    /// Frames that arrived.
    pub(super) fn frames(&self) -> u64 {
        self.state().arrived.values().map(|numbers| numbers.len() as u64).sum()
    }

    /// Frames of strangers and of members that break the rules, as honest members took them.
    pub(super) fn stranger_frames(&self) -> u64 {
        self.state().stranger_frames
    }

    /// The longest way of a frame of consensus, and the longest that an answer took.
    pub(super) fn slowest(&self) -> (Duration, Duration) {
        let state = self.state();
        (state.slowest.0, state.asked.0)
    }

    /// What did not hold: of frames that went by the connection that there is now, all must have arrived.
    pub(super) fn check(
        &self,
        now_since: impl Fn(usize, usize) -> Option<Instant>,
        delayed_max: Duration,
        answered_within: Duration,
    ) -> Result<(), String> {
        let state = self.state();
        if !state.faults.is_empty() {
            return Err(state.faults.join("; "));
        }
        for (way, sent) in &state.sent {
            let arrived = state.arrived.get(way);
            let since = now_since(way.from, way.to);
            for (number, frame) in sent.iter().enumerate() {
                let there = arrived.is_some_and(|numbers| numbers.contains(&(number as u64)));
                if !there && Some(frame.since) == since {
                    let at = frame.at.duration_since(self.began);
                    return Err(format!("{way:?}: frame {number}, sent after {at:?}, is lost, and its connection is not"));
                }
            }
        }
        for (what, (took, which), most) in
            [("a frame of consensus", state.slowest, delayed_max), ("an answer", state.asked, answered_within)]
        {
            if let Some((way, at)) = which.filter(|_| took > most) {
                return Err(format!("{way:?}: {what}, sent or asked after {at:?}, took {took:?}, at most {most:?}"));
            }
        }
        Ok(())
    }
}
