//! The verifier, `contracts/Attestations.sol`, and what it is called with.

use alloy_primitives::{B256, Bytes, U256, keccak256};
use alloy_sol_types::SolCall;

use crate::{Attestation, Collected, DoubleAttestation, Extra, Signature, Subject};

#[allow(missing_docs, clippy::too_many_arguments, reason = "the macro makes it")]
mod artefact {
    alloy_sol_types::sol!(
        #[sol(all_derives)]
        Attestations,
        "contracts/Attestations.json"
    );
}

/// The contract's calls, events and errors, made of its artefact.
pub use artefact::Attestations;

/// What creates the contract. It takes no arguments.
#[must_use]
pub fn creation_code() -> &'static Bytes {
    &Attestations::BYTECODE
}

/// The contract's code, for a chain that has it from genesis on: it needs no storage to begin with.
#[must_use]
pub fn runtime_code() -> &'static Bytes {
    &Attestations::DEPLOYED_BYTECODE
}

/// Makes an anchor known to the contract: [`Subject::anchor`] of the same.
#[must_use]
pub fn anchor_call(subject: Subject, epoch: u64, committee: B256) -> Vec<u8> {
    let Subject { network, chain, genesis } = subject;
    Attestations::anchorCall { network, chain, genesis, epoch, committee }.abi_encode()
}

/// Asks the contract for the hash of an epoch's committee, as it was learned from an anchor on.
#[must_use]
pub fn committee_call(anchor: B256, subject: Subject, epoch: u64) -> Vec<u8> {
    let Subject { network, chain, genesis } = subject;
    Attestations::committeeHashCall { id: anchor, network, chain, genesis, epoch }.abi_encode()
}

/// An attestation as the contract takes it.
#[must_use]
pub fn attestation(attestation: &Attestation) -> Attestations::Attestation {
    Attestations::Attestation {
        network: attestation.network,
        chain: attestation.chain,
        genesis: attestation.genesis,
        epoch: attestation.epoch,
        height: attestation.height,
        blockIdHash: keccak256(&attestation.block_id),
        outboxRoot: attestation.outbox_root,
        outboxCount: attestation.outbox_count,
        timeMs: attestation.time_ms,
        extra: attestation.extra,
    }
}

/// A signature as the contract takes it.
#[must_use]
pub fn signature(signature: Signature) -> Attestations::Signature {
    let compact = signature.compact();
    Attestations::Signature { r: B256::from_slice(&compact[..32]), vs: B256::from_slice(&compact[32..]) }
}

/// A committee and its signatures as the contract takes them. [`Collected::fewest`] costs least.
#[must_use]
pub fn signed(collected: &Collected) -> Attestations::Signed {
    let members = collected.committee().members();
    Attestations::Signed {
        keysHash: keccak256(members.iter().map(|member| member.key.0).collect::<Vec<_>>().concat()),
        attesters: members.iter().map(|member| member.attester.into_word().into()).collect(),
        powers: members.iter().map(|member| U256::from(member.power)).collect(),
        signers: collected.bitmap(),
        signatures: collected.signatures().map(|(_, one)| signature(one)).collect(),
    }
}

/// Asks the contract to verify by what it learned from an anchor on.
#[must_use]
pub fn verify_call(anchor: B256, collected: &Collected) -> Vec<u8> {
    Attestations::verifyCall { id: anchor, attestation: attestation(collected.attestation()), signed: signed(collected) }.abi_encode()
}

/// Asks the contract to verify by the hash of a committee that the caller trusts.
#[must_use]
pub fn verify_by_call(trusted: B256, collected: &Collected) -> Vec<u8> {
    Attestations::verifyByCall { trusted, attestation: attestation(collected.attestation()), signed: signed(collected) }.abi_encode()
}

/// Makes the committee of the next epoch known, which the attestation names in its `extra`.
#[must_use]
pub fn advance_call(anchor: B256, collected: &Collected, extra: Extra) -> Vec<u8> {
    let extra = Attestations::Extra { delivered: extra.delivered, nextCommittee: extra.next_committee, claims: extra.claims };
    Attestations::advanceCall { id: anchor, attestation: attestation(collected.attestation()), extra, signed: signed(collected) }
        .abi_encode()
}

/// Asks the contract whom a proof is against.
#[must_use]
pub fn double_call(proof: &DoubleAttestation) -> Vec<u8> {
    let [one, other] = &proof.attestations;
    let [signature_of_one, signature_of_other] = proof.signatures.map(signature);
    let (one, other) = (attestation(one), attestation(other));
    Attestations::doubleCall { one, signature: signature_of_one, other, otherSignature: signature_of_other }.abi_encode()
}
