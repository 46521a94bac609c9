//! Consensus of members that trust each other: they may stop, be slow, or be cut off, but they do not lie. More than half of the power decides. Read it to
//! learn the `consensus` world; where members may lie, use `bft`.
//!
//! Members propose in turn. Each attempt at a height is a *view*; the member whose turn it is proposes a block, the others *accept* it, and once more
//! than half of the power has accepted one block in one view, it is decided: those signatures are its certificate. Where that takes too long, members
//! *move* to the next view, and say which block they accepted last. The next member takes over once more than half has moved: if any of them has accepted
//! a block, it proposes the one of the latest view again, for it may be decided already. This is single-decree Paxos (Lamport 1998) with a moving
//! proposer. That a member does not accept in a view that it has moved beyond needs no code here: the host does not sign it.
//!
//! Configuration: as `bft`'s.

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

/// What a member says in a view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Said {
    /// It has moved here, and this is the last that it accepted: the view, and the block.
    Move(Option<(u32, Id)>),
    /// It is its turn, and this is the block.
    Propose(Id),
    /// It accepts this block.
    Accept(Id),
}

/// What a member sends to all, and logs of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
struct Message {
    height: u64,
    view: u32,
    said: Said,
    member: Key,
    signature: Signature,
}

/// What shows that a block was decided: who accepted it in this view.
#[derive(Serialize, Deserialize)]
struct Certificate {
    view: u32,
    accepted: Vec<(Key, Signature)>,
}

/// Timers: the next height, the end of a view, saying everything again, building again.
const START: u64 = 0;
const VIEW: u64 = 1;
const REPEAT: u64 = 2;
const RETRY: u64 = 3;
const RETRY_MS: u64 = 500;
/// How far ahead of its own view a member listens.
const VIEWS_AHEAD: u32 = 1_000;

/// Where something is said, and what of it is signed. A member says at most one thing of each kind in a view, in this order.
fn signed(height: u64, view: u32, said: &Said) -> (Position, Vec<u8>) {
    let step = match said {
        Said::Move(_) => 0,
        Said::Propose(_) => 1,
        Said::Accept(_) => 2,
    };
    (Position { height, round: view, step }, encode(said))
}

fn is_genuine(height: u64, view: u32, said: &Said, member: &Key, signature: &[u8]) -> bool {
    let (at, text) = signed(height, view, said);
    signing::verify(member, at, &text, signature)
}

struct Authority {
    pace: Pace,
    timeout_ms: u64,
    key: Key,
    height: u64,
    committee: Committee,
    view: u32,
    /// What is known of this height: who said what in which view.
    heard: BTreeMap<(u32, Key), BTreeMap<Said, Signature>>,
    /// The last that this member accepted.
    accepted: Option<(u32, Id)>,
    /// Blocks that this host has executed, and whether they are valid.
    judged: BTreeMap<Id, bool>,
    building: bool,
    /// Whether another member is at work on this height.
    others: bool,
    /// Messages of the next height, which others have begun before this member.
    early: Early,
    effects: Vec<Effect>,
}

impl Authority {
    fn proposer(&self) -> Key {
        self.committee.at_turn(self.height.wrapping_add(self.view.into()))
    }

    /// Says something, unless this node has no vote or has said another thing there.
    fn say(&mut self, said: Said) -> bool {
        let (at, text) = signed(self.height, self.view, &said);
        if !self.committee.has(&self.key) {
            return false;
        }
        let Some(signature) = signing::sign(at, &text) else { return false };
        let message = Message { height: self.height, view: self.view, said, member: self.key, signature };
        // Whoever forgets what it accepted could lose a decision: it is in the log before anyone hears it.
        self.effects.push(Effect::AppendLog(encode(&message)));
        self.effects.push(Effect::Broadcast(encode(&message)));
        self.note(message);
        true
    }

    fn note(&mut self, Message { view, said, member, signature, .. }: Message) {
        self.heard.entry((view, member)).or_default().insert(said, signature);
    }

    /// Members that said something in a view, with what `pick` takes of it.
    fn who<T>(&self, view: u32, pick: impl Fn(&Said) -> Option<T>) -> BTreeMap<Key, T> {
        let in_view = self.heard.range((view, [0; 32])..=(view, [0xff; 32]));
        in_view.filter_map(|((_, member), said)| Some((*member, said.keys().find_map(&pick)?))).collect()
    }

    /// Works on this height from now on.
    fn begin(&mut self, now_ms: u64) {
        self.pace.begin(now_ms);
        self.effects.push(Effect::SetTimer((REPEAT, self.timeout_ms / 3 + 1)));
        self.arm();
        self.go_on();
    }

    /// Views get longer until they are as long as the network is slow.
    fn arm(&mut self) {
        let longer = u64::from(self.view).saturating_mul(self.timeout_ms / 3);
        self.effects.push(Effect::SetTimer((VIEW, self.timeout_ms.saturating_add(longer))));
    }

