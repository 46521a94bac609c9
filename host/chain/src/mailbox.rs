//! What is asked of the actor.
//!
//! A request waits for room among [`MAILBOX`] others, and is answered once it is durable.

use subnode_chain_core::Manifest;
use subnode_sandbox::{Change, Sealed};
use subnode_types::Sealing;
use tokio::sync::{mpsc, oneshot};

use crate::{error::RpcError, ledger::SyncedState, statements::Matter};

/// Requests that wait; further ones make their sender wait.
const MAILBOX: usize = 256;

/// What is asked of the actor. Each is answered once it is durable.
pub(crate) enum Message {
    /// Seal blocks now.
    Seal {
        sealed: Sealed,
        done: oneshot::Sender<Result<(), RpcError>>,
    },
    SetSealing {
        sealing: Sealing,
        done: oneshot::Sender<Result<(), RpcError>>,
    },
    /// Answered with the snapshot's id.
    Snapshot {
        done: oneshot::Sender<Result<u64, RpcError>>,
    },
    /// Answered with whether there was such a snapshot.
    Revert {
        id: u64,
        done: oneshot::Sender<Result<bool, RpcError>>,
    },
    Amend(Amendment),
    /// Seal nothing until an amendment comes, or nobody is left to send one: blocks came faster than it was computed.
    StandStill {
        standing: oneshot::Sender<Result<(), RpcError>>,
        amendment: oneshot::Receiver<Amendment>,
    },
    /// The flag has been set; answered once no block is under way any more.
    SetPaused {
        done: oneshot::Sender<Result<(), RpcError>>,
    },
    /// Answered once what the chain's retention does not keep is gone.
    Prune {
        done: oneshot::Sender<Result<(), RpcError>>,
    },
    Reset {
        done: oneshot::Sender<Result<(), RpcError>>,
    },
    /// State a value of a matter until a block notes it; none states nothing of it any more.
    State {
        matter: Matter,
        value: Option<Vec<u8>>,
        done: oneshot::Sender<Result<(), RpcError>>,
    },
    /// Commit a block that others decided.
    Decided(Decided),
    /// Stand still, and get the next state that the committee vouches for: the tables are damaged. Answered once that is durable.
    Repair {
        done: oneshot::Sender<Result<(), RpcError>>,
    },
    /// Put a state that was gathered in the place of the chain's, which ends it: it is opened anew there. Answered with why it was not.
    Adopt {
        synced: Box<SyncedState>,
        done: oneshot::Sender<Result<(), String>>,
    },
}

/// Changes of the state, answered with whether it was still at `version`, which they were computed on.
pub(crate) struct Amendment {
    pub version: u64,
    pub changes: Vec<Change>,
    pub done: oneshot::Sender<Result<bool, RpcError>>,
}

/// A block that others decided.
pub(crate) struct Decided {
    pub(crate) height: u64,
    pub(crate) manifest: Manifest,
    pub(crate) block: Vec<u8>,
    pub(crate) certificate: Vec<u8>,
    /// Answered with whether it became the head; else why whoever sent it is wrong.
    pub(crate) done: oneshot::Sender<Result<(), String>>,
}

/// Where a request's answer comes.
type Done<T> = oneshot::Sender<Result<T, RpcError>>;

/// Asks the actor.
#[derive(Clone)]
pub(crate) struct ActorHandle(mpsc::Sender<Message>);

impl ActorHandle {
    /// The handle, and where the actor takes the requests.
    pub(crate) fn new() -> (Self, mpsc::Receiver<Message>) {
        // Bound: `MAILBOX` requests of some 200 bytes; the memory slice is charged for the bytes of amendments and blocks that wait.
        let (sender, messages) = mpsc::channel(MAILBOX);
        (Self(sender), messages)
    }

    /// Asks, and waits for the answer.
    async fn ask<T>(&self, message: impl FnOnce(Done<T>) -> Message) -> Result<T, RpcError> {
        let (done, answer) = oneshot::channel();
        self.0.send(message(done)).await.map_err(|_| RpcError::closing())?;
        answer.await.unwrap_or_else(|_| Err(RpcError::closing()))
    }

    pub(crate) async fn seal(&self, sealed: Sealed) -> Result<(), RpcError> {
        self.ask(|done| Message::Seal { sealed, done }).await
    }

    pub(crate) async fn set_sealing(&self, sealing: Sealing) -> Result<(), RpcError> {
        self.ask(|done| Message::SetSealing { sealing, done }).await
    }

    /// The snapshot's id.
    pub(crate) async fn snapshot(&self) -> Result<u64, RpcError> {
        self.ask(|done| Message::Snapshot { done }).await
    }

    /// Whether there was such a snapshot.
    pub(crate) async fn revert(&self, id: u64) -> Result<bool, RpcError> {
        self.ask(|done| Message::Revert { id, done }).await
    }

    /// Whether the state was still at `version`, which the changes were computed on.
    pub(crate) async fn amend(&self, version: u64, changes: Vec<Change>) -> Result<bool, RpcError> {
        self.ask(|done| Message::Amend(Amendment { version, changes, done })).await
    }

    /// Has the chain seal nothing until an amendment is sent, or the sender is dropped.
    pub(crate) async fn stand_still(&self) -> Result<oneshot::Sender<Amendment>, RpcError> {
        let (still, amendment) = oneshot::channel();
        self.ask(|standing| Message::StandStill { standing, amendment }).await?;
        Ok(still)
    }

    pub(crate) async fn reset(&self) -> Result<(), RpcError> {
        self.ask(|done| Message::Reset { done }).await
    }

    /// The flag has been set; resolves once no block is under way any more.
    pub(crate) async fn paused(&self) -> Result<(), RpcError> {
        self.ask(|done| Message::SetPaused { done }).await
    }

    pub(crate) async fn prune(&self) -> Result<(), RpcError> {
        self.ask(|done| Message::Prune { done }).await
    }

    pub(crate) async fn state(&self, matter: Matter, value: Option<Vec<u8>>) -> Result<(), RpcError> {
        self.ask(|done| Message::State { matter, value, done }).await
    }

    pub(crate) async fn repair(&self) -> Result<(), RpcError> {
        self.ask(|done| Message::Repair { done }).await
    }

    /// Whether a decided block became the head, or why whoever sent it is wrong; none where the chain has ended.
    pub(crate) async fn decided(
        &self,
        height: u64,
        manifest: Manifest,
        block: Vec<u8>,
        certificate: Vec<u8>,
    ) -> Option<Result<(), String>> {
        let (done, answer) = oneshot::channel();
        self.0.send(Message::Decided(Decided { height, manifest, block, certificate, done })).await.ok()?;
        answer.await.ok()
    }

    /// Why a state was not put in the chain's place; none where it was, or the chain has ended.
    pub(crate) async fn adopt(&self, synced: SyncedState) -> Option<String> {
        let (done, answer) = oneshot::channel();
        self.0.send(Message::Adopt { synced: Box::new(synced), done }).await.ok()?;
        answer.await.ok()?.err()
    }
}
