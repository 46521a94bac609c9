//! Blocks, transactions, receipts.

use alloy_consensus::{
    Block as ConsensusBlock, Header as ConsensusHeader, ReceiptEnvelope, ReceiptWithBloom, Transaction as _, transaction::Recovered,
};
use alloy_eips::{BlockId, BlockNumberOrTag, eip2718::Encodable2718};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256, logs_bloom};
use alloy_rlp::Decodable;
use alloy_rpc_types_eth::{Block, BlockTransactions, Header, Log, Transaction as RpcTransaction, TransactionReceipt};

use super::{Call, Result, error, header_of, json, number_of};
use crate::{
    bindings::subnode::chain::{host, pool},
    block::pending_header,
    execute::{self, GAS_PER_BLOB},
    index::{self, Place, ReceiptRow},
    spec::Spec,
    transaction::{self, Transaction},
};

/// The block that a method ending in ByHash or ByNumber names.
fn named(call: &mut Call<'_>) -> Result<BlockId> {
    if call.method.contains("ByHash") || call.method.contains("ByBlockHash") {
        let hash: B256 = call.params.required()?;
        Ok(hash.into())
    } else {
        let tag: BlockNumberOrTag = call.params.required()?;
        Ok(tag.into())
    }
}

fn load(number: u64) -> Option<ConsensusBlock<Transaction>> {
    ConsensusBlock::decode(&mut index::block(number)?.as_slice()).ok()
}

pub(super) fn block(call: &mut Call<'_>) -> Result {
    let id = named(call)?;
    let full: bool = call.params.optional()?.unwrap_or_default();
    if id == BlockId::Number(BlockNumberOrTag::Pending) {
        return json(&pending(call));
    }
    let Some(number) = number_of(call.head, id) else { return json(&()) };
    let (Some((hash, header)), Some(bytes)) = (index::header(number), index::block(number)) else { return json(&()) };
    let Some(block) = load(number) else { return json(&()) };
    let transactions = if full {
        let rows = ReceiptRow::load_block(number);
        let all = (0..).zip(block.body.transactions).zip(rows);
        BlockTransactions::Full(all.map(|((position, transaction), row)| mined(transaction, row.sender, hash, &header, position)).collect())
    } else {
        BlockTransactions::Hashes(block.body.transactions.iter().map(|transaction| *transaction.tx_hash()).collect())
    };
    let header = Header { hash, inner: header, total_difficulty: None, size: Some(U256::from(bytes.len())) };
    json(&Block { header, uncles: Vec::new(), transactions, withdrawals: block.body.withdrawals })
}

/// The block that would come next, without transactions.
fn pending(call: &Call<'_>) -> Block<B256> {
    let spec = Spec::load();
    let (hash, head) = index::expect_header(call.head.height);
    let header = pending_header(spec, hash, &head, host::status().now_ms / 1000);
    let withdrawals = header.withdrawals_root.map(|_| Default::default());
    let header = Header { hash: header.hash_slow(), inner: header, total_difficulty: None, size: None };
    Block { header, uncles: Vec::new(), transactions: BlockTransactions::Hashes(Vec::new()), withdrawals }
}

pub(super) fn header(call: &mut Call<'_>) -> Result {
    let id = named(call)?;
    let header = header_of(call.head, id);
    json(&header.map(|(hash, inner)| Header { hash, inner, total_difficulty: None, size: None }))
}

pub(super) fn transaction_count(call: &mut Call<'_>) -> Result {
    let id = named(call)?;
    let block = number_of(call.head, id).and_then(load);
    json(&block.map(|block| format!("{:#x}", block.body.transactions.len())))
}

pub(super) fn uncle_count(call: &mut Call<'_>) -> Result {
    let id = named(call)?;
    json(&number_of(call.head, id).map(|_| "0x0"))
}

fn mined(transaction: Transaction, sender: Address, hash: B256, header: &ConsensusHeader, position: u64) -> RpcTransaction<Transaction> {
    RpcTransaction {
        effective_gas_price: Some(transaction.effective_gas_price(header.base_fee_per_gas)),
        inner: Recovered::new_unchecked(transaction, sender),
        block_hash: Some(hash),
        block_number: Some(header.number),
        transaction_index: Some(position),
        block_timestamp: Some(header.timestamp),
    }
}

pub(super) fn pooled(transaction: Transaction, sender: Address) -> RpcTransaction<Transaction> {
    RpcTransaction {
        effective_gas_price: Some(transaction.max_fee_per_gas()),
        inner: Recovered::new_unchecked(transaction, sender),
        block_hash: None,
        block_number: None,
        transaction_index: None,
        block_timestamp: None,
    }
}

