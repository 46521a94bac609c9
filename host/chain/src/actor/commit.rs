//! Commits blocks.

use std::{sync::atomic::Ordering, time::Duration};

use subnode_sandbox::{Input, Signer, charged, convert};
use subnode_signer::SILENCE;
use subnode_storage::{StoreError, Write};
use subnode_types::Sealing;
use tokio::time::Instant;

use super::state::Actor;
use crate::{
    counters::micros,
    feed::Event,
    ledger::{Candidate, ConsensusLog, GUARD_KEY, attested_row, batch, log_write},
};

/// Of its interval, a block of a timer waits a twelfth at most to share a synced write: 128 chains of a second then need a tenth of
/// the writes, and every block is there within a tenth of a second.
const PATIENT_PART: u32 = 12;
const PATIENCE_MAX: Duration = Duration::from_millis(80);

impl Actor {
    /// How long a block may wait to share a synced write: one that a timer asked for, a part of its interval.
    fn patience(&self) -> Duration {
        match self.parts.standing.sealing() {
            Sealing::Interval(ms) if self.due.is_some() => (Duration::from_millis(ms.get()) / PATIENT_PART).min(PATIENCE_MAX),
            Sealing::Interval(_) | Sealing::Instant | Sealing::Manual => Duration::ZERO,
        }
    }

    /// Makes a candidate the head, with all that belongs to it; what the consensus module is then told.
    pub(super) async fn commit(&mut self, mut candidate: Candidate, certificate: Vec<u8>) -> Result<Input, StoreError> {
        let head = candidate.head();
        let discarded = std::mem::take(&mut candidate.discarded);
        let noted = std::mem::take(&mut candidate.noted);
        let progress = candidate.outcome.progress.clone();
        let committees = candidate.committees.clone();
        let upgrades = candidate.summary.upgrades.clone();
        let attested = self.attested(&head, committees.as_ref());
        let started = Instant::now();
        let transactions = u64::from(candidate.outcome.transactions);
        let patience = self.patience();
        let mut batch = batch(candidate, &certificate, self.parts.ledger.rule());
        batch.writes.extend(self.log_after(head.height));
        batch.writes.extend(attested.as_ref().map(|attested| attested_row(&attested.unsigned())));
        charged(&self.parts.tenant, self.parts.ledger.store().commit_within(batch, patience)).await?;
        self.snapshots.bound_past(self.parts.ledger.store(), self.parts.options.past_bytes_max);
        self.log_was_cleared(head.height);
        self.hindrance.passed();
        self.proposals.clear();
        self.stop_waiting();
        let counters = &self.parts.counters;
        counters.blocks.fetch_add(1, Ordering::Relaxed);
        counters.transactions.fetch_add(transactions, Ordering::Relaxed);
        counters.commit_us.fetch_add(micros(started.elapsed()), Ordering::Relaxed);
        if let Some(due) = self.due {
            let late = micros(due.elapsed());
            counters.late_us.fetch_add(late, Ordering::Relaxed);
            counters.late_us_max.fetch_max(late, Ordering::Relaxed);
        }
        self.parts.move_to(head.clone(), committees);
        self.parts.standing.set_stuck(None);
        self.parts.mempool.lock().advance(progress.iter().map(|one| (one.sender.as_slice(), one.next_sequence)));
        self.forget(&discarded);
        self.parts.standing.clock().stamped(head.timestamp_ms, self.parts.options.time.now_ms());
        self.parts.ledger.count_commit();
        tracing::debug!(chain = %self.parts.name, height = head.height, "committed a block");
        if !self.parts.feed.subscriptions.is_empty() {
            self.parts.feed.tell(Event::Block(head.height));
        }
        self.parts.exchange.announce(head.height);
        if self.parts.ledger.rule().is_some_and(|rule| rule.is_at(head.height)) {
            self.find_root(head.height);
        }
        self.statements_after(&noted).await;
        self.attest_after(attested).await;
        self.upgrades.declared(&upgrades);
        if let Some(upgrade) = self.upgrades.due(head.height) {
            // The module that decided this block says nothing of the next.
            self.upgraded = Some(upgrade.height);
            self.effects.clear();
        }
        Ok(convert::committed(&head, self.parts.ready(), &self.parts.ledger.committee()))
    }

    /// What a committed block leaves to write beside it: nothing of the log, and the guard.
    pub(super) fn log_after(&self, height: u64) -> Vec<Write> {
        let mut writes = self.log.cleared();
        let voter = &self.parts.voter;
        if voter.key().is_some() {
            writes.push(log_write(GUARD_KEY.to_vec(), Some(voter.guard_from(height + 1))));
        }
        writes
    }

    /// They were written.
    pub(super) fn log_was_cleared(&mut self, height: u64) {
        self.log = ConsensusLog::default();
        self.parts.voter.forget_before(height + 1);
    }

    /// The consensus module heard how the head was decided, and whoever else votes with this host's key.
    pub(super) fn heard_height(&self) {
        if self.parts.voter.height_passed(self.now_ms()) {
            tracing::info!(chain = %self.parts.name, "no other host has voted with this key for {SILENCE} heights: this one votes");
        }
    }
}
