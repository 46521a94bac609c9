//! An example: practical Byzantine fault tolerance (Castro and Liskov, OSDI 1999), a decision at a time. Written from `guest-modules/README.md` alone.
//!
//! In each view one member leads. It proposes a block, the others *prepare* it, and once more than two thirds of the power would have it, they *commit*; more than
//! two thirds of commits decide. Where that takes too long members *change* to the next view, and say which block they last saw prepared. The next leader needs the
//! changes of more than two thirds, and must propose the latest block that any of them saw prepared: it may be decided already. Less than a third of the power may
//! lie.
//!
//! A proposal carries the changes that allow it, each with its votes, so a committee of more than fifty would not fit a message: see `bft` for those.
//!
//! Configuration: `instant` (also where it is empty) or `interval MILLISECONDS`, then perhaps `timeout MILLISECONDS`, how long the first view lasts.

mod message;

use std::collections::{BTreeMap, BTreeSet};

use message::{Change, Id, Message, Prepared, Said, Signature, is_genuine, last_prepared, leader, signed};
use serde::{Deserialize, Serialize};
use subnode_sdk::{
    codec::{decode, encode},
    committee::{Committee, Key},
    consensus::{Beginning, Committed, Consensus, Decision, Effect, Evidence, Input, Judged, Validator, Verdict, Wanted, signing},
    early::Early,
    pace::{self, Pace},
};

/// Timers: the next height begins, a view ends, everything is said again, building is tried again.
const START: u64 = 0;
const VIEW: u64 = 1;
const REPEAT: u64 = 2;
const RETRY: u64 = 3;
const RETRY_MS: u64 = 500;
/// Views last longer and longer, up to so many times the first.
const STRETCH_MAX: u64 = 16;
/// Views before and after its own that a member listens to.
const VIEWS: u32 = 64;

/// An entry of the log.
#[derive(Serialize, Deserialize)]
enum Entry {
    Said(Message),
    Prepared(Prepared),
}

/// What shows that a block was decided: who committed to it in this view.
#[derive(Serialize, Deserialize)]
struct Certificate {
    view: u32,
    commits: Vec<(Key, Signature)>,
}

/// What a member said in a view: its first word of each kind.
#[derive(Default)]
struct Words {
    change: Option<(Option<Prepared>, Signature)>,
    proposal: Option<(Id, Vec<Change>, Signature)>,
    prepare: Option<(Id, Signature)>,
    commit: Option<(Id, Signature)>,
}

struct Member {
    pace: Pace,
    timeout_ms: u64,
    key: Option<Key>,
    height: u64,
    committee: Committee,
    view: u32,
    heard: BTreeMap<u32, BTreeMap<Key, Words>>,
    prepared: Option<Prepared>,
    /// Blocks that this host has executed: whether they are valid.
    judged: BTreeMap<Id, bool>,
    building: bool,
    /// Whether any other member has begun this height.
    others: bool,
    accused: BTreeSet<Key>,
    /// Of the next height: some members are ahead.
    early: Early,
    effects: Vec<Effect>,
}

impl Member {
    fn leader(&self) -> Key {
        leader(&self.committee, self.height, self.view)
    }

    /// Its own words in this view.
    fn own(&self) -> Option<&Words> {
        self.heard.get(&self.view)?.get(&self.key?)
    }

    /// Says something, unless the host knows that it said otherwise.
    fn say(&mut self, said: Said) {
        let (at, text) = signed(self.height, self.view, &said);
        let (Some(member), Some(signature)) = (self.key, signing::sign(at, &text)) else { return };
        let message = Message { height: self.height, view: self.view, said, member, signature };
        self.effects.push(Effect::AppendLog(encode(&Entry::Said(message.clone()))));
        self.effects.push(Effect::Broadcast(encode(&message)));
        self.note(message);
    }

    /// Takes what a member said, which is right.
    fn note(&mut self, message: Message) {
        let member = message.member;
        let words = self.heard.entry(message.view).or_default().entry(member).or_default();
        let (known, other) = match &message.said {
            Said::Change(_) => (words.change.is_some(), false),
            Said::Propose(id, _) => (words.proposal.is_some(), words.proposal.as_ref().is_some_and(|(before, ..)| before != id)),
            Said::Prepare(id) => (words.prepare.is_some(), words.prepare.as_ref().is_some_and(|(before, _)| before != id)),
            Said::Commit(id) => (words.commit.is_some(), words.commit.as_ref().is_some_and(|(before, _)| before != id)),
        };
        if other && self.accused.insert(member) {
            self.effects.push(Effect::Evidence(Evidence { member: member.to_vec(), proof: encode(&message) }));
        }
        if known {
            return;
        }
        match message.said {
            Said::Change(prepared) => words.change = Some((prepared, message.signature)),
            Said::Propose(id, changes) => words.proposal = Some((id, changes, message.signature)),
            Said::Prepare(id) => words.prepare = Some((id, message.signature)),
            Said::Commit(id) => words.commit = Some((id, message.signature)),
        }
    }

