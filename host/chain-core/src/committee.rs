use std::collections::{BTreeMap, BTreeSet};

use subnode_types::{NodeId, Validator};

/// Members of a committee: their votes of a round are what a node has to keep and check.
const MEMBERS_MAX: usize = 128;
/// All members' power together: thrice that fits a number.
const POWER_MAX: u64 = 1 << 60;
/// How far ahead a committee may be named.
const AHEAD_MAX: u64 = 1 << 16;
/// Committees that wait for their height.
const WAITING_MAX: usize = 64;
/// In the encoded number of members: that an epoch follows.
const WITH_EPOCH: u64 = 1 << 63;
/// In the encoded number of members: that their attest addresses follow them.
const WITH_ATTESTERS: u64 = 1 << 62;
/// In place of the encoded height of a committee, behind all of them: the number of changes. No block has this height.
const CHANGES: u64 = u64::MAX;

/// Who decides which block: the committees of a chain by the height from which they do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committees {
    /// Bound: [`WAITING_MAX`] committees of [`MEMBERS_MAX`] members of 60 bytes, 480 KiB. Those that are decoded take as many bytes as they are
    /// read from.
    from: BTreeMap<u64, Seated>,
    /// How many changes blocks have made.
    changes: u64,
}

/// A committee, and its number.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Seated {
    /// How many changes were made before this one. The committee of genesis is epoch 0.
    epoch: u64,
    members: Vec<Validator>,
    /// With which addresses the members attest blocks to outsiders, in their order; none where they do not.
    attesters: Vec<[u8; 20]>,
}

/// A runtime named a committee that cannot be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitteeError {
    /// Its height is wrong.
    #[error("a committee from height {from} on, named in block {block}: it must be later, by {AHEAD_MAX} at most")]
    Height {
        /// Where it was named.
        block: u64,
        /// Where it is to begin.
        from: u64,
    },
    /// Too many.
    #[error("a committee of {0} members, at most {MEMBERS_MAX}")]
    Members(usize),
    /// One key is there twice.
    #[error("{0} is in the committee twice")]
    Twice(NodeId),
    /// Weights are 0 or too large.
    #[error("each member needs a power of 1 or more, and all together stay under {POWER_MAX}")]
    Power,
    /// Each member has one, or none has.
    #[error("{0} attest addresses in a committee of {1} members")]
    Attesters(usize, usize),
    /// More are named than any chain needs.
    #[error("more than {WAITING_MAX} committees wait for their height")]
    Waiting,
}

impl Committees {
    /// Who decides the block at a height. Empty where nobody has to agree.
    #[must_use]
    pub fn at(&self, height: u64) -> &[Validator] {
        self.seated(height).map_or(&[], |seated| &seated.members)
    }

    /// With which addresses the members of that committee attest blocks to outsiders, in their order. Empty where they do not.
    #[must_use]
    pub fn attesters_at(&self, height: u64) -> &[[u8; 20]] {
        self.seated(height).map_or(&[], |seated| &seated.attesters)
    }

    /// The number of the committee that decides the block at a height: the committee of genesis is epoch 0, and each change that a block makes is the
    /// next epoch.
    #[must_use]
    pub fn epoch_at(&self, height: u64) -> u64 {
        self.seated(height).map_or(0, |seated| seated.epoch)
    }

    fn seated(&self, height: u64) -> Option<&Seated> {
        self.from.range(..=height).next_back().map(|(_, seated)| seated)
    }

    /// All that decide any block from now on.
    #[must_use]
    pub fn members(&self) -> BTreeSet<NodeId> {
        self.from.values().flat_map(|seated| &seated.members).map(|member| member.node).collect()
    }

    /// Whether a node is one of these.
    #[must_use]
    pub fn has_member(&self, node: NodeId) -> bool {
        self.from.values().flat_map(|seated| &seated.members).any(|member| member.node == node)
    }

    /// Takes a change that the block at `block` makes, to a committee that attests nothing.
    ///
    /// # Errors
    /// Where no committee can be like that.
    pub fn change(&mut self, block: u64, from: u64, members: Vec<Validator>) -> Result<(), CommitteeError> {
        self.change_attested(block, from, members, Vec::new())
    }

