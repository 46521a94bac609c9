//! What members send each other, and what a member logs.

use malachite::{LivenessMsg, ProposedValue, SignedConsensusMsg, WalEntry};
use malachite_types::{
    CommitCertificate, CommitSignature, PolkaCertificate, PolkaSignature, Round, RoundCertificate, RoundCertificateType, RoundSignature,
    SignedMessage, Timeout, TimeoutKind, Validity, VoteType,
};
use serde::{Deserialize, Serialize};

use crate::context::{Bft, BlockId, Height, Key, Proposal, Signature, Vote, round};

/// A message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    Vote(Vote, Signature),
    Proposal(Proposal, Signature),
    /// Two thirds voted for a block.
    Polka {
        height: Height,
        round: u32,
        block: BlockId,
        signatures: Vec<(Key, Signature)>,
    },
    /// A round is over, or members are ahead of it.
    Round {
        height: Height,
        round: u32,
        skip: bool,
        votes: Vec<(Vote, Signature)>,
    },
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Entry {
    Message(Message),
    Timeout { kind: u8, round: u32 },
    Judged { round: u32, proven_round: Option<u32>, proposer: Key, block: BlockId, valid: bool },
}

/// What shows that a block was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificate {
    pub round: u32,
    pub signatures: Vec<(Key, Signature)>,
}

impl Message {
    pub fn height(&self) -> u64 {
        match self {
            Self::Vote(vote, _) => vote.height.0,
            Self::Proposal(proposal, _) => proposal.height.0,
            Self::Polka { height, .. } | Self::Round { height, .. } => height.0,
        }
    }

    pub fn into_input(self) -> malachite::Input<Bft> {
        match self {
            Self::Vote(vote, signature) => malachite::Input::Vote(SignedMessage::new(vote, signature)),
            Self::Proposal(proposal, signature) => malachite::Input::Proposal(SignedMessage::new(proposal, signature)),
            Self::Polka { height, round, block, signatures } => malachite::Input::PolkaCertificate(PolkaCertificate {
                height,
                round: Round::new(round),
                value_id: block,
                polka_signatures: signatures.into_iter().map(|(key, signature)| PolkaSignature::new(key, signature)).collect(),
            }),
            Self::Round { height, round, skip, votes } => malachite::Input::RoundCertificate(RoundCertificate {
                height,
                round: Round::new(round),
                cert_type: if skip { RoundCertificateType::Skip } else { RoundCertificateType::Precommit },
                round_signatures: votes
                    .into_iter()
                    .map(|(vote, signature)| {
                        let vote_type = if vote.precommit { VoteType::Precommit } else { VoteType::Prevote };
                        RoundSignature::new(vote_type, vote.block, vote.voter, signature)
                    })
                    .collect(),
            }),
        }
    }
}

impl From<SignedConsensusMsg<Bft>> for Message {
    fn from(message: SignedConsensusMsg<Bft>) -> Self {
        match message {
            SignedConsensusMsg::Vote(vote) => vote.into(),
            SignedConsensusMsg::Proposal(proposal) => Self::Proposal(proposal.message, proposal.signature),
        }
    }
}

impl From<SignedMessage<Bft, Vote>> for Message {
    fn from(vote: SignedMessage<Bft, Vote>) -> Self {
        Self::Vote(vote.message, vote.signature)
    }
}

impl From<LivenessMsg<Bft>> for Message {
    fn from(message: LivenessMsg<Bft>) -> Self {
        match message {
            LivenessMsg::Vote(vote) => vote.into(),
            LivenessMsg::PolkaCertificate(polka) => Self::Polka {
                height: polka.height,
                round: polka.round.as_u32().unwrap_or(0),
                block: polka.value_id,
                signatures: polka.polka_signatures.into_iter().map(|one| (one.address, one.signature)).collect(),
            },
            LivenessMsg::SkipRoundCertificate(certificate) => certificate.into(),
        }
    }
}

impl From<RoundCertificate<Bft>> for Message {
    fn from(certificate: RoundCertificate<Bft>) -> Self {
        let (height, round) = (certificate.height, certificate.round.as_u32().unwrap_or(0));
        let vote = |one: RoundSignature<Bft>| {
            let precommit = one.vote_type == VoteType::Precommit;
            (Vote { precommit, height, round, block: one.value_id, voter: one.address }, one.signature)
        };
        Self::Round {
            height,
            round,
            skip: certificate.cert_type == RoundCertificateType::Skip,
            votes: certificate.round_signatures.into_iter().map(vote).collect(),
        }
    }
}

/// Kinds of timeouts, by number.
const KINDS: [TimeoutKind; 4] = [TimeoutKind::Propose, TimeoutKind::Prevote, TimeoutKind::Precommit, TimeoutKind::Rebroadcast];

/// The number of a timeout among the host's timers.
pub fn timer(timeout: Timeout) -> u64 {
    let kind = KINDS.iter().position(|kind| *kind == timeout.kind).unwrap_or(0) as u64;
    u64::from(timeout.round.as_u32().unwrap_or(0)) << 2 | kind
}

/// The timeout of a number.
pub fn timeout(timer: u64) -> Option<Timeout> {
    Some(Timeout::new(Round::new(u32::try_from(timer >> 2).ok()?), KINDS[(timer & 3) as usize]))
}

impl From<WalEntry<Bft>> for Entry {
    fn from(entry: WalEntry<Bft>) -> Self {
        match entry {
            WalEntry::ConsensusMsg(message) => Self::Message(message.into()),
            WalEntry::Timeout(timeout) => {
                let number = timer(timeout);
                Self::Timeout { kind: (number & 3) as u8, round: (number >> 2) as u32 }
            }
            WalEntry::ProposedValue(value) => Self::Judged {
                round: value.round.as_u32().unwrap_or(0),
                proven_round: value.valid_round.as_u32(),
                proposer: value.proposer,
                block: value.value,
                valid: value.validity.is_valid(),
            },
        }
    }
}

impl Entry {
    /// What happened, to be gone through again.
    pub fn into_input(self, height: Height) -> Option<malachite::Input<Bft>> {
        Some(match self {
            Self::Message(message) => message.into_input(),
            Self::Timeout { kind, round } => malachite::Input::TimeoutElapsed(timeout(u64::from(round) << 2 | u64::from(kind & 3))?),
            Self::Judged { round, proven_round, proposer, block, valid } => {
                judged(&Proposal { height, round, block, proven_round, proposer }, valid)
            }
        })
    }
}

/// A proposal whose block is judged.
pub fn judged(proposal: &Proposal, valid: bool) -> malachite::Input<Bft> {
    let value = ProposedValue {
        height: proposal.height,
        round: Round::new(proposal.round),
        valid_round: round(proposal.proven_round),
        proposer: proposal.proposer,
        value: proposal.block,
        validity: Validity::from_bool(valid),
    };
    malachite::Input::ProposedValue(value, malachite_types::ValueOrigin::Consensus)
}

impl Certificate {
    pub fn of(certificate: &CommitCertificate<Bft>) -> Self {
        Self {
            round: certificate.round.as_u32().unwrap_or(0),
            signatures: certificate.commit_signatures.iter().map(|one| (one.address, one.signature)).collect(),
        }
    }

    pub fn on(self, height: u64, block: BlockId) -> CommitCertificate<Bft> {
        let signature = |(key, signature)| CommitSignature::new(key, signature);
        CommitCertificate {
            height: Height(height),
            round: Round::new(self.round),
            value_id: block,
            commit_signatures: self.signatures.into_iter().map(signature).collect(),
        }
    }
}
