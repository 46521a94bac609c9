//! Carries out what the runtime answers a call with.

use std::sync::Arc;

use subnode_sandbox::{Action, Change, convert};
use tokio::sync::oneshot;

use super::{ask::Basis, reply::Reply, session::Session};
use crate::{
    error::RpcError,
    feed::NotKept,
    ledger::{changes_bytes, unfit_key},
    mailbox::Amendment,
    parts::Parts,
};

/// Blocks one request may seal.
const SEALED_MAX: u32 = 100_000;

/// Carries out an action. None where it was computed on a state that is not the chain's any more.
pub(super) async fn perform(
    parts: &Arc<Parts>,
    action: Action,
    basis: Basis,
    session: Option<&Session>,
) -> Result<Option<Reply>, RpcError> {
    let reply = match action {
        Action::Submit(_) | Action::SubmitCompleted(_) | Action::Amend(_) => unreachable!("begin_query carries these out"),
        Action::OpenCursor(bytes) => match parts.feed.cursors.open(bytes, basis.reverts) {
            Ok(id) => Reply::Number(id),
            Err(NotKept::Reverted) => return Ok(None),
            Err(NotKept::TooLarge) => return Err(RpcError::limit("filter too large")),
        },
        Action::UpdateCursor((id, bytes)) => match parts.feed.cursors.update(id, bytes, basis.reverts) {
            Ok(()) => Reply::Null,
            Err(NotKept::Reverted) => return Ok(None),
            Err(NotKept::TooLarge) => return Err(RpcError::limit("filter too large")),
        },
        Action::CloseCursor(id) => Reply::Truth(parts.feed.cursors.close(id)),
        Action::Subscribe(wanted) => {
            let session = session.ok_or_else(RpcError::no_session)?;
            let id = parts.feed.next_subscription();
            let added = parts.feed.subscriptions.add(id, session.id, session.sink.clone(), wanted);
            added.map_err(|error| RpcError::limit(error.to_string()))?;
            session.remember(parts);
            Reply::Number(id)
        }
        Action::Unsubscribe(id) => Reply::Truth(session.is_some_and(|session| parts.feed.subscriptions.remove(id, session.id))),
        Action::Seal(sealed) if sealed.count > SEALED_MAX => {
            return Err(RpcError::limit(format!("{} blocks at once; at most {SEALED_MAX}", sealed.count)));
        }
        Action::Seal(sealed) => {
            parts.actor.seal(sealed).await?;
            Reply::Null
        }
        Action::SetSealing(sealing) => {
            let sealing = convert::sealing(sealing);
            parts.actor.set_sealing(sealing).await?;
            Reply::Null
        }
        Action::ShiftClock(ms) => {
            parts.standing.clock().shift(ms);
            Reply::Null
        }
        Action::SetNextTimestamp(ms) => {
            parts.standing.clock().set_next(ms);
            Reply::Null
        }
        Action::Snapshot => Reply::Number(parts.actor.snapshot().await?),
        Action::Revert(id) => Reply::Truth(parts.actor.revert(id).await?),
        Action::DropTransaction(id) => {
            let was_there = parts.mempool.lock().remove(&id);
            parts.ledger.wake();
            Reply::Truth(was_there)
        }
        Action::DropTransactions => {
            parts.mempool.lock().clear();
            parts.ledger.wake();
            Reply::Null
        }
        Action::Reset => {
            parts.actor.reset().await?;
            Reply::Null
        }
    };
    Ok(Some(reply))
}

/// Whether only a developer may do this.
pub(super) fn needs_controls(action: &Action) -> bool {
    match action {
        Action::Submit(_)
        | Action::SubmitCompleted(_)
        | Action::OpenCursor(_)
        | Action::UpdateCursor(_)
        | Action::CloseCursor(_)
        | Action::Subscribe(_)
        | Action::Unsubscribe(_) => false,
        Action::Seal(_)
        | Action::SetSealing(_)
        | Action::ShiftClock(_)
        | Action::SetNextTimestamp(_)
        | Action::Snapshot
        | Action::Revert(_)
        | Action::Amend(_)
        | Action::DropTransaction(_)
        | Action::DropTransactions
        | Action::Reset => true,
    }
}

/// Changes the state. False where it is not that of `version` any more, which cannot be while the chain stands still; it stands still for some
/// seconds at most.
pub(super) async fn amend(
    parts: &Parts,
    changes: Vec<Change>,
    version: u64,
    still: Option<oneshot::Sender<Amendment>>,
) -> Result<bool, RpcError> {
    if let Some(bytes) = unfit_key(&changes) {
        return Err(RpcError::rejected(format!("the runtime changes a key of {bytes} bytes, which no table takes")));
    }
    // Until it is done: requests to the actor wait for each other.
    let _memory = parts.tenant.lease(changes_bytes(&changes)).map_err(|fault| RpcError::from_call(&fault.into()))?;
    let Some(still) = still else {
        return parts.actor.amend(version, changes).await;
    };
    let (done, answer) = oneshot::channel();
    if still.send(Amendment { version, changes, done }).is_err() {
        return Err(RpcError::outrun());
    }
    answer.await.unwrap_or_else(|_| Err(RpcError::closing()))
}
