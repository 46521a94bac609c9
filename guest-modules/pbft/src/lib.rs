//! An example: practical Byzantine fault tolerance (Castro and Liskov, OSDI 1999), one decision at a time. Written from
//! `guest-modules/README.md` alone.
//!
//! In each view one member leads. The leader proposes a block, and the others *prepare* the block. Once more than two
//! thirds of the power have prepared it, members *commit* to it. More than two thirds of commits decide. Less than a
//! third of the power may lie.
//!
//! Where that takes too long, members *change* to the next view, and say which block they last saw prepared. The next
//! leader needs the changes of more than two thirds of the power. The leader must propose the block that any of them
//! saw prepared in the latest view, since it may be decided already.
//!
//! A proposal carries the changes that allow it, each with its votes, so a proposal of a committee of more than fifty
//! would not fit into a message. Such committees use `bft`.
//!
//! Configuration: `instant` (also the meaning of an empty configuration) or `interval MILLISECONDS`, then perhaps
//! `timeout MILLISECONDS`: how long the first view lasts.

mod message;

use std::collections::{BTreeMap, BTreeSet};

use message::{Change, Known, Message, Prepared, Said, is_right, is_shown, last_prepared};
use subnode_sdk::{
    codec::{decode, encode},
    committee::{Committee, Key},
    consensus::{Effect, Evidence},
    member::{Id, Member, Rules, Seat, Signature, VIEWS_KEPT, Views},
};

/// What a member said in a view: its first word of each kind.
#[derive(Default)]
struct Words {
    change: Option<(Option<Prepared>, Signature)>,
    proposal: Option<(Id, Signature)>,
    prepare: Option<(Id, Signature)>,
    commit: Option<(Id, Signature)>,
}

impl Words {
    /// The word of the same kind, that names a block; none of a change, whose first one counts.
    fn like(&self, said: &Said) -> Option<&(Id, Signature)> {
        match said {
            Said::Change(_) => None,
            Said::Propose(..) => self.proposal.as_ref(),
            Said::Prepare(_) => self.prepare.as_ref(),
            Said::Commit(_) => self.commit.as_ref(),
        }
    }
}

/// What is known of a height.
struct Pbft {
    /// What members said in which view. Bound: 129 views x 50 members x 50 votes in a change x 97 bytes, 31 MB.
    heard: BTreeMap<u32, BTreeMap<Key, Words>>,
    /// To which views members have changed, beyond these too.
    views: Views,
    prepared: Option<Prepared>,
    accused: BTreeSet<Key>,
}

impl Pbft {
    /// This member's own words in this view.
    fn own(&self, seat: &Seat<Said>) -> Option<&Words> {
        self.words(seat.view, &seat.key?)
    }

    /// What a member said in a view.
    fn words(&self, view: u32, member: &Key) -> Option<&Words> {
        self.heard.get(&view)?.get(member)
    }

    /// The block that the leader of this view proposed.
    fn proposal(&self, seat: &Seat<Said>) -> Option<Id> {
        self.words(seat.view, &seat.leader(seat.view))?.proposal.as_ref().map(|proposal| proposal.0)
    }

    /// Votes of a kind for a block in a view.
    fn votes(&self, view: u32, id: Id, kind: impl Fn(&Words) -> &Option<(Id, Signature)>) -> Vec<(Key, Signature)> {
        let vote = |(member, words): (&Key, &Words)| kind(words).as_ref().filter(|vote| vote.0 == id).map(|vote| (*member, vote.1.clone()));
        self.heard.get(&view).into_iter().flatten().filter_map(vote).collect()
    }

    /// What members said when they came to a view.
    fn changes(&self, view: u32) -> Vec<Change> {
        let change = |(member, words): (&Key, &Words)| {
            let (prepared, signature) = words.change.clone()?;
            Some(Change { member: *member, prepared, signature })
        };
        self.heard.get(&view).into_iter().flatten().filter_map(change).collect()
    }