    fn move_to(&mut self, view: u32) {
        self.view = view;
        self.building = false;
        self.say(Said::Move(self.accepted));
        self.arm();
    }

    /// Does all that what is known by now allows.
    fn go_on(&mut self) {
        // Where more than half has moved on, so does this member.
        let ahead = self.heard.keys().map(|(view, _)| *view).filter(|view| *view > self.view);
        for view in ahead.collect::<BTreeSet<_>>() {
            if self.committee.is_majority(self.who(view, |_| Some(())).keys()) {
                self.move_to(view);
            }
        }
        if self.proposer() == self.key {
            self.lead();
        }
        self.follow();
        self.decide();
    }

    /// Proposes, if it may.
    fn lead(&mut self) {
        let proposed = self.who(self.view, |said| matches!(said, Said::Propose(_)).then_some(()));
        if proposed.contains_key(&self.key) || self.building {
            return;
        }
        let moved = self.who(self.view, |said| if let Said::Move(last) = said { Some(*last) } else { None });
        if self.view > 0 && !self.committee.is_majority(moved.keys()) {
            return;
        }
        match moved.values().flatten().max() {
            Some((_, id)) => drop(self.say(Said::Propose(*id))),
            None => {
                self.building = true;
                self.effects.push(Effect::Build);
            }
        }
    }

    /// Accepts what is proposed in this view, once it is known to be valid.
    fn follow(&mut self) {
        let proposer = self.proposer();
        let proposals = self.who(self.view, |said| if let Said::Propose(id) = said { Some(*id) } else { None });
        let Some(id) = proposals.get(&proposer).copied() else { return };
        match self.judged.get(&id) {
            None => self.effects.push(Effect::Obtain(Wanted { id: id.to_vec(), member: proposer.to_vec() })),
            Some(false) => {}
            Some(true) if self.accepted == Some((self.view, id)) => {}
            Some(true) => {
                if self.say(Said::Accept(id)) {
                    self.accepted = Some((self.view, id));
                }
            }
        }
    }

    /// Decides on what more than half has accepted.
    fn decide(&mut self) {
        let views: BTreeSet<_> = self.heard.keys().map(|(view, _)| *view).collect();
        for view in views {
            let accepts = self.who(view, |said| if let Said::Accept(id) = said { Some(*id) } else { None });
            // All that is accepted in a view is one block: the one its proposer signed.
            let Some((first, id)) = accepts.iter().next() else { continue };
            if !self.committee.is_majority(accepts.keys()) || accepts.values().any(|other| other != id) {
                continue;
            }
            if self.judged.get(id) != Some(&true) {
                self.effects.push(Effect::Obtain(Wanted { id: id.to_vec(), member: first.to_vec() }));
                continue;
            }
            let signature = |member: &Key| self.heard.get(&(view, *member))?.get(&Said::Accept(*id)).cloned();
            let accepted = accepts.keys().filter_map(|member| Some((*member, signature(member)?))).collect();
            let certificate = encode(&Certificate { view, accepted });
            self.effects.push(Effect::Decide(Decision { id: id.to_vec(), certificate }));
            return;
        }
    }

    fn receive(&mut self, now_ms: u64, bytes: &[u8]) {
        let Some(message) = decode::<Message>(bytes) else { return };
        let Message { height, view, said, member, signature } = &message;
        if *height == self.height + 1 && self.committee.has(member) && is_genuine(*height, *view, said, member, signature) {
            self.early.keep(*member, bytes.to_vec());
        }
        let known = self.heard.get(&(*view, *member)).is_some_and(|heard| heard.contains_key(said));
        if *height != self.height || known || !self.committee.has(member) || *view > self.view.saturating_add(VIEWS_AHEAD) {
            return;
        }
        if !is_genuine(*height, *view, said, member, signature) {
            return;
        }
        self.others = true;
        self.note(message);
        if !self.pace.idle() {
            self.go_on();
        } else if self.pace.is_instant() {
            self.begin(now_ms);
        }
    }

    fn committed(&mut self, now_ms: u64, committed: Committed) {
        let Ok(committee) = Committee::new(&committed.committee) else { return };
        self.effects.extend([VIEW, REPEAT, RETRY].map(Effect::CancelTimer));
        (self.height, self.committee, self.view) = (committed.block.height + 1, committee, 0);
        (self.accepted, self.building, self.others) = (None, false, false);
        self.heard.clear();
        self.judged.clear();
        match self.pace.end(now_ms, committed.ready) {
            Some(wait_ms) => self.effects.push(Effect::SetTimer((START, wait_ms))),
            None => self.begin_if_due(now_ms),
        }
        for message in self.early.take() {
            self.receive(now_ms, &message);
        }
    }

    fn begin_if_due(&mut self, now_ms: u64) {
        if self.pace.may_begin(self.others) {
            self.begin(now_ms);
        }
    }

