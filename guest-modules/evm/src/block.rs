//! Whole blocks: building, and verifying what others built.

use std::collections::BTreeMap;

use alloy_consensus::{Block, EMPTY_OMMER_ROOT_HASH, Header, Transaction as _};
use alloy_eips::eip7685::EMPTY_REQUESTS_HASH;
use alloy_primitives::{Address, B256, keccak256};
use alloy_rlp::Decodable;
use alloy_trie::EMPTY_ROOT_HASH;
use revm::context::result::InvalidTransaction;

use crate::{
    bindings::{
        exports::{Attributes, Built, Invalid, Outcome, Progress},
        subnode::chain::{
            declare, pool,
            types::{BlockRef, Change},
        },
    },
    body::{self, Body, Listed},
    committee, console,
    dev::Overrides,
    execute::{Executed, Execution},
    fees::{Share, Shares},
    header_rules::{BLOCK_BYTES_MAX_OSAKA, GAS_LIMIT_BOUND, excess_blob_gas, next_base_fee},
    headers,
    host::{Batch, PackedChanges, Pooled},
    index::{self, Place, ReceiptRow},
    notes::{Notes, Standing},
    spec::{Fork, Spec},
    state::State,
    transaction::{self, Transaction, senders},
    transfer,
    verdict::{ensure, invalid},
    verify,
};

/// What a block's list of transactions has before one with a type: its length, of less than 2^24.
const LIST_HEADER_BYTES_MAX: usize = 4;
/// Most transactions asked of the pool in one call.
const POOL_BATCH: u32 = 256;

/// The block and its outcome, once every field of the header is known.
pub fn built(header: &Header, body: Body, state: Vec<Change>, receipts: &[ReceiptRow]) -> Built {
    let hash = header.hash_slow();
    let (block, places) = body.into_block(header);
    Built { block, outcome: outcome(hash, header, &places, state, receipts) }
}

fn outcome(hash: B256, header: &Header, places: &[Listed], mut state: Vec<Change>, receipts: &[ReceiptRow]) -> Outcome {
    let number = header.number;
    let mut rows = PackedChanges::with_capacity(places.len(), index::PLACE_BYTES);
    let mut progress = BTreeMap::new();
    for ((position, listed), receipt) in (0u32..).zip(places).zip(receipts) {
        Place { number, index: position, offset: listed.offset, len: listed.len }.put(listed.hash, &mut rows);
        progress.insert(receipt.sender, listed.nonce + 1);
    }
    let committee = committee::change(number, &state);
    state.push(headers::recent_change(hash, header));
    Outcome {
        block: BlockRef { height: number, id: hash.to_vec(), timestamp_ms: header.timestamp.saturating_mul(1000) },
        transactions: places.len() as u32,
        committee,
        state,
        index: vec![headers::header_change(hash, header), index::receipts_change(number, receipts), rows.into_change()],
        progress: progress.into_iter().map(|(sender, next_sequence)| Progress { sender: sender.to_vec(), next_sequence }).collect(),
    }
}

/// The fields of the next header that parent and attributes determine.
fn next_header(spec: &Spec, parent_hash: B256, parent: &Header, timestamp: u64, prev_randao: B256, overrides: &Overrides) -> Header {
    let timestamp = timestamp.max(spec.earliest_after(parent.timestamp));
    let fork = spec.fork(timestamp);
    Header {
        parent_hash,
        ommers_hash: EMPTY_OMMER_ROOT_HASH,
        beneficiary: overrides.coinbase.unwrap_or(spec.coinbase),
        number: parent.number + 1,
        gas_limit: overrides.gas_limit.unwrap_or_else(|| towards(parent.gas_limit, spec.gas_limit)),
        timestamp,
        mix_hash: overrides.next_prev_randao.unwrap_or(prev_randao),
        base_fee_per_gas: Some(overrides.next_base_fee.unwrap_or_else(|| next_base_fee(spec, parent))),
        withdrawals_root: (fork >= Fork::Shanghai).then_some(EMPTY_ROOT_HASH),
        blob_gas_used: (fork >= Fork::Cancun).then_some(0),
        excess_blob_gas: (fork >= Fork::Cancun).then(|| excess_blob_gas(spec, parent, timestamp)),
        parent_beacon_block_root: (fork >= Fork::Cancun).then_some(B256::ZERO),
        requests_hash: (fork >= Fork::Prague).then_some(EMPTY_REQUESTS_HASH),
        ..Header::default()
    }
}

/// The header a call on top of the head runs under.
pub fn pending_header(spec: &Spec, parent_hash: B256, parent: &Header, timestamp: u64) -> Header {
    let overrides = if spec.dev { Overrides::load() } else { Overrides::default() };
    next_header(spec, parent_hash, parent, timestamp, parent.mix_hash, &overrides)
}

