//! The simplest consensus of a committee: members lead in turn, a height each. The leader proposes a block, the others accept it, and once more than
//! half of the power has accepted, it is decided. Members trust each other, and may crash: whoever crashes goes on where it was. But everybody
//! waits for a leader that is away: `authority` shows how another one takes over.
//!
//! Configuration: `instant` (also where it is empty) or `interval MILLISECONDS`, then perhaps `timeout MILLISECONDS`, which is how often everything is said
//! again.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use subnode_sdk::{
    codec::{decode, encode},
    committee::{Committee, Key},
    consensus::{Beginning, Committed, Consensus, Decision, Effect, Input, Judged, Position, Validator, Verdict, Wanted, signing},
    early::Early,
    pace::{self, Pace},
};

type Id = [u8; 32];
type Signature = Vec<u8>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Said {
    /// The leader: this is the block.
    Propose(Id),
    /// A member: so be it.
    Accept(Id),
}

/// What a member sends to all, and logs of its own.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Message {
    height: u64,
    said: Said,
    member: Key,
    signature: Signature,
}

/// What shows that a block was decided: who accepted it.
#[derive(Serialize, Deserialize)]
struct Certificate(Vec<(Key, Signature)>);

/// Timers: the next height begins, everything is said again, building is tried again.
const START: u64 = 0;
const REPEAT: u64 = 1;
const RETRY: u64 = 2;
const RETRY_MS: u64 = 500;

/// Where something is said, and what is signed. The host signs one text at a position: nobody proposes or accepts two blocks of a height.
fn signed(height: u64, said: Said) -> (Position, Id) {
    let (step, id) = match said {
        Said::Propose(id) => (0, id),
        Said::Accept(id) => (1, id),
    };
    (Position { height, round: 0, step }, id)
}

fn is_genuine(height: u64, said: Said, member: &Key, signature: &[u8]) -> bool {
    let (at, text) = signed(height, said);
    signing::verify(member, at, &text, signature)
}

struct Member {
    pace: Pace,
    repeat_ms: u64,
    /// Its own key, if it has a vote.
    key: Option<Key>,
    height: u64,
    committee: Committee,
    /// What the leader proposed.
    proposal: Option<Id>,
    /// Blocks that this host has executed, and found valid.
    valid: BTreeSet<Id>,
    accepted: BTreeMap<Key, Signature>,
    /// What it said itself at this height.
    said: Vec<Message>,
    building: bool,
    /// Of the next height: some members are ahead.
    early: Early,
    effects: Vec<Effect>,
}

impl Member {
    fn leader(&self) -> Key {
        self.committee.at_turn(self.height)
    }

    fn leads(&self) -> bool {
        self.key == Some(self.leader())
    }

    /// Says something, and hears it itself. What was logged before it is sent is still said after a crash.
    fn say(&mut self, said: Said) {
        let (at, text) = signed(self.height, said);
        let (Some(member), Some(signature)) = (self.key, signing::sign(at, &text)) else { return };
        let message = Message { height: self.height, said, member, signature };
        self.effects.push(Effect::AppendLog(encode(&message)));
        self.effects.push(Effect::Broadcast(encode(&message)));
        self.said.push(message.clone());
        self.note(message);
    }

    /// Takes what a member said, which is genuine.
    fn note(&mut self, message: Message) {
        match message.said {
            Said::Propose(id) if message.member == self.leader() => self.proposal = Some(id),
            Said::Accept(_) if self.committee.has(&message.member) => drop(self.accepted.insert(message.member, message.signature)),
            _ => {}
        }
    }

    /// Does what is next at this height.
    fn go_on(&mut self) {
        let Some(id) = self.proposal else {
            if self.leads() && !self.pace.idle() && !self.building {
                self.building = true;
                self.effects.push(Effect::Build);
            }
            return;
        };
        if !self.valid.contains(&id) {
            let member = self.leader().to_vec();
            self.effects.push(Effect::Obtain(Wanted { id: id.to_vec(), member }));
            return;
        }
        if !self.said.iter().any(|message| message.said == Said::Accept(id)) {
            self.say(Said::Accept(id));
        }
        if self.committee.is_majority(self.accepted.keys()) {
            let certificate = Certificate(self.accepted.iter().map(|(member, signature)| (*member, signature.clone())).collect());
            self.effects.push(Effect::Decide(Decision { id: id.to_vec(), certificate: encode(&certificate) }));
        }
    }

    fn begin(&mut self, now_ms: u64) {
        self.pace.begin(now_ms);
        self.effects.push(Effect::SetTimer((REPEAT, self.repeat_ms)));
        self.go_on();
    }

    fn begin_if_due(&mut self, now_ms: u64) {
        if self.pace.may_begin(false) && self.leads() {
            self.begin(now_ms);
        }
    }

    fn receive(&mut self, now_ms: u64, bytes: Vec<u8>) {
        let Some(message) = decode::<Message>(&bytes) else { return };
        if !self.committee.has(&message.member) || !is_genuine(message.height, message.said, &message.member, &message.signature) {
            return;
        }
        if message.height == self.height + 1 {
            self.early.keep(message.member, bytes);
        } else if message.height == self.height {
            self.note(message);
            if self.pace.idle() { self.begin(now_ms) } else { self.go_on() }
        }
    }

