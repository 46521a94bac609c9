//! The life of a committee's member, whatever its protocol: a height begins when its time has come and ends with a
//! commit, what is said is signed, logged, sent and repeated, blocks are built and obtained, and what comes too early
//! waits. A protocol adds its [`Rules`].
//!
//! Each attempt at a height is a *view*, whose number grows until one of them decides; members lead in turn. A member
//! says at most one thing of each kind in a view: the host does not sign another.
//!
//! Not here: what members say, and what follows from it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    codec::{decode, encode},
    committee::{Committee, Key},
    consensus::{Beginning, Committed, Consensus, Decision, Effect, Input, Judged, Position, Validator, Verdict, Wanted, signing},
    early::Early,
    pace::{self, Pace},
};

/// A block's id.
pub type Id = [u8; 32];
/// A member's signature.
pub type Signature = Vec<u8>;

/// Timers: the next height, the end of a view, saying everything again, building again.
const START: u64 = 0;
const VIEW: u64 = 1;
const REPEAT: u64 = 2;
const RETRY: u64 = 3;
const RETRY_MS: u64 = 500;
/// Each view is longer than the one before by a third of the first, until they are 16 times as long: some view is as
/// long as the network is slow.
const STRETCH_MAX: u64 = 45;

/// What a member says in a view.
pub trait Said: Clone + Serialize + DeserializeOwned + 'static {
    /// Which kind it is, counted in the order in which a view's are said.
    fn step(&self) -> u8;

    /// What of it is signed.
    fn text(&self) -> Vec<u8> {
        encode(self)
    }
}

/// What a member sends to all, and logs of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message<S> {
    /// The height of the block that it is about.
    pub height: u64,
    /// The attempt.
    pub view: u32,
    /// What is said.
    pub said: S,
    /// By whom.
    pub member: Key,
    /// Shows that.
    pub signature: Signature,
}

/// An entry of the log.
#[derive(Serialize, Deserialize)]
enum Entry<S> {
    Said(Message<S>),
    Note(Vec<u8>),
}

/// What shows that a block was decided: who said so in this view.
#[derive(Serialize, Deserialize)]
struct Certificate {
    view: u32,
    votes: Vec<(Key, Signature)>,
}

/// The rules of a protocol, with all that they remember of one height.
pub trait Rules: Sized + 'static {
    /// What its members say.
    type Said: Said;

    /// At the beginning of a height.
    fn new() -> Self;

    /// What a member says when a block is to be decided.
    fn vote(id: Id) -> Self::Said;

    /// Whether these are enough to decide.
    fn is_enough<'a>(committee: &Committee, members: impl Iterator<Item = &'a Key>) -> bool;

    /// Whether a message of this height is worth checking its signature. Its member is of the committee.
    fn listens(&self, seat: &Seat<Self::Said>, message: &Message<Self::Said>) -> bool;

    /// Takes what a member said, perhaps this one, perhaps before the height has begun here. It is genuine.
    fn hear(&mut self, seat: &mut Seat<Self::Said>, message: Message<Self::Said>);

    /// Takes a [note](Seat::note) of before a restart.
    fn recall(&mut self, _note: &[u8]) {}

    /// Does all that what is known by now allows. The height has begun.
    fn go_on(&mut self, seat: &mut Seat<Self::Said>);

    /// What proposes a block that this host has built, in a view that this member leads; none where another one is to
    /// be proposed.
    fn propose(&self, seat: &Seat<Self::Said>, id: Id) -> Option<Self::Said>;

    /// The view took too long.
    fn is_late(&mut self, _seat: &mut Seat<Self::Said>) {}

    /// Says something, and hears it itself. False where this node has no vote, or has said another thing there.
    fn say(&mut self, seat: &mut Seat<Self::Said>, said: Self::Said) -> bool {
        seat.say(said).map(|message| self.hear(seat, message)).is_some()
    }
}

impl<S: Said> Message<S> {
    fn signed(height: u64, view: u32, said: &S) -> (Position, Vec<u8>) {
        (Position { height, round: view, step: said.step() }, said.text())
    }

    /// Whether its member has signed it.
    #[must_use]
    pub fn is_genuine(&self) -> bool {
        let (at, text) = Self::signed(self.height, self.view, &self.said);
        signing::verify(&self.member, at, &text, &self.signature)
    }
}

/// Where a member is, and through what its rules act.
pub struct Seat<S> {
    /// Its own key; none where this node has no vote.
    pub key: Option<Key>,
    /// Who decides.
    pub committee: Committee,
    /// The height of the block that is looked for.
    pub height: u64,
    /// The attempt.
    pub view: u32,
    /// What is to be done next, in this order.
    pub effects: Vec<Effect>,
    timeout_ms: u64,
    building: bool,
    /// Blocks that this host has executed, and whether they are valid.
    judged: BTreeMap<Id, bool>,
    /// What it said itself at this height.
    said: Vec<Message<S>>,
}

