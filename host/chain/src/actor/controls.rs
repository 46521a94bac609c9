//! What a chain's user asks of its actor: the developer's controls, pruning, pausing.

use std::time::Duration;

use subnode_sandbox::convert;

use super::state::Actor;
use crate::{
    error::RpcError,
    mailbox::{Amendment, Message},
};

/// How long a chain seals nothing for an amendment that is being computed, which takes milliseconds where its client is alone.
const STANDS_STILL_MAX: Duration = Duration::from_secs(5);
/// Versions dropped with one write when the past is shortened.
const PRUNED_AT_ONCE: u64 = 64;

impl Actor {
    pub(super) async fn handle(&mut self, message: Message) {
        // A client that left does not need its answer.
        match message {
            Message::Seal { sealed, done } => self.seals.add(sealed, done),
            Message::SetSealing { sealing, done } => {
                self.give_waiting_up().await;
                self.parts.standing.set_sealing(sealing);
                self.parts.ledger.wake();
                self.input(convert::set_sealing(sealing)).await;
                drop(done.send(Ok(())));
            }
            Message::Snapshot { done } => drop(done.send(self.snapshot())),
            Message::Revert { id, done } => drop(done.send(self.revert(id).await)),
            Message::Amend(amendment) => self.amend_and_answer(amendment).await,
            Message::StandStill { standing, amendment } => {
                drop(standing.send(Ok(())));
                tokio::select! {
                    () = self.shutdown.cancelled() => {}
                    () = tokio::time::sleep(STANDS_STILL_MAX) => {}
                    // None comes of a client that left.
                    sent = amendment => if let Ok(amendment) = sent {
                        self.amend_and_answer(amendment).await;
                    }
                }
            }
            Message::Reset { done } => drop(done.send(self.reset().await)),
            // The flag is read before anything else is begun.
            Message::SetPaused { done } => drop(done.send(Ok(()))),
            Message::Prune { done } => self.prunes.push(done),
            Message::Decided(decided) => self.decided(decided).await,
            Message::State { matter, value, done } => drop(done.send(self.want(matter, value).await)),
            Message::Repair { done } => drop(done.send(self.repair().await)),
            Message::Adopt { synced, done } => {
                drop(done.send(self.adopt(*synced).await));
            }
        }
    }

    async fn amend_and_answer(&mut self, Amendment { version, changes, done }: Amendment) {
        drop(done.send(self.amend(version, changes).await));
    }

    /// Drops some of what the retention does not keep, and answers once all of it is gone.
    pub(super) async fn prune_some(&mut self) {
        let pruned = self.parts.ledger.store().prune(PRUNED_AT_ONCE).await;
        if !matches!(pruned, Ok(true)) {
            for done in self.prunes.drain(..) {
                drop(done.send(pruned.clone().map(drop).map_err(RpcError::from)));
            }
        }
    }
}
