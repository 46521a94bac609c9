//! How far each member is at a height.

use std::collections::{BTreeMap, BTreeSet};

use crate::committee::Key;

/// Views before and after its own of which a member keeps what is said. Members that hear each other are in one view, and a message is late by
/// seconds where a view takes three at least: a few would do. 64 leave room for timeouts of a fraction of a second on a slow network. Whoever is
/// further off is found by [`Views`].
pub const VIEWS_KEPT: u32 = 64;

/// The last view in which each member was heard: an entry for each, however far ahead one that may lie says it is.
///
/// What a protocol keeps of views is bounded, and members may be further apart than that: where too few are there to decide, those that are go through
/// views for hours, and those that come back begin at the first one. They meet by this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Views(BTreeMap<Key, u32>);

impl Views {
    /// A member was heard in a view.
    pub fn heard(&mut self, member: Key, view: u32) {
        let last = self.0.entry(member).or_insert(view);
        *last = view.max(*last);
    }

    /// Whether a member is not known to be in this view, or beyond.
    #[must_use]
    pub fn is_new(&self, member: &Key, view: u32) -> bool {
        self.0.get(member).is_none_or(|last| *last < view)
    }

    /// The last view in which enough members are, or beyond which they are.
    pub fn reached(&self, is_enough: impl Fn(&BTreeSet<Key>) -> bool) -> Option<u32> {
        let mut ahead = self.0.iter().map(|(member, view)| (*view, *member)).collect::<Vec<_>>();
        ahead.sort_unstable_by(|one, other| other.cmp(one));
        let mut there = BTreeSet::new();
        ahead.into_iter().find_map(|(view, member)| {
            there.insert(member);
            is_enough(&there).then_some(view)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_view_is_reached_once_enough_are_there_or_beyond() {
        let mut views = Views::default();
        let reached = |views: &Views| views.reached(|there| there.len() >= 2);
        assert_eq!(reached(&views), None);
        for (member, view) in [([1; 32], u32::MAX), ([1; 32], 7), ([2; 32], 5), ([3; 32], 0)] {
            views.heard(member, view);
        }
        assert_eq!(reached(&views), Some(5));
        assert!(views.is_new(&[2; 32], 6) && !views.is_new(&[2; 32], 5) && views.is_new(&[9; 32], 0));
        views.heard([3; 32], 9);
        assert_eq!(reached(&views), Some(9));
    }
}