    /// The block that the leader of this view proposed.
    fn proposal(&self) -> Option<Id> {
        Some(self.heard.get(&self.view)?.get(&self.leader())?.proposal.as_ref()?.0)
    }

    /// Votes of a kind for a block in a view.
    fn votes(&self, view: u32, id: Id, kind: impl Fn(&Words) -> &Option<(Id, Signature)>) -> Vec<(Key, Signature)> {
        let vote = |(member, words): (&Key, &Words)| kind(words).as_ref().filter(|vote| vote.0 == id).map(|vote| (*member, vote.1.clone()));
        self.heard.get(&view).into_iter().flatten().filter_map(vote).collect()
    }

    fn is_quorum(&self, votes: &[(Key, Signature)]) -> bool {
        self.committee.is_quorum(votes.iter().map(|(member, _)| member))
    }

    /// Whether a block is valid here. It is asked for where that is not known.
    fn is_valid(&mut self, id: Id, from: Key) -> bool {
        if !self.judged.contains_key(&id) {
            self.effects.push(Effect::Obtain(Wanted { id: id.to_vec(), member: from.to_vec() }));
        }
        self.judged.get(&id) == Some(&true)
    }

    /// Does what is next.
    fn go_on(&mut self) {
        if !self.pace.idle() {
            self.lead();
            self.vote();
        }
        self.decide();
    }

    /// Proposes, where it is its turn.
    fn lead(&mut self) {
        if self.key != Some(self.leader()) || self.proposal().is_some() || self.building {
            return;
        }
        let changes = self.changes();
        if self.view > 0 && !self.committee.is_quorum(changes.iter().map(|change| &change.member)) {
            return;
        }
        match last_prepared(&changes).and_then(|last| Some((last.id, last.votes.first()?.0))) {
            None => {
                self.building = true;
                self.effects.push(Effect::Build);
            }
            Some((id, from)) => {
                if self.is_valid(id, from) {
                    self.say(Said::Propose(id, changes));
                }
            }
        }
    }

    /// What members said when they came to this view.
    fn changes(&self) -> Vec<Change> {
        let change = |(member, words): (&Key, &Words)| {
            let (prepared, signature) = words.change.clone()?;
            Some(Change { member: *member, prepared, signature })
        };
        self.heard.get(&self.view).into_iter().flatten().filter_map(change).collect()
    }

    /// Prepares and commits in this view.
    fn vote(&mut self) {
        let Some(id) = self.proposal() else { return };
        if !self.is_valid(id, self.leader()) {
            return;
        }
        if self.own().is_none_or(|own| own.prepare.is_none()) {
            self.say(Said::Prepare(id));
        }
        let votes = self.votes(self.view, id, |words| &words.prepare);
        if self.is_quorum(&votes) && self.own().is_none_or(|own| own.commit.is_none()) {
            let prepared = Prepared { view: self.view, id, votes };
            // A later view must hear of it, even after a crash.
            self.effects.push(Effect::AppendLog(encode(&Entry::Prepared(prepared.clone()))));
            self.prepared = Some(prepared);
            self.say(Said::Commit(id));
        }
    }

    /// Decides what has enough commits, in whatever view.
    fn decide(&mut self) {
        let committed: BTreeSet<(u32, Id)> = self
            .heard
            .iter()
            .flat_map(|(view, members)| members.values().filter_map(|words| Some((*view, words.commit.as_ref()?.0))))
            .collect();
        for (view, id) in committed {
            let commits = self.votes(view, id, |words| &words.commit);
            let Some((first, _)) = commits.first().filter(|_| self.is_quorum(&commits)) else { continue };
            if self.is_valid(id, *first) {
                let certificate = encode(&Certificate { view, commits });
                self.effects.push(Effect::Decide(Decision { id: id.to_vec(), certificate }));
            }
            return;
        }
    }

    /// Goes to a later view.
    fn change_to(&mut self, view: u32) {
        self.view = view;
        self.building = false;
        self.heard.retain(|known, _| known.saturating_add(VIEWS) >= view);
        self.set_timer();
        self.say(Said::Change(self.prepared.clone()));
    }

    fn set_timer(&mut self) {
        let stretch = u64::from(self.view).saturating_add(1).min(STRETCH_MAX);
        self.effects.push(Effect::SetTimer((VIEW, self.timeout_ms.saturating_mul(stretch))));
    }

    /// Follows members of whom one does not lie, and all of whom are ahead.
    fn follow(&mut self) {
        let mut ahead = BTreeSet::new();
        let later = self.heard.range(self.view + 1..).rev();
        let view = later.into_iter().find_map(|(view, members)| {
            ahead.extend(members.iter().filter(|(_, words)| words.change.is_some()).map(|(member, _)| *member));
            self.committee.has_honest(&ahead).then_some(*view)
        });
        if let Some(view) = view {
            self.change_to(view);
        }
    }

    fn begin(&mut self, now_ms: u64) {
        self.pace.begin(now_ms);
        self.set_timer();
        self.effects.push(Effect::SetTimer((REPEAT, self.timeout_ms / 3 + 1)));
        self.go_on();
    }

    fn begin_if_due(&mut self, now_ms: u64) {
        if self.pace.may_begin(self.others) {
            self.begin(now_ms);
        }
    }

