//! What a chain's user asks of its actor: the developer's controls, pruning, pausing.

use std::time::Duration;

use subnode_sandbox::convert;
use tokio_util::sync::CancellationToken;

use crate::{
    RpcError,
    actor::Actor,
    message::{Amendment, Message},
};

/// How long a chain seals nothing for an amendment that is being computed, which takes milliseconds where its client is alone.
const STANDS_STILL_MAX: Duration = Duration::from_secs(5);
/// Versions dropped with one write when the past is shortened.
const PRUNED_AT_ONCE: u64 = 64;

impl Actor {
    pub(crate) async fn handle(&mut self, message: Message, shutdown: &CancellationToken) {
        // A client that left does not need its answer.
        match message {
            Message::Seal { sealed, done } => self.seal(sealed, done),
            Message::SetSealing { sealing, done } => {
                self.give_waiting_up().await;
                self.shared.set_sealing(sealing);
                self.shared.wake_clients();
                self.input(convert::set_sealing(sealing)).await;
                drop(done.send(Ok(())));
            }
            Message::Snapshot { done } => drop(done.send(self.snapshot())),
            Message::Revert { id, done } => drop(done.send(self.revert(id).await)),
            Message::Amend(amendment) => self.amend_and_answer(amendment).await,
            Message::StandStill { standing, amendment } => {
                drop(standing.send(Ok(())));
                tokio::select! {
                    () = shutdown.cancelled() => {}
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
            Message::Prune { done } => drop(done.send(self.prune(shutdown).await)),
            Message::Decided(decided) => self.decided(decided).await,
            Message::Repair { done } => drop(done.send(self.repair().await)),
            Message::Renew { gathered, done } => {
                drop(done.send(self.renew(*gathered).await));
            }
        }
    }

    async fn amend_and_answer(&mut self, Amendment { version, changes, done }: Amendment) {
        drop(done.send(self.amend(version, changes).await));
    }

    async fn prune(&mut self, shutdown: &CancellationToken) -> Result<(), RpcError> {
        while !shutdown.is_cancelled() && self.shared.store.prune(PRUNED_AT_ONCE).await? {}
        Ok(())
    }
}
