//! The life of a committee's member, whatever its protocol: a height begins when its time has come and ends with a commit, what is said is signed,
//! logged, sent and repeated, blocks are built and obtained, and what comes too early waits. A protocol adds its [`Rules`].
//!
//! Each attempt at a height is a *view*, whose number grows until one of them decides; members lead in turn. A member says at most one thing of each
//! kind in a view: the host does not sign another.
//!
//! Not here: what members say, and what follows from it.

mod message;
mod rules;
mod seat;
mod views;

pub use message::{Id, Message, Said, Signature};
pub use rules::Rules;
pub use seat::Seat;
pub use views::{VIEWS_KEPT, Views};

use message::{Certificate, Entry};
use seat::{REPEAT, RETRY, START, VIEW};

use crate::{
    codec::decode,
    committee::{Committee, Key},
    consensus::{Beginning, Committed, Consensus, Effect, Input, Judged, Validator, Verdict, signing},
    early::Early,
    pace::{self, Pace},
};

/// After how long a block that could not be built is tried again. What keeps a host from building, such as load or a full disk, does not pass at once:
/// trying sooner would spend calls on failing again. Half a second is a sixth of a first view by default, so several attempts fit into a member's turn.
const RETRY_MS: u64 = 500;

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
            if self.early.would_keep(&message.member, &bytes) && message.is_genuine() {
                self.early.keep(message.member, bytes);
            }
        } else if message.height == self.seat.height
            // The cheapest first: everybody's votes wait for these checks, and anyone may send what fails them.
            && self.rules.listens(&self.seat, &message)
            && message.is_genuine()
            && self.rules.allows(&self.seat, &message)
        {
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
        member.seat.forget_earlier();
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
            Input::Built(candidate) => {
                if let Ok(id) = candidate.id.try_into() {
                    self.built(id);
                }
            }
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
        // Before any signature: whoever sends certificates decides how many there are in one.
        if !committee.has_each_once(votes.iter().map(|(member, _)| member)) {
            return Err("it names a member twice".into());
        }
        if !R::is_enough(&committee, votes.iter().map(|(member, _)| member)) {
            return Err("too few have signed it".into());
        }
        let message = |(member, signature): &(Key, Signature)| Message {
            height,
            view,
            said: R::vote(id),
            member: *member,
            signature: signature.clone(),
        };
        if votes.iter().all(|vote| message(vote).is_genuine()) { Ok(()) } else { Err("a signature is not genuine".into()) }
    }
}

#[cfg(test)]
mod tests;
