//! What a pool holds, kept to be put back.

use std::sync::Arc;

use super::{Pool, Transaction, bytes_of};

/// What a pool held at one moment, to be put back.
#[derive(Clone, Debug, Default)]
pub struct PoolCopy {
    /// Each with its sender's next sequence.
    transactions: Vec<(Arc<Transaction>, u64)>,
    bytes: u64,
}

impl PoolCopy {
    /// Bytes of what it holds, with the overhead of each transaction.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Pool {
    /// What the pool holds now.
    pub fn copy(&self) -> PoolCopy {
        let of =
            |sender: &super::Sender| sender.transactions.values().map(|transaction| (transaction.clone(), sender.next)).collect::<Vec<_>>();
        let transactions: Vec<_> = self.senders.values().flat_map(of).collect();
        let bytes = transactions.iter().map(|(transaction, _)| bytes_of(transaction) as u64).sum();
        PoolCopy { transactions, bytes }
    }

    /// Puts back what the pool held, on the state that it was on. How many transactions are refused now and left out.
    pub fn restore(&mut self, copy: &PoolCopy) -> usize {
        copy.transactions.iter().filter(|(transaction, next)| self.insert(Transaction::clone(transaction), *next).is_err()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Amount, PoolLimits};

    fn transaction(sender: u8, sequence: u64) -> Transaction {
        Transaction {
            id: vec![sender, sequence.to_le_bytes()[0]],
            sender: vec![sender],
            sequence,
            priority: 1,
            cap: 1,
            cost: Amount::default(),
            data: vec![0; 10],
        }
    }

    #[test]
    fn what_is_put_back_is_ready_as_it_was() {
        let mut pool = Pool::new(PoolLimits { bytes: 1 << 20, per_sender: 16 });
        for (sender, sequence, next) in [(1, 5, 5), (1, 6, 5), (2, 3, 2)] {
            pool.insert(transaction(sender, sequence), next).expect("there is room");
        }
        let copy = pool.copy();
        assert_eq!(copy.bytes(), pool.bytes() as u64);
        pool.advance([([1].as_slice(), 7)].into_iter());
        pool.clear();
        assert_eq!(pool.restore(&copy), 0);
        assert_eq!((pool.ready(), pool.waiting(), pool.next_sequence(&[1])), (2, 1, Some(7)));
        assert_eq!(pool.copy().bytes(), copy.bytes());
        assert_eq!(pool.restore(&copy), 3, "they are there");
    }
}
