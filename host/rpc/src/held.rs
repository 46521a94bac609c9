//! Bytes that clients make the port hold: requests while they arrive and are answered, and answers until they are sent.
//!
//! All clients together hold [`RpcLimits::held_bytes`](crate::RpcLimits::held_bytes) at most, the clients of one address half of that, and
//! those of one chain half of that. Bytes are counted before they are kept. What the port cannot count is the transport's: 64 KiB of read
//! buffer for each connection.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use subnode_types::ChainName;

/// Bytes held under a bound.
#[derive(Debug)]
pub(crate) struct Count {
    held: AtomicUsize,
    max: usize,
}

impl Count {
    pub(crate) fn new(max: usize) -> Self {
        Self { held: AtomicUsize::new(0), max }
    }

    fn take(&self, bytes: usize) -> bool {
        let grown = |held: usize| held.checked_add(bytes).filter(|sum| *sum <= self.max);
        self.held.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }

    fn give(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// What all clients of a port may hold.
pub(crate) struct Budget {
    all: Arc<Count>,
    /// Bound: some 150 bytes for each chain that operators made since the start.
    of_chains: Mutex<HashMap<ChainName, Arc<Count>>>,
    of_one_max: usize,
}

impl Budget {
    pub(crate) fn new(bytes: usize) -> Self {
        Self { all: Arc::new(Count::new(bytes)), of_chains: Mutex::default(), of_one_max: bytes / 2 }
    }

    /// Who is charged for what a client of an address asks of a chain. The map has an entry for each chain that was ever asked, which operators make.
    pub(crate) fn account(&self, address: &Arc<Count>, chain: &ChainName) -> Account {
        let mut chains = self.of_chains.lock().unwrap_or_else(PoisonError::into_inner);
        let chain = match chains.get(chain) {
            Some(known) => known.clone(),
            None => chains.entry(chain.clone()).or_insert(Arc::new(Count::new(self.of_one_max))).clone(),
        };
        Account([self.all.clone(), address.clone(), chain])
    }

    /// What the clients of one address may hold.
    pub(crate) fn of_address(&self) -> Count {
        Count::new(self.of_one_max)
    }
}

/// Who is charged: the port, an address, a chain.
#[derive(Clone)]
pub(crate) struct Account([Arc<Count>; 3]);

/// Bytes that are held, given back when this is dropped.
#[derive(Default)]
pub(crate) struct Held {
    /// None where nobody counts: inside this process.
    account: Option<Account>,
    bytes: usize,
}

impl Held {
    pub(crate) fn of(account: &Account) -> Self {
        Self { account: Some(account.clone()), bytes: 0 }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Holds more. False where a bound would be passed: nothing is added then.
    #[must_use]
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let Some(Account(counts)) = &self.account else { return true };
        for (index, count) in counts.iter().enumerate() {
            if !count.take(bytes) {
                counts.iter().take(index).for_each(|taken| taken.give(bytes));
                return false;
            }
        }
        self.bytes += bytes;
        true
    }

    /// Hands what is held over, and holds nothing.
    pub(crate) fn take(&mut self) -> Self {
        Self { account: self.account.clone(), bytes: std::mem::take(&mut self.bytes) }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(Account(counts)) = &self.account {
            counts.iter().for_each(|count| count.give(self.bytes));
        }
    }
}

/// Bytes that are counted as long as anything refers to them.
pub(crate) struct HeldBytes {
    bytes: Vec<u8>,
    _held: Held,
}

impl HeldBytes {
    pub(crate) fn new(bytes: Vec<u8>, held: Held) -> Self {
        Self { bytes, _held: held }
    }
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_and_a_chain_hold_half_each_and_give_back_what_they_held() {
        let budget = Budget::new(100);
        let [a, b]: [ChainName; 2] = ["a", "b"].map(|name| name.parse().expect("a name"));
        let [near, far] = [(); 2].map(|()| Arc::new(budget.of_address()));
        let mut held = Held::of(&budget.account(&near, &a));
        assert!(held.grow(30) && !held.grow(21) && held.grow(20), "half of 100 for one address");
        assert!(!Held::of(&budget.account(&near, &b)).grow(1), "the address has its half");
        assert!(!Held::of(&budget.account(&far, &a)).grow(1), "the chain has its half");
        let mut other = Held::of(&budget.account(&far, &b));
        assert!(other.grow(50));
        let moved = held.take();
        assert_eq!((held.bytes(), moved.bytes()), (0, 50));
        drop(held);
        assert!(!Held::of(&budget.account(&near, &a)).grow(1), "what was handed over is held still");
        drop(moved);
        assert!(Held::of(&budget.account(&near, &a)).grow(50));
        drop(other);
        assert_eq!(budget.all.held.load(Ordering::Relaxed), 0);
    }
}
