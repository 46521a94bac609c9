//! Malachite's terms in ours: a value is a block's id, an address is a key.

use std::fmt;

use malachite_types::{Context, NilOrVal, Round, SignedExtension, SigningScheme, ValueId, VoteType, VotingPower};
use serde::{Deserialize, Serialize};
use subnode_sdk::consensus as sdk;

/// What is agreed on, by whom and how.
#[derive(Clone, Debug)]
pub struct Bft;

/// A member's public key, which it is known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key(pub [u8; 32]);

/// A block's id.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct BlockId(pub [u8; 32]);

fn hex(bytes: &[u8; 32], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes[..4].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Display for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl fmt::Debug for BlockId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0, f)
    }
}

impl malachite_types::Address for Key {}

impl malachite_types::Value for BlockId {
    type Id = Self;

    fn id(&self) -> Self {
        *self
    }
}

/// A block's place in the chain.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Height(pub u64);

impl fmt::Display for Height {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl malachite_types::Height for Height {
    const ZERO: Self = Self(0);
    const INITIAL: Self = Self(1);

    fn increment_by(&self, n: u64) -> Self {
        Self(self.0.saturating_add(n))
    }

    fn decrement_by(&self, n: u64) -> Option<Self> {
        self.0.checked_sub(n).map(Self)
    }

    fn as_u64(&self) -> u64 {
        self.0
    }
}

/// That a member proposes a block; for one that it proposes again, the round in which two thirds voted for it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proposal {
    pub height: Height,
    pub round: u32,
    pub block: BlockId,
    pub proven_round: Option<u32>,
    pub proposer: Key,
}

/// A member's vote for a block, or for none.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Vote {
    pub precommit: bool,
    pub height: Height,
    pub round: u32,
    #[serde(with = "as_option")]
    pub block: NilOrVal<BlockId>,
    pub voter: Key,
}

mod as_option {
    use malachite_types::NilOrVal;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::BlockId;

    pub(super) fn serialize<S: Serializer>(block: &NilOrVal<BlockId>, serializer: S) -> Result<S::Ok, S::Error> {
        match block {
            NilOrVal::Nil => None,
            NilOrVal::Val(id) => Some(*id),
        }
        .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<NilOrVal<BlockId>, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(NilOrVal::Nil, NilOrVal::Val))
    }
}

/// The round of what was sent, or none.
pub fn round(round: Option<u32>) -> Round {
    round.map_or(Round::Nil, Round::new)
}

impl malachite_types::Proposal<Bft> for Proposal {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        Round::new(self.round)
    }

    fn value(&self) -> &BlockId {
        &self.block
    }

    fn take_value(self) -> BlockId {
        self.block
    }

    fn pol_round(&self) -> Round {
        round(self.proven_round)
    }

    fn validator_address(&self) -> &Key {
        &self.proposer
    }
}

impl malachite_types::Vote<Bft> for Vote {
    fn height(&self) -> Height {
        self.height
    }

    fn round(&self) -> Round {
        Round::new(self.round)
    }

    fn value(&self) -> &NilOrVal<BlockId> {
        &self.block
    }

    fn take_value(self) -> NilOrVal<BlockId> {
        self.block
    }

    fn vote_type(&self) -> VoteType {
        if self.precommit { VoteType::Precommit } else { VoteType::Prevote }
    }

    fn validator_address(&self) -> &Key {
        &self.voter
    }

    // Votes carry nothing else.
    fn extension(&self) -> Option<&SignedExtension<Bft>> {
        None
    }

    fn take_extension(&mut self) -> Option<SignedExtension<Bft>> {
        None
    }

    fn extend(self, _extension: SignedExtension<Bft>) -> Self {
        self
    }
}

/// Blocks travel outside of the agreement: it has no parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPart {}

impl malachite_types::ProposalPart<Bft> for NoPart {
    fn is_first(&self) -> bool {
        match *self {}
    }

    fn is_last(&self) -> bool {
        match *self {}
    }
}