    /// Says again what this member last said: messages are lost.
    fn repeat(&mut self) {
        let own = self.heard.iter().rev().filter(|((_, member), _)| *member == self.key).take(2);
        let again: Vec<_> = own
            .flat_map(|((view, member), heard)| {
                heard.iter().map(|(said, signature)| {
                    let (said, signature) = (said.clone(), signature.clone());
                    encode(&Message { height: self.height, view: *view, said, member: *member, signature })
                })
            })
            .collect();
        self.effects.extend(again.into_iter().map(Effect::Broadcast));
        self.effects.push(Effect::SetTimer((REPEAT, self.timeout_ms / 3 + 1)));
    }

    fn timer(&mut self, now_ms: u64, timer: u64) {
        match timer {
            START => self.begin_if_due(now_ms),
            // Of the height that is done with.
            _ if self.pace.idle() => {}
            VIEW => {
                self.move_to(self.view.saturating_add(1));
                self.go_on();
            }
            REPEAT => self.repeat(),
            _ => {
                self.building = false;
                self.go_on();
            }
        }
    }
}

impl Consensus for Authority {
    fn start(beginning: Beginning) -> Result<(Self, Vec<Effect>), String> {
        let (sealing, timeout_ms) = pace::parse(&beginning.config)?;
        let committee = Committee::new(&beginning.committee)?;
        let judged = |Judged { id, verdict }: &Judged| Some((id.as_slice().try_into().ok()?, matches!(verdict, Verdict::Valid)));
        let mut authority = Self {
            pace: Pace::new(sealing, beginning.ready),
            timeout_ms,
            key: signing::key().and_then(|key| key.try_into().ok()).unwrap_or([0; 32]),
            height: beginning.head.height + 1,
            committee,
            view: 0,
            heard: BTreeMap::new(),
            accepted: None,
            judged: beginning.kept.iter().filter_map(judged).collect(),
            building: false,
            others: false,
            early: Early::default(),
            effects: Vec::new(),
        };
        // What it said before it was restarted holds.
        for message in beginning.log.iter().filter_map(|entry| decode::<Message>(entry)) {
            authority.view = authority.view.max(message.view);
            if let Said::Accept(id) = message.said {
                authority.accepted = authority.accepted.max(Some((message.view, id)));
            }
            authority.note(message);
        }
        if authority.heard.is_empty() {
            authority.effects.push(Effect::SetTimer((START, 0)));
        } else {
            authority.begin(0);
        }
        let effects = std::mem::take(&mut authority.effects);
        Ok((authority, effects))
    }

    fn handle(&mut self, now_ms: u64, input: Input) -> Vec<Effect> {
        match input {
            Input::Ready(count) => {
                self.pace.set_ready(count);
                if self.pace.is_instant() {
                    self.begin_if_due(now_ms);
                }
            }
            Input::Timer(timer) => self.timer(now_ms, timer),
            Input::Built(candidate) => {
                // It may be another member's turn by now.
                let leads = std::mem::take(&mut self.building) && self.proposer() == self.key;
                if let (true, Ok(id)) = (leads, candidate.id.as_slice().try_into()) {
                    self.judged.insert(id, true);
                    self.effects.push(Effect::Share(candidate.id));
                    self.say(Said::Propose(id));
                    self.go_on();
                }
            }
            Input::BuildFailed => self.effects.push(Effect::SetTimer((RETRY, RETRY_MS))),
            Input::Committed(committed) => self.committed(now_ms, committed),
            Input::Seal => {
                if self.pace.idle() {
                    self.begin(now_ms);
                }
            }
            Input::SetSealing(sealing) => {
                self.pace.set_sealing(sealing);
                self.begin_if_due(now_ms);
            }
            Input::Message(bytes) => self.receive(now_ms, &bytes),
            Input::Judged(Judged { id, verdict }) => {
                if let Ok(id) = id.as_slice().try_into() {
                    self.judged.insert(id, matches!(verdict, Verdict::Valid));
                    self.go_on();
                }
            }
        }
        std::mem::take(&mut self.effects)
    }

    fn check(members: Vec<Validator>, height: u64, id: Vec<u8>, certificate: Vec<u8>) -> Result<(), String> {
        let committee = Committee::new(&members)?;
        let id: Id = id.as_slice().try_into().map_err(|_| "a block's id has 32 bytes")?;
        let Certificate { view, accepted } = decode(&certificate).ok_or("it does not decode")?;
        if let Some((stranger, _)) = accepted.iter().find(|(member, _)| !committee.has(member)) {
            return Err(format!("it names {:02x?}, who is no member", &stranger[..4]));
        }
        if accepted.iter().any(|(member, signature)| !is_genuine(height, view, &Said::Accept(id), member, signature)) {
            return Err("a signature is not genuine".into());
        }
        if committee.is_majority(accepted.iter().map(|(member, _)| member)) { Ok(()) } else { Err("no majority has signed it".into()) }
    }
}

subnode_sdk::consensus!(Authority);
