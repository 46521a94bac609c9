//! Committees whose members attest, with keys that everyone knows.

use std::sync::Arc;

use alloy::{
    primitives::{B256, Bytes, keccak256},
    signers::{SignerSync, local::PrivateKeySigner},
};
use anyhow::Context as _;
use subnode_attestation::{Attestation, Collected, Committee, Extra, Member, Signature};

/// Members of these powers; member `i` has the same keys in every committee.
pub struct Attesters {
    signers: Vec<PrivateKeySigner>,
    /// What outsiders know of them.
    pub committee: Arc<Committee>,
}

impl Attesters {
    /// # Errors
    /// Where the powers are none of a committee.
    pub fn new(powers: &[u64]) -> anyhow::Result<Self> {
        let signer = |member: usize| PrivateKeySigner::from_bytes(&keccak256(format!("attester {member}")));
        let signers = (0..powers.len()).map(signer).collect::<Result<Vec<_>, _>>()?;
        let member = |(member, (signer, power)): (usize, (&PrivateKeySigner, &u64))| Member {
            key: keccak256(format!("node {member}")),
            attester: signer.address(),
            power: *power,
        };
        let members = signers.iter().zip(powers).enumerate().map(member).collect();
        Ok(Self { signers, committee: Arc::new(Committee::new(members)?) })
    }

    /// A member's signature.
    ///
    /// # Errors
    /// Where there is no such member.
    pub fn sign(&self, member: usize, attestation: &Attestation) -> anyhow::Result<Signature> {
        let signature = self.signers.get(member).context("no such member")?.sign_hash_sync(&attestation.digest())?;
        Ok(Signature::from_rsv(signature.as_bytes())?)
    }

    /// An attestation with the signatures of these members.
    ///
    /// # Errors
    /// Where one of them is no member, or named twice.
    pub fn signed(&self, attestation: &Attestation, members: impl IntoIterator<Item = usize>) -> anyhow::Result<Collected> {
        let mut collected = Collected::new(attestation.clone(), Arc::clone(&self.committee));
        for member in members {
            collected.add(self.sign(member, attestation)?)?;
        }
        Ok(collected)
    }
}

/// An attestation of epoch 0, with what it says beside its block.
#[must_use]
pub fn attestation(extra: Extra) -> Attestation {
    Attestation {
        network: keccak256("network"),
        chain: 7,
        genesis: keccak256("genesis"),
        epoch: 0,
        height: 123_456,
        block_id: Bytes::copy_from_slice(keccak256("block").as_slice()),
        outbox_root: keccak256("outbox"),
        outbox_count: 99,
        time_ms: 1_795_000_000_000,
        extra: extra.root(),
    }
}

/// An extra that names a committee for the next epoch, and nothing else.
#[must_use]
pub fn next_committee(next_committee: B256) -> Extra {
    Extra { next_committee, ..Extra::default() }
}