impl<S: Said> Seat<S> {
    /// Whose turn it is in a view.
    #[must_use]
    pub fn leader(&self, view: u32) -> Key {
        self.committee.at_turn(self.height.wrapping_add(view.into()))
    }

    /// Whether it is this member's turn.
    #[must_use]
    pub fn leads(&self) -> bool {
        self.key == Some(self.leader(self.view))
    }

    fn say(&mut self, said: S) -> Option<Message<S>> {
        let member = self.key.filter(|key| self.committee.has(key))?;
        let (at, text) = Message::signed(self.height, self.view, &said);
        let signature = signing::sign(at, &text)?;
        let message = Message { height: self.height, view: self.view, said, member, signature };
        // Whoever forgot what it said could say another thing: it is in the log before anyone hears it.
        self.effects.push(Effect::AppendLog(encode(&Entry::Said(message.clone()))));
        self.effects.push(Effect::Broadcast(encode(&message)));
        self.said.push(message.clone());
        Some(message)
    }

    /// Logs something, to be [recalled](Rules::recall) at this height after a restart.
    pub fn note(&mut self, note: Vec<u8>) {
        self.effects.push(Effect::AppendLog(encode(&Entry::<S>::Note(note))));
    }

    /// Has the host build a block, unless it does.
    pub fn build(&mut self) {
        if !std::mem::replace(&mut self.building, true) {
            self.effects.push(Effect::Build);
        }
    }

    /// Whether a block is valid here; none where that is not known yet, and it is asked for, from this member first.
    pub fn is_valid(&mut self, id: Id, from: Key) -> Option<bool> {
        let known = self.judged.get(&id).copied();
        if known.is_none() {
            self.effects.push(Effect::Obtain(Wanted { id: id.to_vec(), member: from.to_vec() }));
        }
        known
    }

    /// Decides on a block by these votes of a view.
    pub fn decide(&mut self, id: Id, view: u32, votes: Vec<(Key, Signature)>) {
        self.effects.push(Effect::Decide(Decision { id: id.to_vec(), certificate: encode(&Certificate { view, votes }) }));
    }

    /// Gives this view up for a later one.
    pub fn move_to(&mut self, view: u32) {
        (self.view, self.building) = (view, false);
        self.set_view_timer();
    }

    fn set_view_timer(&mut self) {
        let longer = u64::from(self.view).min(STRETCH_MAX).saturating_mul(self.timeout_ms / 3);
        self.effects.push(Effect::SetTimer((VIEW, self.timeout_ms.saturating_add(longer))));
    }

    /// Says again what it said in this view and in the one before: messages are lost.
    fn repeat(&mut self) {
        let recent = self.said.iter().filter(|message| message.view.saturating_add(1) >= self.view);
        self.effects.extend(recent.map(|message| Effect::Broadcast(encode(message))));
        self.set_repeat_timer();
    }

    fn set_repeat_timer(&mut self) {
        self.effects.push(Effect::SetTimer((REPEAT, self.timeout_ms / 3 + 1)));
    }

    /// The next height, of which nothing is known yet.
    fn next(&mut self, height: u64, committee: Committee) {
        (self.height, self.committee, self.view, self.building) = (height, committee, 0, false);
        self.judged.clear();
        self.said.clear();
        self.effects.extend([VIEW, REPEAT, RETRY].map(Effect::CancelTimer));
    }
}

/// A member that follows these rules.
pub struct Member<R: Rules> {
    pace: Pace,
    /// Whether others are at work on this height.
    others: bool,
    seat: Seat<R::Said>,
    rules: R,
    /// Messages of the next height, which others have begun before this member.
    early: Early,
}

impl<R: Rules> Member<R> {
    fn begin(&mut self, now_ms: u64) {
        self.pace.begin(now_ms);
        self.seat.set_repeat_timer();
        self.seat.set_view_timer();
        self.rules.go_on(&mut self.seat);
    }

    fn begin_if_due(&mut self, now_ms: u64) {
        if self.pace.may_begin(self.others) {
            self.begin(now_ms);
        }
    }

    fn receive(&mut self, now_ms: u64, bytes: Vec<u8>) {
        let Some(message) = decode::<Message<R::Said>>(&bytes).filter(|message| self.seat.committee.has(&message.member)) else { return };
        if message.height == self.seat.height + 1 {
            if message.is_genuine() {
                self.early.keep(message.member, bytes);
            }
        } else if message.height == self.seat.height && self.rules.listens(&self.seat, &message) && message.is_genuine() {
            self.others = true;
            self.rules.hear(&mut self.seat, message);
            if !self.pace.idle() {
                self.rules.go_on(&mut self.seat);
            } else if self.pace.is_instant() {
                self.begin(now_ms);
            }
        }
    }