    /// Proposes, where it is its turn.
    fn lead(&mut self, seat: &mut Seat<Said>) {
        if !seat.leads() || self.proposal(seat).is_some() {
            return;
        }
        let changes = self.changes(seat.view);
        if seat.view > 0 && !seat.committee.is_quorum(changes.iter().map(|change| &change.member)) {
            return;
        }
        match last_prepared(&changes).and_then(|last| Some((last.id, last.votes.first()?.0))) {
            None => seat.build(),
            Some((id, from)) => {
                if seat.is_valid(id, from) == Some(true) {
                    self.say(seat, Said::Propose(id, changes));
                }
            }
        }
    }

    /// Prepares and commits in this view.
    fn vote_for_proposal(&mut self, seat: &mut Seat<Said>) {
        let Some(id) = self.proposal(seat) else { return };
        if seat.may_vote(id) != Some(true) {
            return;
        }
        if self.own(seat).is_none_or(|own| own.prepare.is_none()) {
            self.say(seat, Said::Prepare(id));
        }
        let votes = self.votes(seat.view, id, |words| &words.prepare);
        if Self::is_enough(&seat.committee, votes.iter().map(|vote| &vote.0)) && self.own(seat).is_none_or(|own| own.commit.is_none()) {
            let prepared = Prepared { view: seat.view, id, votes };
            // A later view must hear of it, even after a crash.
            seat.note(encode(&prepared));
            self.prepared = Some(prepared);
            self.say(seat, Said::Commit(id));
        }
    }

    /// Decides what has enough commits, in whatever view.
    fn decide(&mut self, seat: &mut Seat<Said>) {
        let committed: BTreeSet<(u32, Id)> = self
            .heard
            .iter()
            .flat_map(|(view, members)| members.values().filter_map(|words| Some((*view, words.commit.as_ref()?.0))))
            .collect();
        for (view, id) in committed {
            let commits = self.votes(view, id, |words| &words.commit);
            if !Self::is_enough(&seat.committee, commits.iter().map(|vote| &vote.0)) {
                continue;
            }
            if let Some((first, _)) = commits.first()
                && seat.is_valid(id, *first) == Some(true)
            {
                seat.decide(id, view, commits);
            }
            return;
        }
    }

    /// Goes to a later view.
    fn change_to(&mut self, seat: &mut Seat<Said>, view: u32) {
        seat.move_to(view);
        self.heard.retain(|known, _| known.saturating_add(VIEWS_KEPT) >= view);
        self.say(seat, Said::Change(self.prepared.clone()));
    }

    /// Moves to a later view. One reason is a proposal there: the changes that it carries show that most members are in
    /// that view. The other is members ahead that have more than a third of the power, since one of them does not lie.
    fn follow(&mut self, seat: &mut Seat<Said>) {
        let is_proposed = |members: &BTreeMap<Key, Words>| members.values().any(|words| words.proposal.is_some());
        let proposed = self.heard.iter().rev().find(|(_, members)| is_proposed(members)).map(|(view, _)| *view);
        let reached = self.views.reached(|there| seat.committee.has_honest(there));
        if let Some(view) = proposed.max(reached).filter(|view| *view > seat.view) {
            self.change_to(seat, view);
        }
    }
}

impl Known for Pbft {
    fn has_vote(&self, view: u32, id: &Id, (member, signature): &(Key, Signature)) -> bool {
        let prepare = self.words(view, member).and_then(|words| words.prepare.as_ref());
        prepare.is_some_and(|known| (&known.0, &known.1) == (id, signature))
    }

    fn has_change(&self, view: u32, change: &Change) -> bool {
        let known = self.words(view, &change.member).and_then(|words| words.change.as_ref());
        known.is_some_and(|known| (&known.0, &known.1) == (&change.prepared, &change.signature))
    }
}

