//! The block that would come next: what clients name `pending`. On the head, at the time of the chain's clock, with what is ready in the pool.

use alloy_consensus::{Block, Header};
use alloy_primitives::B256;
use alloy_rlp::Decodable;

use crate::{
    bindings::subnode::chain::{host, types::BlockRef},
    block::{self, fill, seal},
    body::Body,
    execute::Execution,
    headers,
    index::ReceiptRow,
    spec::Spec,
    state::{Rows, State},
    transaction::Transaction,
};

/// The whole block, as it would be sealed now.
pub struct Pending {
    pub hash: B256,
    pub block: Block<Transaction>,
    /// Of the block's RLP.
    pub size: usize,
    pub receipts: Vec<ReceiptRow>,
    /// The state after it.
    pub rows: Rows,
}

/// The header that transactions of the next block run under.
pub fn header(head: &BlockRef) -> Header {
    let (hash, parent) = headers::expect_header(head.height);
    block::pending_header(Spec::load(), hash, &parent, host::status().now_ms / 1000)
}

/// The state after the next block, in which another transaction would run, and the header of that block.
pub fn state(head: &BlockRef) -> (State, Header) {
    let header = header(head);
    let mut execution = Execution::start(Spec::load(), &header, State::default());
    ready(&mut execution);
    (execution.into_state(), header)
}

/// Runs what the pool has ready. It has nothing for clients of a chain that is everyone's: anyone can fill its pool, and nobody has it run for
/// each call.
fn ready(execution: &mut Execution<'_>) -> Body {
    if Spec::load().dev { fill(execution) } else { Body::default() }
}

/// The next block.
pub fn block(head: &BlockRef) -> Result<Pending, String> {
    let mut header = header(head);
    let mut execution = Execution::start(Spec::load(), &header, State::default());
    let body = ready(&mut execution);
    let executed = execution.finish(&[])?;
    let (changes, receipts) = seal(&mut header, &body, executed);
    let (bytes, _) = body.into_block(&header);
    let block = Block::decode(&mut bytes.as_slice()).map_err(|error| format!("the pending block does not decode: {error}"))?;
    Ok(Pending { hash: header.hash_slow(), block, size: bytes.len(), receipts, rows: Rows::after(changes) })
}
