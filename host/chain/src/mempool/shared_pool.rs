//! The pool as tasks and guests share it.

use std::{
    collections::BTreeMap,
    ops::{Deref, DerefMut},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use subnode_chain_core::{Amount, Draw, Pool, Transaction};
use subnode_sandbox::{ListLimit, Occupancy, PoolReader, Pooled, Ready, Tenant};

/// The pool, shared by admission, building and queries. Held for moments only. Its bytes count against the chain's memory.
#[derive(Clone)]
pub(crate) struct SharedPool {
    counted: Arc<Mutex<Counted>>,
    tenant: Tenant,
}

struct Counted {
    pool: Pool,
    /// Bytes of it that are taken from the chain's memory.
    bytes: u64,
}

/// The pool while it is held; what changed of its bytes is taken from the chain's memory, or given back, when it is let go.
pub(crate) struct HeldPool<'a> {
    counted: MutexGuard<'a, Counted>,
    tenant: &'a Tenant,
}

impl Deref for HeldPool<'_> {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        &self.counted.pool
    }
}

impl DerefMut for HeldPool<'_> {
    fn deref_mut(&mut self) -> &mut Pool {
        &mut self.counted.pool
    }
}

impl Drop for HeldPool<'_> {
    fn drop(&mut self) {
        let bytes = self.counted.pool.bytes() as u64;
        let before = std::mem::replace(&mut self.counted.bytes, bytes);
        if bytes > before {
            self.tenant.memory().take_anyway(bytes - before);
        } else if bytes < before {
            self.tenant.memory().give(before - bytes);
        }
    }
}

impl SharedPool {
    pub(crate) fn new(pool: Pool, tenant: Tenant) -> Self {
        Self { counted: Arc::new(Mutex::new(Counted { pool, bytes: 0 })), tenant }
    }

    pub(crate) fn lock(&self) -> HeldPool<'_> {
        HeldPool { counted: self.counted.lock().unwrap_or_else(PoisonError::into_inner), tenant: &self.tenant }
    }

    pub(crate) fn ready(&self) -> u32 {
        u32::try_from(self.lock().ready()).unwrap_or(u32::MAX)
    }

    /// The pool for a query, which may draw what a build would.
    pub(crate) fn for_query(&self) -> Box<dyn PoolReader> {
        self.lend(Use::Query, usize::MAX)
    }

    /// The pool for a build, which draws at most `limit` transactions and notes what it did with them.
    pub(crate) fn for_build(&self, limit: usize, drawn: Drawn) -> Box<dyn PoolReader> {
        self.lend(Use::Build(drawn), limit)
    }

    /// The pool for an admission, which notes what the transactions may cost.
    pub(crate) fn for_admission(&self, reserved: Reserved) -> Box<dyn PoolReader> {
        self.lend(Use::Admission(reserved), 0)
    }

    fn lend(&self, purpose: Use, left: usize) -> Box<dyn PoolReader> {
        Box::new(LentPool { pool: self.clone(), purpose, draw: None, left })
    }
}

/// What a build did with transactions of the pool.
#[derive(Debug, Default)]
pub(crate) struct Drawings {
    /// Ids of those it drew.
    pub(crate) drawn: Vec<Vec<u8>>,
    /// Of these, those that can be in no later block either.
    pub(crate) discarded: Vec<Vec<u8>>,
}

pub(crate) type Drawn = Arc<Mutex<Drawings>>;

/// Costs that one admission notes: the contract hands a runtime so many transactions at most.
const NOTES_MAX: usize = 1_024;

/// What the transactions that are being admitted may cost, by sender.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    /// Bound: [`NOTES_MAX`] senders of 64 bytes and their costs, 300 KiB.
    senders: BTreeMap<Vec<u8>, Reservation>,
    /// Costs that were noted, over all senders.
    notes: usize,
}

#[derive(Debug, Default)]
struct Reservation {
    /// Bound: 40 bytes for each transaction of the admission, of which there are [`NOTES_MAX`] at most.
    costs: BTreeMap<u64, Amount>,
    /// The sum of `costs`.
    added: Amount,
    /// What the pooled transactions that they would replace may cost, when the sender's pooled ones cost `pooled` together.
    replaced: Amount,
    pooled: Amount,
}

