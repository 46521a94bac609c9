use std::sync::Arc;

use alloy_primitives::B256;
use serde::{Deserialize, Deserializer, Serialize, de::Error};

use crate::{AddError, Attestation, Collected, Committee, Extra, MEMBERS_MAX, Signature};

/// An attestation is not to be believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignedError {
    /// Of a chain, epoch or committee that the caller does not trust.
    #[error("chain, epoch and committee have anchor {given}, trusted is {trusted}")]
    Anchor {
        /// Of the attestation and the committee beside it.
        given: B256,
        /// What the caller trusts.
        trusted: B256,
    },
    /// Its parts are others.
    #[error("the parts of extra have root {given}, attested is {attested}")]
    Extra {
        /// Of the parts beside the attestation.
        given: B256,
        /// What is attested.
        attested: B256,
    },
    /// A signature does not count.
    #[error("the signature of member {member}: {error}")]
    Signature {
        /// Whose it is said to be.
        member: usize,
        /// Why.
        error: AddError,
    },
    /// It is another member's.
    #[error("the signature of member {said} is member {found}'s")]
    Member {
        /// Whose it is said to be.
        said: usize,
        /// Whose it is.
        found: usize,
    },
    /// Verifiers take them in one order.
    #[error("signatures are in the order of their members: {0} comes too late")]
    Order(usize),
    /// No two thirds.
    #[error("the signers have {power} of {total} of the power; more than two thirds are needed")]
    Power {
        /// Of those who signed.
        power: u64,
        /// Of all.
        total: u64,
    },
}

/// A member's signature.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberSignature {
    /// Its place in the committee, from 0.
    pub member: usize,
    /// r, s and v.
    pub signature: Signature,
}

/// An attestation as `subnode attestation show --json` prints it: with all that a stranger needs who trusts an anchor.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Signed {
    /// What is attested.
    pub attestation: Attestation,
    /// What [`Attestation::extra`] is the root of.
    pub extra: Extra,
    /// The committee of the attestation's epoch.
    pub committee: Committee,
    /// Ascending by member.
    #[serde(deserialize_with = "signatures")]
    pub signatures: Vec<MemberSignature>,
}

fn signatures<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<MemberSignature>, D::Error> {
    let signatures = Vec::<MemberSignature>::deserialize(deserializer)?;
    if signatures.len() > MEMBERS_MAX {
        return Err(D::Error::custom(format!("{} signatures, of {MEMBERS_MAX} members at most", signatures.len())));
    }
    Ok(signatures)
}

impl Signed {
    /// Of what was collected.
    #[must_use]
    pub fn new(collected: &Collected, extra: Extra) -> Self {
        let signatures = collected.signatures().map(|(member, signature)| MemberSignature { member, signature }).collect();
        let committee = Committee::clone(collected.committee());
        Self { attestation: collected.attestation().clone(), extra, committee, signatures }
    }

    /// The power of the members whose signatures are there, unchecked, and that of all.
    #[must_use]
    pub fn power(&self) -> (u64, u64) {
        let members = self.committee.members();
        let signed = self.signatures.iter().filter_map(|signature| members.get(signature.member));
        (signed.fold(0, |sum, member| sum.saturating_add(member.power)), self.committee.power())
    }

    /// Whether members with more than two thirds of the power are among them.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        let (power, total) = self.power();
        u128::from(power) * 3 > u128::from(total) * 2
    }

    /// [`crate::Subject::anchor`] of the chain, the epoch and the committee: what it is verified by.
    #[must_use]
    pub fn anchor(&self) -> B256 {
        self.attestation.subject().anchor(self.attestation.epoch, self.committee.hash())
    }

    /// The anchor of the next epoch, where its committee is named. Whoever has verified this attestation may trust it.
    #[must_use]
    pub fn next_anchor(&self) -> Option<B256> {
        let epoch = self.attestation.epoch.checked_add(1)?;
        let next = self.extra.next_committee;
        (!next.is_zero()).then(|| self.attestation.subject().anchor(epoch, next))
    }

    /// Checks all of it, by an anchor that the caller trusts.
    ///
    /// # Errors
    /// Where it is not to be believed.
    pub fn verify(&self, trusted: B256) -> Result<Collected, SignedError> {
        let given = self.anchor();
        if given != trusted {
            return Err(SignedError::Anchor { given, trusted });
        }
        let (given, attested) = (self.extra.root(), self.attestation.extra);
        if given != attested {
            return Err(SignedError::Extra { given, attested });
        }
        let mut collected = Collected::new(self.attestation.clone(), Arc::new(self.committee.clone()));
        let mut before = None;
        for &MemberSignature { member: said, signature } in &self.signatures {
            if before.is_some_and(|before| said <= before) {
                return Err(SignedError::Order(said));
            }
            let found = collected.add(signature).map_err(|error| SignedError::Signature { member: said, error })?;
            if found != said {
                return Err(SignedError::Member { said, found });
            }
            before = Some(said);
        }
        let (power, total) = (collected.power(), self.committee.power());
        if collected.is_complete() { Ok(collected) } else { Err(SignedError::Power { power, total }) }
    }
}
