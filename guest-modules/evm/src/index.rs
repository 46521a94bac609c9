//! Look-ups the runtime derives from blocks, as rows of the index table. Headers are in [`crate::headers`].
//!
//! | key | value |
//! |---|---|
//! | `t` hash | where a transaction is: [`Place`] |
//! | `r` number | what the transactions of a block did: where each [`ReceiptRow`] starts and the last one ends (4 bytes each), and the rows |

use alloy_consensus::Block;
use alloy_primitives::{Address, B256, Log};
use alloy_rlp::{Decodable, Encodable, RlpDecodable, RlpEncodable};

use crate::{
    bindings::subnode::chain::{state, types::Change},
    host::{self, PackedChanges, Table},
    transaction::{self, Transaction},
};

/// Where a transaction is: its block, its place there, and its bytes within the block's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    pub number: u64,
    pub index: u32,
    pub offset: u32,
    pub len: u32,
}

/// What a transaction did, as far as block and transaction do not say it themselves.
#[derive(Clone, Debug, RlpEncodable, RlpDecodable)]
pub struct ReceiptRow {
    pub success: bool,
    pub cumulative_gas_used: u64,
    pub gas_used: u64,
    /// How many logs of the block come before this transaction's.
    pub first_log: u64,
    pub sender: Address,
    pub logs: Vec<Log>,
}

/// Bytes of a place's row, with its key.
pub const PLACE_BYTES: usize = 1 + 32 + 8 + 3 * 4;

impl Place {
    /// Appends the row that has this place under a transaction's hash.
    pub fn put(self, hash: B256, changes: &mut PackedChanges) {
        let [index, offset, len] = [self.index, self.offset, self.len].map(u32::to_be_bytes);
        changes.put(&[b"t", hash.as_slice()], &[&self.number.to_be_bytes(), &index, &offset, &len]);
    }

    pub fn load(hash: B256) -> Option<Self> {
        let row = host::get(Table::Index, &[b"t", hash.as_slice()].concat())?;
        let row: [u8; 20] = row.try_into().ok()?;
        let part = |at: usize| u32::from_be_bytes(row[at..at + 4].try_into().unwrap_or_default());
        let number = u64::from_be_bytes(row[..8].try_into().ok()?);
        Some(Self { number, index: part(8), offset: part(12), len: part(16) })
    }

    /// The transaction's EIP-2718 bytes.
    pub fn transaction(&self) -> Option<Vec<u8>> {
        state::get_part(Table::Block, &self.number.to_be_bytes(), self.offset, self.len)
    }
}

fn receipts_key(number: u64) -> Vec<u8> {
    [b"r".as_slice(), &number.to_be_bytes()].concat()
}

/// The row of a block's receipts: one for all of them, for a row costs more to hand over than what is in it.
pub fn receipts_change(number: u64, receipts: &[ReceiptRow]) -> Change {
    let mut value = vec![0; 4 * (receipts.len() + 1)];
    for (position, receipt) in receipts.iter().enumerate() {
        let start = value.len() as u32;
        value[position * 4..][..4].copy_from_slice(&start.to_be_bytes());
        receipt.encode(&mut value);
    }
    let end = value.len() as u32;
    value[receipts.len() * 4..][..4].copy_from_slice(&end.to_be_bytes());
    Change { key: receipts_key(number), value: Some(value) }
}

impl ReceiptRow {
    pub fn load(number: u64, index: u32) -> Option<Self> {
        let key = receipts_key(number);
        let bounds = state::get_part(Table::Index, &key, index.checked_mul(4)?, 8)?;
        let (start, end) = (word(&bounds, 0)?, word(&bounds, 4)?);
        let row = state::get_part(Table::Index, &key, start, end.checked_sub(start)?)?;
        Self::decode(&mut row.as_slice()).ok()
    }

    /// The receipts of a block in their order.
    pub fn load_block(number: u64) -> Vec<Self> {
        let row = host::get(Table::Index, &receipts_key(number)).unwrap_or_default();
        let mut rows = row.get(word(&row, 0).unwrap_or_default() as usize..).unwrap_or_default();
        core::iter::from_fn(|| (!rows.is_empty()).then(|| Self::decode(&mut rows).ok()).flatten()).collect()
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|word| u32::from_be_bytes(*word))
}

/// A block that is kept.
pub fn decoded_block(number: u64) -> Option<Block<Transaction>> {
    block_and_behind(number).map(|(block, _)| block)
}

/// The same, with what follows its RLP: its notes.
pub fn block_and_behind(number: u64) -> Option<(Block<Transaction>, Vec<u8>)> {
    let bytes = block(number)?;
    let mut rest = bytes.as_slice();
    let block = Block::decode(&mut rest).ok()?;
    Some((block, rest.to_vec()))
}

/// The number of the block with this hash.
pub fn block_number(hash: B256) -> Option<u64> {
    let row = host::get(Table::Block, hash.as_slice())?;
    Some(u64::from_be_bytes(row.try_into().ok()?))
}

/// The bytes of a block.
pub fn block(number: u64) -> Option<Vec<u8>> {
    host::get(Table::Block, &number.to_be_bytes())
}

/// The transaction with this hash that a block holds.
pub fn mined(hash: B256) -> Option<(Transaction, Place)> {
    let place = Place::load(hash)?;
    let bytes = place.transaction()?;
    Some((transaction::decode(&bytes).ok()?, place))
}
