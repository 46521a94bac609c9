//! Who decides: members in the order of their turns, and what part of the power some of them have.

use std::collections::{BTreeMap, BTreeSet};

use crate::consensus::Validator;

/// A member's public key.
pub type Key = [u8; 32];

/// The members at a height, of whom there is at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Committee(BTreeMap<Key, u64>);

impl Committee {
    /// Of the members that the host names.
    ///
    /// # Errors
    /// Where there is none, or one's key is none: what to tell the host.
    pub fn new(members: &[Validator]) -> Result<Self, String> {
        let member = |one: &Validator| Some((one.key.as_slice().try_into().ok()?, one.power));
        let members: BTreeMap<_, _> = members.iter().map(member).collect::<Option<_>>().ok_or("a member's key has 32 bytes")?;
        if members.is_empty() {
            return Err("nobody decides on this chain's blocks: name a committee in its genesis".into());
        }
        Ok(Self(members))
    }

    /// Whether it is a member's key.
    #[must_use]
    pub fn has(&self, key: &Key) -> bool {
        self.0.contains_key(key)
    }

    /// Whether all of these are members' keys, and none is there twice. So there are no more of them than members: whoever checks a signature for each
    /// asks this first.
    pub fn has_each_once<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> bool {
        let mut known = BTreeSet::new();
        keys.into_iter().all(|key| self.has(key) && known.insert(key))
    }

    /// Whose turn it is: all take turns, one after the other.
    #[must_use]
    pub fn at_turn(&self, turn: u64) -> Key {
        self.0.keys().nth((turn % self.0.len() as u64) as usize).copied().unwrap_or_default()
    }

    /// Whether these have more than half of the power: any two such groups share a member.
    pub fn is_majority<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> bool {
        self.has_more_than(1, 2, keys)
    }

    /// Whether nobody is a majority without these: they have half of the power, or more.
    pub fn is_majority_lost_without<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> bool {
        let (these, all) = self.powers(keys);
        these * 2 >= all
    }

    /// Whether these have more than two thirds: while less than a third lies, any two such groups share a member that
    /// does not.
    pub fn is_quorum<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> bool {
        self.has_more_than(2, 3, keys)
    }

    /// Whether these have more than a third: while less than a third lies, one of them does not.
    pub fn has_honest<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> bool {
        self.has_more_than(1, 3, keys)
    }

    fn has_more_than<'a>(&self, part: u128, of: u128, keys: impl IntoIterator<Item = &'a Key>) -> bool {
        let (these, all) = self.powers(keys);
        these * of > all * part
    }

    /// What power these have, and what all have. A key counts once, and one that is no member's not at all.
    fn powers<'a>(&self, keys: impl IntoIterator<Item = &'a Key>) -> (u128, u128) {
        let keys: BTreeSet<_> = keys.into_iter().collect();
        let these = keys.into_iter().filter_map(|key| self.0.get(key)).map(|power| u128::from(*power)).sum();
        (these, self.0.values().map(|power| u128::from(*power)).sum())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn committee(powers: &[u64]) -> Committee {
        let members: Vec<_> = (0..).zip(powers).map(|(key, power)| Validator { key: vec![key; 32], power: *power }).collect();
        Committee::new(&members).unwrap()
    }

    #[test]
    fn a_part_of_the_power_is_more_than_it_and_counts_each_member_once() {
        let equal = committee(&[1; 6]);
        let keys = |count: u8| (0..count).map(|key| [key; 32]).collect::<Vec<_>>();
        assert_eq!((equal.has_honest(&keys(2)), equal.has_honest(&keys(3))), (false, true));
        assert_eq!((equal.is_majority(&keys(3)), equal.is_majority(&keys(4))), (false, true));
        assert_eq!((equal.is_majority_lost_without(&keys(2)), equal.is_majority_lost_without(&keys(3))), (false, true));
        assert_eq!((equal.is_quorum(&keys(4)), equal.is_quorum(&keys(5))), (false, true));
        assert!(!equal.has_honest(&[[0; 32]; 6]) && !equal.has_honest(&[[9; 32], [8; 32], [7; 32]]));
        let heavy = committee(&[u64::MAX, u64::MAX, u64::MAX, u64::MAX / 2]);
        assert_eq!((heavy.is_majority(&keys(1)), heavy.is_majority(&keys(2))), (false, true));
    }

    #[test]
    fn a_list_of_members_names_each_once() {
        let four = committee(&[1; 4]);
        assert!(four.has_each_once([]) && four.has_each_once(&[[3; 32], [0; 32]]));
        assert!(!four.has_each_once(&[[3; 32], [0; 32], [3; 32]]) && !four.has_each_once(&[[3; 32], [9; 32]]));
    }

    #[test]
    fn all_take_turns_and_nobody_is_no_committee() {
        let three = committee(&[5, 1, 1]);
        assert_eq!([0, 1, 2, 3, u64::MAX].map(|turn| three.at_turn(turn)[0]), [0, 1, 2, 0, 0]);
        assert!(Committee::new(&[]).is_err());
        assert!(Committee::new(&[Validator { key: vec![0; 31], power: 1 }]).is_err());
    }
}
