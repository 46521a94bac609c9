//! Has the runtime build blocks, and execute those of others.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use rand::Rng;
use subnode_chain_core::Author;
use subnode_sandbox::{Attributes, Built, CallError, Declared, Declaring, Input, Invalid, Lent, Notes, Outcome};
use subnode_signer::DrawnSeed;
use subnode_types::{BlockRef, Sealing};
use tokio::time::Instant;

use super::{author::other_seed, state::Actor, trouble::unless_stopped};
use crate::{
    counters::micros,
    ledger::{Basis, BlockId, Candidate},
    mempool::Drawings,
    reader::ViewReader,
    statements::{BlockNotes, NotedHere},
};

/// A block of a timer waits at most so long for the chain's clock: of members whose clocks differ, none holds the others up for longer.
const EARLY_MAX: Duration = Duration::from_secs(1);

impl Actor {
    /// How long a block that a timer asks for waits because the head's time has not come. Where a runtime gives each block another second, an
    /// interval of less would move the chain's time ahead of the clock, block by block.
    pub(super) fn early(&self) -> Option<Duration> {
        let timed = self.due.is_some() && matches!(self.parts.standing.sealing(), Sealing::Interval(_));
        if !timed || self.parts.options.time.stands_still() {
            return None;
        }
        let now_ms = self.parts.standing.clock().next_timestamp(self.parts.options.time.now_ms());
        let early_ms = self.parts.ledger.head().timestamp_ms.saturating_sub(now_ms);
        (early_ms > 0).then(|| Duration::from_millis(early_ms).min(EARLY_MAX))
    }

    /// Whether a block waited for the clock, which it does no longer.
    pub(super) fn stop_waiting(&mut self) -> bool {
        self.waits_until.take().is_some()
    }

    /// The same, and tells the consensus module that the block it asked for does not come.
    pub(super) async fn give_waiting_up(&mut self) {
        if self.stop_waiting() {
            self.tell_consensus(Input::BuildFailed).await;
        }
    }

    /// A candidate of a block on a parent: with the root of an earlier state where it has to vouch for one, which it waits for.
    async fn candidate(
        &mut self,
        parent: &BlockRef,
        block: Vec<u8>,
        outcome: Outcome,
        declared: Declared,
        drawn: Option<DrawnSeed>,
    ) -> Result<Candidate, CallError> {
        let checkpoint = match self.parts.ledger.rule().and_then(|rule| Some((rule, rule.shown_at(parent.height + 1)?))) {
            Some((rule, shown)) => Some(self.roots.root(self.parts.ledger.store(), &self.parts.tenant, rule, shown).await?),
            None => None,
        };
        let committees = self.parts.ledger.committees();
        let basis = Basis { parent: Some(parent), committees: &committees, checkpoint, drawn };
        Ok(Candidate::new(&self.parts.tenant, basis, block, outcome, declared)?)
    }

    /// The notes that the block on a parent could hold, for its guest, and what that will have done with them.
    fn lend_notes(&self, parent: &BlockRef, builds: bool) -> (Option<Box<dyn Notes>>, Option<NotedHere>) {
        let lent = self.parts.statements.lend(parent.height, &self.parts.ledger.committees(), builds);
        let noted = lent.as_ref().map(BlockNotes::outcome);
        (lent.map(|notes| Box::new(notes) as Box<dyn Notes>), noted)
    }

    /// A block on the head, from the pool.
    pub(super) async fn build(&mut self) -> Option<Candidate> {
        // Nothing of a block that is not ready stays.
        let shutdown = self.shutdown.clone();
        shutdown.run_until_cancelled(self.build_on_head()).await.flatten()
    }

