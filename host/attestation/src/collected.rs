use std::sync::Arc;

use alloy_primitives::{Address, B256, U256};

use crate::{Attestation, Committee, Signature, SignatureError};

/// A signature is not counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// It is nobody's.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Its signer is not in the committee, or signed something else.
    #[error("{0} is no attest address of this committee; a signature of another attestation shows such an address, too")]
    Stranger(Address),
    /// A member counts once.
    #[error("member {0} has signed already")]
    Duplicate(usize),
}

/// An attestation and the signatures that its committee's members have given, at most one of each.
#[derive(Clone, Debug)]
pub struct Collected {
    attestation: Attestation,
    digest: B256,
    committee: Arc<Committee>,
    /// By seat.
    signatures: Vec<Option<Signature>>,
    power: u64,
}

impl Collected {
    /// Without a signature. The committee is that of the attestation's epoch, which the caller knows.
    #[must_use]
    pub fn new(attestation: Attestation, committee: Arc<Committee>) -> Self {
        let digest = attestation.digest();
        let signatures = vec![None; committee.members().len()];
        Self { attestation, digest, committee, signatures, power: 0 }
    }

    /// Takes a member's signature; says which member's it is.
    ///
    /// # Errors
    /// Where it does not count. Nothing has changed then.
    pub fn add(&mut self, signature: Signature) -> Result<usize, AddError> {
        let signer = signature.signer(self.digest)?;
        let member = self.committee.seat(signer).ok_or(AddError::Stranger(signer))?;
        let seat = &mut self.signatures[member];
        if seat.is_some() {
            return Err(AddError::Duplicate(member));
        }
        *seat = Some(signature);
        self.power += self.committee.members()[member].power;
        Ok(member)
    }

    /// Whether members with more than two thirds of the power have signed.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        // Both sides fit: powers stay under 2^60 together.
        self.power * 3 > self.committee.power() * 2
    }

    /// What is attested.
    #[must_use]
    pub fn attestation(&self) -> &Attestation {
        &self.attestation
    }

    /// What is signed.
    #[must_use]
    pub fn digest(&self) -> B256 {
        self.digest
    }

    /// Whose members sign.
    #[must_use]
    pub fn committee(&self) -> &Arc<Committee> {
        &self.committee
    }

    /// The power of those who have signed.
    #[must_use]
    pub fn power(&self) -> u64 {
        self.power
    }

    /// Whether a member has signed.
    #[must_use]
    pub fn has(&self, member: usize) -> bool {
        self.signatures.get(member).is_some_and(Option::is_some)
    }

    /// The signatures with their members, ascending.
    pub fn signatures(&self) -> impl Iterator<Item = (usize, Signature)> {
        self.signatures.iter().enumerate().filter_map(|(member, signature)| Some((member, (*signature)?)))
    }

    /// The fewest signatures that are complete, the most powerful members' first: each more costs a verifier gas.
    #[must_use]
    pub fn fewest(&self) -> Self {
        let mut signed: Vec<_> = self.signatures().collect();
        signed.sort_by_key(|(member, _)| std::cmp::Reverse(self.committee.members()[*member].power));
        let mut fewest = Self { signatures: vec![None; self.signatures.len()], power: 0, ..self.clone() };
        for (member, signature) in signed {
            if fewest.is_complete() {
                break;
            }
            fewest.signatures[member] = Some(signature);
            fewest.power += self.committee.members()[member].power;
        }
        fewest
    }

    /// Bit `i` is set where member `i` has signed.
    #[must_use]
    pub fn bitmap(&self) -> U256 {
        self.signatures().fold(U256::ZERO, |bitmap, (member, _)| bitmap | U256::ONE << member)
    }
}
