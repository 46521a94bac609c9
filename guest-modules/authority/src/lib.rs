//! Consensus of members that trust each other: members may stop, be slow, or be cut off, but do not lie. More than half
//! of the power decides. Read this module to learn the `consensus` world. Where members may lie, use `bft`.
//!
//! Members propose in turn. Each attempt at a height is a *view*. The member whose turn it is proposes a block, and the
//! others *accept* the block. Once more than half of the power has accepted one block in one view, the block is
//! decided, and those signatures are its certificate.
//!
//! Where that takes too long, members *move* to the next view, and say which block they accepted last. The next member
//! takes over once more than half of the power has moved. If any of these members has accepted a block, the new
//! proposer proposes the block that was accepted in the latest view, since it may be decided already. This is
//! single-decree Paxos (Lamport 1998) with a moving proposer. No code here keeps a member from accepting in a view that
//! it has moved beyond: the host refuses that signature.
//!
//! Configuration: as `bft`'s.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use subnode_sdk::{
    committee::{Committee, Key},
    member::{self, Id, Member, Message, Rules, Seat, Signature, VIEWS_KEPT, Views},
};

/// What a member says in a view.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
enum Said {
    /// The member has moved to this view. With it, the view and the block that it accepted last.
    Move(Option<(u32, Id)>),
    /// The member, whose turn it is, proposes this block.
    Propose(Id),
    /// The member accepts this block.
    Accept(Id),
}

impl member::Said for Said {
    fn step(&self) -> u8 {
        match self {
            Self::Move(_) => 0,
            Self::Propose(_) => 1,
            Self::Accept(_) => 2,
        }
    }
}

/// What is known of a height.
struct Authority {
    /// Who said what in which view. Bound: 129 views, three words of each member in each.
    heard: BTreeMap<(u32, Key), BTreeMap<Said, Signature>>,
    /// Where members are, beyond these views too.
    views: Views,
    /// The view and the block that this member accepted last.
    accepted: Option<(u32, Id)>,
}

impl Authority {
    /// Members that said something in a view, each with what `pick` takes of its words.
    fn who<T>(&self, view: u32, pick: impl Fn(&Said) -> Option<T>) -> BTreeMap<Key, T> {
        let in_view = self.heard.range((view, [0; 32])..=(view, [0xff; 32]));
        in_view.filter_map(|((_, member), said)| Some((*member, said.keys().find_map(&pick)?))).collect()
    }

    fn move_to(&mut self, seat: &mut Seat<Said>, view: u32) {
        seat.move_to(view);
        self.heard.retain(|(known, _), _| known.saturating_add(VIEWS_KEPT) >= view);
        self.say(seat, Said::Move(self.accepted));
    }

    /// Proposes, if it may.
    fn lead(&mut self, seat: &mut Seat<Said>) {
        let proposed = self.who(seat.view, |said| matches!(said, Said::Propose(_)).then_some(()));
        if seat.key.is_some_and(|key| proposed.contains_key(&key)) {
            return;
        }
        let moved = self.who(seat.view, |said| if let Said::Move(last) = said { Some(*last) } else { None });
        if seat.view > 0 && !seat.committee.is_majority(moved.keys()) {
            return;
        }
        match moved.values().flatten().max() {
            Some((_, id)) => drop(self.say(seat, Said::Propose(*id))),
            None => seat.build(),
        }
    }

    /// Accepts what is proposed in this view, once it is known to be valid.
    fn follow(&mut self, seat: &mut Seat<Said>) {
        let leader = seat.leader(seat.view);
        let proposals = self.who(seat.view, |said| if let Said::Propose(id) = said { Some(*id) } else { None });
        let Some(id) = proposals.get(&leader).copied() else { return };
        if self.accepted != Some((seat.view, id)) && seat.may_vote(id) == Some(true) {
            self.say(seat, Said::Accept(id));
        }
    }

    /// Decides on what more than half has accepted.
    fn decide(&mut self, seat: &mut Seat<Said>) {
        let mut views: Vec<_> = self.heard.keys().map(|(view, _)| *view).collect();
        views.dedup();
        for view in views {
            let accepts = self.who(view, |said| if let Said::Accept(id) = said { Some(*id) } else { None });
            // All that is accepted in a view is one block: the one its proposer signed.
            let Some((first, id)) = accepts.iter().next() else { continue };
            if !seat.committee.is_majority(accepts.keys()) || accepts.values().any(|other| other != id) {
                continue;
            }
            if seat.is_valid(*id, *first) == Some(true) {
                let signature = |member: &Key| self.heard.get(&(view, *member))?.get(&Said::Accept(*id)).cloned();
                seat.decide(*id, view, accepts.keys().filter_map(|member| Some((*member, signature(member)?))).collect());
            }
            // In later views more than half can accept this one alone.
            return;
        }
    }
}

impl Rules for Authority {
    type Said = Said;

    fn new() -> Self {
        Self { heard: BTreeMap::new(), views: Views::default(), accepted: None }
    }

    fn vote(id: Id) -> Said {
        Said::Accept(id)
    }

    fn is_enough<'a>(committee: &Committee, members: impl Iterator<Item = &'a Key>) -> bool {
        committee.is_majority(members)
    }

    fn listens(&self, seat: &Seat<Said>, message: &Message<Said>) -> bool {
        let known = self.heard.get(&(message.view, message.member)).is_some_and(|heard| heard.contains_key(&message.said));
        !known && (seat.is_near(message.view) || self.views.is_new(&message.member, message.view))
    }

    fn hear(&mut self, seat: &mut Seat<Said>, message: Message<Said>) {
        if let Said::Accept(id) = message.said
            && seat.key == Some(message.member)
        {
            self.accepted = self.accepted.max(Some((message.view, id)));
        }
        self.views.heard(message.member, message.view);
        if seat.is_near(message.view) {
            self.heard.entry((message.view, message.member)).or_default().insert(message.said, message.signature);
        }
    }

    fn propose(&self, _: &Seat<Said>, id: Id) -> Option<Said> {
        Some(Said::Propose(id))
    }

    fn go_on(&mut self, seat: &mut Seat<Said>) {
        // Where no majority is left without those that have moved on, this member follows them. Otherwise members whose views last equally long would
        // stay a view apart for ever. It moves at once to the last such view, however many there were, as a call has 256 effects.
        let reached = self.views.reached(|there| seat.committee.is_majority_lost_without(there));
        if let Some(view) = reached.filter(|view| *view > seat.view) {
            self.move_to(seat, view);
        }
        if seat.leads() {
            self.lead(seat);
        }
        self.follow(seat);
        self.decide(seat);
    }

    fn is_late(&mut self, seat: &mut Seat<Said>) {
        self.move_to(seat, seat.view.saturating_add(1));
    }
}

subnode_sdk::consensus!(Member<Authority>);

#[cfg(test)]
mod tests;
