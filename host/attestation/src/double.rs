use alloy_primitives::Address;
use serde::{Deserialize, Serialize};

use crate::{Attestation, Signature, SignatureError};

/// It shows nothing against anybody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DoubleError {
    /// One attestation, signed twice.
    #[error("both attestations are the same")]
    Same,
    /// Whoever attests one height may attest another.
    #[error("the attestations are not of one network, chain, genesis and height")]
    Height,
    /// One of the signatures is nobody's.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// Each signed one.
    #[error("the attestations have different signers: {0} and {1}")]
    Signers(Address, Address),
}

/// Two attestations of one height by one signer. A member signs one at each.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct DoubleAttestation {
    /// The two.
    pub attestations: [Attestation; 2],
    /// The signer's signature of each.
    pub signatures: [Signature; 2],
}

impl DoubleAttestation {
    /// Whom it proves to have attested twice. Whether that is a member is for the caller to see: anybody can make such a proof
    /// against a key of its own.
    ///
    /// # Errors
    /// Where it proves nothing.
    pub fn signer(&self) -> Result<Address, DoubleError> {
        let [one, other] = &self.attestations;
        if !one.is_of_the_height_of(other) {
            return Err(DoubleError::Height);
        }
        let (digest, other_digest) = (one.digest(), other.digest());
        if digest == other_digest {
            return Err(DoubleError::Same);
        }
        let (signer, other_signer) = (self.signatures[0].signer(digest)?, self.signatures[1].signer(other_digest)?);
        if signer == other_signer { Ok(signer) } else { Err(DoubleError::Signers(signer, other_signer)) }
    }
}
