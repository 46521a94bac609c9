//! A client's transaction, on its way into the pool and into a block.

use std::{sync::Arc, time::Duration};

use subnode_types::{Hex, Sealing};
use tokio::{
    sync::{oneshot, watch},
    time::Instant,
};

use super::ask::ask;
use crate::{error::RpcError, mempool::Origin, parts::Parts};

/// Where its client is told of a transaction's admission.
type Admitting = oneshot::Sender<Result<Option<Vec<u8>>, RpcError>>;

/// A transaction on its way into the pool.
pub(super) struct Submitted {
    parts: Arc<Parts>,
    answer: oneshot::Receiver<Result<Option<Vec<u8>>, RpcError>>,
    commits: watch::Receiver<u64>,
    /// Until when its client waits for a block.
    until: Instant,
}

/// How long a client that wants its transaction mined waits for that. One that no block takes is answered all the same: it is in the pool.
const MINED_WITHIN: Duration = Duration::from_secs(10);

impl Submitted {
    pub(super) async fn send(parts: Arc<Parts>, data: Vec<u8>, origin: fn(Admitting) -> Origin) -> Result<Self, RpcError> {
        if parts.standing.is_paused() {
            return Err(RpcError::paused());
        }
        if let Some(full) = parts.ledger.full() {
            return Err(full);
        }
        let (done, answer) = oneshot::channel();
        let commits = parts.ledger.commits();
        parts.mempool.submissions.submit(data, origin(done)).await?;
        Ok(Self { parts, answer, commits, until: Instant::now() + MINED_WITHIN })
    }

    /// The same once it is in the pool; none where it has to be completed anew.
    pub(super) async fn admitted(self) -> Result<Option<Admitted>, RpcError> {
        let Self { parts, answer, commits, until } = self;
        let id = answer.await.unwrap_or_else(|_| Err(RpcError::closing()))?;
        Ok(id.map(|id| Admitted { parts, id, commits, until }))
    }
}

/// A transaction in the pool, or already in a block.
pub(super) struct Admitted {
    parts: Arc<Parts>,
    id: Vec<u8>,
    commits: watch::Receiver<u64>,
    until: Instant,
}

impl Admitted {
    /// Its id: at once, or where the chain is run so and seals by itself, once a block has the transaction. Then it is an error where the
    /// runtime says that the transaction failed there.
    pub(super) async fn mined(mut self) -> Result<Vec<u8>, RpcError> {
        if !self.parts.options.answer_after_mining {
            return Ok(self.id);
        }
        let mined = async {
            while self.parts.standing.sealing() != Sealing::Manual
                && self.parts.mempool.lock().get(&self.id).is_some_and(|(_, ready)| ready)
            {
                if self.commits.changed().await.is_err() {
                    break;
                }
            }
        };
        drop(tokio::time::timeout_at(self.until, mined).await);
        match ask(&self.parts, OUTCOME, format!("[\"0x{}\"]", Hex(&self.id)).as_bytes()).await {
            Err(error) if error.data.is_some() => Err(error),
            // It failed nowhere yet, or the runtime has nothing to say of it.
            _ => Ok(self.id),
        }
    }
}

/// The method that tells how a transaction ended (wit/runtime.wit).
const OUTCOME: &str = "subnode_outcome";
