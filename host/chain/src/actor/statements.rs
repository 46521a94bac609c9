//! Makes this host's statements: what it wants to state is written down, and so is what it signed, before that leaves.

use subnode_chain_core::statement::Kind;
use subnode_sandbox::Signer;
use subnode_types::NodeId;

use super::state::Actor;
use crate::{
    error::RpcError,
    ledger::{GUARD_KEY, load_wanted, log_write, wanted_row},
    statements::{Matter, Noted},
};

impl Actor {
    /// Has this host state a value of a matter until a block notes it, or state nothing of it any more.
    pub(super) async fn want(&mut self, matter: Matter, value: Option<Vec<u8>>) -> Result<(), RpcError> {
        let statements = &self.parts.statements;
        let before = statements.wanted().remove(&matter);
        statements.want(matter, value).map_err(RpcError::rejected)?;
        if let Err(error) = self.parts.ledger.store().log(vec![wanted_row(&statements.wanted())]).await {
            drop(statements.want(matter, before));
            return Err(RpcError::rejected(error.to_string()));
        }
        self.make_statements().await;
        Ok(())
    }

    /// Takes up what this host stated before it was restarted.
    pub(super) async fn take_statements_up(&mut self) -> Result<(), subnode_storage::StoreError> {
        let (ledger, statements) = (&self.parts.ledger, &self.parts.statements);
        self.parts.presences.seat(ledger.head().height, &ledger.committees());
        if statements.are_noted() {
            statements.seat(ledger.head().height, &ledger.committees());
            for (matter, value) in load_wanted(ledger.store())? {
                drop(statements.want(matter, Some(value)));
            }
            self.make_statements().await;
        }
        Ok(())
    }

    /// A block was committed that notes these.
    pub(super) async fn statements_after(&mut self, noted: &[Noted]) {
        let (ledger, statements) = (&self.parts.ledger, &self.parts.statements);
        let height = ledger.head().height;
        self.parts.presences.seat(height, &ledger.committees());
        if !statements.are_noted() {
            return;
        }
        for ((kind, subject), _) in noted.iter().filter(|((kind, _), _)| *kind == Kind::Silence as u16) {
            tracing::warn!(chain = %self.parts.name, kind, member = %NodeId(*subject), height, "a member of the committee is silent, says the committee");
            self.parts.presences.noted(NodeId(*subject), height);
        }
        if statements.noted(noted) {
            let row = wanted_row(&statements.wanted());
            if let Err(error) = ledger.store().log(vec![row]).await {
                // It states again after a restart what the chain has noted, until its operator withdraws it.
                tracing::warn!(chain = %self.parts.name, %error, "that a statement is done with could not be written");
            }
        }
        statements.seat(height, &ledger.committees());
        self.make_statements().await;
    }

    /// Signs what this host states at the position of the head, and sends it once that is durable.
    async fn make_statements(&mut self) {
        let parts = self.parts.clone();
        let Some(key) = parts.voter.key() else { return };
        let frames = parts.statements.sign(&parts.voter, key, parts.ledger.head().height);
        if frames.is_empty() {
            return;
        }
        if let Some(guard) = parts.voter.unsaved() {
            if let Err(error) = parts.ledger.store().log(vec![log_write(GUARD_KEY.to_vec(), Some(guard))]).await {
                tracing::warn!(chain = %parts.name, %error, "a statement could not be written, and is made again later");
                parts.voter.forget_unsaved();
                return;
            }
            parts.voter.saved();
        }
        for frame in frames {
            parts.exchange.state(frame);
        }
        if parts.statements.ready() > 0 {
            parts.mempool.tell_ready();
        }
    }
}
