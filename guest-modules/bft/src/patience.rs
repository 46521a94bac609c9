//! How long this member waits for others at their turns to propose.
//!
//! Whose turn it is follows from committee, height and round alone: members that disagreed on it would wait for different proposers, so nobody is
//! passed over. How long each waits is its own affair, and no waiting is too short for safety.
//!
//! A proposer that gives no valid block in time is waited for half as long at its next turn, down to a twelfth: one that votes and proposes nothing
//! would have everyone wait in full each time. One that was seen to sign two things has a twelfth at once, and so have the votes on its blocks: it may
//! have given each member another block, and nobody knows that in time. Missing votes are not the proposer's fault and change nothing. The wait grows by a twelfth with each
//! decided block of that proposer. It also grows by a twelfth with each [`FORGIVEN_EVERY`] heights, whatever the proposer does, so that one that is
//! slow by itself is in time again at last. The wait for a member that is heard is never shorter than twice what blocks take here, by the median of
//! the members, so that a committee whose blocks are slow does not give all of its proposers up.

use std::collections::{BTreeMap, BTreeSet};

use crate::context::Key;

/// Waits are counted in twelfths of the timeout. One that missed its turn and was not heard since has one of them, and then half of the wait: in a
/// committee of four with blocks each half a second and a timeout of three seconds it costs the others a tenth of their blocks.
const WHOLE: u8 = 12;
/// Heights after which each member is waited for a twelfth longer again. By then each of a committee of sixteen had two turns, so that one that
/// misses all of them loses more than it gets.
const FORGIVEN_EVERY: u64 = 32;

/// See the module.
#[derive(Default)]
pub struct Patience {
    /// Twelfths of the timeout, of members that missed turns. Bound: the committee.
    twelfths: BTreeMap<Key, u8>,
    /// Members of which nothing was heard since they missed a turn. Bound: the committee.
    absent: BTreeSet<Key>,
    /// Members that signed two things for one place, until they are waited for in full again. Bound: the committee.
    liars: BTreeSet<Key>,
    /// How long each member's last valid block took from the begin of its round. Bound: the committee.
    took_ms: BTreeMap<Key, u64>,
}

impl Patience {
    /// How long a member is waited for, of a whole timeout.
    pub fn timeout_ms(&self, member: Key, whole_ms: u64) -> u64 {
        let part = |twelfths: u8| whole_ms.saturating_mul(twelfths.into()) / u64::from(WHOLE);
        if self.absent.contains(&member) {
            return part(1);
        }
        let wait_ms = part(self.twelfths.get(&member).copied().unwrap_or(WHOLE));
        wait_ms.max(self.usual_ms().saturating_mul(2).min(whole_ms))
    }

    /// The lower median of what the members' last blocks took, by their number. Less than half of them cannot move it beyond what some other's took.
    /// Whoever owns it has everyone waited for as long as the timeout says, at most.
    fn usual_ms(&self) -> u64 {
        let mut took: Vec<_> = self.took_ms.values().copied().collect();
        took.sort_unstable();
        took.get(took.len().saturating_sub(1) / 2).copied().unwrap_or_default()
    }

    /// A member gave a valid block so long after the begin of its round.
    pub fn gave(&mut self, member: Key, took_ms: u64) {
        self.took_ms.insert(member, took_ms);
    }

    /// A member gave no valid block at its turn.
    pub fn missed(&mut self, member: Key) {
        let twelfths = self.twelfths.entry(member).or_insert(WHOLE);
        *twelfths = (*twelfths / 2).max(1);
    }

    /// A member signed two things for one place.
    pub fn lied(&mut self, member: Key) {
        self.twelfths.insert(member, 1);
        self.liars.insert(member);
    }

    /// Whether votes on a member's block are waited for as long as the timeout says, once the block is here.
    pub fn trusts(&self, member: Key) -> bool {
        !self.liars.contains(&member)
    }

    /// Nothing was heard of a member at the height of its turn. It has missed one turn, however long it is away.
    pub fn absent(&mut self, member: Key) {
        if self.absent.insert(member) {
            self.missed(member);
        }
    }

