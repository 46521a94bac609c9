//! Transactions by sender and sequence, until a block has them.
//!
//! A sender's transactions are *ready* from its next sequence on, up to the first gap; those behind a gap *wait*. Blocks draw
//! ready ones, those that pay most above a block's floor first, each sender's in order. Senders that pay the same take turns, one transaction
//! each, and whoever has waited longest since its last transaction was in a block begins. A full pool makes room by dropping what is least likely to
//! be mined: first the last of a sender that waits, then the last of the sender that pays least, and of those the one with most transactions.
//!
//! Cost: `insert`, `remove` and `get` are O(log n); `draw` is O(senders).

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::Amount;

mod copy;
mod draw;
#[cfg(test)]
mod tests;

pub use copy::PoolCopy;
pub use draw::Draw;

/// Bounds of a pool.
#[derive(Clone, Copy, Debug)]
pub struct PoolLimits {
    /// Bytes of all transactions, with [`OVERHEAD_BYTES`] for each.
    pub bytes: usize,
    /// Transactions of one sender.
    pub per_sender: usize,
}

/// What a pooled transaction costs besides its own bytes: identifiers and map entries.
pub const OVERHEAD_BYTES: usize = 400;
/// Ids remembered for clients that poll for new transactions.
const RECENT_MAX: usize = 8192;
/// Senders whose progress is remembered, for admissions that began before a block was committed.
const PROGRESS_MAX: usize = 65_536;

/// An admitted transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Its identity.
    pub id: Vec<u8>,
    /// Whose it is.
    pub sender: Vec<u8>,
    /// Its place among the sender's.
    pub sequence: u64,
    /// Higher is served first.
    pub priority: u64,
    /// The most it pays per unit. A replacement must raise this too.
    pub cap: u64,
    /// The most it may cost its sender in all.
    pub cost: Amount,
    /// The transaction itself.
    pub data: Vec<u8>,
}

/// Why the pool does not take a transaction. The texts reach clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    /// It is there.
    #[error("already known")]
    Known,
    /// Another of the same sender and sequence is there, and this one does not offer a tenth more.
    #[error("replacement transaction underpriced")]
    Underpriced,
    /// The sequence was used by a block since the transaction was checked.
    #[error("sequence already used")]
    Stale,
    /// The sender has as many as it may.
    #[error("account limit exceeded: too many transactions of this sender wait")]
    SenderFull,
    /// There is no room, and nothing in the pool is worth less.
    #[error("txpool is full")]
    Full,
}

#[derive(Debug, Default)]
struct Sender {
    next: u64,
    /// Bound: [`PoolLimits::per_sender`] of them. [`PoolLimits::bytes`] bounds the bytes of all senders' together.
    transactions: BTreeMap<u64, Arc<Transaction>>,
    /// How many are ready.
    ready: usize,
    /// What all of them may cost.
    owed: Amount,
    /// None of them costs more than this.
    cost_max: Amount,
    /// When it began to wait for its next transaction to be in a block, by [`Pool::waits`].
    since: u64,
}

/// Transactions until a block has them.
#[derive(Debug)]
pub struct Pool {
    limits: PoolLimits,
    bytes: usize,
    /// Each has a transaction. Bound: [`PoolLimits::bytes`], in which an entry counts as a part of its transaction's [`OVERHEAD_BYTES`].
    senders: BTreeMap<Vec<u8>, Sender>,
    /// One for each transaction. Bound: [`PoolLimits::bytes`], in which an entry counts as a part of its transaction's [`OVERHEAD_BYTES`].
    by_id: BTreeMap<Vec<u8>, (Vec<u8>, u64)>,
    ready: usize,
    /// Bound: [`RECENT_MAX`] ids of 64 bytes, which is the longest that the contract allows, and their vectors: 800 KiB.
    recent: VecDeque<Vec<u8>>,
    /// The mark of the oldest of `recent`.
    recent_start: u64,
    /// Bound: [`PROGRESS_MAX`] senders and one more, of 64 bytes, which is the longest that the contract allows, and their entries: 8 MiB.
    progress: BTreeMap<Vec<u8>, u64>,
    /// What a unit cost in the block that was drawn for last.
    floor: u64,
    /// How often a sender began to wait.
    waits: u64,
}