    fn committed(&mut self, now_ms: u64, committed: Committed) {
        let Ok(committee) = Committee::new(&committed.committee) else { return };
        self.seat.next(committed.block.height + 1, committee);
        (self.rules, self.others) = (R::new(), false);
        match self.pace.end(now_ms, committed.ready) {
            Some(wait_ms) => self.seat.effects.push(Effect::SetTimer((START, wait_ms))),
            None => self.begin_if_due(now_ms),
        }
        for message in self.early.take() {
            self.receive(now_ms, message);
        }
    }

    /// One of this height has run out.
    fn timer(&mut self, timer: u64) {
        match timer {
            VIEW => self.rules.is_late(&mut self.seat),
            REPEAT => self.seat.repeat(),
            _ => self.seat.building = false,
        }
        self.rules.go_on(&mut self.seat);
    }

    fn built(&mut self, id: Id) {
        // It may be another member's turn by now.
        if std::mem::take(&mut self.seat.building)
            && self.seat.leads()
            && let Some(said) = self.rules.propose(&self.seat, id)
        {
            self.seat.judged.insert(id, true);
            // It is kept through a crash from here on, as what is said of it is.
            self.seat.effects.push(Effect::Share(id.to_vec()));
            self.rules.say(&mut self.seat, said);
        }
        self.rules.go_on(&mut self.seat);
    }
}

impl<R: Rules> Consensus for Member<R> {
    fn start(beginning: Beginning) -> Result<(Self, Vec<Effect>), String> {
        let (sealing, timeout_ms) = pace::parse(&beginning.config)?;
        let judged = |Judged { id, verdict }: &Judged| Some((id.as_slice().try_into().ok()?, matches!(verdict, Verdict::Valid)));
        let seat = Seat {
            key: signing::key().and_then(|key| key.try_into().ok()),
            committee: Committee::new(&beginning.committee)?,
            height: beginning.head.height + 1,
            view: 0,
            effects: vec![Effect::SetTimer((START, 0))],
            timeout_ms,
            building: false,
            judged: beginning.kept.iter().filter_map(judged).collect(),
            said: Vec::new(),
        };
        let mut member = Self { pace: Pace::new(sealing, beginning.ready), others: false, seat, rules: R::new(), early: Early::default() };
        // What it said before it was restarted holds.
        for entry in beginning.log.iter().filter_map(|entry| decode::<Entry<R::Said>>(entry)) {
            match entry {
                Entry::Note(note) => member.rules.recall(&note),
                Entry::Said(message) => {
                    member.seat.view = member.seat.view.max(message.view);
                    member.seat.said.push(message.clone());
                    member.rules.hear(&mut member.seat, message);
                }
            }
        }
        if !member.seat.said.is_empty() {
            member.begin(0);
        }
        let effects = std::mem::take(&mut member.seat.effects);
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
            Input::Timer(timer) => self.timer(timer),
            Input::Built(candidate) => drop(candidate.id.try_into().map(|id| self.built(id))),
            Input::BuildFailed => self.seat.effects.push(Effect::SetTimer((RETRY, RETRY_MS))),
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
                if let Ok(id) = id.try_into() {
                    self.seat.judged.insert(id, matches!(verdict, Verdict::Valid));
                    if !self.pace.idle() {
                        self.rules.go_on(&mut self.seat);
                    }
                }
            }
        }
        std::mem::take(&mut self.seat.effects)
    }

    fn check(members: Vec<Validator>, height: u64, id: Vec<u8>, certificate: Vec<u8>) -> Result<(), String> {
        let committee = Committee::new(&members)?;
        let id: Id = id.as_slice().try_into().map_err(|_| "a block's id has 32 bytes")?;
        let Certificate { view, votes } = decode(&certificate).ok_or("it does not decode")?;
        if let Some((stranger, _)) = votes.iter().find(|(member, _)| !committee.has(member)) {
            return Err(format!("it names {:02x?}, who is no member", &stranger[..4]));
        }
        let message = |(member, signature): &(Key, Signature)| Message {
            height,
            view,
            said: R::vote(id),
            member: *member,
            signature: signature.clone(),
        };
        if votes.iter().any(|vote| !message(vote).is_genuine()) {
            return Err("a signature is not genuine".into());
        }
        if R::is_enough(&committee, votes.iter().map(|(member, _)| member)) { Ok(()) } else { Err("too few have signed it".into()) }
    }
}

#[cfg(test)]
mod tests;
