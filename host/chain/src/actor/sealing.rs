//! Seals the blocks that clients asked for.

use subnode_sandbox::{Input, Sealed};

use super::{seals::Seal, state::Actor};
use crate::error::RpcError;

impl Actor {
    /// Seals the next block that a call waits for.
    pub(super) async fn seal_next(&mut self) {
        let Some(seal) = self.seals.next() else { return };
        match self.seal_one(&seal).await {
            Ok(()) => {
                if self.seals.sealed(seal) {
                    // In memory a block waits for nothing, and its thread has others to serve.
                    tokio::task::yield_now().await;
                }
            }
            // A client that left does not need its answer.
            Err(error) => drop(seal.done.send(Err(error))),
        }
    }

    async fn seal_one(&mut self, seal: &Seal) -> Result<(), RpcError> {
        if self.parts.standing.is_paused() {
            return Err(RpcError::paused());
        }
        let Sealed { count, spacing_ms, timestamp_ms } = seal.wanted;
        if seal.sealed >= count {
            return Ok(());
        }
        let parent = self.parts.ledger.head();
        match timestamp_ms {
            Some(timestamp_ms) if seal.sealed == 0 => self.parts.standing.clock().set_next(timestamp_ms),
            _ if seal.sealed > 0 && spacing_ms > 0 => self.parts.standing.clock().set_next(parent.timestamp_ms.saturating_add(spacing_ms)),
            _ => {}
        }
        if self.stop_waiting() {
            self.build_and_go_on().await;
        } else {
            self.input(Input::Seal).await;
        }
        if self.parts.ledger.head().height == parent.height {
            let full = self.parts.ledger.full().map(|error| error.message);
            let reason = full.or_else(|| self.parts.standing.stuck()).unwrap_or_else(|| "the consensus module gave none more".to_owned());
            return Err(RpcError::rejected(format!("{} of {count} blocks were sealed: {reason}", seal.sealed)));
        }
        Ok(())
    }
}
