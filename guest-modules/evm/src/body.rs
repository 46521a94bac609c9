//! A block's transactions as bytes: their list, its root, and where each is within the block.

use alloy_consensus::{Block, Header, Transaction as _};
use alloy_primitives::B256;
use alloy_rlp::{Encodable, Header as RlpHeader, PayloadView};

use crate::{host, list_root::list_root, transaction::Transaction};

/// The transactions of a block being built, in their EIP-2718 bytes: they are not encoded again.
#[derive(Default)]
pub struct Body {
    transactions: Vec<Included>,
}

struct Included {
    bytes: Vec<u8>,
    hash: B256,
    nonce: u64,
}

/// A transaction's place in a block's bytes.
pub struct Listed {
    pub hash: B256,
    pub nonce: u64,
    pub offset: u32,
    pub len: u32,
}

impl Body {
    pub fn push(&mut self, bytes: &[u8], hash: B256, nonce: u64) {
        self.transactions.push(Included { bytes: bytes.to_vec(), hash, nonce });
    }

    /// The transactions root.
    pub fn root(&self) -> B256 {
        list_root(&self.transactions, |included, out| out.extend_from_slice(&included.bytes), host::keccak256_many)
    }

    /// The block's RLP, and where its transactions are.
    pub fn into_block(self, header: &Header) -> (Vec<u8>, Vec<Listed>) {
        let list = RlpHeader {
            list: true,
            payload_length: self
                .transactions
                .iter()
                .map(|included| included.list_header().map_or(0, |header| header.length()) + included.bytes.len())
                .sum(),
        };
        // No ommers since Paris, and no withdrawals where none come from a beacon chain.
        let rest: &[u8] = if header.withdrawals_root.is_some() { &[alloy_rlp::EMPTY_LIST_CODE; 2] } else { &[alloy_rlp::EMPTY_LIST_CODE] };
        let block = RlpHeader { list: true, payload_length: header.length() + list.length_with_payload() + rest.len() };
        let mut bytes = Vec::with_capacity(block.length_with_payload());
        block.encode(&mut bytes);
        header.encode(&mut bytes);
        list.encode(&mut bytes);
        let mut places = Vec::with_capacity(self.transactions.len());
        for included in self.transactions {
            if let Some(header) = included.list_header() {
                header.encode(&mut bytes);
            }
            places.push(Listed {
                hash: included.hash,
                nonce: included.nonce,
                offset: bytes.len() as u32,
                len: included.bytes.len() as u32,
            });
            bytes.extend_from_slice(&included.bytes);
        }
        bytes.extend_from_slice(rest);
        (bytes, places)
    }
}

impl Included {
    /// EIP-2718: a typed transaction is a string in the block's list, a legacy one is a list as it is.
    fn list_header(&self) -> Option<RlpHeader> {
        let typed = self.bytes.first().is_some_and(|first| *first < alloy_rlp::EMPTY_LIST_CODE);
        typed.then_some(RlpHeader { list: false, payload_length: self.bytes.len() })
    }
}

/// Where the transactions of a foreign block are.
pub fn listed(block: &Block<Transaction>, bytes: &[u8]) -> Vec<Listed> {
    let spans = spans(bytes).unwrap_or_default();
    let transactions = block.body.transactions.iter();
    transactions
        .zip(spans)
        .map(|(transaction, (offset, len))| Listed { hash: *transaction.tx_hash(), nonce: transaction.nonce(), offset, len })
        .collect()
}

/// Offset and length of each transaction's EIP-2718 bytes within a block's RLP.
fn spans(block: &[u8]) -> alloy_rlp::Result<Vec<(u32, u32)>> {
    let PayloadView::List(parts) = RlpHeader::decode_raw(&mut &block[..])? else { return Ok(Vec::new()) };
    let mut list = *parts.get(1).ok_or(alloy_rlp::Error::InputTooShort)?;
    let PayloadView::List(items) = RlpHeader::decode_raw(&mut list)? else { return Ok(Vec::new()) };
    let start = block.as_ptr() as usize;
    items
        .into_iter()
        .map(|item| {
            let mut payload = item;
            let header = RlpHeader::decode(&mut payload)?;
            let bytes = if header.list { item } else { payload };
            Ok(((bytes.as_ptr() as usize - start) as u32, bytes.len() as u32))
        })
        .collect()
}
