//! What members say, what of it is signed, and whether it can be so.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use subnode_sdk::{
    codec::encode,
    consensus::{Position, Validator, signing},
};

pub type Id = [u8; 32];
pub type Key = [u8; 32];
pub type Signature = Vec<u8>;

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

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    pub height: u64,
    pub view: u32,
    pub said: Said,
    pub member: Key,
    pub signature: Signature,
}

/// Where something is said, and what is signed of it. What comes along needs no signature of its own: it has others'.
pub fn signed(height: u64, view: u32, said: &Said) -> (Position, Vec<u8>) {
    let (step, text) = match said {
        Said::Change(prepared) => (0, encode(&prepared.as_ref().map(|prepared| (prepared.view, prepared.id)))),
        Said::Propose(id, _) => (1, id.to_vec()),
        Said::Prepare(id) => (2, id.to_vec()),
        Said::Commit(id) => (3, id.to_vec()),
    };
    (Position { height, round: view, step }, text)
}

pub fn is_genuine(height: u64, view: u32, said: &Said, member: &Key, signature: &[u8]) -> bool {
    let (at, text) = signed(height, view, said);
    signing::verify(member, at, &text, signature)
}

/// Members in the order of their turns, with their power.
pub struct Committee(BTreeMap<Key, u64>);

impl Committee {
    pub fn new(members: &[Validator]) -> Result<Self, String> {
        let member = |one: &Validator| Some((one.key.as_slice().try_into().ok()?, one.power));
        Ok(Self(members.iter().map(member).collect::<Option<_>>().ok_or("a member's key has 32 bytes")?))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn leader(&self, height: u64, view: u32) -> Option<Key> {
        let turn = height.wrapping_add(view.into()).checked_rem(self.0.len() as u64)?;
        self.0.keys().nth(turn as usize).copied()
    }

    /// Thrice the power of these, and that of all.
    fn thrice<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> (u64, u64) {
        let keys: BTreeSet<_> = keys.into_iter().collect();
        (keys.into_iter().filter_map(|key| self.0.get(key)).sum::<u64>() * 3, self.0.values().sum())
    }

    /// More than two thirds: of two such, some member that does not lie is in both.
    pub fn is_quorum<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> bool {
        let (thrice, all) = self.thrice(keys);
        thrice > all * 2
    }

    /// More than a third: one of them does not lie.
    pub fn has_honest<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> bool {
        let (thrice, all) = self.thrice(keys);
        thrice > all
    }

    fn is_prepared(&self, height: u64, Prepared { view, id, votes }: &Prepared) -> bool {
        let genuine = |(member, signature): &(Key, Signature)| is_genuine(height, *view, &Said::Prepare(*id), member, signature);
        self.is_quorum(votes.iter().map(|(member, _)| member)) && votes.iter().all(genuine)
    }

    /// Whether a block was prepared before a view, or none is said to be.
    fn could_be_prepared(&self, height: u64, view: u32, prepared: Option<&Prepared>) -> bool {
        prepared.is_none_or(|prepared| prepared.view < view && self.is_prepared(height, prepared))
    }

    /// Whether a message is what its member may say.
    pub fn is_right(&self, message: &Message) -> bool {
        let Message { height, view, said, member, signature } = message;
        let allowed = match said {
            Said::Change(prepared) => self.could_be_prepared(*height, *view, prepared.as_ref()),
            Said::Prepare(_) | Said::Commit(_) => true,
            Said::Propose(id, changes) => self.leader(*height, *view) == Some(*member) && self.allows(*height, *view, id, changes),
        };
        allowed && self.0.contains_key(member) && is_genuine(*height, *view, said, member, signature)
    }

    /// Whether a block may be proposed after these changes.
    fn allows(&self, height: u64, view: u32, id: &Id, changes: &[Change]) -> bool {
        if view == 0 {
            return changes.is_empty();
        }
        let is_right = |Change { member, prepared, signature }: &Change| {
            let genuine = is_genuine(height, view, &Said::Change(prepared.clone()), member, signature);
            genuine && self.could_be_prepared(height, view, prepared.as_ref())
        };
        self.is_quorum(changes.iter().map(|change| &change.member))
            && changes.iter().all(is_right)
            && last_prepared(changes).is_none_or(|prepared| prepared.id == *id)
    }
}

/// The last block that any of these could have seen decided.
pub fn last_prepared(changes: &[Change]) -> Option<&Prepared> {
    changes.iter().filter_map(|change| change.prepared.as_ref()).max_by_key(|prepared| prepared.view)
}
