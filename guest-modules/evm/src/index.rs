//! Look-ups the runtime derives from blocks, as rows of the index table.
//!
//! | key | value |
//! |---|---|
//! | `h` number | block hash, header |
//! | `t` hash | where a transaction is: [`Place`] |
//! | `r` number index | what it did: [`ReceiptRow`] |

use alloy_consensus::Header;
use alloy_primitives::{Address, B256, Log};
use alloy_rlp::{Decodable, RlpDecodable, RlpEncodable};

use crate::{
    bindings::subnode::chain::{state, types::Change},
    host::{self, Table},
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

impl Place {
    pub fn change(self, hash: B256) -> Change {
        let mut value = self.number.to_be_bytes().to_vec();
        for part in [self.index, self.offset, self.len] {
            value.extend_from_slice(&part.to_be_bytes());
        }
        Change { key: [b"t", hash.as_slice()].concat(), value: Some(value) }
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

fn receipt_key(number: u64, index: u32) -> Vec<u8> {
    [b"r".as_slice(), &number.to_be_bytes(), &index.to_be_bytes()].concat()
}

impl ReceiptRow {
    pub fn change(&self, number: u64, index: u32) -> Change {
        Change { key: receipt_key(number, index), value: Some(alloy_rlp::encode(self)) }
    }

    pub fn load(number: u64, index: u32) -> Option<Self> {
        let row = host::get(Table::Index, &receipt_key(number, index))?;
        Self::decode(&mut row.as_slice()).ok()
    }

    /// The receipts of a block in their order.
    pub fn load_block(number: u64) -> Vec<Self> {
        let mut rows = Vec::new();
        host::scan_prefix(Table::Index, &[b"r".as_slice(), &number.to_be_bytes()].concat(), |_, row| {
            rows.extend(Self::decode(&mut row.as_slice()));
        });
        rows
    }
}

fn header_key(number: u64) -> Vec<u8> {
    [b"h".as_slice(), &number.to_be_bytes()].concat()
}

pub fn header_change(hash: B256, header: &Header) -> Change {
    let mut value = hash.to_vec();
    alloy_rlp::Encodable::encode(header, &mut value);
    Change { key: header_key(header.number), value: Some(value) }
}

pub fn header(number: u64) -> Option<(B256, Header)> {
    let row = host::get(Table::Index, &header_key(number))?;
    let (hash, mut rlp) = row.split_at_checked(32)?;
    Some((B256::from_slice(hash), Header::decode(&mut rlp).ok()?))
}

/// The header of a block that must be there: without it the store is broken, and this traps.
pub fn expect_header(number: u64) -> (B256, Header) {
    header(number).unwrap_or_else(|| panic!("header {number} is missing"))
}

pub fn block_hash(number: u64) -> Option<B256> {
    let hash = state::get_part(Table::Index, &header_key(number), 0, 32)?;
    B256::try_from(hash.as_slice()).ok()
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
