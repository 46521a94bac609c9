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
    /// The longest that an answer took.
    asked: Duration,
    refused: u64,
    faults: Vec<String>,
    /// Not counted among the delays: what was sent while the network was cut.
    cut: bool,
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

    pub(super) fn set_cut(&self, cut: bool) {
        self.state().cut = cut;
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
        if way.purpose == Purpose::Consensus && !state.cut && took > state.slowest.0 {
            state.slowest = (took, Some((way, Duration::from_micros(at))));
        }
    }

    /// A frame of nobody honest's arrived.
    pub(super) fn arrived_from_stranger(&self) {
        self.state().stranger_frames += 1;
    }

    /// A question was answered, or not.
    pub(super) fn answered(&self, took: Duration, answered: Result<(), String>) {
        let mut state = self.state();
        if state.cut {
            return;
        }
        state.asked = state.asked.max(took);
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
        (state.slowest.0, state.asked)
    }

    /// What did not hold: of frames that went by the connection that there is now, all must have arrived.
    pub(super) fn check(&self, now_since: impl Fn(usize, usize) -> Option<Instant>, delayed_max: Duration) -> Result<(), String> {
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
        match state.slowest {
            (took, Some((way, at))) if took > delayed_max => {
                Err(format!("{way:?}: a frame of consensus, sent after {at:?}, took {took:?}, at most {delayed_max:?}"))
            }
            _ => Ok(()),
        }
    }
}