    fn receive(&mut self, now_ms: u64, bytes: Vec<u8>) {
        let Some(message) = decode::<Message>(&bytes) else { return };
        if message.height == self.height + 1 {
            let Message { height, view, said, member, signature } = &message;
            if self.committee.has(member) && is_genuine(*height, *view, said, member, signature) {
                self.early.keep(*member, bytes);
            }
            return;
        }
        let near = message.view <= self.view.saturating_add(VIEWS) && message.view.saturating_add(VIEWS) >= self.view;
        if message.height != self.height || !near || !message.is_right(&self.committee) {
            return;
        }
        self.others = true;
        let (view, proposes) = (message.view, matches!(message.said, Said::Propose(..)));
        self.note(message);
        if self.pace.idle() {
            self.begin_if_due(now_ms);
        }
        if !self.pace.idle() {
            // What allows a proposal shows that most are in its view.
            if proposes && view > self.view {
                self.change_to(view);
            }
            self.follow();
        }
        self.go_on();
    }

    /// Says again what it said in this view: messages are lost.
    fn repeat(&mut self) {
        let mut again: Vec<Message> = Vec::new();
        if let (Some(own), Some(member)) = (self.own(), self.key) {
            let change = own.change.clone().map(|(prepared, signature)| (Said::Change(prepared), signature));
            let proposal = own.proposal.clone().map(|(id, changes, signature)| (Said::Propose(id, changes), signature));
            let prepare = own.prepare.clone().map(|(id, signature)| (Said::Prepare(id), signature));
            let commit = own.commit.clone().map(|(id, signature)| (Said::Commit(id), signature));
            let (height, view) = (self.height, self.view);
            let words = [change, proposal, prepare, commit].into_iter().flatten();
            again.extend(words.map(|(said, signature)| Message { height, view, said, member, signature }));
        }
        self.effects.extend(again.iter().map(|message| Effect::Broadcast(encode(message))));
        self.effects.push(Effect::SetTimer((REPEAT, self.timeout_ms / 3 + 1)));
        self.go_on();
    }

    fn committed(&mut self, now_ms: u64, committed: Committed) {
        let Ok(committee) = Committee::new(&committed.committee) else { return };
        self.effects.extend([VIEW, REPEAT, RETRY].map(Effect::CancelTimer));
        (self.height, self.committee, self.view) = (committed.block.height + 1, committee, 0);
        (self.prepared, self.building, self.others) = (None, false, false);
        self.heard.clear();
        self.judged.clear();
        self.accused.clear();
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
        let (sealing, timeout_ms) = pace::parse(&beginning.config)?;
        let committee = Committee::new(&beginning.committee)?;
        let judged = |Judged { id, verdict }: &Judged| Some((id.as_slice().try_into().ok()?, matches!(verdict, Verdict::Valid)));
        let mut member = Self {
            pace: Pace::new(sealing, beginning.ready),
            timeout_ms,
            key: signing::key().and_then(|key| key.try_into().ok()),
            height: beginning.head.height + 1,
            committee,
            view: 0,
            heard: BTreeMap::new(),
            prepared: None,
            judged: beginning.kept.iter().filter_map(judged).collect(),
            building: false,
            others: false,
            accused: BTreeSet::new(),
            early: Early::default(),
            effects: vec![Effect::SetTimer((START, 0))],
        };
        for entry in beginning.log.iter().filter_map(|entry| decode::<Entry>(entry)) {
            match entry {
                Entry::Prepared(prepared) => member.prepared = Some(prepared),
                Entry::Said(message) => {
                    member.view = member.view.max(message.view);
                    member.note(message);
                }
            }
        }
        if !member.heard.is_empty() {
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
            // Of a height that is done with.
            Input::Timer(_) if self.pace.idle() => {}
            Input::Timer(VIEW) => {
                self.change_to(self.view.saturating_add(1));
                self.go_on();
            }
            Input::Timer(REPEAT) => self.repeat(),
            Input::Timer(_) => {
                self.building = false;
                self.go_on();
            }
            Input::Built(candidate) => {
                let free = std::mem::take(&mut self.building) && self.key == Some(self.leader()) && self.proposal().is_none();
                let changes = self.changes();
                if let (true, None, Ok(id)) = (free, last_prepared(&changes), candidate.id.as_slice().try_into()) {
                    self.judged.insert(id, true);
                    self.effects.push(Effect::Share(candidate.id));
                    self.say(Said::Propose(id, if self.view == 0 { Vec::new() } else { changes }));
                }
                self.go_on();
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
            Input::Message(bytes) => self.receive(now_ms, bytes),
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
        let Certificate { view, commits } = decode(&certificate).ok_or("it does not decode")?;
        if commits.iter().any(|(member, signature)| !is_genuine(height, view, &Said::Commit(id), member, signature)) {
            return Err("a signature is not genuine".into());
        }
        if committee.is_quorum(commits.iter().map(|(member, _)| member)) { Ok(()) } else { Err("no two thirds have signed it".into()) }
    }
}

subnode_sdk::consensus!(Member);