impl Sender {
    /// The first sequence that is not ready.
    fn gap(&self) -> u64 {
        self.next + self.ready as u64
    }

    /// Counts what has become ready at the gap: only that, so that a long queue is not counted for each arrival.
    fn fill_gap(&mut self) {
        let gap = self.gap();
        self.ready += self.transactions.range(gap..).zip(gap..).take_while(|((sequence, _), expected)| *sequence == expected).count();
    }

    /// Moves the next sequence, after which what was ready from there on still is. A developer may move it back.
    fn advance(&mut self, next: u64) {
        let gap = if next < self.next { next } else { self.gap().max(next) };
        self.next = next;
        self.ready = usize::try_from(gap - next).unwrap_or(usize::MAX);
        self.fill_gap();
    }
}

/// The last transaction of a sender.
struct Worst<'a> {
    /// Whether all of the sender's are.
    ready: bool,
    /// How many the sender has.
    count: usize,
    last: &'a Transaction,
}

impl Transaction {
    /// What it pays per unit above a floor, or none where it does not reach it.
    fn pays_above(&self, floor: u64) -> Option<u64> {
        Some(self.priority.min(self.cap.checked_sub(floor)?))
    }
}

fn bytes_of(transaction: &Transaction) -> usize {
    transaction.data.len() + OVERHEAD_BYTES
}

/// At least a tenth more.
fn outbids(new: u64, old: u64) -> bool {
    u128::from(new) * 10 >= u128::from(old) * 11
}

impl Pool {
    /// An empty pool.
    pub fn new(limits: PoolLimits) -> Self {
        Self {
            limits,
            bytes: 0,
            senders: BTreeMap::new(),
            by_id: BTreeMap::new(),
            ready: 0,
            recent: VecDeque::new(),
            recent_start: 0,
            progress: BTreeMap::new(),
            floor: 0,
            waits: 0,
        }
    }

    /// Takes a transaction whose sender's next sequence is `next` in the committed state.
    ///
    /// # Errors
    /// [`PoolError`] says why not; the pool then holds what it held, but for sequences below `next`.
    pub fn insert(&mut self, transaction: Transaction, next: u64) -> Result<(), PoolError> {
        let next = self.progress.get(&transaction.sender).map_or(next, |progress| next.max(*progress));
        if transaction.sequence < next {
            return Err(PoolError::Stale);
        }
        // A developer may have moved it since this sender's others were admitted.
        if self.senders.get(&transaction.sender).is_some_and(|sender| sender.next != next) {
            self.set_next(&transaction.sender, next);
        }
        if self.by_id.contains_key(&transaction.id) {
            return Err(PoolError::Known);
        }
        let existing = self.senders.get(&transaction.sender);
        let replaced = existing.and_then(|sender| sender.transactions.get(&transaction.sequence)).cloned();
        match &replaced {
            Some(old) if !outbids(transaction.priority, old.priority) || !outbids(transaction.cap, old.cap) => {
                return Err(PoolError::Underpriced);
            }
            Some(_) => {}
            None if existing.is_some_and(|sender| sender.transactions.len() >= self.limits.per_sender) => {
                return Err(PoolError::SenderFull);
            }
            None => {}
        }
        let freed = replaced.as_ref().map_or(0, |old| bytes_of(old));
        self.make_room(bytes_of(&transaction).saturating_sub(freed), &transaction)?;
        if let Some(old) = replaced {
            self.take(&old.id);
        }
        if self.recent.len() >= RECENT_MAX {
            self.recent.pop_front();
            self.recent_start += 1;
        }
        self.recent.push_back(transaction.id.clone());
        self.add(next, Arc::new(transaction));
        Ok(())
    }

    /// Forgets worse ones for an incoming one, or none where that does not make room enough.
    fn make_room(&mut self, needed: usize, incoming: &Transaction) -> Result<(), PoolError> {
        let mut forgotten = Vec::new();
        while self.bytes + needed > self.limits.bytes {
            let own = self.senders.get(&incoming.sender).map_or(0, |sender| sender.transactions.len());
            let worst = self.worst(Some(&incoming.sender)).filter(|worst| {
                let (pays, offers) = (worst.last.pays_above(self.floor), incoming.pays_above(self.floor));
                // Among equals nobody gives way to one that has as many.
                !worst.ready || pays < offers || pays == offers && worst.count > own + 1
            });
            let Some(id) = worst.map(|worst| worst.last.id.clone()) else {
                forgotten.into_iter().rev().for_each(|(next, transaction)| self.add(next, transaction));
                return Err(PoolError::Full);
            };
            forgotten.extend(self.take(&id));
        }
        Ok(())
    }