/// The gas limit next to `from` on the way to `target`.
fn towards(from: u64, target: u64) -> u64 {
    let step = (from / GAS_LIMIT_BOUND).saturating_sub(1);
    target.clamp(from.saturating_sub(step), from.saturating_add(step))
}

pub fn build(parent: &BlockRef, attributes: &Attributes) -> Result<Built, Invalid> {
    let spec = Spec::load();
    let overrides = if spec.dev { Overrides::load() } else { Overrides::default() };
    let (parent_hash, parent) = headers::expect_header(parent.height);
    let seed = B256::try_from(attributes.seed.as_slice()).unwrap_or_default();
    let mut header = next_header(spec, parent_hash, &parent, attributes.timestamp_ms / 1000, seed, &overrides);
    declare::seed(header.mix_hash.as_slice());
    let notes = if header.parent_beacon_block_root.is_some() && !spec.foreign { Notes::waiting() } else { Notes::default() };
    header.parent_beacon_block_root = header.parent_beacon_block_root.map(|_| notes.root());
    let mut execution = Execution::start(spec, &header, State::default());
    execution.note(&notes)?;
    if spec.dev {
        execution.hear_console();
    }
    let body = if Standing::load(execution.state()) == Standing::Open { fill(&mut execution) } else { Body::default() };
    console::print(&execution.take_printed());
    let executed = execution.finish(&[]).map_err(invalid)?;
    let (mut changes, receipts) = seal(&mut header, &body, executed);
    changes.extend(overrides.after_block().map(|after| after.change()));
    let mut built = built(&header, body, changes, &receipts);
    built.block.extend_from_slice(&notes.encode());
    Ok(built)
}

/// Runs what the pool offers, until the block is full or nothing is left.
pub fn fill(execution: &mut Execution<'_>) -> Body {
    pool::rank(execution.base_fee());
    let mut filling = Filling { execution, body: Body::default(), bytes_left: BLOCK_BYTES_MAX_OSAKA - 1024 };
    let mut shares = filling.execution.quota().map(|quota| Shares::new(quota, filling.execution.gas_left(), filling.bytes_left));
    'fill: loop {
        let batch = Batch::next(POOL_BATCH);
        if batch.is_empty() {
            break;
        }
        let decoded: Vec<_> = batch
            .iter()
            .filter_map(|pooled| {
                let sender = Address::try_from(pooled.sender).ok()?;
                Some((transaction::decode(pooled.data).ok()?, sender, pooled))
            })
            .collect();
        let named = decoded.iter().flat_map(|(transaction, sender, _)| core::iter::once(*sender).chain(transaction.to()));
        filling.execution.state().prefetch(named);
        let mut skipped: Vec<Address> = Vec::new();
        for (transaction, sender, pooled) in decoded {
            if skipped.contains(&sender) {
                continue;
            }
            if let Some(shares) = &mut shares {
                match shares.of(sender, transaction.gas_limit(), pooled.data.len()) {
                    Share::Now => {}
                    Share::Later => {
                        shares.put_aside((transaction, sender, pooled.id.to_vec(), pooled.data.to_vec()));
                        continue;
                    }
                    Share::Never => {
                        pool::skip_sender(pooled.sender);
                        skipped.push(sender);
                        continue;
                    }
                }
            }
            let gas_before = filling.execution.gas_used;
            if filling.include(&transaction, sender, &pooled) {
                if let Some(shares) = &mut shares {
                    shares.took(sender, filling.execution.gas_used - gas_before);
                }
            } else {
                // Nor its successors, which depend on it.
                pool::skip_sender(pooled.sender);
                skipped.push(sender);
            }
            if filling.is_full() {
                break 'fill;
            }
        }
    }
    // What nobody else wants.
    let mut skipped: Vec<Address> = Vec::new();
    for (transaction, sender, id, data) in shares.map(Shares::into_aside).unwrap_or_default() {
        if filling.is_full() {
            break;
        }
        if !skipped.contains(&sender) && !filling.include(&transaction, sender, &Pooled { id: &id, sender: sender.as_slice(), data: &data })
        {
            skipped.push(sender);
        }
    }
    filling.body
}

/// A block that is being filled.
struct Filling<'e, 'a> {
    execution: &'e mut Execution<'a>,
    body: Body,
    bytes_left: usize,
}

impl Filling<'_, '_> {
    /// Whether not even a transfer fits.
    fn is_full(&self) -> bool {
        self.execution.gas_left() < transfer::GAS
    }

