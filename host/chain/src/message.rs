//! The actor's mailbox.

use subnode_sandbox::{Change, Sealed};
use subnode_types::Sealing;
use tokio::sync::oneshot;

use crate::{RpcError, agreement::Decided, state_sync::Gathered};

/// Requests that wait; further ones make their sender wait.
pub(crate) const MAILBOX: usize = 256;

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
    /// Commit a block that others decided.
    Decided(Decided),
    /// Stand still, and get the next state that the committee vouches for: the tables are damaged. Answered once that is durable.
    Repair {
        done: oneshot::Sender<Result<(), RpcError>>,
    },
    /// Put a state that was gathered in the place of the chain's, which ends it: it is opened anew there. Answered with why it was not.
    Renew {
        gathered: Box<Gathered>,
        done: oneshot::Sender<Result<(), String>>,
    },
}

/// Changes of the state, answered with whether it was still at `version`, which they were computed on.
pub(crate) struct Amendment {
    pub version: u64,
    pub changes: Vec<Change>,
    pub done: oneshot::Sender<Result<bool, RpcError>>,
}
