//! Blocks that others propose and decide.

use std::time::Duration;

use subnode_chain_core::Author;
use subnode_sandbox::{BlockVerdict, Input, Judged};

use super::{
    proposals::Wanted,
    state::Actor,
    trouble::{Trouble, unless_stopped},
};
use crate::{exchange::Fetched, ledger::BlockId, mailbox::Decided};

/// When a block is looked at again that this host could say nothing of: one of a time to come, or one that it had no room or time for. Each
/// look executes the block.
const JUDGED_AGAIN_AFTER: Duration = Duration::from_secs(2);

impl Actor {
    /// Executes a block that others sent, and tells the module what this host makes of it.
    pub(super) async fn fetched(&mut self, wanted: Wanted, fetched: Fetched) {
        match self.judge(wanted.id, fetched.manifest.author(), fetched.block).await {
            Some(judged) => self.input(Input::Judged(judged)).await,
            // This host may know more in a while.
            None => self.obtain_after(wanted, JUDGED_AGAIN_AFTER),
        }
    }

    /// Executes a candidate of others, and holds it if it is valid. None where this host can say nothing of it.
    pub(super) async fn judge(&mut self, id: BlockId, author: Option<&Author>, block: Vec<u8>) -> Option<Judged> {
        let verdict = match self.execute_as(id, author, block).await {
            Ok(Ok(candidate)) if candidate.summary.timestamp_ms > self.latest_ms() => {
                let timestamp_ms = candidate.summary.timestamp_ms;
                // Another host's clock may say otherwise, so this is no verdict: the module may ask again once its time has come.
                tracing::warn!(chain = %self.parts.name, timestamp_ms, "a proposed block is of a later time than this host's clock can be wrong by");
                return None;
            }
            Ok(Ok(candidate)) => {
                self.parts.exchange.offer(id, candidate.offered.clone());
                self.proposals.insert(candidate);
                self.log.keep(id);
                BlockVerdict::Valid
            }
            Ok(Err(reason)) => BlockVerdict::Invalid(reason),
            Err(fault) => {
                self.parts.counters.fault(&fault);
                tracing::warn!(chain = %self.parts.name, %fault, "a proposed block could not be executed");
                return None;
            }
        };
        if let BlockVerdict::Invalid(reason) = &verdict {
            tracing::warn!(chain = %self.parts.name, reason, "a proposed block is invalid");
        }
        Some(Judged { id: id.to_vec(), verdict })
    }

    /// The latest time that a proposed block may be of.
    fn latest_ms(&self) -> u64 {
        let options = &self.parts.options;
        // A runtime that counts in seconds needs another one for each block, and more than one block a second runs ahead of the clock.
        let next_second = self.parts.ledger.head().timestamp_ms.saturating_add(1_000);
        options.time.now_ms().saturating_add(options.future_ms_max).max(next_second)
    }

    /// Commits a block that others decided, if its certificate shows that they did.
    pub(super) async fn decided(&mut self, decided: Decided) {
        let Decided { height, manifest, block, certificate, done } = decided;
        let head = self.parts.ledger.head().height;
        if height != head + 1 || self.failure.is_some() {
            // It came another way meanwhile.
            drop(done.send(Ok(())));
            return;
        }
        if self.hindrance.until.is_some() {
            drop(done.send(Err("this host cannot commit it for now".into())));
            return;
        }
        let id = manifest.id();
        let committee = self.parts.ledger.committee();
        let shutdown = self.shutdown.clone();
        let checked = self.member.checker.check(&committee, height, &id, &certificate);
        let refused = match unless_stopped(&shutdown, checked).await {
            Ok(Ok(())) => None,
            Ok(Err(reason)) => Some(reason),
            Err(fault) => {
                self.parts.counters.fault(&fault);
                Some(format!("the certificate could not be checked: {fault}"))
            }
        };
        if let Some(reason) = refused {
            drop(done.send(Err(reason)));
            return;
        }
        let candidate = match self.proposals.take(&id) {
            Some(candidate) => Ok(candidate),
            None => match self.execute_as(id, manifest.author(), block).await {
                Ok(executed) => executed,
                Err(fault) => {
                    self.parts.counters.fault(&fault);
                    tracing::warn!(chain = %self.parts.name, %fault, height, "a decided block could not be executed; it is tried again");
                    drop(done.send(Err(fault.to_string())));
                    return;
                }
            },
        };
        let committed = match candidate {
            Ok(candidate) => self.commit(candidate, certificate).await.map_err(Trouble::from),
            Err(reason) => Err(Trouble::Chain(reason)),
        };
        match committed {
            Ok(committed) => {
                if self.is_paused() {
                    // It would begin the next height.
                    self.miss();
                } else {
                    self.input(committed).await;
                }
                drop(done.send(Ok(())));
            }
            // Not the sender's fault: the committee has spoken, and this node cannot follow.
            Err(trouble) => self.stop_for(trouble.of(&format!("block {height}, which the committee decided, cannot be committed here"))),
        }
    }
}