    /// Runs a transaction, unless it cannot be in this block. Whether it is.
    fn include(&mut self, transaction: &Transaction, sender: Address, pooled: &Pooled<'_>) -> bool {
        let bytes = pooled.data.len() + LIST_HEADER_BYTES_MAX;
        let included = if bytes > self.bytes_left {
            Err(InvalidTransaction::CallerGasLimitMoreThanBlock)
        } else {
            self.execution.transact(transaction, sender)
        };
        match included {
            Ok(()) => {
                self.bytes_left -= bytes;
                let id = B256::try_from(pooled.id).unwrap_or_else(|_| keccak256(pooled.data));
                self.body.push(pooled.data, id, transaction.nonce());
                true
            }
            Err(reason) => {
                if !may_be_lifted(&reason) {
                    pool::discard(pooled.id);
                }
                false
            }
        }
    }
}

/// Whether what keeps a transaction out of this block is the block's: a later one may have room for it, or a lower price. All else is the
/// account's: its funds, its code, a nonce that is used.
fn may_be_lifted(reason: &InvalidTransaction) -> bool {
    matches!(
        reason,
        InvalidTransaction::CallerGasLimitMoreThanBlock
            | InvalidTransaction::GasPriceLessThanBasefee
            | InvalidTransaction::BlobGasPriceGreaterThanMax { .. }
            | InvalidTransaction::TooManyBlobs { .. }
            | InvalidTransaction::NonceTooHigh { .. }
    )
}

/// Completes a header with what execution found.
pub fn seal(header: &mut Header, body: &Body, executed: Executed) -> (Vec<Change>, Vec<ReceiptRow>) {
    let (state_root, changes) = executed.state.into_changes();
    header.state_root = state_root;
    header.transactions_root = body.root();
    header.receipts_root = executed.receipts_root;
    header.logs_bloom = executed.logs_bloom;
    header.gas_used = executed.gas_used;
    header.blob_gas_used = header.blob_gas_used.map(|_| executed.blob_gas_used);
    header.requests_hash = executed.requests.map(|requests| requests.requests_hash());
    (changes, executed.receipts)
}

pub fn execute(parent: &BlockRef, bytes: &[u8]) -> Result<Outcome, Invalid> {
    let spec = Spec::load();
    let (parent_hash, parent) = headers::expect_header(parent.height);
    let mut rest = bytes;
    let block = Block::<Transaction>::decode(&mut rest).map_err(|error| invalid(format!("block does not decode: {error}")))?;
    ensure(rest.is_empty() || !spec.foreign, || format!("{} bytes after the block", rest.len()))?;
    let header = &block.header;
    verify::header(spec, parent_hash, &parent, header)?;
    verify::body(spec, &block, bytes.len() - rest.len())?;
    let notes = Notes::behind(rest)?;
    verify::notes(spec, header, &notes)?;
    declare::seed(header.mix_hash.as_slice());

    let borrowed: Vec<&Transaction> = block.body.transactions.iter().collect();
    let senders = senders(spec, &borrowed);
    let mut state = State::default();
    state.prefetch(senders.iter().flatten().copied().chain(block.body.transactions.iter().filter_map(alloy_consensus::Transaction::to)));
    let mut execution = Execution::start(spec, header, state);
    execution.note(&notes)?;
    if let (false, Some(reason)) = (borrowed.is_empty(), Standing::load(execution.state()).refusal()) {
        return Err(invalid(reason));
    }
    for (position, (transaction, sender)) in borrowed.iter().zip(senders).enumerate() {
        let sender = sender.ok_or_else(|| invalid(format!("transaction {position}: invalid signature")))?;
        execution.transact(transaction, sender).map_err(|reason| invalid(format!("transaction {position}: {reason}")))?;
    }
    let withdrawals = block.body.withdrawals.as_ref().map(|withdrawals| withdrawals.as_slice()).unwrap_or_default();
    let executed = execution.finish(withdrawals).map_err(invalid)?;

    ensure(executed.gas_used == header.gas_used, || format!("gas used: header has {}, execution {}", header.gas_used, executed.gas_used))?;
    ensure(executed.receipts_root == header.receipts_root, || {
        format!("receipts root: header has {}, execution {}", header.receipts_root, executed.receipts_root)
    })?;
    ensure(executed.logs_bloom == header.logs_bloom, || "logs bloom differs from execution".into())?;
    let requests_hash = executed.requests.map(|requests| requests.requests_hash());
    ensure(requests_hash == header.requests_hash, || {
        format!("requests hash: header has {:?}, execution {requests_hash:?}", header.requests_hash)
    })?;
    let (state_root, changes) = executed.state.into_changes();
    ensure(state_root == header.state_root, || format!("state root: header has {}, execution {state_root}", header.state_root))?;
    Ok(outcome(header.hash_slow(), header, &body::listed(&block, bytes), changes, &executed.receipts))
}
