//! The order in which blocks take what is ready.

use std::{
    cmp::Reverse,
    collections::{BTreeSet, BinaryHeap},
    sync::Arc,
};

use super::{Pool, Transaction};

/// A sender's next transaction. The greatest is next.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Offer {
    pays: u64,
    /// How many of the sender's were drawn before: among those that pay the same, nobody has two turns before everybody had one.
    turn: Reverse<u32>,
    /// `Sender::since`, which no two senders have in common.
    since: Reverse<u64>,
    name: Vec<u8>,
    sequence: u64,
}

/// The order in which a block takes transactions. The pool may change meanwhile.
#[derive(Debug)]
pub struct Draw {
    floor: u64,
    /// Bound: one of some 100 bytes, 64 of them the name, for each sender that the pool had when the draw began.
    heads: BinaryHeap<Offer>,
    /// Bound: one name of 64 bytes for each sender whose transaction was drawn.
    skipped: BTreeSet<Vec<u8>>,
}

impl Draw {
    /// The next transaction to try.
    pub fn next(&mut self, pool: &Pool) -> Option<Arc<Transaction>> {
        while let Some(Offer { turn: Reverse(turn), since, name, sequence, .. }) = self.heads.pop() {
            if self.skipped.contains(&name) {
                continue;
            }
            let Some(sender) = pool.senders.get(&name) else { continue };
            let Some(transaction) = sender.transactions.get(&sequence) else { continue };
            if let Some(successor) = sender.transactions.get(&(sequence + 1))
                && let Some(pays) = successor.pays_above(self.floor)
            {
                self.heads.push(Offer { pays, turn: Reverse(turn.saturating_add(1)), since, name, sequence: sequence + 1 });
            }
            return Some(transaction.clone());
        }
        None
    }

    /// No more of this sender.
    pub fn skip_sender(&mut self, sender: &[u8]) {
        self.skipped.insert(sender.to_vec());
    }
}

impl Pool {
    /// Starts drawing transactions for a block in which a unit costs `floor`: those that pay most above it first, and none that does not
    /// reach it.
    pub fn draw(&self, floor: u64) -> Draw {
        let heads = self.senders.iter().filter(|(_, sender)| sender.ready > 0).filter_map(|(name, sender)| {
            let first = sender.transactions.get(&sender.next)?;
            Some(Offer {
                pays: first.pays_above(floor)?,
                turn: Reverse(0),
                since: Reverse(sender.since),
                name: name.clone(),
                sequence: first.sequence,
            })
        });
        Draw { floor, heads: heads.collect(), skipped: BTreeSet::new() }
    }
}
