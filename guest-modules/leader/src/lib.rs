//! The simplest consensus of a committee: members lead in turn, a height each. The leader proposes a block, and the
//! others accept the block. Once more than half of the power has accepted, the block is decided. Members trust each
//! other. A member that crashes goes on where it was. While a leader is away, everybody waits for that leader:
//! `authority` shows how another member takes over.
//!
//! Configuration: `instant` (also the meaning of an empty configuration) or `interval MILLISECONDS`, then perhaps
//! `timeout MILLISECONDS`: three times the interval at which a member repeats its messages.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use subnode_sdk::{
    committee::{Committee, Key},
    member::{self, Id, Member, Message, Rules, Seat, Signature},
};

/// What a member says. The host signs one text for each kind, so no member proposes or accepts two blocks of a height.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Said {
    /// The leader proposes this block.
    Propose(Id),
    /// A member accepts this block.
    Accept(Id),
}

impl member::Said for Said {
    fn step(&self) -> u8 {
        match self {
            Self::Propose(_) => 0,
            Self::Accept(_) => 1,
        }
    }
}

/// What is known of a height.
struct Leader {
    /// What the leader proposed.
    proposal: Option<Id>,
    accepted: BTreeMap<Key, (Id, Signature)>,
}

impl Rules for Leader {
    type Said = Said;

    fn new() -> Self {
        Self { proposal: None, accepted: BTreeMap::new() }
    }

    fn vote(id: Id) -> Said {
        Said::Accept(id)
    }

    fn is_enough<'a>(committee: &Committee, members: impl Iterator<Item = &'a Key>) -> bool {
        committee.is_majority(members)
    }

    fn listens(&self, seat: &Seat<Said>, message: &Message<Said>) -> bool {
        let known = match message.said {
            Said::Propose(_) => message.member != seat.leader(0) || self.proposal.is_some(),
            Said::Accept(_) => self.accepted.contains_key(&message.member),
        };
        // There is but one view.
        message.view == 0 && !known
    }

    fn hear(&mut self, seat: &mut Seat<Said>, message: Message<Said>) {
        match message.said {
            Said::Propose(id) if message.member == seat.leader(0) => self.proposal = Some(id),
            Said::Propose(_) => {}
            Said::Accept(id) => drop(self.accepted.insert(message.member, (id, message.signature))),
        }
    }

    fn propose(&self, _: &Seat<Said>, id: Id) -> Option<Said> {
        self.proposal.is_none().then_some(Said::Propose(id))
    }

    fn go_on(&mut self, seat: &mut Seat<Said>) {
        let Some(id) = self.proposal else {
            if seat.leads() {
                seat.build();
            }
            return;
        };
        // A trusted leader that proposes an invalid block shows a bug of the leader or of this host. Nobody accepts the
        // block, and an operator must look.
        if seat.may_vote(id) != Some(true) {
            return;
        }
        if seat.key.is_some_and(|key| !self.accepted.contains_key(&key)) {
            self.say(seat, Said::Accept(id));
        }
        let accepted: Vec<_> =
            self.accepted.iter().filter(|(_, (other, _))| *other == id).map(|(key, (_, by))| (*key, by.clone())).collect();
        if Self::is_enough(&seat.committee, accepted.iter().map(|(member, _)| member)) {
            seat.decide(id, 0, accepted);
        }
    }
}

subnode_sdk::consensus!(Member<Leader>);
