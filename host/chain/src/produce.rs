//! Calls the runtime module for blocks, and commits them.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering},
    time::Duration,
};

use rand::RngCore;
use subnode_sandbox::{Attributes, Built, CallError, Input, Lent, Outcome, charged, convert};
use subnode_storage::StoreError;
use subnode_types::{BlockRef, Sealing};
use tokio::{task::JoinSet, time::Instant};

use crate::{
    actor::Actor,
    blocks::{Basis, BlockId, Candidate, batch},
    lend::{Drawings, ViewReader},
    notifier::Event,
};

/// Of its interval, a block of a timer waits a twelfth at most to share a synced write: 128 chains of a second then need a tenth of
/// the writes, and every block is there within a tenth of a second.
const PATIENT_PART: u32 = 12;
const PATIENCE_MAX: Duration = Duration::from_millis(80);

/// A block of a timer waits at most so long for the chain's clock: of members whose clocks differ, none holds the others up for longer.
const EARLY_MAX: Duration = Duration::from_secs(1);

impl Actor {
    /// How long a block that a timer asks for waits because the head's time has not come. Where a runtime gives each block another second, an
    /// interval of less would move the chain's time ahead of the clock, block by block.
    pub(crate) fn early(&self) -> Option<Duration> {
        let timed = self.due.is_some() && matches!(self.shared.sealing(), Sealing::Interval(_));
        if !timed || self.shared.options.time.stands_still() {
            return None;
        }
        let now_ms = self.shared.clock().next_timestamp(self.shared.options.time.now_ms());
        let early_ms = self.shared.head().timestamp_ms.saturating_sub(now_ms);
        (early_ms > 0).then(|| Duration::from_millis(early_ms).min(EARLY_MAX))
    }

    /// Whether a block waited for the clock, which it does no longer.
    pub(crate) fn stop_waiting(&mut self) -> bool {
        self.waits_until.take().is_some()
    }

    /// The same, and tells the consensus module that the block it asked for does not come.
    pub(crate) async fn give_waiting_up(&mut self) {
        if self.stop_waiting() {
            self.tell_consensus(Input::BuildFailed).await;
        }
    }

    /// A candidate of a block on a parent: with the root of an earlier state where it has to vouch for one, which it waits for.
    async fn candidate(&mut self, parent: &BlockRef, block: Vec<u8>, outcome: Outcome) -> Result<Candidate, CallError> {
        let checkpoint = match self.shared.rule.and_then(|rule| Some((rule, rule.shown_at(parent.height + 1)?))) {
            Some((rule, shown)) => Some(self.roots.root(&self.shared, rule, shown).await?),
            None => None,
        };
        let committees = self.shared.committees.read().unwrap_or_else(PoisonError::into_inner);
        let basis = Basis { parent: Some(parent), committees: &committees, checkpoint };
        Ok(Candidate::new(&self.shared.tenant, basis, block, outcome)?)
    }

    /// A block on the head, from the pool.
    pub(crate) async fn build(&mut self) -> Option<Candidate> {
        if self.shared.store.full().is_some() {
            // Its own slice keeps it from committing: building on is for nothing until it is resized or pruned.
            return None;
        }
        let started = Instant::now();
        let mut seed = vec![0; 32];
        self.random.fill_bytes(&mut seed);
        let (view, parent) = self.shared.view();
        let timestamp_ms = self.shared.clock().next_timestamp(self.shared.options.time.now_ms());
        let drawn = Arc::default();
        let pool = self.shared.pool.for_build(self.draw_max, Arc::clone(&drawn));
        let lent = Lent { state: Box::new(ViewReader(view)), pool: Some(pool), query: None };
        let built = match self.shared.block_guest(&seed).await {
            Ok(mut guest) => guest.build(&parent, &Attributes { timestamp_ms, seed }, lent).await,
            Err(error) => Err(error),
        };
        let candidate = match built {
            Ok(Ok(Built { block, outcome })) => self.candidate(&parent, block, outcome).await.map(Ok),
            Ok(Err(invalid)) => Ok(Err(invalid)),
            Err(fault) => Err(fault),
        };
        let Drawings { drawn, discarded } = std::mem::take(&mut *drawn.lock().unwrap_or_else(PoisonError::into_inner));
        match candidate {
            Ok(Ok(mut candidate)) => {
                self.draw_max = self.draw_max.saturating_mul(2);
                self.shared.set_stuck(None);
                self.shared.counters.build_us.fetch_add(micros(started.elapsed()), Ordering::Relaxed);
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
                if self.shared.set_stuck(Some(invalid.reason.clone())) {
                    tracing::error!(chain = %self.shared.name, reason = %invalid.reason, "no block can be built on the head");
                }
                None
            }
            Err(fault) => {
                self.shared.counters.fault(&fault);
                self.shared.set_stuck(Some(fault.to_string()));
                tracing::warn!(chain = %self.shared.name, %fault, transactions = drawn.len(), "building a block failed");
                if let (CallError::Guest(_), [only]) = (&fault, drawn.as_slice()) {
                    tracing::warn!(chain = %self.shared.name, "the transaction that makes the runtime fail is dropped");
                    self.shared.pool.lock().remove(only);
                }
                self.draw_max = (drawn.len() / 2).max(1);
                None
            }
        }
    }

