//! Clients' calls: answered by the runtime, and carried out where the answer is an action.

mod action;
mod ask;
mod reply;
mod session;
mod submit;

use std::sync::Arc;

use subnode_sandbox::{Action, Answer};
use tokio::time::Instant;

use self::{
    action::{amend, needs_controls, perform},
    ask::{MADE_AGAIN_FOR, ask},
    submit::{Admitted, Submitted},
};
pub use self::{reply::Reply, session::Session};
use crate::{error::RpcError, mempool::Origin, parts::Parts};
use subnode_types::{Boxed, boxed};

/// Answers a client's call, up to the point from where on the client's next call can begin: a submitted transaction is admitted meanwhile,
/// together with those that follow it.
///
/// # Errors
/// The runtime's, or this host's, for the client.
pub(crate) async fn begin(parts: &Arc<Parts>, method: &str, params: &[u8], session: Option<&Session>) -> Result<Begun, RpcError> {
    let mut turn = None;
    let mut standing = None;
    let mut refused = false;
    let mut until = Instant::now() + MADE_AGAIN_FOR;
    while Instant::now() < until {
        let mark = parts.mempool.mark();
        let (answer, basis) = ask(parts, method, params).await?;
        let Answer { json, action } = answer;
        if action.as_ref().is_some_and(needs_controls) && !parts.options.controls {
            return Err(RpcError::not_allowed());
        }
        // For anything else the chain goes on.
        let still = standing.take().filter(|_| matches!(action, Some(Action::Amend(_))));
        let outcome = match action {
            None => Some(Reply::Null),
            Some(Action::Submit(data)) => {
                let submitted = Submitted::send(parts.clone(), data, Origin::Client).await?;
                return Ok(Begun { reply: json.map(Reply::Json), sent: Some(Sent::Submitted(submitted)) });
            }
            Some(Action::SubmitCompleted(data)) => {
                // Where others were admitted meanwhile the sequence may be taken: it is completed anew, and nobody else completes one then.
                if turn.is_none() {
                    let Ok(held) = parts.mempool.try_turn() else {
                        // Who waits keeps nothing.
                        drop(data);
                        turn = Some(parts.mempool.turn().await);
                        // The wait is for others.
                        until = Instant::now() + MADE_AGAIN_FOR;
                        continue;
                    };
                    turn = Some(held);
                    if parts.mempool.lock().mark() != mark {
                        continue;
                    }
                }
                match Submitted::send(parts.clone(), data, Origin::Completed).await?.admitted().await {
                    Ok(Some(admitted)) => return Ok(Begun { reply: json.map(Reply::Json), sent: Some(Sent::Admitted(admitted)) }),
                    Ok(None) => {
                        parts.ledger.settled().await;
                        continue;
                    }
                    // A block may have come between.
                    Err(_) if !refused && parts.ledger.store().version() != basis.version => {
                        refused = true;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            Some(Action::Amend(changes)) => {
                let amended = amend(parts, changes, basis.version, still).await?;
                if !amended {
                    standing = Some(parts.actor.stand_still().await?);
                    until = Instant::now() + MADE_AGAIN_FOR;
                }
                amended.then_some(Reply::Null)
            }
            Some(action) => perform(parts, action, basis, session).await?,
        };
        if let Some(outcome) = outcome {
            return Ok(Begun { reply: Some(json.map_or(outcome, Reply::Json)), sent: None });
        }
    }
    Err(RpcError::outrun())
}

/// A call that is answered, or waits for its transaction.
pub struct Begun {
    /// None where the outcome is the answer.
    reply: Option<Reply>,
    sent: Option<Sent>,
}

/// A transaction whose block a client may wait for.
enum Sent {
    Submitted(Submitted),
    Admitted(Admitted),
}

impl Begun {
    /// Bytes of the answer that is there already.
    pub fn bytes(&self) -> usize {
        match &self.reply {
            Some(Reply::Json(json)) => json.len(),
            Some(Reply::Id(id)) => id.len(),
            Some(Reply::Number(_) | Reply::Truth(_) | Reply::Null) | None => 0,
        }
    }

    /// The answer.
    ///
    /// # Errors
    /// Where the transaction is refused.
    pub fn wait(self) -> Boxed<'static, Result<Reply, RpcError>> {
        boxed(async move {
            let outcome = match self.sent {
                None => Reply::Null,
                Some(Sent::Submitted(submitted)) => Reply::Id(submitted.admitted().await?.ok_or_else(RpcError::outrun)?.mined().await?),
                Some(Sent::Admitted(admitted)) => Reply::Id(admitted.mined().await?),
            };
            Ok(self.reply.unwrap_or(outcome))
        })
    }
}
