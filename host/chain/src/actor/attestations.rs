//! Attests blocks that were committed here: what this host signs is written down before it leaves.

use subnode_attestation::{Signature, address};
use subnode_chain_core::Committees;
use subnode_sandbox::charged;
use subnode_storage::StoreError;
use subnode_types::BlockRef;

use super::state::Actor;
use crate::{
    attestations::HELD_MAX,
    gossip,
    ledger::{Attested, GUARD_KEY, last_attested, log_write, proofs},
};

impl Actor {
    /// What the committee of a block attests that is to be committed on the head; none where it attests nothing of it.
    pub(super) fn attested(&self, head: &BlockRef, changed: Option<&Committees>) -> Option<Attested> {
        let (chain, committees) = (self.parts.attestations.chain()?, self.parts.ledger.committees());
        self.parts.ledger.attesting().of_block(chain, head, &committees, changed.unwrap_or(&committees))
    }

    /// A block was committed, and this is attested of it.
    pub(super) async fn attest_after(&mut self, attested: Option<Attested>) {
        let parts = self.parts.clone();
        let early = parts.attestations.moved(parts.ledger.head().height, &parts.ledger.committee(), attested.as_ref());
        if let Some(attested) = attested {
            self.attest(&attested).await;
        }
        // Signatures are checked: the chain pays for that.
        charged(&parts.tenant, async {
            for (from, frame) in early {
                if let (Err(reason), Some(peers)) = (gossip::hear_attestation(&parts, from, &frame), parts.exchange.peers()) {
                    peers.fault(from, &reason);
                }
            }
        })
        .await;
        self.write_attestations().await;
    }

    /// Signs what a block attests, where this node is a member of its committee, and sends that once it is durable.
    async fn attest(&mut self, Attested { attestation, committee, .. }: &Attested) {
        let parts = self.parts.clone();
        let is_member = parts.voter.attest_point().is_some_and(|point| committee.seat(address(&point)).is_some());
        if !is_member {
            return;
        }
        let Some(signed) = parts.voter.attest(attestation.height, attestation.digest().0) else {
            tracing::debug!(chain = %parts.name, height = attestation.height, "this host attests nothing here: it is silent, or attested another block, or a later one");
            return;
        };
        // The signer makes none but with low s.
        let Ok(signature) = Signature::new(signed.r_s, signed.y_is_odd) else { return };
        if let Some(guard) = parts.voter.unsaved() {
            if let Err(error) = parts.ledger.store().log(vec![log_write(GUARD_KEY.to_vec(), Some(guard))]).await {
                tracing::warn!(chain = %parts.name, %error, height = attestation.height, "what this host attests could not be written, and is not said");
                parts.voter.forget_unsaved();
                return;
            }
            parts.voter.saved();
        }
        parts.exchange.state(parts.attestations.signed(attestation, signature));
    }

    /// Takes up what was collected before a restart, and signs again what is not complete.
    pub(super) async fn take_attestations_up(&mut self) -> Result<(), StoreError> {
        let parts = self.parts.clone();
        if parts.attestations.chain().is_some() {
            let store = parts.ledger.store();
            drop(parts.attestations.moved(parts.ledger.head().height, &parts.ledger.committee(), None));
            let proved = proofs(store)?.into_iter().map(|(member, _)| member);
            for attested in parts.attestations.take_up(last_attested(store, HELD_MAX)?, proved) {
                self.attest(&attested).await;
            }
        }
        Ok(())
    }

    /// Writes what became complete, and proofs.
    pub(super) async fn write_attestations(&mut self) {
        let rows = self.parts.attestations.take_rows();
        if rows.is_empty() {
            return;
        }
        if let Err(error) = self.parts.ledger.store().log(rows.clone()).await {
            tracing::warn!(chain = %self.parts.name, %error, "attestations could not be written, and are with the next");
            self.parts.attestations.put_back(rows);
        }
    }
}
