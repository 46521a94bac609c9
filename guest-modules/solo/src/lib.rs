//! A single sequencer: seals a block when a transaction is ready, at an interval, or when asked.
//!
//! Configuration: `instant` (also the meaning of an empty configuration), `manual`, or `interval MILLISECONDS`.

use subnode_sdk::consensus::{Beginning, Candidate, Consensus, Decision, Effect, Input, Sealing, Validator};

/// The timer of interval sealing, and the one that tries again after a block could not be built.
const INTERVAL_TIMER: u64 = 0;
const RETRY_TIMER: u64 = 1;
const RETRY_MS: u64 = 1_000;

/// Why a block is built.
#[derive(Clone, Copy, PartialEq)]
enum Reason {
    /// For the transactions in the pool: not worth sealing without any.
    Transactions,
    /// For an interval that has ended, or for a user who asked.
    Asked,
}

struct Sequencer {
    sealing: Sealing,
    /// When the next block of interval sealing is due, in milliseconds as `now_ms` counts them.
    due_ms: Option<u64>,
    building: Option<Reason>,
    ready: u32,
    /// Blocks asked for while one was being built.
    asked: u32,
}

impl Sequencer {
    fn build(&mut self, reason: Reason, effects: &mut Vec<Effect>) {
        if self.building.is_none() {
            self.building = Some(reason);
            effects.push(Effect::Build);
        }
    }

    /// Starts the next block if there is a reason for one.
    fn go_on(&mut self, effects: &mut Vec<Effect>) {
        if self.asked > 0 && self.building.is_none() {
            self.asked -= 1;
            self.build(Reason::Asked, effects);
        } else if matches!(self.sealing, Sealing::Instant) && self.ready > 0 {
            self.build(Reason::Transactions, effects);
        }
    }

    /// Sets the timer for the next block of interval sealing. The interval counts from when this block was due, so that
    /// blocks do not drift. After a delay of more than an interval it counts from now.
    fn schedule(&mut self, now_ms: u64, interval_ms: u64, effects: &mut Vec<Effect>) {
        let due = self.due_ms.map_or(now_ms, |due| due.max(now_ms.saturating_sub(interval_ms))).saturating_add(interval_ms);
        self.due_ms = Some(due);
        effects.push(Effect::SetTimer((INTERVAL_TIMER, due.saturating_sub(now_ms))));
    }
}

fn parse(config: &[u8]) -> Result<Sealing, String> {
    let text = std::str::from_utf8(config).map_err(|_| "not text".to_owned())?;
    let mut words = text.split_whitespace();
    let sealing = match (words.next(), words.next()) {
        (None | Some("instant"), None) => Sealing::Instant,
        (Some("manual"), None) => Sealing::Manual,
        (Some("interval"), Some(ms)) => match ms.parse() {
            Ok(ms) if ms > 0 => Sealing::Interval(ms),
            _ => return Err(format!("interval {ms:?}: give milliseconds, 1 or more")),
        },
        _ => return Err(format!("{text:?}: use instant, manual or interval MILLISECONDS")),
    };
    Ok(sealing)
}

impl Consensus for Sequencer {
    fn start(beginning: Beginning) -> Result<(Self, Vec<Effect>), String> {
        if !beginning.committee.is_empty() {
            return Err("the chain has a committee, and a single sequencer would pass it over: use bft".into());
        }
        let sealing = parse(&beginning.config)?;
        let mut sequencer = Self { sealing, due_ms: None, building: None, ready: beginning.ready, asked: 0 };
        let mut effects = Vec::new();
        if let Sealing::Interval(interval_ms) = sealing {
            effects.push(Effect::SetTimer((INTERVAL_TIMER, interval_ms)));
        }
        sequencer.go_on(&mut effects);
        Ok((sequencer, effects))
    }

    fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Effect> {
        let mut effects = Vec::new();
        match input {
            Input::Ready(count) => {
                self.ready = count;
                self.go_on(&mut effects);
            }
            Input::Timer(INTERVAL_TIMER) => {
                if let Sealing::Interval(interval_ms) = self.sealing {
                    self.schedule(now_ms, interval_ms, &mut effects);
                    self.build(Reason::Asked, &mut effects);
                }
            }
            Input::Timer(_) => self.go_on(&mut effects),
            // None of the ready transactions can be executed now. They wait for the next block, or for a new transaction.
            Input::Built(Candidate { transactions: 0, .. }) if self.building == Some(Reason::Transactions) => {
                self.building = None;
                self.ready = 0;
                self.go_on(&mut effects);
            }
            Input::Built(candidate) => effects.push(Effect::Decide(Decision { id: candidate.id, certificate: Vec::new() })),
            Input::BuildFailed => {
                self.building = None;
                effects.push(Effect::SetTimer((RETRY_TIMER, RETRY_MS)));
            }
            Input::Committed(committed) => {
                self.building = None;
                self.ready = committed.ready;
                self.go_on(&mut effects);
            }
            Input::Seal => {
                if self.building.is_some() {
                    self.asked = self.asked.saturating_add(1);
                } else {
                    self.build(Reason::Asked, &mut effects);
                }
            }
            Input::SetSealing(sealing) => {
                self.sealing = sealing;
                self.due_ms = None;
                match sealing {
                    Sealing::Interval(interval_ms) => self.schedule(now_ms, interval_ms, &mut effects),
                    Sealing::Instant | Sealing::Manual => effects.push(Effect::CancelTimer(INTERVAL_TIMER)),
                }
                self.go_on(&mut effects);
            }
            // Nobody else has a say.
            Input::Message(_) | Input::Judged(_) => {}
        }
        effects
    }

    fn check(_: Vec<Validator>, _: u64, _: Vec<u8>, _: Vec<u8>) -> Result<(), String> {
        Err("a single sequencer gives no certificates".into())
    }
}

subnode_sdk::consensus!(Sequencer);