    /// Adds a transaction of a sequence that its sender has none of, whose next is this.
    fn add(&mut self, next: u64, transaction: Arc<Transaction>) {
        self.bytes += bytes_of(&transaction);
        self.by_id.insert(transaction.id.clone(), (transaction.sender.clone(), transaction.sequence));
        let sender = self.senders.entry(transaction.sender.clone()).or_default();
        self.ready -= sender.ready;
        if sender.transactions.is_empty() {
            (sender.next, sender.ready, sender.since) = (next, 0, self.waits);
            self.waits += 1;
        }
        sender.owed = sender.owed.saturating_add(transaction.cost);
        sender.cost_max = sender.cost_max.max(transaction.cost);
        sender.transactions.insert(transaction.sequence, transaction);
        sender.fill_gap();
        self.ready += sender.ready;
    }

    /// Forgets what is least likely to be mined, until so many bytes are free or nothing is left. How many it forgot.
    pub fn shed(&mut self, bytes: usize) -> usize {
        let (target, before) = (self.bytes.saturating_sub(bytes), self.by_id.len());
        while self.bytes > target
            && let Some(id) = self.worst(None).map(|worst| worst.last.id.clone())
        {
            self.remove(&id);
        }
        before - self.by_id.len()
    }

    /// The transaction that is least likely to be mined: the last of a sender that waits, else of one that the last block cost too much for, else of
    /// the one that pays least, and of those the one with most transactions.
    fn worst(&self, beside: Option<&[u8]>) -> Option<Worst<'_>> {
        let others = self.senders.iter().filter(|(name, _)| beside != Some(name.as_slice()));
        let lasts = others.filter_map(|(_, sender)| {
            let last = sender.transactions.values().next_back()?;
            let count = sender.transactions.len();
            Some(Worst { ready: sender.ready == count, count, last })
        });
        lasts.min_by_key(|worst| (worst.ready, worst.last.pays_above(self.floor), Reverse(worst.count)))
    }

    /// Forgets a transaction. Whether it was there.
    pub fn remove(&mut self, id: &[u8]) -> bool {
        self.take(id).is_some()
    }

    /// The same; the transaction, and its sender's next sequence.
    fn take(&mut self, id: &[u8]) -> Option<(u64, Arc<Transaction>)> {
        let (name, sequence) = self.by_id.remove(id)?;
        let sender = self.senders.get_mut(&name)?;
        let next = sender.next;
        let old = sender.transactions.remove(&sequence)?;
        self.bytes -= bytes_of(&old);
        sender.owed = sender.owed.saturating_sub(old.cost);
        self.ready -= sender.ready;
        let ready = usize::try_from(sequence.saturating_sub(next)).unwrap_or(usize::MAX);
        sender.ready = sender.ready.min(ready);
        self.ready += sender.ready;
        if sender.transactions.is_empty() {
            self.senders.remove(&name);
        }
        Some((next, old))
    }

    /// Forgets all transactions, and what is remembered of senders: the state under the pool is another one.
    pub fn clear(&mut self) {
        self.senders.clear();
        self.by_id.clear();
        self.progress.clear();
        self.bytes = 0;
        self.ready = 0;
    }

    /// The state was changed between blocks: what is remembered of senders may be wrong.
    pub fn forget_progress(&mut self) {
        self.progress.clear();
    }

    /// A block was committed, after which each of these senders has this next sequence.
    pub fn advance<'a>(&mut self, progress: impl Iterator<Item = (&'a [u8], u64)>) {
        if self.progress.len() > PROGRESS_MAX {
            self.progress.clear();
        }
        for (name, next) in progress {
            // What one block says is not more than this is for either.
            if self.progress.len() <= PROGRESS_MAX || self.progress.contains_key(name) {
                self.progress.insert(name.to_vec(), next);
            }
            self.set_next(name, next);
        }
    }

    /// Moves a sender's next sequence, and forgets what is before it.
    fn set_next(&mut self, name: &[u8], next: u64) {
        let Some(sender) = self.senders.get_mut(name) else { return };
        self.ready -= sender.ready;
        if next > sender.next {
            sender.since = self.waits;
            self.waits += 1;
        }
        let kept = sender.transactions.split_off(&next);
        for done in std::mem::replace(&mut sender.transactions, kept).into_values() {
            self.by_id.remove(&done.id);
            self.bytes -= bytes_of(&done);
            sender.owed = sender.owed.saturating_sub(done.cost);
        }
        sender.advance(next);
        self.ready += sender.ready;
        if sender.transactions.is_empty() {
            self.senders.remove(name);
        }
    }

    /// Transactions that could be in the next block.
    pub fn ready(&self) -> usize {
        self.ready
    }

    /// Transactions behind a gap.
    pub fn waiting(&self) -> usize {
        self.by_id.len() - self.ready
    }

    /// Bytes held, with the overhead of each.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The transaction with this id, and whether it is ready.
    pub fn get(&self, id: &[u8]) -> Option<(Arc<Transaction>, bool)> {
        let (name, sequence) = self.by_id.get(id)?;
        self.senders.get(name)?.with_readiness().find(|(transaction, _)| transaction.sequence == *sequence)
    }

    /// Whether a sender has a transaction of this sequence.
    pub fn has(&self, sender: &[u8], sequence: u64) -> bool {
        self.senders.get(sender).is_some_and(|sender| sender.transactions.contains_key(&sequence))
    }

    /// One sender's transactions in order, and whether each is ready.
    pub fn by_sender(&self, sender: &[u8]) -> impl Iterator<Item = (Arc<Transaction>, bool)> {
        self.senders.get(sender).into_iter().flat_map(Sender::with_readiness)
    }

    /// All transactions by sender and sequence, and whether each is ready.
    pub fn all(&self) -> impl Iterator<Item = (Arc<Transaction>, bool)> {
        self.senders.values().flat_map(Sender::with_readiness)
    }

    /// The sequence after the last ready transaction of a sender; where none is ready, the one after the sender's last in a recent block, which
    /// a call that reads an older state does not know of.
    pub fn next_sequence(&self, sender: &[u8]) -> Option<u64> {
        let ready = self.senders.get(sender).filter(|sender| sender.ready > 0).map(Sender::gap);
        ready.or_else(|| self.progress.get(sender).copied())
    }

    /// What a sender's transactions may cost together, and the one of this sequence.
    pub fn owed(&self, sender: &[u8], sequence: u64) -> (Amount, Amount) {
        let Some(sender) = self.senders.get(sender) else { return Default::default() };
        (sender.owed, sender.transactions.get(&sequence).map(|transaction| transaction.cost).unwrap_or_default())
    }

    /// Forgets each transaction that may cost its sender more than these funds.
    pub fn drop_unpayable(&mut self, sender: &[u8], funds: Amount) {
        let Some(known) = self.senders.get_mut(sender).filter(|known| known.cost_max > funds) else { return };
        known.cost_max = funds;
        let costs_more: Vec<_> = known.transactions.values().filter(|one| one.cost > funds).map(|one| one.id.clone()).collect();
        for id in costs_more {
            self.remove(&id);
        }
    }

    /// Rises with each transaction that is admitted.
    pub fn mark(&self) -> u64 {
        self.recent_start + self.recent.len() as u64
    }

    /// Ids admitted since a mark, oldest first, and the mark to pass next time.
    pub fn since(&self, mark: u64, limit: usize) -> (Vec<Vec<u8>>, u64) {
        let end = self.mark();
        let start = mark.clamp(self.recent_start, end);
        let skipped = usize::try_from(start - self.recent_start).unwrap_or(usize::MAX);
        let ids: Vec<_> = self.recent.iter().skip(skipped).take(limit).cloned().collect();
        let next = start + ids.len() as u64;
        (ids, next)
    }

    /// How many senders have transactions here.
    pub fn senders(&self) -> usize {
        self.senders.len()
    }

    /// A unit costs so much in the block that is built: what does not reach it is the first to make room.
    pub fn set_floor(&mut self, floor: u64) {
        self.floor = floor;
    }
}

impl Sender {
    fn with_readiness(&self) -> impl Iterator<Item = (Arc<Transaction>, bool)> {
        self.transactions.values().enumerate().map(|(position, transaction)| (transaction.clone(), position < self.ready))
    }
}
