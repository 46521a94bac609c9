//! What a foreign block's header and body must hold before anything is executed.

use alloy_consensus::{Block, EMPTY_OMMER_ROOT_HASH, Header, Transaction as _, proofs};
use alloy_primitives::B256;

use crate::{
    bindings::exports::Invalid,
    execute::GAS_PER_BLOB,
    header_rules::{BLOCK_BYTES_MAX_OSAKA, GAS_LIMIT_BOUND, excess_blob_gas, next_base_fee},
    notes::Notes,
    spec::{Fork, Spec},
    transaction::{self, Transaction},
    verdict::ensure,
};

/// Yellow Paper: a block's gas limit is at least this.
const GAS_LIMIT_MIN: u64 = 5_000;
/// Paris forbids more.
const EXTRA_DATA_MAX: usize = 32;

pub fn header(spec: &Spec, parent_hash: B256, parent: &Header, header: &Header) -> Result<(), Invalid> {
    let fork = spec.fork(header.timestamp);
    ensure(header.parent_hash == parent_hash, || format!("parent hash: header has {}, parent {parent_hash}", header.parent_hash))?;
    ensure(header.number == parent.number + 1, || format!("number: header has {}, parent {}", header.number, parent.number))?;
    ensure(header.timestamp >= spec.earliest_after(parent.timestamp), || {
        format!("timestamp: header has {}, parent {}", header.timestamp, parent.timestamp)
    })?;
    ensure(header.difficulty.is_zero(), || "difficulty is not 0".into())?;
    ensure(header.nonce.is_zero(), || "nonce is not 0".into())?;
    ensure(header.ommers_hash == EMPTY_OMMER_ROOT_HASH, || "ommers hash is not that of an empty list".into())?;
    ensure(header.extra_data.len() <= EXTRA_DATA_MAX, || format!("extra data of {} bytes", header.extra_data.len()))?;
    ensure(header.gas_limit >= GAS_LIMIT_MIN && header.gas_limit <= i64::MAX as u64, || {
        format!("gas limit: header has {}, at least {GAS_LIMIT_MIN} and at most {} are allowed", header.gas_limit, i64::MAX)
    })?;
    ensure(header.gas_limit.abs_diff(parent.gas_limit) < parent.gas_limit / GAS_LIMIT_BOUND, || {
        format!("gas limit: header has {}, parent {}", header.gas_limit, parent.gas_limit)
    })?;
    ensure(header.gas_used <= header.gas_limit, || format!("gas used {} above limit {}", header.gas_used, header.gas_limit))?;
    let base_fee = next_base_fee(spec, parent);
    ensure(header.base_fee_per_gas == Some(base_fee), || {
        format!("base fee: header has {:?}, parent asks for {base_fee}", header.base_fee_per_gas)
    })?;
    ensure(header.withdrawals_root.is_some() == (fork >= Fork::Shanghai), || {
        "withdrawals root: present before Shanghai or absent after".into()
    })?;
    let cancun = fork >= Fork::Cancun;
    ensure(header.blob_gas_used.is_some() == cancun, || "blob gas used: present before Cancun or absent after".into())?;
    ensure(header.parent_beacon_block_root.is_some() == cancun, || {
        "parent beacon block root: present before Cancun or absent after".into()
    })?;
    ensure(header.requests_hash.is_some() == (fork >= Fork::Prague), || "requests hash: present before Prague or absent after".into())?;
    let excess = cancun.then(|| excess_blob_gas(spec, parent, header.timestamp));
    ensure(header.excess_blob_gas == excess, || {
        format!("excess blob gas: header has {:?}, parent asks for {excess:?}", header.excess_blob_gas)
    })
}

/// The header's parent beacon block root stands for the notes, but on a foreign chain.
pub fn notes(spec: &Spec, header: &Header, notes: &Notes) -> Result<(), Invalid> {
    ensure(header.parent_beacon_block_root.is_some() || notes.is_empty(), || "notes before Cancun".into())?;
    let root = notes.root();
    ensure(spec.foreign || header.parent_beacon_block_root.is_none_or(|named| named == root), || {
        format!("parent beacon block root: not {root}, which stands for the block's notes, and this chain is not foreign")
    })
}

pub fn body(spec: &Spec, block: &Block<Transaction>, block_bytes: usize) -> Result<(), Invalid> {
    let header = &block.header;
    let fork = spec.fork(header.timestamp);
    ensure(fork < Fork::Osaka || block_bytes <= BLOCK_BYTES_MAX_OSAKA, || format!("block of {block_bytes} bytes"))?;
    ensure(block.body.ommers.is_empty(), || "ommers are not empty".into())?;
    let root = proofs::calculate_transaction_root(&block.body.transactions);
    ensure(root == header.transactions_root, || format!("transactions root: header has {}, body {root}", header.transactions_root))?;
    let withdrawals = block.body.withdrawals.as_ref().map(|withdrawals| proofs::calculate_withdrawals_root(withdrawals));
    ensure(withdrawals == header.withdrawals_root, || {
        format!("withdrawals root: header has {:?}, body {withdrawals:?}", header.withdrawals_root)
    })?;
    ensure(spec.foreign || block.body.withdrawals.as_ref().is_none_or(|withdrawals| withdrawals.is_empty()), || {
        "withdrawals: some, and this chain is not foreign".into()
    })?;
    for (position, transaction) in block.body.transactions.iter().enumerate() {
        ensure(fork >= transaction::fork_of(transaction.tx_type()), || {
            format!("transaction {position}: type {} before {:?}", transaction.tx_type(), transaction::fork_of(transaction.tx_type()))
        })?;
    }
    let blobs: u64 = block.body.transactions.iter().map(|transaction| transaction.blob_count().unwrap_or_default()).sum();
    let blob_gas = blobs * GAS_PER_BLOB;
    ensure(header.blob_gas_used.unwrap_or_default() == blob_gas, || {
        format!("blob gas used: header has {:?}, body {blob_gas}", header.blob_gas_used)
    })?;
    let blobs_max = spec.blob_params(header.timestamp).map_or(0, |params| params.max_blob_count);
    ensure(blobs <= blobs_max, || format!("{blobs} blobs, at most {blobs_max}"))
}
