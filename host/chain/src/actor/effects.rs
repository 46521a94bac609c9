//! Tells the consensus module what happens, and does what it asks for (wit/consensus.wit).
//!
//! What a call signed and logged is durable before anything that it asks for leaves this node.

use std::{sync::atomic::Ordering, time::Duration};

use subnode_chain_core::CANDIDATES_MAX;
use subnode_sandbox::{self as sandbox, Candidate as Proposal, Effect, Evidence, Input};
use subnode_types::NodeId;
use tokio::time::Instant;

use super::{proposals::Wanted, state::Actor, trouble::Trouble};
use crate::ledger::{GUARD_KEY, block_id, kept, log_write};

/// What a module sends to its committee at once.
const BROADCAST_BYTES_MAX: usize = 256 << 10;

/// The most effects that wait to be performed, and their bytes. One call of the consensus module returns at most 256 effects, which may broadcast
/// 64 MiB. The chain calls the module again whenever it has built or committed a block, and the effects of earlier calls may still wait then. Four
/// such calls fit the count; two calls that broadcast as much as they may fit the bytes.
const WAITING_MAX: usize = 1_024;
const WAITING_BYTES_MAX: usize = 128 << 20;

/// What an effect takes.
fn effect_bytes(effect: &Effect) -> usize {
    let bytes = match effect {
        Effect::Broadcast(bytes) | Effect::Share(bytes) | Effect::AppendLog(bytes) => bytes.len(),
        Effect::Decide(decision) => decision.id.len() + decision.certificate.len(),
        Effect::Obtain(wanted) => wanted.id.len() + wanted.member.len(),
        Effect::Evidence(evidence) => evidence.member.len() + evidence.proof.len(),
        Effect::SetTimer(_) | Effect::CancelTimer(_) | Effect::Build => 0,
    };
    size_of::<Effect>() + bytes
}

impl Actor {
    /// Gives the consensus module an input, and does what it asks for, up to the next block.
    pub(super) async fn input(&mut self, input: Input) {
        self.tell_consensus(input).await;
        self.perform().await;
    }

    pub(super) async fn tell_consensus(&mut self, input: Input) {
        if self.failure.is_some() || self.upgraded.is_some() || self.hindrance.missed || self.shutdown.is_cancelled() {
            return;
        }
        let now_ms = self.now_ms();
        let handled = self.shutdown.run_until_cancelled(self.member.guest.handle(now_ms, input)).await;
        self.parts.counters.profile(&mut self.member.guest);
        match handled {
            // The instance is not used again: the chain stops.
            None => self.effects.clear(),
            Some(Ok(effects)) => self.take(effects).await,
            Some(Err(fault)) => {
                self.parts.counters.fault(&fault);
                self.stop_for(Trouble::from(fault).of("the consensus module failed"));
            }
        }
    }

    /// Takes what a call asks for, once what it signed and logged is durable.
    pub(super) async fn take(&mut self, effects: Vec<Effect>) {
        match self.remember(effects).await {
            Ok(effects) => {
                let (waiting, bytes) =
                    (self.effects.len() + effects.len(), self.effects.iter().chain(&effects).map(effect_bytes).sum::<usize>());
                if waiting > WAITING_MAX || bytes > WAITING_BYTES_MAX {
                    return self.fail(format!(
                        "the consensus module asks for more than is done: {waiting} effects of {bytes} bytes wait, at most {WAITING_MAX} of {WAITING_BYTES_MAX}"
                    ));
                }
                self.effects.extend(effects);
            }
            Err(trouble) => self.stop_for(trouble.of("what the consensus module signed and logged could not be written")),
        }
    }

    /// Makes durable what a call signed, logged and shared, with all that its votes may be about; what else it asks for. What it logs of others' words
    /// waits until it says something itself: a synced write for each would let whoever sends many votes hold all others up.
    pub(super) async fn remember(&mut self, effects: Vec<Effect>) -> Result<Vec<Effect>, Trouble> {
        let mut rest = Vec::with_capacity(effects.len());
        for effect in effects {
            match effect {
                Effect::AppendLog(entry) => self.log.append(entry).map_err(Trouble::Chain)?,
                Effect::Share(id) => {
                    if let Some(id) = block_id(&id) {
                        self.log.keep(id);
                        // From now on, not only once that is done: another block may be built before.
                        self.proposals.share(&id);
                    }
                    rest.push(Effect::Share(id));
                }
                other => rest.push(other),
            }
        }
        let guard = self.parts.voter.unsaved();
        let refused = self.parts.voter.take_refused();
        if refused > 0 {
            tracing::error!(chain = %self.parts.name, refused, "the consensus module asked for signatures beside earlier ones: refused");
        }
        let leaves = |effect: &Effect| matches!(effect, Effect::Broadcast(_) | Effect::Share(_));
        if guard.is_none() && !self.log.is_full() && !rest.iter().any(leaves) {
            return Ok(rest);
        }
        let proposals = &self.proposals;
        let mut writes = self.log.take_writes(|id| Some(kept(&proposals.get(id)?.offered)));
        writes.extend(guard.map(|guard| log_write(GUARD_KEY.to_vec(), Some(guard))));
        if !writes.is_empty() {
            self.parts.ledger.store().log(writes).await?;
            self.parts.voter.saved();
        }
        Ok(rest)
    }

