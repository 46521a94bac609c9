//! What is signed, and how the host is asked to sign and check it.

use malachite_types::{NilOrVal, SignedMessage, SigningProvider};
use subnode_sdk::consensus::{Position, signing};

use crate::context::{Bft, BlockId, Key, NoPart, Proposal, Signature, Vote};

/// Steps of a round, in the order in which a member takes them.
pub const PROPOSE: u8 = 1;
pub const PREVOTE: u8 = 2;
pub const PRECOMMIT: u8 = 3;

/// The signatures of this host.
#[derive(Clone, Debug)]
pub struct Host;

/// What is signed of a proposal, and where.
pub fn of_proposal(proposal: &Proposal) -> (Position, Vec<u8>) {
    let at = Position { height: proposal.height.0, round: proposal.round, step: PROPOSE };
    let proven = proposal.proven_round.map_or(-1, i64::from);
    (at, [proven.to_be_bytes().as_slice(), &proposal.block.0].concat())
}

/// What is signed of a vote, and where.
pub fn of_vote(vote: &Vote) -> (Position, Vec<u8>) {
    let step = if vote.precommit { PRECOMMIT } else { PREVOTE };
    let text = match vote.block {
        NilOrVal::Nil => Vec::new(),
        NilOrVal::Val(BlockId(id)) => id.to_vec(),
    };
    (Position { height: vote.height.0, round: vote.round, step }, text)
}

fn sign((at, text): (Position, Vec<u8>)) -> Signature {
    signing::sign(at, &text).and_then(|signature| Signature::from_bytes(&signature)).unwrap_or(Signature::NONE)
}

fn verify(key: &Key, (at, text): (Position, Vec<u8>), signature: &Signature) -> bool {
    signing::verify(&key.0, at, &text, signature.bytes())
}

impl SigningProvider<Bft> for Host {
    fn sign_vote(&self, vote: Vote) -> SignedMessage<Bft, Vote> {
        let signature = sign(of_vote(&vote));
        SignedMessage::new(vote, signature)
    }

    fn verify_signed_vote(&self, vote: &Vote, signature: &Signature, key: &Key) -> bool {
        verify(key, of_vote(vote), signature)
    }

    fn sign_proposal(&self, proposal: Proposal) -> SignedMessage<Bft, Proposal> {
        let signature = sign(of_proposal(&proposal));
        SignedMessage::new(proposal, signature)
    }

    fn verify_signed_proposal(&self, proposal: &Proposal, signature: &Signature, key: &Key) -> bool {
        verify(key, of_proposal(proposal), signature)
    }

    fn sign_proposal_part(&self, part: NoPart) -> SignedMessage<Bft, NoPart> {
        match part {}
    }

    fn verify_signed_proposal_part(&self, part: &NoPart, _signature: &Signature, _key: &Key) -> bool {
        match *part {}
    }

    // Votes carry nothing else.
    fn sign_vote_extension(&self, (): ()) -> SignedMessage<Bft, ()> {
        SignedMessage::new((), Signature::NONE)
    }

    fn verify_signed_vote_extension(&self, (): &(), _signature: &Signature, _key: &Key) -> bool {
        false
    }
}
