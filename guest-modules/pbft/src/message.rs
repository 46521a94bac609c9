//! What members say, what of it is signed, and whether it can be so.

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

fn is_genuine(height: u64, view: u32, said: Said, member: Key, signature: &[u8]) -> bool {
    Message { height, view, said, member, signature: signature.to_vec() }.is_genuine()
}

impl Prepared {
    fn is_right(&self, committee: &Committee, height: u64) -> bool {
        let genuine = |(member, signature): &(Key, Signature)| is_genuine(height, self.view, Said::Prepare(self.id), *member, signature);
        committee.is_quorum(self.votes.iter().map(|(member, _)| member)) && self.votes.iter().all(genuine)
    }
}

/// Whether a block was prepared before a view, or none is said to be.
fn could_be_prepared(committee: &Committee, height: u64, view: u32, prepared: Option<&Prepared>) -> bool {
    prepared.is_none_or(|prepared| prepared.view < view && prepared.is_right(committee, height))
}

/// Whether a block may be proposed after these changes.
fn is_allowed(committee: &Committee, height: u64, view: u32, id: &Id, changes: &[Change]) -> bool {
    if view == 0 {
        return changes.is_empty();
    }
    let is_right = |Change { member, prepared, signature }: &Change| {
        let genuine = is_genuine(height, view, Said::Change(prepared.clone()), *member, signature);
        genuine && could_be_prepared(committee, height, view, prepared.as_ref())
    };
    committee.is_quorum(changes.iter().map(|change| &change.member))
        && changes.iter().all(is_right)
        && last_prepared(changes).is_none_or(|prepared| prepared.id == *id)
}

/// Whether a message is what the member may say that has signed it.
pub fn is_right(seat: &Seat<Said>, message: &Message) -> bool {
    let (committee, height, view) = (&seat.committee, message.height, message.view);
    match &message.said {
        Said::Change(prepared) => could_be_prepared(committee, height, view, prepared.as_ref()),
        Said::Prepare(_) | Said::Commit(_) => true,
        Said::Propose(id, changes) => seat.leader(view) == message.member && is_allowed(committee, height, view, id, changes),
    }
}

/// The last block that any of these could have seen decided.
pub fn last_prepared(changes: &[Change]) -> Option<&Prepared> {
    changes.iter().filter_map(|change| change.prepared.as_ref()).max_by_key(|prepared| prepared.view)
}
