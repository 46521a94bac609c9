//! Blocks, transactions, receipts.

use alloy_consensus::{
    Block as ConsensusBlock, Header as ConsensusHeader, ReceiptEnvelope, ReceiptWithBloom, Transaction as _, transaction::Recovered,
};
use alloy_eips::{BlockId, eip2718::Encodable2718};
use alloy_primitives::{Address, B256, Bytes, TxKind, U64, U256, logs_bloom};
use alloy_rlp::Decodable;
use alloy_rpc_types_eth::{Block, BlockTransactions, Header, Log, Transaction as RpcTransaction, TransactionReceipt};

use serde::Serialize;

use super::{Call, Result, error, json, number_of};
use crate::{
    bindings::subnode::chain::pool,
    execute::{self, GAS_PER_BLOB},
    headers,
    index::{self, Place, ReceiptRow},
    pending::{self, Pending},
    spec::Spec,
    transaction::{self, Transaction},
};

/// The block that a method ending in ByHash or ByNumber names.
fn named(call: &mut Call<'_>) -> Result<BlockId> {
    if call.method.contains("ByHash") || call.method.contains("ByBlockHash") {
        let hash: B256 = call.params.required()?;
        Ok(hash.into())
    } else {
        Ok(call.params.block_number()?.into())
    }
}

/// A block that a client named.
struct Found {
    hash: B256,
    block: ConsensusBlock<Transaction>,
    /// Of its RLP.
    size: usize,
    /// What its transactions did; none of a mined block, whose receipts are read where they are wanted.
    receipts: Option<Vec<ReceiptRow>>,
}

impl Found {
    fn of(call: &Call<'_>, id: BlockId) -> Result<Option<Self>> {
        if id.is_pending() {
            let Pending { hash, block, size, receipts, .. } = pending::block(call.head).map_err(|reason| error::rejected(&reason))?;
            return Ok(Some(Self { hash, block, size, receipts: Some(receipts) }));
        }
        number_of(call.head, id).map(Self::mined).transpose()
    }

    /// A block that is part of the chain; an error where it is not kept.
    fn mined(number: u64) -> Result<Self> {
        let kept = || {
            let (hash, _) = headers::header(number)?;
            let bytes = index::block(number)?;
            let mut behind = bytes.as_slice();
            let block = ConsensusBlock::decode(&mut behind).ok()?;
            Some(Self { hash, block, size: bytes.len() - behind.len(), receipts: None })
        };
        kept().ok_or_else(|| error::history_pruned(number))
    }

    fn take_receipts(&mut self) -> Vec<ReceiptRow> {
        self.receipts.take().unwrap_or_else(|| ReceiptRow::load_block(self.block.header.number))
    }
}

pub(super) fn block(call: &mut Call<'_>) -> Result {
    let id = named(call)?;
    let full: bool = call.params.optional()?.unwrap_or_default();
    let Some(mut found) = Found::of(call, id)? else { return json(&()) };
    let rows = if full { found.take_receipts() } else { Vec::new() };
    let Found { hash, block, size, .. } = found;
    let header = block.header;
    let transactions = if full {
        let all = (0..).zip(block.body.transactions).zip(rows);
        BlockTransactions::Full(all.map(|((position, transaction), row)| mined(transaction, row.sender, hash, &header, position)).collect())
    } else {
        BlockTransactions::Hashes(block.body.transactions.iter().map(|transaction| *transaction.tx_hash()).collect())
    };
    let header = Header { hash, inner: header, total_difficulty: None, size: Some(U256::from(size)) };
    json(&Block { header, uncles: Vec::new(), transactions, withdrawals: block.body.withdrawals })
}

pub(super) fn header(call: &mut Call<'_>) -> Result {
    let id = named(call)?;
    let header = if id.is_pending() {
        Found::of(call, id)?.map(|found| (found.hash, found.block.header))
    } else {
        let mined = |number| headers::header(number).ok_or_else(|| error::history_pruned(number));
        number_of(call.head, id).map(mined).transpose()?
    };
    json(&header.map(|(hash, inner)| Header { hash, inner, total_difficulty: None, size: None }))
}

pub(super) fn transaction_count(call: &mut Call<'_>) -> Result {
    let id = named(call)?;
    let found = Found::of(call, id)?;
    json(&found.map(|found| format!("{:#x}", found.block.body.transactions.len())))
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
    if let Some((transaction, place)) = index::mined(hash) {
        return json(&at_place(transaction, place));
    }
    let Some(waiting) = pool::get(hash.as_slice()) else { return json(&()) };
    let (Ok(transaction), Ok(sender)) = (transaction::decode(&waiting.data), Address::try_from(waiting.sender.as_slice())) else {
        return json(&());
    };
    json(&pooled(transaction, sender))
}

