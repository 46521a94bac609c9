//! Roots of states for others, and a state from others in place of the chain's own.

use subnode_sandbox::Signer;
use subnode_storage::StoreError;

use super::state::Actor;
use crate::{
    error::RpcError,
    ledger::{GUARD_KEY, REPAIR_KEY, SyncedState, adoption, attestations_kept, checkpoints::Found, log_write},
};

impl Actor {
    /// Begins to find the root of the state at a height.
    pub(super) fn find_root(&mut self, height: u64) {
        if let Err(error) = self.roots.begin(self.parts.ledger.store(), &self.parts.tenant, height) {
            tracing::warn!(chain = %self.parts.name, %error, height, "the root of the state is looked for later");
        }
    }

    /// Keeps a root that was found.
    pub(super) async fn root_found(&mut self, height: u64, found: Result<Found, StoreError>) {
        let Some(rule) = self.parts.ledger.rule() else { return };
        let kept = match found {
            Ok(found) => self.roots.keep(self.parts.ledger.store(), rule, height, found).await,
            Err(error) => Err(error),
        };
        if let Err(error) = kept {
            self.roots.failed(height);
            tracing::warn!(chain = %self.parts.name, %error, height, "the root of the state is looked for again");
        }
    }

    /// Stands still from now on, until a state has taken the place of the chain's.
    pub(super) async fn repair(&mut self) -> Result<(), RpcError> {
        let remembered = self.parts.ledger.store().log(vec![log_write(REPAIR_KEY.to_vec(), Some(Vec::new()))]).await;
        remembered.map_err(|error| RpcError::rejected(error.to_string()))?;
        self.parts.standing.repair();
        Ok(())
    }

    /// Puts a state that was gathered in the place of this chain's. What this node signed stays signed.
    pub(super) async fn adopt(&mut self, synced: SyncedState) -> Result<(), String> {
        let SyncedState { stage, link, block, committees } = synced;
        let (ledger, voter) = (&self.parts.ledger, &self.parts.voter);
        let (height, head) = (link.summary.height, ledger.head().height);
        if height <= head && !self.parts.standing.is_repairing() {
            return Err(format!("the state is of block {height}, and the chain is at block {head} by now"));
        }
        let adopted = async {
            let (head, mut writes) = adoption(ledger.store(), &link, block, &committees, ledger.rule())?;
            writes.extend(attestations_kept(ledger.store())?);
            if voter.key().is_some() {
                writes.push(log_write(GUARD_KEY.to_vec(), Some(voter.guard())));
            }
            ledger.store().adopt(stage, head, writes).await
        };
        adopted.await.map_err(|error| error.to_string())?;
        self.adopted = Some(height);
        Ok(())
    }
}