    /// A member is there.
    pub fn heard(&mut self, member: Key) {
        self.absent.remove(&member);
    }

    /// A member's block was decided. It is waited for longer by less than it loses when it gives none: one that misses each second turn would be
    /// waited for in full.
    pub fn used_its_turn(&mut self, member: Key) {
        self.lengthen(|of| *of == member);
    }

    /// A height is decided.
    pub fn decided(&mut self, height: u64) {
        if height.is_multiple_of(FORGIVEN_EVERY) {
            self.lengthen(|_| true);
        }
    }

    fn lengthen(&mut self, whose: impl Fn(&Key) -> bool) {
        self.twelfths.iter_mut().filter(|(member, _)| whose(member)).for_each(|(_, twelfths)| *twelfths += 1);
        self.twelfths.retain(|_, twelfths| *twelfths < WHOLE);
        self.liars.retain(|member| self.twelfths.contains_key(member));
    }

    /// Forgets members that are not in the committee any more.
    pub fn keep(&mut self, is_member: impl Fn(&Key) -> bool) {
        self.twelfths.retain(|member, _| is_member(member));
        self.absent.retain(&is_member);
        self.liars.retain(&is_member);
        self.took_ms.retain(|member, _| is_member(member));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT_MS: u64 = 3_000;

    fn key(number: u8) -> Key {
        Key([number; 32])
    }

    fn wait(patience: &Patience, number: u8) -> u64 {
        patience.timeout_ms(key(number), TIMEOUT_MS)
    }

    #[test]
    fn who_misses_turns_is_waited_for_less_and_less_and_is_forgiven_in_time() {
        let mut patience = Patience::default();
        let waits: Vec<_> = (0..5).map(|_| (wait(&patience, 1), patience.missed(key(1))).0).collect();
        assert_eq!(waits, [3_000, 1_500, 750, 250, 250]);
        assert_eq!(wait(&patience, 2), 3_000, "the others are not meant");
        patience.used_its_turn(key(1));
        assert_eq!(wait(&patience, 1), 500);
        (1..=32 * 10).for_each(|height| patience.decided(height));
        assert_eq!(wait(&patience, 1), 3_000);
    }

    #[test]
    fn who_is_away_costs_a_twelfth_until_it_is_heard() {
        let mut patience = Patience::default();
        patience.absent(key(1));
        assert_eq!(wait(&patience, 1), 250);
        patience.absent(key(1));
        patience.heard(key(1));
        assert_eq!(wait(&patience, 1), 1_500, "it missed one turn, as one that says nothing until the others have waited");
    }

    #[test]
    fn who_signed_two_things_is_waited_for_a_twelfth_and_its_blocks_as_long_until_it_is_forgiven() {
        let mut patience = Patience::default();
        patience.lied(key(1));
        assert_eq!((wait(&patience, 1), patience.trusts(key(1)), patience.trusts(key(2))), (250, false, true));
        (1..=32 * 10).for_each(|height| patience.decided(height));
        assert!(!patience.trusts(key(1)));
        (1..=32).for_each(|height| patience.decided(height));
        assert_eq!((wait(&patience, 1), patience.trusts(key(1))), (3_000, true));
    }

    #[test]
    fn a_committee_with_slow_blocks_waits_for_them_and_few_members_do_not_change_that() {
        let mut patience = Patience::default();
        (1..=4).for_each(|member| (0..5).for_each(|_| patience.missed(key(member))));
        assert_eq!(wait(&patience, 1), 250);
        // One block that was in time tells how long blocks take.
        patience.gave(key(2), 1_000);
        assert_eq!(wait(&patience, 1), 2_000);
        // One of four that is slow on purpose, or in a hurry.
        (1..=3).for_each(|member| patience.gave(key(member), 100));
        patience.gave(key(4), 2_900);
        assert_eq!(wait(&patience, 1), 250);
        patience.keep(|member| *member != key(1));
        assert_eq!((wait(&patience, 1), patience.took_ms.len()), (3_000, 3));
    }
}
