//! Which members of a committee are there. Each says so every few seconds, with a signature that others pass on: a member that some cannot hear is there
//! all the same.

use std::collections::BTreeMap;

use subnode_types::{NodeId, Validator};

/// What a member says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Presence {
    /// The member's clock, Unix time in milliseconds. A later one takes an earlier one's place.
    pub at_ms: u64,
    /// The height of its head.
    pub height: u64,
    /// For how many seconds its view of another network has been the last one; none where it has no view.
    pub view_age_s: Option<u32>,
}

/// A member's presence, and the member's signature of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// What it says.
    pub presence: Presence,
    /// The signature of [`Presence::text`].
    pub signature: [u8; 64],
}

/// Bytes of a presence, and of one with member and signature.
const PRESENCE_BYTES: usize = 8 + 8 + 4;
const RECORD_BYTES: usize = 32 + PRESENCE_BYTES + 64;
/// Presences in a frame: those of the greatest committee.
const FRAME_MAX: usize = 128;
/// In place of an age: no view.
const NO_VIEW: u32 = u32::MAX;

impl Presence {
    /// What is signed besides the chain.
    #[must_use]
    pub fn text(&self) -> [u8; PRESENCE_BYTES] {
        let mut text = [0; PRESENCE_BYTES];
        text[..8].copy_from_slice(&self.at_ms.to_be_bytes());
        text[8..16].copy_from_slice(&self.height.to_be_bytes());
        text[16..].copy_from_slice(&self.view_age_s.unwrap_or(NO_VIEW).to_be_bytes());
        text
    }

    fn of(text: &[u8; PRESENCE_BYTES]) -> Option<Self> {
        let (at_ms, rest) = text.split_first_chunk()?;
        let (height, age) = rest.split_first_chunk()?;
        let age = u32::from_be_bytes(age.try_into().ok()?);
        let (at_ms, height) = (u64::from_be_bytes(*at_ms), u64::from_be_bytes(*height));
        Some(Self { at_ms, height, view_age_s: (age != NO_VIEW).then_some(age) })
    }
}

/// The bytes of presences, one after the other.
#[must_use]
pub fn encode(presences: &[(NodeId, Signed)]) -> Vec<u8> {
    presences.iter().flat_map(|(member, signed)| [member.0.as_slice(), &signed.presence.text(), &signed.signature].concat()).collect()
}

/// Reads what [`encode`] wrote; none where it did not.
#[must_use]
pub fn decode(bytes: &[u8]) -> Option<Vec<(NodeId, Signed)>> {
    let (records, []) = bytes.as_chunks::<RECORD_BYTES>() else { return None };
    let record = |record: &[u8; RECORD_BYTES]| {
        let (member, rest) = record.split_first_chunk()?;
        let (presence, signature) = rest.split_first_chunk()?;
        let signed = Signed { presence: Presence::of(presence)?, signature: signature.try_into().ok()? };
        Some((NodeId(*member), signed))
    };
    if records.len() > FRAME_MAX { None } else { records.iter().map(record).collect() }
}

/// How long a member must not be heard to be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// Blocks that pass meanwhile.
    pub blocks: u64,
    /// Milliseconds that pass meanwhile.
    pub ms: u64,
}

/// A member as this host heard it last.
#[derive(Clone, Copy, Debug)]
struct Heard {
    /// Of this host's clock that only goes forward, and of its head.
    at_ms: u64,
    at_height: u64,
    last: Option<Signed>,
    /// When a block noted that it is silent, of both clocks.
    noted: Option<(u64, u64)>,
    /// It was heard by this host since presences were last passed on.
    fresh: bool,
}

/// What this host heard of the members.
#[derive(Debug, Default)]
pub struct Attendance {
    /// Bound: 128 members of 200 bytes.
    heard: BTreeMap<NodeId, Heard>,
}

/// A member that was not heard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Absence {
    /// Which.
    pub member: NodeId,
    /// For how long: milliseconds of this host's clock.
    pub ms: u64,
    /// For how many blocks.
    pub blocks: u64,
}

