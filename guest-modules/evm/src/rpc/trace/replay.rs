//! A block of the chain, executed again.

use alloy_consensus::Block;
use alloy_primitives::{Address, B256};
use alloy_rlp::Decodable;
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
    transaction::{Transaction, senders},
    verify,
};

/// A block, and who sent its transactions.
pub struct Replay {
    hash: B256,
    pub block: Block<Transaction>,
    /// What follows its RLP.
    behind: Vec<u8>,
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
        let (block, behind) = index::block_and_behind(number).ok_or_else(pruned)?;
        let senders: Vec<Address> = ReceiptRow::load_block(number).into_iter().map(|row| row.sender).collect();
        if senders.len() != block.body.transactions.len() {
            return Err(pruned());
        }
        tables::seek(number - 1).map_err(|heights| error::pruned(number - 1, heights.oldest))?;
        Ok(Self { hash, block, behind, senders })
    }

    /// A block in its bytes, whether or not it is part of the chain. Its parent is.
    pub fn given(bytes: &[u8]) -> Result<Self> {
        let mut rest = bytes;
        let block =
            Block::<Transaction>::decode(&mut rest).map_err(|reason| error::invalid_params(format!("could not decode block: {reason}")))?;
        let hash = block.header.hash_slow();
        if let Some(number) = index::block_number(hash) {
            return Self::of(number);
        }
        let parent = index::block_number(block.header.parent_hash).and_then(headers::header);
        let (parent_hash, parent) = parent.ok_or_else(|| error::rejected(&format!("parent {} not found", block.header.parent_hash)))?;
        let spec = Spec::load();
        let checked =
            verify::header(spec, parent_hash, &parent, &block.header).and_then(|()| verify::body(spec, &block, bytes.len() - rest.len()));
        checked.map_err(|invalid| error::rejected(&invalid.reason))?;
        let borrowed: Vec<&Transaction> = block.body.transactions.iter().collect();
        let senders: Option<Vec<Address>> = senders(spec, &borrowed).into_iter().collect();
        let senders = senders.ok_or_else(|| error::rejected("a transaction's signature is invalid"))?;
        tables::seek(parent.number).map_err(|heights| error::pruned(parent.number, heights.oldest))?;
        Ok(Self { hash, block, behind: rest.to_vec(), senders })
    }

    /// The block before its transactions.
    fn start(&self) -> Execution<'_> {
        crypto::install();
        let mut state = State::default();
        let receivers = self.block.body.transactions.iter().filter_map(alloy_consensus::Transaction::to);
        state.prefetch(self.senders.iter().copied().chain(receivers));
        let mut execution = Execution::start(Spec::load(), &self.block.header, state);
        execution.note_again(&self.behind);
        execution
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