fn at_place(transaction: Transaction, place: Place) -> Option<RpcTransaction<Transaction>> {
    let (hash, header) = headers::header(place.number)?;
    let row = ReceiptRow::load(place.number, place.index)?;
    Some(mined(transaction, row.sender, hash, &header, place.index.into()))
}

pub(super) fn raw_transaction_by_hash(call: &mut Call<'_>) -> Result {
    let hash: B256 = call.params.required()?;
    let raw = match index::mined(hash) {
        Some((transaction, _)) => Some(transaction.encoded_2718()),
        None => pool::get(hash.as_slice()).map(|waiting| waiting.data),
    };
    json(&raw.map(Bytes::from))
}

/// The block that a `debug_getRaw` method names.
fn raw_of(call: &mut Call<'_>) -> Result<Found> {
    let id = call.params.optional_block()?.ok_or_else(|| error::invalid_params("missing value for required argument 0"))?;
    Found::of(call, id)?.ok_or_else(|| error::rejected("block not found"))
}

pub(super) fn raw_block(call: &mut Call<'_>) -> Result {
    json(&Bytes::from(alloy_rlp::encode(raw_of(call)?.block)))
}

pub(super) fn raw_header(call: &mut Call<'_>) -> Result {
    json(&Bytes::from(alloy_rlp::encode(raw_of(call)?.block.header)))
}

pub(super) fn raw_receipts(call: &mut Call<'_>) -> Result {
    let mut found = raw_of(call)?;
    let rows = found.take_receipts();
    let raw = |(transaction, row): (&Transaction, ReceiptRow)| {
        let receipt = execute::receipt(&row, logs_bloom(&row.logs));
        Bytes::from(ReceiptEnvelope::from_typed(transaction.tx_type(), receipt).encoded_2718())
    };
    json(&found.block.body.transactions.iter().zip(rows).map(raw).collect::<Vec<_>>())
}

pub(super) fn transaction_by_index(call: &mut Call<'_>) -> Result {
    let id = named(call)?;
    let position = usize::try_from(call.params.number()?).unwrap_or(usize::MAX);
    let Some(mut found) = Found::of(call, id)? else { return json(&()) };
    let row = found.take_receipts().into_iter().nth(position);
    let Found { hash, block, .. } = found;
    let (Some(transaction), Some(row)) = (block.body.transactions.into_iter().nth(position), row) else { return json(&()) };
    json(&mined(transaction, row.sender, hash, &block.header, position as u64))
}

pub(super) fn receipt(call: &mut Call<'_>) -> Result {
    let hash: B256 = call.params.required()?;
    let Some((transaction, place)) = index::mined(hash) else { return json(&()) };
    let (Some((block, header)), Some(row)) = (headers::header(place.number), ReceiptRow::load(place.number, place.index)) else {
        return json(&());
    };
    json(&receipt_of(Spec::load(), &transaction, &row, block, &header, place.index.into()))
}

pub(super) fn block_receipts(call: &mut Call<'_>) -> Result {
    let id = call.params.block()?;
    let Some(mut found) = Found::of(call, id)? else { return json(&()) };
    let rows = found.take_receipts();
    let Found { hash, block, .. } = found;
    let (spec, header) = (Spec::load(), &block.header);
    if rows.len() != block.body.transactions.len() {
        return Err(error::rejected("receipts of this block are not available"));
    }
    let all = (0..).zip(&block.body.transactions).zip(&rows);
    json(&all.map(|((position, transaction), row)| receipt_of(spec, transaction, row, hash, header, position)).collect::<Vec<_>>())
}

/// A receipt with the time of its block.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct TimedReceipt {
    #[serde(flatten)]
    receipt: TransactionReceipt<ReceiptEnvelope<Log>>,
    block_timestamp: U64,
}

fn receipt_of(
    spec: &Spec,
    transaction: &Transaction,
    row: &ReceiptRow,
    block_hash: B256,
    header: &ConsensusHeader,
    position: u64,
) -> TimedReceipt {
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
    let receipt = TransactionReceipt {
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
    };
    TimedReceipt { receipt, block_timestamp: U64::from(header.timestamp) }
}
