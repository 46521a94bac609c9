use std::collections::{BTreeMap, BTreeSet};

use alloy_primitives::{Address, B256};
use alloy_sol_types::SolStruct;
use serde::{Deserialize, Serialize};

use crate::decimal;

/// Members of a committee: as many as decide a chain's blocks.
pub const MEMBERS_MAX: usize = 128;
/// All members' power together stays below: thrice that fits a number.
pub const POWER_MAX: u64 = 1 << 60;

/// What EIP-712 calls a committee. A list is in the hash by the Keccak-256 of its words, so a verifier that needs no node keys takes
/// one word for all of them.
mod typed {
    #![allow(missing_docs, unreachable_pub, reason = "the macro has them")]
    alloy_sol_types::sol! {
        struct Committee {
            bytes32[] keys;
            address[] attesters;
            uint64[] powers;
        }
    }
}

/// A member of a committee, as outsiders know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Member {
    /// The node's id: its ed25519 key, which votes.
    pub key: B256,
    /// The address of its secp256k1 key, which attests.
    pub attester: Address,
    /// Its weight among the members.
    #[serde(with = "decimal")]
    pub power: u64,
}

/// No committee can be like that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommitteeError {
    /// None, or too many.
    #[error("a committee of {0} members: it has 1 to {MEMBERS_MAX}")]
    Members(usize),
    /// Two members share it.
    #[error("node key {0} is in the committee twice")]
    KeyTwice(B256),
    /// Two members share it.
    #[error("attest address {0} is in the committee twice")]
    AttesterTwice(Address),
    /// What a signature recovers to that is none.
    #[error("the member with node key {0} has attest address 0, whose key nobody has")]
    NoAttester(B256),
    /// Weights are 0 or too large.
    #[error("each member needs a power of 1 or more, and all together stay under {POWER_MAX}")]
    Power,
}

/// The members of an epoch, in the order in which their chain has them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Member>", into = "Vec<Member>")]
pub struct Committee {
    members: Vec<Member>,
    /// Bound: [`MEMBERS_MAX`] of 32 bytes.
    seats: BTreeMap<Address, usize>,
    power: u64,
    hash: B256,
}

impl TryFrom<Vec<Member>> for Committee {
    type Error = CommitteeError;

    fn try_from(members: Vec<Member>) -> Result<Self, CommitteeError> {
        Self::new(members)
    }
}

impl From<Committee> for Vec<Member> {
    fn from(committee: Committee) -> Self {
        committee.members
    }
}

impl Committee {
    /// # Errors
    /// Where no committee can be like that.
    pub fn new(members: Vec<Member>) -> Result<Self, CommitteeError> {
        if !(1..=MEMBERS_MAX).contains(&members.len()) {
            return Err(CommitteeError::Members(members.len()));
        }
        let mut keys = BTreeSet::new();
        let mut seats = BTreeMap::new();
        let mut power = 0_u64;
        for (seat, member) in members.iter().enumerate() {
            if member.attester.is_zero() {
                return Err(CommitteeError::NoAttester(member.key));
            }
            if !keys.insert(member.key) {
                return Err(CommitteeError::KeyTwice(member.key));
            }
            if seats.insert(member.attester, seat).is_some() {
                return Err(CommitteeError::AttesterTwice(member.attester));
            }
            let sum = power.checked_add(member.power).filter(|sum| *sum < POWER_MAX && member.power > 0);
            power = sum.ok_or(CommitteeError::Power)?;
        }
        let typed = typed::Committee {
            keys: members.iter().map(|member| member.key).collect(),
            attesters: members.iter().map(|member| member.attester).collect(),
            powers: members.iter().map(|member| member.power).collect(),
        };
        let hash = typed.eip712_hash_struct();
        Ok(Self { members, seats, power, hash })
    }

    /// The members in order.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Which member has an attest address.
    #[must_use]
    pub fn seat(&self, attester: Address) -> Option<usize> {
        self.seats.get(&attester).copied()
    }

    /// All members' power.
    #[must_use]
    pub fn power(&self) -> u64 {
        self.power
    }

    /// The EIP-712 hash of `Committee(bytes32[] keys,address[] attesters,uint64[] powers)`.
    #[must_use]
    pub fn hash(&self) -> B256 {
        self.hash
    }
}