    /// Takes a change that the block at `block` makes, to members who attest with these addresses, in their order.
    ///
    /// # Errors
    /// Where no committee can be like that.
    pub fn change_attested(
        &mut self,
        block: u64,
        from: u64,
        members: Vec<Validator>,
        attesters: Vec<[u8; 20]>,
    ) -> Result<(), CommitteeError> {
        if from <= block || from - block > AHEAD_MAX {
            return Err(CommitteeError::Height { block, from });
        }
        if members.len() > MEMBERS_MAX {
            return Err(CommitteeError::Members(members.len()));
        }
        if !attesters.is_empty() && attesters.len() != members.len() {
            return Err(CommitteeError::Attesters(attesters.len(), members.len()));
        }
        let mut nodes = BTreeSet::new();
        if let Some(twice) = members.iter().find(|member| !nodes.insert(member.node)) {
            return Err(CommitteeError::Twice(twice.node));
        }
        let total = members.iter().try_fold(0_u64, |total, member| total.checked_add(member.power));
        if members.iter().any(|member| member.power == 0) || total.is_none_or(|total| total >= POWER_MAX) {
            return Err(CommitteeError::Power);
        }
        if self.from.len() + usize::from(!self.from.contains_key(&from)) > WAITING_MAX {
            return Err(CommitteeError::Waiting);
        }
        self.from.insert(from, Seated { epoch: self.changes, members, attesters });
        self.changes += 1;
        Ok(())
    }