    /// Drops transactions that the runtime says can be in no later block.
    fn forget(&self, discarded: &[Vec<u8>]) {
        if discarded.is_empty() {
            return;
        }
        let mut pool = self.shared.pool.lock();
        for id in discarded {
            pool.remove(id);
        }
        drop(pool);
        tracing::debug!(chain = %self.shared.name, transactions = discarded.len(), "dropped what can be in no later block");
        // Clients that wait for them need not.
        self.shared.wake_clients();
    }

    /// What a block of others does, or why it is invalid.
    async fn execute(&mut self, block: Vec<u8>) -> Result<Result<Candidate, String>, CallError> {
        let (view, parent) = self.shared.view();
        let lent = Lent { state: Box::new(ViewReader(view)), pool: None, query: None };
        let mut guest = self.shared.block_guest(&[]).await?;
        match guest.execute(&parent, &block, lent).await? {
            Ok(outcome) => self.candidate(&parent, block, outcome).await.map(Ok),
            Err(invalid) => Ok(Err(invalid.reason)),
        }
    }

    /// The same for a block of this id: one that does something else here than its id says is invalid.
    pub(crate) async fn execute_as(&mut self, id: BlockId, block: Vec<u8>) -> Result<Result<Candidate, String>, CallError> {
        let executed = self.execute(block).await?;
        Ok(executed.and_then(
            |candidate| {
                if candidate.id == id { Ok(candidate) } else { Err("it does something else here than its id says".into()) }
            },
        ))
    }

    /// How long a block may wait to share a synced write: one that a timer asked for, a part of its interval.
    fn patience(&self) -> Duration {
        match self.shared.sealing() {
            Sealing::Interval(ms) if self.due.is_some() => (Duration::from_millis(ms.get()) / PATIENT_PART).min(PATIENCE_MAX),
            Sealing::Interval(_) | Sealing::Instant | Sealing::Manual => Duration::ZERO,
        }
    }

    /// Makes a candidate the head, with all that belongs to it; what the consensus module is then told.
    pub(crate) async fn commit(&mut self, mut candidate: Candidate, certificate: Vec<u8>) -> Result<Input, StoreError> {
        let head = candidate.head();
        let discarded = std::mem::take(&mut candidate.discarded);
        let progress = candidate.outcome.progress.clone();
        let committees = candidate.committees.clone();
        let started = Instant::now();
        let transactions = u64::from(candidate.outcome.transactions);
        let patience = self.patience();
        let mut batch = batch(candidate, &certificate, self.shared.rule);
        batch.writes.extend(self.log_after(head.height));
        charged(&self.shared.tenant, self.shared.store.commit_within(batch, patience)).await?;
        self.snapshots.bound_past(&self.shared);
        self.candidates.clear();
        self.built = None;
        self.fetches.abort_all();
        self.fetches = JoinSet::new();
        self.wanted.clear();
        self.stop_waiting();
        let counters = &self.shared.counters;
        counters.blocks.fetch_add(1, Ordering::Relaxed);
        counters.transactions.fetch_add(transactions, Ordering::Relaxed);
        counters.commit_us.fetch_add(micros(started.elapsed()), Ordering::Relaxed);
        if let Some(due) = self.due {
            let late = micros(due.elapsed());
            counters.late_us.fetch_add(late, Ordering::Relaxed);
            counters.late_us_max.fetch_max(late, Ordering::Relaxed);
        }
        self.shared.set_head(head.clone(), committees);
        self.shared.set_stuck(None);
        self.shared.pool.lock().advance(progress.iter().map(|one| (one.sender.as_slice(), one.next_sequence)));
        self.forget(&discarded);
        self.shared.clock().stamped(head.timestamp_ms, self.shared.options.time.now_ms());
        self.shared.commits.send_modify(|commits| *commits += 1);
        tracing::debug!(chain = %self.shared.name, height = head.height, "committed a block");
        if !self.shared.subscriptions.is_empty() {
            self.shared.tell(Event::Block(head.height));
        }
        self.shared.announce();
        if self.shared.rule.is_some_and(|rule| rule.is_at(head.height)) {
            self.find_root(head.height);
        }
        Ok(convert::committed(&head, self.shared.pool.ready(), &self.shared.committee()))
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