impl Attendance {
    /// Members are these from now on. One that is new counts as heard now.
    pub fn seat(&mut self, committee: &[Validator], now_ms: u64, height: u64) {
        if self.heard.len() == committee.len() && committee.iter().all(|member| self.heard.contains_key(&member.node)) {
            return;
        }
        let known = std::mem::take(&mut self.heard);
        let new = Heard { at_ms: now_ms, at_height: height, last: None, noted: None, fresh: false };
        let member = |member: &Validator| (member.node, known.get(&member.node).copied().unwrap_or(new));
        self.heard = committee.iter().map(member).collect();
    }

    /// A member was heard itself: it voted, or said something else that is signed or came over its own connection.
    pub fn heard(&mut self, member: NodeId, now_ms: u64, height: u64) {
        if let Some(heard) = self.heard.get_mut(&member) {
            (heard.at_ms, heard.at_height, heard.noted) = (now_ms, height, None);
        }
    }

    /// A block noted that a member is silent: that is stated again once it was silent for as long again.
    pub fn noted(&mut self, member: NodeId, now_ms: u64, height: u64) {
        if let Some(heard) = self.heard.get_mut(&member) {
            heard.noted = Some((now_ms, height));
        }
    }

    /// Takes a presence that this host made or was sent, from whomever, if it is later than the member's last one and its head is not
    /// `patience.blocks` behind. `is_signed` is asked last: checking a signature is dear. Whether it was taken; none where it is forged.
    pub fn take(
        &mut self,
        (member, signed): (NodeId, Signed),
        now_ms: u64,
        height: u64,
        patience: Patience,
        is_signed: impl FnOnce(&Signed) -> bool,
    ) -> Option<bool> {
        let Some(heard) = self.heard.get_mut(&member) else { return Some(false) };
        let presence = &signed.presence;
        let is_later = heard.last.is_none_or(|last| last.presence.at_ms < presence.at_ms);
        if !is_later || presence.height.saturating_add(patience.blocks) < height {
            return Some(false);
        }
        if !is_signed(&signed) {
            return None;
        }
        *heard = Heard { at_ms: now_ms, at_height: height, last: Some(signed), fresh: true, noted: None };
        Some(true)
    }

    /// The presences that were taken since this was last asked, to be passed on.
    pub fn take_fresh(&mut self) -> Vec<(NodeId, Signed)> {
        let fresh = self.heard.iter_mut().filter(|(_, heard)| heard.fresh);
        fresh
            .filter_map(|(member, heard)| {
                heard.fresh = false;
                Some((*member, heard.last?))
            })
            .collect()
    }

    /// Members that were not heard for a while: longer than `ms`.
    #[must_use]
    pub fn absent(&self, now_ms: u64, height: u64, ms: u64) -> Vec<Absence> {
        let absence = |(member, heard): (&NodeId, &Heard)| Absence {
            member: *member,
            ms: now_ms.saturating_sub(heard.at_ms),
            blocks: height.saturating_sub(heard.at_height),
        };
        self.heard.iter().map(absence).filter(|absence| absence.ms > ms).collect()
    }

    /// Members that were not heard from anyone for as long as a host is patient: it states that they are silent.
    #[must_use]
    pub fn silent(&self, now_ms: u64, height: u64, patience: Patience) -> Vec<NodeId> {
        let is_silent = |heard: &Heard| {
            let (ms, blocks) =
                heard.noted.map_or((heard.at_ms, heard.at_height), |(ms, blocks)| (ms.max(heard.at_ms), blocks.max(heard.at_height)));
            now_ms.saturating_sub(ms) > patience.ms && height.saturating_sub(blocks) > patience.blocks
        };
        self.heard.iter().filter(|(_, heard)| is_silent(heard)).map(|(member, _)| *member).collect()
    }