/// A member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    key: Key,
    power: VotingPower,
}

impl malachite_types::Validator<Bft> for Member {
    fn address(&self) -> &Key {
        &self.key
    }

    fn public_key(&self) -> &Key {
        &self.key
    }

    fn voting_power(&self) -> VotingPower {
        self.power
    }
}

/// The members, in the order in which they propose.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Committee(Vec<Member>);

impl Committee {
    /// Of the host's; none where a key is none.
    pub fn new(members: &[sdk::Validator]) -> Option<Self> {
        let member = |one: &sdk::Validator| Some(Member { key: Key(one.key.as_slice().try_into().ok()?), power: one.power });
        let mut members: Vec<_> = members.iter().map(member).collect::<Option<_>>()?;
        members.sort_by_key(|member| member.key);
        Some(Self(members))
    }

    pub fn has(&self, key: Key) -> bool {
        self.0.iter().any(|member| member.key == key)
    }

    /// What a member's votes weigh; nothing of whoever is none.
    pub fn power(&self, key: Key) -> VotingPower {
        self.0.iter().find(|member| member.key == key).map_or(0, |member| member.power)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl malachite_types::ValidatorSet<Bft> for Committee {
    fn count(&self) -> usize {
        self.0.len()
    }

    fn total_voting_power(&self) -> VotingPower {
        self.0.iter().map(|member| member.power).sum()
    }

    fn get_by_address(&self, address: &Key) -> Option<&Member> {
        self.0.iter().find(|member| member.key == *address)
    }

    fn get_by_index(&self, index: usize) -> Option<&Member> {
        self.0.get(index)
    }
}

/// Signatures that the host makes and checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSigning;

/// An ed25519 signature.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Signature([[u8; 32]; 2]);

impl Signature {
    /// Where the host does not sign. It is no signature of anything.
    pub const NONE: Self = Self([[0; 32]; 2]);

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let ([first, second], []) = bytes.as_chunks::<32>() else { return None };
        Some(Self([*first, *second]))
    }

    pub fn bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }
}

impl fmt::Debug for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex(&self.0[0], f)
    }
}

impl SigningScheme for HostSigning {
    type DecodingError = &'static str;
    type Signature = Signature;
    type PublicKey = Key;
    type PrivateKey = ();

    fn decode_signature(bytes: &[u8]) -> Result<Signature, &'static str> {
        Signature::from_bytes(bytes).ok_or("a signature has 64 bytes")
    }

    fn encode_signature(signature: &Signature) -> Vec<u8> {
        signature.bytes().to_vec()
    }
}

impl Context for Bft {
    type Address = Key;
    type Height = Height;
    type ProposalPart = NoPart;
    type Proposal = Proposal;
    type Validator = Member;
    type ValidatorSet = Committee;
    type Value = BlockId;
    type Vote = Vote;
    type Extension = ();
    type SigningScheme = HostSigning;

    /// In turn. A member's power weighs its votes, not how often it proposes: one that is slow or gone costs no more than another.
    fn select_proposer<'a>(&self, committee: &'a Committee, height: Height, round: Round) -> &'a Member {
        let turn = height.0.wrapping_add(u64::from(round.as_u32().unwrap_or(0)));
        &committee.0[(turn % committee.0.len() as u64) as usize]
    }

    fn new_proposal(&self, height: Height, round: Round, block: BlockId, proven: Round, proposer: Key) -> Proposal {
        Proposal { height, round: round.as_u32().unwrap_or(0), block, proven_round: proven.as_u32(), proposer }
    }

    fn new_prevote(&self, height: Height, round: Round, block: NilOrVal<ValueId<Self>>, voter: Key) -> Vote {
        Vote { precommit: false, height, round: round.as_u32().unwrap_or(0), block, voter }
    }

    fn new_precommit(&self, height: Height, round: Round, block: NilOrVal<ValueId<Self>>, voter: Key) -> Vote {
        Vote { precommit: true, height, round: round.as_u32().unwrap_or(0), block, voter }
    }
}