    /// Forgets committees that have no block left to decide, at this height or later.
    pub fn forget_before(&mut self, height: u64) {
        if let Some((current, _)) = self.from.range(..=height).next_back() {
            self.from = self.from.split_off(&current.clone());
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut begin = |from: u64, epoch: u64, members: &[Validator], attesters: &[[u8; 20]]| {
            let attested = if attesters.is_empty() { 0 } else { WITH_ATTESTERS };
            bytes.extend_from_slice(&from.to_be_bytes());
            bytes.extend_from_slice(&(WITH_EPOCH | attested | members.len() as u64).to_be_bytes());
            bytes.extend_from_slice(&epoch.to_be_bytes());
            for member in members {
                bytes.extend_from_slice(&member.node.0);
                bytes.extend_from_slice(&member.power.to_be_bytes());
            }
            bytes.extend_from_slice(attesters.as_flattened());
        };
        for (from, Seated { epoch, members, attesters }) in &self.from {
            begin(*from, *epoch, members, attesters);
        }
        begin(CHANGES, self.changes, &[], &[]);
        bytes
    }

    /// Reads what [`Self::encode`] wrote; none where it did not. Earlier versions wrote no epochs: their committees are counted from 0.
    #[must_use]
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let (mut from, mut changes) = (BTreeMap::new(), 0);
        while !bytes.is_empty() {
            let (height, rest) = bytes.split_first_chunk()?;
            let (count, rest) = rest.split_first_chunk()?;
            let count = u64::from_be_bytes(*count);
            let (epoch, rest) = if count & WITH_EPOCH == 0 {
                (changes, rest)
            } else {
                let (epoch, rest) = rest.split_first_chunk()?;
                (u64::from_be_bytes(*epoch), rest)
            };
            let number = usize::try_from(count & !WITH_EPOCH & !WITH_ATTESTERS).ok()?;
            let (members, rest) = rest.split_at_checked(number.checked_mul(40)?)?;
            let attested = if count & WITH_ATTESTERS == 0 { 0 } else { number.checked_mul(20)? };
            let (attesters, rest) = rest.split_at_checked(attested)?;
            let attesters = attesters.as_chunks().0.to_vec();
            let member = |member: &[u8]| {
                let (node, power) = member.split_first_chunk()?;
                Some(Validator { node: NodeId(*node), power: u64::from_be_bytes(power.try_into().ok()?) })
            };
            let members = members.chunks_exact(40).map(member).collect::<Option<_>>()?;
            bytes = rest;
            match u64::from_be_bytes(*height) {
                CHANGES => changes = epoch,
                height => {
                    changes = epoch.checked_add(1)?;
                    from.insert(height, Seated { epoch, members, attesters });
                }
            }
        }
        Some(Self { from, changes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn members(powers: &[u64]) -> Vec<Validator> {
        (0_u8..).zip(powers).map(|(i, power)| Validator { node: NodeId([i; 32]), power: *power }).collect()
    }

    #[test]
    fn committees_change_at_their_heights() {
        let mut committees = Committees::default();
        assert_eq!(committees.at(7), []);
        committees.change(0, 1, members(&[1, 1])).expect("sound");
        committees.change(3, 9, members(&[5])).expect("sound");
        assert_eq!([0, 1, 8, 9].map(|height| committees.epoch_at(height)), [0, 0, 0, 1]);
        assert_eq!((committees.at(0).len(), committees.at(8).len(), committees.at(9).len()), (0, 2, 1));
        assert_eq!(Committees::decode(&committees.encode()), Some(committees.clone()));
        committees.forget_before(10);
        assert_eq!((committees.at(8).len(), committees.at(10)[0].power), (0, 5));
        committees.change(11, 13, members(&[5, 1])).expect("sound");
        committees.change(11, 13, members(&[5, 2])).expect("in its place");
        assert_eq!((committees.epoch_at(12), committees.epoch_at(13)), (1, 3));
        committees.change(12, 20, members(&[5])).expect("sound");
        committees.change(13, 15, members(&[6])).expect("sound");
        committees.forget_before(20);
        committees.change(20, 22, members(&[5])).expect("sound");
        assert_eq!([20, 22].map(|height| committees.epoch_at(height)), [4, 6], "no number is given twice");
        assert_eq!(Committees::decode(&committees.encode()), Some(committees.clone()));
        assert_eq!(Committees::decode(&committees.encode()[1..]), None);
    }

    #[test]
    fn a_committee_attests_with_an_address_of_each_member_or_not_at_all() {
        let mut committees = Committees::default();
        committees.change_attested(0, 1, members(&[1, 1]), vec![[7; 20], [8; 20]]).expect("sound");
        committees.change(3, 9, members(&[5])).expect("sound");
        assert_eq!(committees.attesters_at(8), [[7; 20], [8; 20]]);
        assert!(committees.attesters_at(0).is_empty() && committees.attesters_at(9).is_empty());
        let bytes = committees.encode();
        assert_eq!(Committees::decode(&bytes), Some(committees.clone()));
        // The members of the first, and a part of their addresses.
        assert!((1..24 + 2 * 60).all(|end| Committees::decode(&bytes[..end]).is_none()));
        for attesters in [1, 3] {
            let refused = committees.change_attested(4, 9, members(&[1, 1]), vec![[7; 20]; attesters]);
            assert_eq!(refused, Err(CommitteeError::Attesters(attesters, 2)));
        }
    }

    #[test]
    fn committees_of_earlier_versions_are_counted() {
        let mut bytes = Vec::new();
        for from in [1_u64, 9] {
            bytes.extend_from_slice(&from.to_be_bytes());
            bytes.extend_from_slice(&1_u64.to_be_bytes());
            bytes.extend_from_slice(&[7; 32]);
            bytes.extend_from_slice(&3_u64.to_be_bytes());
        }
        let committees = Committees::decode(&bytes).expect("whole");
        assert_eq!((committees.epoch_at(8), committees.epoch_at(9), committees.at(9)[0].power), (0, 1, 3));
    }

    #[test]
    fn what_is_no_committee_is_refused() {
        let mut committees = Committees::default();
        assert_eq!(committees.change(5, 5, members(&[1])), Err(CommitteeError::Height { block: 5, from: 5 }));
        assert_eq!(committees.change(5, u64::MAX, members(&[1])), Err(CommitteeError::Height { block: 5, from: u64::MAX }));
        assert_eq!(committees.change(5, 6, members(&[1; 129])), Err(CommitteeError::Members(129)));
        assert_eq!(committees.change(5, 6, members(&[1, 0])), Err(CommitteeError::Power));
        assert_eq!(committees.change(5, 6, members(&[u64::MAX, 2])), Err(CommitteeError::Power));
        let twice = [members(&[1]), members(&[2])].concat();
        assert_eq!(committees.change(5, 6, twice), Err(CommitteeError::Twice(NodeId([0; 32]))));
        assert_eq!(committees, Committees::default());
    }

    #[test]
    fn a_committee_too_many_is_not_taken() {
        let mut committees = Committees::default();
        (1..=WAITING_MAX as u64).for_each(|from| committees.change(0, from, members(&[1])).expect("there is room"));
        let full = committees.clone();
        assert!(matches!(committees.change(0, 1_000, members(&[1])), Err(CommitteeError::Waiting)));
        assert_eq!(committees, full);
        committees.change(0, 7, members(&[2])).expect("takes the place of another");
    }
}