    async fn build_on_head(&mut self) -> Option<Candidate> {
        if self.parts.ledger.store().full().is_some() {
            // Its own slice keeps it from committing: building on is for nothing until it is resized or pruned.
            return None;
        }
        let started = Instant::now();
        let (view, parent) = self.parts.ledger.view();
        let drawn_seed = self.draw(&view, &parent)?;
        let seed = drawn_seed.map_or_else(|| self.random.random(), |drawn| drawn.seed).to_vec();
        let timestamp_ms = self.parts.standing.clock().next_timestamp(self.parts.options.time.now_ms());
        let drawn = Arc::default();
        let pool = self.parts.mempool.pool().for_build(self.draw_max, Arc::clone(&drawn));
        let (notes, noted) = self.lend_notes(&parent, true);
        let declaring = Declaring::default();
        let lent = Lent { pool: Some(pool), notes, declared: Some(declaring.clone()), ..Lent::of(ViewReader(view)) };
        let built = match self.parts.guests.for_block(&seed).await {
            Ok(mut guest) => guest.build(&parent, &Attributes { timestamp_ms, seed }, lent).await,
            Err(error) => Err(error),
        };
        let declared = declaring.take();
        let candidate = match built {
            Ok(Ok(_)) if let Some(reason) = other_seed(&declared, drawn_seed.as_ref()) => Ok(Err(Invalid { reason })),
            Ok(Ok(Built { block, outcome })) => self.candidate(&parent, block, outcome, declared, drawn_seed).await.map(Ok),
            Ok(Err(invalid)) => Ok(Err(invalid)),
            Err(fault) => Err(fault),
        };
        let noted = noted.map_or_else(Vec::new, |noted| noted.take(&self.parts.statements));
        let Drawings { drawn, discarded } = std::mem::take(&mut *drawn.lock().unwrap_or_else(PoisonError::into_inner));
        match candidate {
            Ok(Ok(mut candidate)) => {
                self.draw_max = self.draw_max.saturating_mul(2);
                self.parts.standing.set_stuck(None);
                candidate.noted = noted;
                self.parts.counters.build_us.fetch_add(micros(started.elapsed()), Ordering::Relaxed);
                if candidate.outcome.transactions == 0 {
                    // What they fail on is the head.
                    self.forget(&discarded);
                } else {
                    candidate.discarded = discarded;
                }
                Some(candidate)
            }
            Ok(Err(invalid)) => {
                // It may be tried for ever.
                if self.parts.standing.set_stuck(Some(invalid.reason.clone())) {
                    tracing::error!(chain = %self.parts.name, reason = %invalid.reason, "no block can be built on the head");
                }
                None
            }
            Err(fault) => {
                self.parts.counters.fault(&fault);
                self.parts.standing.set_stuck(Some(fault.to_string()));
                tracing::warn!(chain = %self.parts.name, %fault, transactions = drawn.len(), "building a block failed");
                if let (CallError::Guest(_), [only]) = (&fault, drawn.as_slice()) {
                    tracing::warn!(chain = %self.parts.name, "the transaction that makes the runtime fail is dropped");
                    self.parts.mempool.lock().remove(only);
                }
                self.draw_max = (drawn.len() / 2).max(1);
                None
            }
        }
    }

    /// Drops transactions that the runtime says can be in no later block.
    pub(super) fn forget(&self, discarded: &[Vec<u8>]) {
        if discarded.is_empty() {
            return;
        }
        let mut pool = self.parts.mempool.lock();
        for id in discarded {
            pool.remove(id);
        }
        drop(pool);
        tracing::debug!(chain = %self.parts.name, transactions = discarded.len(), "dropped what can be in no later block");
        // Clients that wait for them need not.
        self.parts.ledger.wake();
    }

    /// What a block of others does, or why it is invalid.
    async fn execute(&mut self, author: Option<&Author>, block: Vec<u8>) -> Result<Result<Candidate, String>, CallError> {
        let (view, parent) = self.parts.ledger.view();
        let drawn = match self.drawn(&view, &parent, author)? {
            Ok(drawn) => drawn,
            Err(reason) => return Ok(Err(reason)),
        };
        let (notes, noted) = self.lend_notes(&parent, false);
        let declaring = Declaring::default();
        let lent = Lent { notes, declared: Some(declaring.clone()), ..Lent::of(ViewReader(view)) };
        let mut guest = self.parts.guests.for_block(&[]).await?;
        match guest.execute(&parent, &block, lent).await? {
            Ok(outcome) => {
                let noted = noted.map_or_else(Vec::new, |noted| noted.take(&self.parts.statements));
                let declared = declaring.take();
                if let Some(reason) = other_seed(&declared, drawn.as_ref()) {
                    return Ok(Err(reason));
                }
                let mut candidate = self.candidate(&parent, block, outcome, declared, drawn).await?;
                candidate.noted = noted;
                Ok(Ok(candidate))
            }
            Err(invalid) => Ok(Err(invalid.reason)),
        }
    }

    /// The same for a block of this id: one that does something else here than its id says is invalid.
    pub(super) async fn execute_as(
        &mut self,
        id: BlockId,
        author: Option<&Author>,
        block: Vec<u8>,
    ) -> Result<Result<Candidate, String>, CallError> {
        let shutdown = self.shutdown.clone();
        let executed = unless_stopped(&shutdown, self.execute(author, block)).await?;
        Ok(executed.and_then(
            |candidate| {
                if candidate.id == id { Ok(candidate) } else { Err("it does something else here than its id says".into()) }
            },
        ))
    }
}