    fn committed(&mut self, now_ms: u64, committed: Committed) {
        let Ok(committee) = Committee::new(&committed.committee) else { return };
        self.effects.extend([REPEAT, RETRY].map(Effect::CancelTimer));
        (self.height, self.committee, self.proposal, self.building) = (committed.block.height + 1, committee, None, false);
        self.valid.clear();
        self.accepted.clear();
        self.said.clear();
        match self.pace.end(now_ms, committed.ready) {
            Some(wait_ms) => self.effects.push(Effect::SetTimer((START, wait_ms))),
            None => self.begin_if_due(now_ms),
        }
        for message in self.early.take() {
            self.receive(now_ms, message);
        }
    }
}

impl Consensus for Member {
    fn start(beginning: Beginning) -> Result<(Self, Vec<Effect>), String> {
        let (sealing, repeat_ms) = pace::parse(&beginning.config)?;
        let committee = Committee::new(&beginning.committee)?;
        let valid = |Judged { id, verdict }: &Judged| matches!(verdict, Verdict::Valid).then(|| id.as_slice().try_into().ok()).flatten();
        let mut member = Self {
            pace: Pace::new(sealing, beginning.ready),
            repeat_ms,
            key: signing::key().and_then(|key| key.try_into().ok()),
            height: beginning.head.height + 1,
            committee,
            proposal: None,
            valid: beginning.kept.iter().filter_map(valid).collect(),
            accepted: BTreeMap::new(),
            said: Vec::new(),
            building: false,
            early: Early::default(),
            effects: vec![Effect::SetTimer((START, 0))],
        };
        // What it said before it was restarted holds. Of a leader that it has accepted from, it has heard a proposal.
        for message in beginning.log.iter().filter_map(|entry| decode::<Message>(entry)) {
            let (Said::Propose(id) | Said::Accept(id)) = message.said;
            member.proposal = Some(id);
            member.said.push(message.clone());
            member.note(message);
        }
        if member.proposal.is_some() {
            member.begin(0);
        }
        let effects = std::mem::take(&mut member.effects);
        Ok((member, effects))
    }

    fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Effect> {
        match input {
            Input::Ready(count) => {
                self.pace.set_ready(count);
                if self.pace.is_instant() {
                    self.begin_if_due(now_ms);
                }
            }
            Input::Timer(START) => self.begin_if_due(now_ms),
            Input::Timer(REPEAT) => {
                let again: Vec<_> = self.said.iter().map(|message| Effect::Broadcast(encode(message))).collect();
                self.effects.extend(again);
                self.effects.push(Effect::SetTimer((REPEAT, self.repeat_ms)));
                self.go_on();
            }
            Input::Timer(_) | Input::BuildFailed => {
                // It may have been the machine's doing.
                self.building = false;
                let retry = matches!(input, Input::BuildFailed);
                if retry { self.effects.push(Effect::SetTimer((RETRY, RETRY_MS))) } else { self.go_on() }
            }
            Input::Built(candidate) => {
                self.building = false;
                if let (true, None, Ok(id)) = (self.leads(), self.proposal, candidate.id.as_slice().try_into()) {
                    self.valid.insert(id);
                    // Kept through a crash from here on, as what is said of it is.
                    self.effects.push(Effect::Share(candidate.id));
                    self.say(Said::Propose(id));
                    self.go_on();
                }
            }
            Input::Committed(committed) => self.committed(now_ms, committed),
            Input::Seal => {
                if self.pace.idle() && self.leads() {
                    self.begin(now_ms);
                }
            }
            Input::SetSealing(sealing) => {
                self.pace.set_sealing(sealing);
                self.begin_if_due(now_ms);
            }
            Input::Message(bytes) => self.receive(now_ms, bytes),
            Input::Judged(Judged { id, verdict: Verdict::Valid }) => {
                self.valid.extend(id.as_slice().try_into().ok().map(|id: Id| id));
                self.go_on();
            }
            // A leader that is trusted has a bug, or this host has: nobody accepts, and an operator must look.
            Input::Judged(_) => {}
        }
        std::mem::take(&mut self.effects)
    }

    fn check(members: Vec<Validator>, height: u64, id: Vec<u8>, certificate: Vec<u8>) -> Result<(), String> {
        let committee = Committee::new(&members)?;
        let id: Id = id.as_slice().try_into().map_err(|_| "a block's id has 32 bytes")?;
        let Certificate(accepted) = decode(&certificate).ok_or("it does not decode")?;
        if accepted.iter().any(|(member, signature)| !is_genuine(height, Said::Accept(id), member, signature)) {
            return Err("a signature is not genuine".into());
        }
        if committee.is_majority(accepted.iter().map(|(member, _)| member)) { Ok(()) } else { Err("no majority has signed it".into()) }
    }
}

subnode_sdk::consensus!(Member);