    /// The last presence of each member that was taken, with the time since it was heard in milliseconds.
    pub fn members(&self, now_ms: u64) -> impl Iterator<Item = (NodeId, Option<Presence>, u64)> {
        self.heard
            .iter()
            .map(move |(member, heard)| (*member, heard.last.map(|signed| signed.presence), now_ms.saturating_sub(heard.at_ms)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PATIENCE: Patience = Patience { blocks: 10, ms: 1_000 };

    fn node(number: u8) -> NodeId {
        NodeId([number; 32])
    }

    fn attendance() -> Attendance {
        let mut attendance = Attendance::default();
        let committee: Vec<_> = (0..3).map(|number| Validator { node: node(number), power: 1 }).collect();
        attendance.seat(&committee, 0, 0);
        attendance
    }

    fn signed(at_ms: u64, height: u64) -> Signed {
        Signed { presence: Presence { at_ms, height, view_age_s: None }, signature: [1; 64] }
    }

    #[test]
    fn a_member_is_silent_once_nobody_heard_it_for_blocks_and_for_time() {
        let mut attendance = attendance();
        attendance.heard(node(0), 1_500, 15);
        assert_eq!(attendance.take((node(1), signed(1, 15)), 1_500, 15, PATIENCE, |_| true), Some(true), "passed on by another");
        assert_eq!(attendance.silent(1_600, 16, PATIENCE), [node(2)]);
        assert_eq!(attendance.silent(1_600, 9, PATIENCE), [], "blocks did not pass");
        assert_eq!(attendance.silent(900, 16, PATIENCE), [], "time did not pass");
        attendance.noted(node(2), 1_600, 16);
        assert_eq!((attendance.silent(2_500, 26, PATIENCE), attendance.silent(2_601, 27, PATIENCE).len()), (Vec::new(), 3), "it is noted");
        assert_eq!(attendance.absent(1_600, 16, 500), [Absence { member: node(2), ms: 1_600, blocks: 16 }]);
    }

    #[test]
    fn presences_count_once_and_are_passed_on_once() {
        let mut attendance = attendance();
        assert_eq!(attendance.take((node(1), signed(5, 3)), 10, 3, PATIENCE, |_| true), Some(true));
        assert_eq!(attendance.take((node(1), signed(5, 3)), 900, 3, PATIENCE, |_| panic!("not checked again")), Some(false));
        assert_eq!(attendance.take((node(1), signed(4, 3)), 900, 3, PATIENCE, |_| panic!("older")), Some(false));
        assert_eq!(attendance.take((node(1), signed(6, 3)), 900, 14, PATIENCE, |_| panic!("far behind")), Some(false));
        assert_eq!(attendance.take((node(1), signed(6, 4)), 900, 14, PATIENCE, |_| false), None, "forged");
        assert_eq!(attendance.take((node(9), signed(6, 4)), 900, 14, PATIENCE, |_| panic!("a stranger")), Some(false));
        assert_eq!(attendance.take_fresh(), [(node(1), signed(5, 3))]);
        assert_eq!(attendance.take_fresh(), []);
        attendance.seat(&[Validator { node: node(1), power: 1 }, Validator { node: node(7), power: 1 }], 2_000, 20);
        assert_eq!(attendance.silent(2_100, 21, PATIENCE), [node(1)], "a new member was heard now, another is as it was");
    }

    proptest! {
        #[test]
        fn presences_round_trip(all in prop::collection::vec((any::<u8>(), any::<u64>(), any::<u64>(), prop::option::of(0..u32::MAX)), 0..20)) {
            let presence = |(number, at_ms, height, view_age_s)| {
                (node(number), Signed { presence: Presence { at_ms, height, view_age_s }, signature: [number; 64] })
            };
            let all: Vec<_> = all.into_iter().map(presence).collect();
            prop_assert_eq!(decode(&encode(&all)), Some(all));
        }
        #[test]
        fn any_bytes_decode_or_do_not(bytes: Vec<u8>) {
            prop_assert!(decode(&bytes).is_none_or(|all| encode(&all) == bytes));
        }
    }
}