pub(super) fn transaction_by_hash(call: &mut Call<'_>) -> Result {
    let hash: B256 = call.params.required()?;
    if let Some((transaction, place)) = transaction::mined(hash) {
        return json(&at_place(transaction, place));
    }
    let Some(waiting) = pool::get(hash.as_slice()) else { return json(&()) };
    let (Ok(transaction), Ok(sender)) = (transaction::decode(&waiting.data), Address::try_from(waiting.sender.as_slice())) else {
        return json(&());
    };
    json(&pooled(transaction, sender))
}

fn at_place(transaction: Transaction, place: Place) -> Option<RpcTransaction<Transaction>> {
    let (hash, header) = index::header(place.number)?;
    let row = ReceiptRow::load(place.number, place.index)?;
    Some(mined(transaction, row.sender, hash, &header, place.index.into()))
}

pub(super) fn raw_transaction_by_hash(call: &mut Call<'_>) -> Result {
    let hash: B256 = call.params.required()?;
    let raw = match transaction::mined(hash) {
        Some((transaction, _)) => Some(transaction.encoded_2718()),
        None => pool::get(hash.as_slice()).map(|waiting| waiting.data),
    };
    json(&raw.map(Bytes::from))
}

pub(super) fn transaction_by_index(call: &mut Call<'_>) -> Result {
    let id = named(call)?;
    let position = usize::try_from(call.params.number()?).unwrap_or(usize::MAX);
    let Some(number) = number_of(call.head, id) else { return json(&()) };
    let transaction = load(number).and_then(|block| block.body.transactions.into_iter().nth(position));
    let Some(transaction) = transaction else { return json(&()) };
    let place = Place { number, index: u32::try_from(position).unwrap_or(u32::MAX), offset: 0, len: 0 };
    json(&at_place(transaction, place))
}

pub(super) fn receipt(call: &mut Call<'_>) -> Result {
    let hash: B256 = call.params.required()?;
    let Some((transaction, place)) = transaction::mined(hash) else { return json(&()) };
    let (Some((block, header)), Some(row)) = (index::header(place.number), ReceiptRow::load(place.number, place.index)) else {
        return json(&());
    };
    json(&receipt_of(Spec::load(), &transaction, &row, block, &header, place.index.into()))
}

pub(super) fn block_receipts(call: &mut Call<'_>) -> Result {
    let id = call.params.block()?;
    let Some(number) = number_of(call.head, id) else { return json(&()) };
    let (Some((hash, header)), Some(block)) = (index::header(number), load(number)) else { return json(&()) };
    let spec = Spec::load();
    let rows = ReceiptRow::load_block(number);
    if rows.len() != block.body.transactions.len() {
        return Err(error::rejected("receipts of this block are not available"));
    }
    let all = (0..).zip(&block.body.transactions).zip(&rows);
    json(&all.map(|((position, transaction), row)| receipt_of(spec, transaction, row, hash, &header, position)).collect::<Vec<_>>())
}

fn receipt_of(
    spec: &Spec,
    transaction: &Transaction,
    row: &ReceiptRow,
    block_hash: B256,
    header: &ConsensusHeader,
    position: u64,
) -> TransactionReceipt<ReceiptEnvelope<Log>> {
    let transaction_hash = *transaction.tx_hash();
    let ReceiptWithBloom { receipt, logs_bloom } = execute::receipt(row, logs_bloom(&row.logs));
    let logs = (row.first_log..).zip(receipt.logs).map(|(log_index, inner)| Log {
        inner,
        block_hash: Some(block_hash),
        block_number: Some(header.number),
        block_timestamp: Some(header.timestamp),
        transaction_hash: Some(transaction_hash),
        transaction_index: Some(position),
        log_index: Some(log_index),
        removed: false,
    });
    let receipt =
        alloy_consensus::Receipt { status: receipt.status, cumulative_gas_used: receipt.cumulative_gas_used, logs: logs.collect() };
    let blobs = transaction.blob_versioned_hashes().map(|hashes| hashes.len() as u64);
    let blob_gas_price = spec.blob_params(header.timestamp).map(|params| params.calc_blob_fee(header.excess_blob_gas.unwrap_or_default()));
    TransactionReceipt {
        inner: ReceiptEnvelope::from_typed(transaction.tx_type(), ReceiptWithBloom { receipt, logs_bloom }),
        transaction_hash,
        transaction_index: Some(position),
        block_hash: Some(block_hash),
        block_number: Some(header.number),
        gas_used: row.gas_used,
        effective_gas_price: transaction.effective_gas_price(header.base_fee_per_gas),
        blob_gas_used: blobs.map(|blobs| blobs * GAS_PER_BLOB),
        blob_gas_price: blobs.and(blob_gas_price),
        from: row.sender,
        to: transaction.to(),
        contract_address: (transaction.kind() == TxKind::Create).then(|| row.sender.create(transaction.nonce())),
    }
}