impl Reservation {
    /// What a sender's transactions may cost together, but for those of a sequence.
    fn others(&mut self, pool: &Pool, sender: &[u8], sequence: u64) -> Amount {
        let (pooled, same) = pool.owed(sender, sequence);
        if pooled != self.pooled {
            // Some of them were dropped, or are in a block.
            let sum = |sum: Amount, sequence: &u64| sum.saturating_add(pool.owed(sender, *sequence).1);
            (self.replaced, self.pooled) = (self.costs.keys().fold(Amount::default(), sum), pooled);
        }
        let noted = self.costs.get(&sequence).copied();
        pooled.saturating_add(self.added).saturating_sub(self.replaced).saturating_sub(noted.unwrap_or(same))
    }
}

pub(crate) type Reserved = Arc<Mutex<Reservations>>;

impl Reservations {
    /// Notes a cost; what the sender's other transactions may cost, where all together is more than `funds`. Those that cost more by themselves
    /// are then dropped from the pool: the sender had more when they were admitted.
    fn reserve(&mut self, pool: &mut Pool, sender: &[u8], sequence: u64, cost: Amount, funds: Amount) -> Option<Amount> {
        let is_new = self.senders.get(sender).is_none_or(|noted| !noted.costs.contains_key(&sequence));
        if is_new && self.notes >= NOTES_MAX {
            // An admission holds at most NOTES_MAX transactions, so a runtime that notes more has noted costs of transactions that are not in it.
            // `Amount::MAX` makes the runtime refuse this one as unpayable.
            return Some(Amount::MAX);
        }
        let noted = self.senders.entry(sender.to_vec()).or_default();
        // Counted for a sender without a cost too.
        self.notes += usize::from(is_new);
        if noted.others(pool, sender, sequence).saturating_add(cost) > funds {
            pool.drop_unpayable(sender, funds);
            let others = noted.others(pool, sender, sequence);
            if others.saturating_add(cost) > funds {
                return Some(others);
            }
        }
        let before = noted.costs.get(&sequence).copied();
        // Of two of one sequence either may be refused.
        let larger = cost.max(before.unwrap_or_default());
        noted.costs.insert(sequence, larger);
        noted.added = noted.added.saturating_sub(before.unwrap_or_default()).saturating_add(larger);
        if before.is_none() {
            noted.replaced = noted.replaced.saturating_add(pool.owed(sender, sequence).1);
        }
        None
    }

    /// What was noted of a transaction.
    pub(crate) fn cost(&self, sender: &[u8], sequence: u64) -> Amount {
        self.senders.get(sender).and_then(|noted| noted.costs.get(&sequence).copied()).unwrap_or_default()
    }
}

/// What the pool is lent for.
enum Use {
    Query,
    Build(Drawn),
    Admission(Reserved),
}

struct LentPool {
    pool: SharedPool,
    purpose: Use,
    draw: Option<Draw>,
    left: usize,
}

/// How much of a limit is left.
trait Left {
    fn has_room(&self) -> bool;
    fn take(&mut self, transaction: &Transaction);
}

impl Left for ListLimit {
    fn has_room(&self) -> bool {
        self.count > 0 && self.bytes > 0
    }

    fn take(&mut self, transaction: &Transaction) {
        let bytes = transaction.id.len() + transaction.sender.len() + transaction.data.len();
        (self.count, self.bytes) = (self.count - 1, self.bytes.saturating_sub(bytes));
    }
}

/// The first of a list. They are copied once the pool is let go.
fn listed(all: impl Iterator<Item = (Arc<Transaction>, bool)>, mut limit: ListLimit) -> Vec<(Arc<Transaction>, bool)> {
    let mut first = Vec::new();
    for (transaction, ready) in all {
        if !limit.has_room() {
            break;
        }
        limit.take(&transaction);
        first.push((transaction, ready));
    }
    first
}

fn pooled((transaction, ready): (Arc<Transaction>, bool)) -> Pooled {
    Pooled {
        id: transaction.id.clone(),
        sender: transaction.sender.clone(),
        sequence: transaction.sequence,
        data: transaction.data.clone(),
        ready,
    }
}