/// Both messages, where a member said of another block what it says now: anyone can check their signatures. Changes that came along are left out:
/// the signature does not cover them.
fn contradiction((before, signature): &(Id, Signature), now: &Message) -> Option<Vec<u8>> {
    let (said, id): (fn(Id) -> Said, Id) = match now.said {
        Said::Change(_) => return None,
        Said::Propose(id, _) => (|id| Said::Propose(id, Vec::new()), id),
        Said::Prepare(id) => (Said::Prepare, id),
        Said::Commit(id) => (Said::Commit, id),
    };
    let message = |id, signature: &Signature| Message { said: said(id), signature: signature.clone(), ..*now };
    (*before != id).then(|| encode(&(message(*before, signature), message(id, &now.signature))))
}

impl Rules for Pbft {
    type Said = Said;

    fn new() -> Self {
        Self { heard: BTreeMap::new(), views: Views::default(), prepared: None, accused: BTreeSet::new() }
    }

    fn vote(id: Id) -> Said {
        Said::Commit(id)
    }

    fn is_enough<'a>(committee: &Committee, members: impl Iterator<Item = &'a Key>) -> bool {
        committee.is_quorum(members)
    }

    fn listens(&self, seat: &Seat<Said>, message: &Message) -> bool {
        let words = self.words(message.view, &message.member);
        let is_new = match &message.said {
            Said::Change(_) if !seat.is_near(message.view) => self.views.is_new(&message.member, message.view),
            _ if !seat.is_near(message.view) => false,
            Said::Change(_) => words.is_none_or(|words| words.change.is_none()),
            // Another block than before is evidence, once.
            Said::Propose(id, _) | Said::Prepare(id) | Said::Commit(id) => words
                .and_then(|words| words.like(&message.said))
                .is_none_or(|known| known.0 != *id && !self.accused.contains(&message.member)),
        };
        is_new && is_right(seat, message)
    }

    fn allows(&self, _: &Seat<Said>, message: &Message) -> bool {
        // Where it contradicts itself, its own signature shows that, whatever comes along.
        self.words(message.view, &message.member).is_some_and(|words| words.like(&message.said).is_some()) || is_shown(message, self)
    }

    fn hear(&mut self, seat: &mut Seat<Said>, message: Message) {
        let member = message.member;
        if matches!(message.said, Said::Change(_)) {
            self.views.heard(member, message.view);
        }
        if !seat.is_near(message.view) {
            return;
        }
        let words = self.heard.entry(message.view).or_default().entry(member).or_default();
        if let Some(proof) = words.like(&message.said).and_then(|before| contradiction(before, &message))
            && self.accused.insert(member)
        {
            seat.effects.push(Effect::Evidence(Evidence { member: member.to_vec(), proof }));
        }
        match message.said {
            Said::Change(prepared) => drop(words.change.get_or_insert((prepared, message.signature))),
            Said::Propose(id, _) => drop(words.proposal.get_or_insert((id, message.signature))),
            Said::Prepare(id) => drop(words.prepare.get_or_insert((id, message.signature))),
            Said::Commit(id) => drop(words.commit.get_or_insert((id, message.signature))),
        }
    }

    fn recall(&mut self, note: &[u8]) {
        self.prepared = decode(note).or_else(|| self.prepared.take());
    }

    fn propose(&self, seat: &Seat<Said>, id: Id) -> Option<Said> {
        let changes = self.changes(seat.view);
        let free = self.proposal(seat).is_none() && last_prepared(&changes).is_none();
        free.then(|| Said::Propose(id, if seat.view == 0 { Vec::new() } else { changes }))
    }

    fn go_on(&mut self, seat: &mut Seat<Said>) {
        self.follow(seat);
        self.lead(seat);
        self.vote_for_proposal(seat);
        self.decide(seat);
    }

    fn is_late(&mut self, seat: &mut Seat<Said>) {
        self.change_to(seat, seat.view.saturating_add(1));
    }
}

subnode_sdk::consensus!(Member<Pbft>);

#[cfg(test)]
mod tests;
