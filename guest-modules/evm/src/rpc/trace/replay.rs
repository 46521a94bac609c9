//! A block of the chain, executed again.

use alloy_consensus::Block;
use alloy_primitives::{Address, B256};
use alloy_rpc_types_eth::TransactionInfo;
use revm::context::result::ResultAndState;

use super::super::{Result, error};
use crate::{
    bindings::subnode::chain::state as tables,
    crypto,
    execute::Execution,
    headers,
    index::{self, ReceiptRow},
    spec::Spec,
    state::State,
    transaction::Transaction,
};

/// A block, and who sent its transactions.
pub struct Replay {
    hash: B256,
    pub block: Block<Transaction>,
    senders: Vec<Address>,
}

/// A transaction whose turn it is.
pub struct Turn<'a> {
    pub transaction: &'a Transaction,
    pub sender: Address,
    pub info: TransactionInfo,
}

impl Replay {
    /// The block of this number. Reads of the state answer from what its parent left, from now on.
    pub fn of(number: u64) -> Result<Self> {
        if number <= Spec::load().genesis_number {
            return Err(error::rejected("genesis is not traceable"));
        }
        let pruned = || error::history_pruned(number);
        let (hash, _) = headers::header(number).ok_or_else(pruned)?;
        let block = index::decoded_block(number).ok_or_else(pruned)?;
        let senders: Vec<Address> = ReceiptRow::load_block(number).into_iter().map(|row| row.sender).collect();
        if senders.len() != block.body.transactions.len() {
            return Err(pruned());
        }
        tables::seek(number - 1).map_err(|heights| error::pruned(number - 1, heights.oldest))?;
        Ok(Self { hash, block, senders })
    }

    /// The block before its transactions.
    fn start(&self) -> Execution<'_> {
        crypto::install();
        let mut state = State::default();
        let receivers = self.block.body.transactions.iter().filter_map(alloy_consensus::Transaction::to);
        state.prefetch(self.senders.iter().copied().chain(receivers));
        Execution::start(Spec::load(), &self.block.header, state)
    }

    /// Executes the transactions from the first on up to, and not with, that of this position.
    fn run_to(&self, position: usize) -> Result<Execution<'_>> {
        let mut execution = self.start();
        for (transaction, sender) in self.block.body.transactions.iter().zip(&self.senders).take(position) {
            let number = self.block.header.number;
            let executed = execution.transact(transaction, *sender);
            executed.map_err(|reason| error::rejected(&format!("block {number} does not execute again: {reason}")))?;
        }
        Ok(execution)
    }

    /// The state that the transaction of this position finds.
    pub fn state_before(&self, position: usize) -> Result<State> {
        Ok(self.run_to(position)?.into_state())
    }

    /// Hands the transactions of these positions to a tracer, each after those before it.
    pub fn trace(
        &self,
        positions: core::ops::Range<usize>,
        mut tracer: impl FnMut(&mut Execution<'_>, &Turn<'_>) -> Result<ResultAndState>,
    ) -> Result<()> {
        let mut execution = self.run_to(positions.start)?;
        let header = &self.block.header;
        let all = self.block.body.transactions.iter().zip(&self.senders).enumerate();
        for (position, (transaction, sender)) in all.take(positions.end).skip(positions.start) {
            let info = TransactionInfo {
                hash: Some(*transaction.tx_hash()),
                index: Some(position as u64),
                block_hash: Some(self.hash),
                block_number: Some(header.number),
                base_fee: header.base_fee_per_gas,
                block_timestamp: Some(header.timestamp),
            };
            let turn = Turn { transaction, sender: *sender, info };
            let outcome = tracer(&mut execution, &turn)?;
            execution.keep_inspected(transaction, *sender, outcome);
        }
        Ok(())
    }
}