impl PoolReader for LentPool {
    fn rank(&mut self, floor: u64) -> usize {
        if self.draw.is_some() || matches!(self.purpose, Use::Admission(_)) {
            return 0;
        }
        let mut pool = self.pool.lock();
        if matches!(self.purpose, Use::Build(_)) {
            pool.set_floor(floor);
        }
        self.draw = Some(pool.draw(floor));
        pool.senders()
    }

    fn discard(&mut self, id: &[u8]) {
        let Use::Build(drawn) = &self.purpose else { return };
        let mut drawn = drawn.lock().unwrap_or_else(PoisonError::into_inner);
        // No more than it drew.
        if drawn.discarded.len() < drawn.drawn.len() {
            drawn.discarded.push(id.to_vec());
        }
    }

    fn reserve(&mut self, sender: &[u8], sequence: u64, cost: [u8; 32], funds: [u8; 32]) -> Option<[u8; 32]> {
        let Use::Admission(reserved) = &self.purpose else { return None };
        let (cost, funds) = (Amount::from_be_bytes(cost), Amount::from_be_bytes(funds));
        let mut reserved = reserved.lock().unwrap_or_else(PoisonError::into_inner);
        reserved.reserve(&mut self.pool.lock(), sender, sequence, cost, funds).map(|others| others.to_be_bytes())
    }

    fn next(&mut self, limit: ListLimit, found: &mut dyn FnMut(Ready<'_>)) {
        let Some(draw) = &mut self.draw else { return };
        let pool = self.pool.lock();
        let mut left = ListLimit { count: limit.count.min(self.left), ..limit };
        let next: Vec<_> = std::iter::from_fn(|| {
            let next = left.has_room().then(|| draw.next(&pool)).flatten()?;
            left.take(&next);
            Some(next)
        })
        .collect();
        drop(pool);
        self.left -= next.len();
        if let Use::Build(drawn) = &self.purpose {
            drawn.lock().unwrap_or_else(PoisonError::into_inner).drawn.extend(next.iter().map(|drawn| drawn.id.clone()));
        }
        for Transaction { id, sender, sequence, data, .. } in next.iter().map(AsRef::as_ref) {
            found(Ready { id, sender, sequence: *sequence, data });
        }
    }

    fn skip_sender(&mut self, sender: &[u8]) {
        if let Some(draw) = &mut self.draw {
            draw.skip_sender(sender);
        }
    }

    fn get(&self, id: &[u8]) -> Option<Pooled> {
        self.pool.lock().get(id).map(pooled)
    }

    fn by_sender(&self, sender: &[u8], limit: ListLimit) -> Vec<Pooled> {
        let listed = listed(self.pool.lock().by_sender(sender), limit);
        listed.into_iter().map(pooled).collect()
    }

    fn all(&self, limit: ListLimit) -> Vec<Pooled> {
        let listed = listed(self.pool.lock().all(), limit);
        listed.into_iter().map(pooled).collect()
    }

    fn next_sequence(&self, sender: &[u8]) -> Option<u64> {
        self.pool.lock().next_sequence(sender)
    }

    fn counts(&self) -> Occupancy {
        let pool = self.pool.lock();
        let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Occupancy { ready: count(pool.ready()), waiting: count(pool.waiting()) }
    }

    fn since(&self, mark: u64, limit: usize) -> (Vec<Vec<u8>>, u64) {
        self.pool.lock().since(mark, limit)
    }
}

#[cfg(test)]
mod tests {
    use subnode_chain_core::PoolLimits;

    use super::*;

    #[test]
    fn an_admission_notes_no_more_costs_than_it_has_transactions() {
        let mut pool = Pool::new(PoolLimits { bytes: 1 << 20, per_sender: 16 });
        let mut reservations = Reservations::default();
        let (cost, funds) = (Amount::default(), Amount::MAX);
        let noted = (0..100_000_u64).filter(|i| {
            let (sender, sequence) = (i / 3, i % 3);
            reservations.reserve(&mut pool, &sender.to_be_bytes(), sequence, cost, funds).is_none()
        });
        assert_eq!(noted.count(), NOTES_MAX);
        assert!(reservations.senders.len() <= NOTES_MAX);
        assert_eq!(reservations.reserve(&mut pool, &0_u64.to_be_bytes(), 0, cost, funds), None, "one that is noted may be noted anew");
    }
}