    /// Builds a block that was waited with, or that a client does not wait for.
    pub(super) async fn build_and_go_on(&mut self) {
        self.build_and_tell().await;
        self.perform().await;
    }

    async fn build_and_tell(&mut self) {
        let input = match self.build().await {
            Some(candidate) => {
                // To the module a note is as much a reason to make the block as a transaction is.
                let notes = u32::try_from(candidate.noted.len()).unwrap_or(u32::MAX);
                let (bytes, transactions) = (candidate.offered.block.len() as u64, candidate.outcome.transactions.saturating_add(notes));
                let proposal = Proposal { id: candidate.id.to_vec(), bytes, transactions };
                self.proposals.keep_built(candidate);
                Input::Built(proposal)
            }
            None => Input::BuildFailed,
        };
        self.tell_consensus(input).await;
    }

    /// Does what the consensus module asks for, until it asks for nothing or for another block, or a block is committed.
    pub(super) async fn perform(&mut self) {
        let mut built = false;
        while let Some(effect) = self.effects.pop_front() {
            match effect {
                Effect::Build if built => {
                    // In a later turn of the loop: a module that always asks for another one keeps nobody from stopping its chain.
                    self.effects.push_front(Effect::Build);
                    break;
                }
                Effect::SetTimer((id, after_ms)) => self.timers.set(id, self.now_ms().saturating_add(after_ms)),
                Effect::CancelTimer(id) => self.timers.cancel(id),
                Effect::Build => match self.early() {
                    Some(early) => self.waits_until = Some(Instant::now() + early),
                    None => {
                        built = true;
                        self.build_and_tell().await;
                    }
                },
                Effect::Decide(decision) => {
                    let Some(candidate) = block_id(&decision.id).and_then(|id| self.proposals.take(&id)) else {
                        tracing::warn!(chain = %self.parts.name, "the consensus module decided a block that is not here");
                        continue;
                    };
                    let input = match self.commit(candidate, decision.certificate).await {
                        Ok(committed) => {
                            self.heard_height();
                            committed
                        }
                        Err(error) if self.parts.ledger.committee().is_empty() => {
                            tracing::error!(chain = %self.parts.name, %error, "a block could not be committed; it is built anew");
                            self.parts.standing.set_stuck(Some(error.to_string()));
                            Input::BuildFailed
                        }
                        // Others have it by now: there is no other block of this height.
                        Err(error) => return self.stop_for(Trouble::from(error).of("a decided block could not be committed")),
                    };
                    self.tell_consensus(input).await;
                    break;
                }
                Effect::Broadcast(bytes) if bytes.len() > BROADCAST_BYTES_MAX => {
                    self.fail(format!("the consensus module broadcasts {} bytes, at most {BROADCAST_BYTES_MAX}", bytes.len()));
                }
                Effect::Broadcast(bytes) => self.parts.exchange.broadcast(bytes),
                Effect::Share(id) => self.share(&id),
                Effect::Obtain(wanted) => self.obtain(&wanted),
                Effect::Evidence(evidence) => self.report(&evidence),
                // Taken out before.
                Effect::AppendLog(_) => {}
            }
        }
    }

    /// Lets others have a candidate.
    fn share(&mut self, id: &[u8]) {
        let Some(id) = block_id(id) else { return };
        match self.proposals.share(&id) {
            Some(offered) => self.parts.exchange.offer(id, offered),
            None => tracing::warn!(chain = %self.parts.name, "the consensus module shares a block that is not here"),
        }
    }

    /// Gets a block from others, unless it is here.
    fn obtain(&mut self, wanted: &sandbox::Wanted) {
        let Some(id) = block_id(&wanted.id) else { return };
        let proposer = wanted.member.as_slice().try_into().ok().map(NodeId);
        self.obtain_after(Wanted { id, proposer }, Duration::ZERO);
    }

    /// The same after a while.
    pub(super) fn obtain_after(&mut self, wanted: Wanted, after: Duration) {
        let Some(peers) = self.parts.exchange.peers() else { return };
        if !self.proposals.obtain(wanted, after, peers.clone(), self.parts.tenant.clone()) {
            tracing::warn!(chain = %self.parts.name, "{CANDIDATES_MAX} blocks were executed for one height: no more are taken");
        }
    }

    /// Reports that a member of the committee broke the rules.
    fn report(&self, evidence: &Evidence) {
        let member = evidence.member.as_slice().try_into().map_or_else(|_| "no member".into(), |key| NodeId(key).to_string());
        self.parts.counters.evidence.fetch_add(1, Ordering::Relaxed);
        tracing::error!(chain = %self.parts.name, member, proof_bytes = evidence.proof.len(), "a member of the committee broke the rules");
    }
}
