//! What a committee says to outsiders about its blocks, in a form that a contract on Ethereum checks.
//!
//! An [`Attestation`] names a committed block and what its chain said up to it. Each member of the [`Committee`] signs it with
//! secp256k1 (EIP-712), and [`Collected`] gathers the signatures until members with more than two thirds of the power have signed.
//! [`Signed`] is the form that people and scripts read; [`contract`] has the verifier, `contracts/Attestations.sol`, and its calls.
//! A [`DoubleAttestation`] shows that a member signed two attestations of one height.
//!
//! Not here: secret keys, and the guard that keeps a member from signing twice (`signer`); which blocks are attested (`chain`).
//! All is pure. To check a signature costs some 40 us, all else is hashing.

mod attestation;
mod collected;
mod committee;
pub mod contract;
mod decimal;
mod double;
mod signature;
mod signed;

pub use alloy_primitives::{Address, B256};
pub use attestation::{Attestation, BLOCK_ID_BYTES, Extra, Subject};
pub use collected::{AddError, Collected};
pub use committee::{Committee, CommitteeError, MEMBERS_MAX, Member, POWER_MAX};
pub use double::{DoubleAttestation, DoubleError};
pub use signature::{Signature, SignatureError, address};
pub use signed::{MemberSignature, Signed, SignedError};

#[cfg(test)]
mod tests;
