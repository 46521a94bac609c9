//! Headers by their numbers: of all blocks that are kept, in the index table under `h` and the number; and of the last 256 blocks in the state, where
//! executing a block may read them, under `H` and the number modulo 256 (1 byte). The latter's rows begin with the number; then both have the block's
//! hash and the header.

use alloy_consensus::Header;
use alloy_primitives::B256;
use alloy_rlp::{Decodable, Encodable};

use crate::{
    bindings::subnode::chain::{state, types::Change},
    host::{self, Table},
};

fn header_key(number: u64) -> Vec<u8> {
    [b"h".as_slice(), &number.to_be_bytes()].concat()
}

pub fn header_change(hash: B256, header: &Header) -> Change {
    let mut value = hash.to_vec();
    header.encode(&mut value);
    Change { key: header_key(header.number), value: Some(value) }
}

pub fn header(number: u64) -> Option<(B256, Header)> {
    match host::get(Table::Index, &header_key(number)) {
        Some(row) => decode_header(&row),
        // This node may have come by the state without the blocks before.
        None => recent_header(number),
    }
}

/// The first block from a number on that is kept; the number itself where none is.
pub fn first_kept(number: u64) -> u64 {
    let found = state::scan(Table::Index, &header_key(number), Some(&header_key(u64::MAX)), 1);
    let first = found.first().and_then(|row| row.key.strip_prefix(b"h")?.try_into().ok());
    first.map_or(number, u64::from_be_bytes)
}

fn decode_header(row: &[u8]) -> Option<(B256, Header)> {
    let (hash, mut rlp) = row.split_at_checked(32)?;
    Some((B256::from_slice(hash), Header::decode(&mut rlp).ok()?))
}

fn recent_key(number: u64) -> [u8; 2] {
    [b'H', number as u8]
}

/// The row of the state that has the header for the next 256 blocks.
pub fn recent_change(hash: B256, header: &Header) -> Change {
    let mut value = [header.number.to_be_bytes().as_slice(), hash.as_slice()].concat();
    header.encode(&mut value);
    Change { key: recent_key(header.number).to_vec(), value: Some(value) }
}

/// The header of one of the last 256 blocks.
fn recent_header(number: u64) -> Option<(B256, Header)> {
    let row = host::get(Table::State, &recent_key(number))?;
    decode_header(row.strip_prefix(&number.to_be_bytes())?)
}

/// The hash of one of the last 256 blocks.
pub fn recent_hash(number: u64) -> Option<B256> {
    let row = state::get_part(Table::State, &recent_key(number), 0, 40)?;
    B256::try_from(row.strip_prefix(&number.to_be_bytes())?).ok()
}

/// The header of the head or of the block before, which must be there: without it the store is broken, and this traps.
pub fn expect_header(number: u64) -> (B256, Header) {
    recent_header(number).unwrap_or_else(|| panic!("header {number} is missing"))
}

pub fn block_hash(number: u64) -> Option<B256> {
    let hash = state::get_part(Table::Index, &header_key(number), 0, 32)?;
    B256::try_from(hash.as_slice()).ok()
}
