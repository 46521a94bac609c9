//! What members say, what of it is signed, and whether it can be so.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use subnode_sdk::{
    codec::encode,
    committee::{Committee, Key},
    member::{self, Id, Seat, Signature},
};

/// More than two thirds of the power would have a block in a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prepared {
    pub view: u32,
    pub id: Id,
    pub votes: Vec<(Key, Signature)>,
}

/// What a member said when it came to a view.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    pub member: Key,
    pub prepared: Option<Prepared>,
    pub signature: Signature,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Said {
    /// I am in this view now, and this is the last block that could have been decided before.
    Change(Option<Prepared>),
    /// It is my turn, and this is the block. In a view after the first, these changes allow it.
    Propose(Id, Vec<Change>),
    /// I would have this block.
    Prepare(Id),
    /// So would more than two thirds.
    Commit(Id),
}

pub type Message = member::Message<Said>;

impl member::Said for Said {
    fn step(&self) -> u8 {
        match self {
            Self::Change(_) => 0,
            Self::Propose(..) => 1,
            Self::Prepare(_) => 2,
            Self::Commit(_) => 3,
        }
    }

    /// What comes along needs no signature of its own: it has others'.
    fn text(&self) -> Vec<u8> {
        match self {
            Self::Change(prepared) => encode(&prepared.as_ref().map(|prepared| (prepared.view, prepared.id))),
            Self::Propose(id, _) | Self::Prepare(id) | Self::Commit(id) => id.to_vec(),
        }
    }
}

/// What was checked before.
pub trait Known {
    /// Whether it is known that a member prepared this block in this view.
    fn has_vote(&self, view: u32, id: &Id, vote: &(Key, Signature)) -> bool;
    /// Whether it is known that a member said this when it came to this view, and that the votes in it are genuine.
    fn has_change(&self, view: u32, change: &Change) -> bool;
}

/// Whether a block may have been prepared before a view, or none is said to be. Nobody's vote is there twice: the committee bounds how many are checked.
fn could_be_prepared(committee: &Committee, view: u32, prepared: Option<&Prepared>) -> bool {
    let members = |prepared: &Prepared| {
        let members = || prepared.votes.iter().map(|(member, _)| member);
        committee.has_each_once(members()) && committee.is_quorum(members())
    };
    prepared.is_none_or(|prepared| prepared.view < view && members(prepared))
}

/// Whether a block may be proposed after these changes, if they are genuine.
fn is_allowed(committee: &Committee, view: u32, id: &Id, changes: &[Change]) -> bool {
    if view == 0 {
        return changes.is_empty();
    }
    let members = || changes.iter().map(|change| &change.member);
    committee.has_each_once(members())
        && committee.is_quorum(members())
        && changes.iter().all(|change| could_be_prepared(committee, view, change.prepared.as_ref()))
        && last_prepared(changes).is_none_or(|prepared| prepared.id == *id)
}

/// Whether a message is what its member may say, if what it brings along is genuine. Checks no signature.
pub fn is_right(seat: &Seat<Said>, message: &Message) -> bool {
    let (committee, view) = (&seat.committee, message.view);
    match &message.said {
        Said::Change(prepared) => could_be_prepared(committee, view, prepared.as_ref()),
        Said::Prepare(_) | Said::Commit(_) => true,
        Said::Propose(id, changes) => seat.leader(view) == message.member && is_allowed(committee, view, id, changes),
    }
}

/// Whether the signatures that a message brings along are genuine. Each is checked once, though many members name the same votes: of a committee of n,
/// not n * n, unless they name different ones. What is known is not checked.
pub fn is_shown(message: &Message, known: &impl Known) -> bool {
    let (prepared, changes) = match &message.said {
        Said::Change(prepared) => (prepared.as_ref(), &[][..]),
        Said::Propose(_, changes) => (None, changes.as_slice()),
        Said::Prepare(_) | Said::Commit(_) => return true,
    };
    let height = message.height;
    let changes: Vec<_> = changes.iter().filter(|change| !known.has_change(message.view, change)).collect();
    let votes: BTreeSet<_> = changes
        .iter()
        .filter_map(|change| change.prepared.as_ref())
        .chain(prepared)
        .flat_map(|Prepared { view, id, votes }| votes.iter().map(move |vote| (*view, id, vote)))
        .collect();
    let is_genuine = |view, said, member: &Key, signature: &Signature| {
        Message { height, view, said, member: *member, signature: signature.clone() }.is_genuine()
    };
    changes.iter().all(|change| is_genuine(message.view, Said::Change(change.prepared.clone()), &change.member, &change.signature))
        && votes
            .into_iter()
            .all(|(view, id, vote)| known.has_vote(view, id, vote) || is_genuine(view, Said::Prepare(*id), &vote.0, &vote.1))
}

/// The last block that any of these could have seen decided.
pub fn last_prepared(changes: &[Change]) -> Option<&Prepared> {
    changes.iter().filter_map(|change| change.prepared.as_ref()).max_by_key(|prepared| prepared.view)
}
