//! Logs of ranges of blocks.

use alloy_eips::BlockNumberOrTag;
use alloy_primitives::B256;
use alloy_rpc_types_eth::{Filter, FilterBlockOption, Log};

use super::{Call, Result, error, json, number_of};
use crate::{
    bindings::subnode::chain::types::BlockRef,
    headers,
    index::{self, ReceiptRow},
    spec::Spec,
};

/// Blocks one request may look at where others share the chain, and logs it may return. The query's fuel bounds the rest.
pub(super) const BLOCKS_MAX: u64 = 100_000;
const LOGS_MAX: usize = 20_000;

pub(super) fn get_logs(call: &mut Call<'_>) -> Result {
    let filter: Filter = call.params.required()?;
    let (first, last) = ends(call.head, &filter)?;
    let head = call.head.height;
    if first > last {
        return Err(error::invalid_params("invalid block range params"));
    }
    if last > head {
        return Err(error::invalid_params(format!("block range extends beyond current head block: {first} to {last}, head {head}")));
    }
    json(&all_matching(&filter, first, last)?)
}

/// The first and the last block that a filter is about, in this order or not. They may not be there yet.
pub(super) fn ends(head: &BlockRef, filter: &Filter) -> Result<(u64, u64)> {
    match filter.block_option {
        FilterBlockOption::AtBlockHash(hash) => {
            let number = index::block_number(hash).ok_or_else(|| error::rejected("unknown block"))?;
            Ok((number, number))
        }
        FilterBlockOption::Range { from_block, to_block } => {
            let number = |tag: Option<BlockNumberOrTag>| match tag {
                Some(BlockNumberOrTag::Number(number)) => number,
                tag => number_of(head, tag.unwrap_or_default().into()).unwrap_or(head.height),
            };
            Ok((number(from_block), number(to_block)))
        }
    }
}

/// The logs of a range, all of them.
pub(super) fn all_matching(filter: &Filter, first: u64, last: u64) -> Result<Vec<Log>> {
    // A developer's chain has nobody to wait, and as many blocks as its developer mined to move the clock.
    if last.saturating_sub(first) >= BLOCKS_MAX && !Spec::load().dev {
        return Err(error::rejected(&format!("block range of {} blocks is too large, at most {BLOCKS_MAX}", last - first + 1)));
    }
    let (found, next) = matching(filter, first, last)?;
    // One block is answered whatever it has: there is no smaller range.
    if found.len() > LOGS_MAX && first < last || next <= last {
        return Err(error::rejected(&format!("query returned more than {LOGS_MAX} results; use a smaller block range")));
    }
    Ok(found)
}

/// The logs of a range up to the block with which they are more than an answer has, and the block to go on from.
pub(super) fn matching(filter: &Filter, first: u64, last: u64) -> Result<(Vec<Log>, u64)> {
    let genesis = Spec::load().genesis_number;
    let mut found = Vec::new();
    for number in first.max(genesis)..=last {
        let (hash, header) = headers::header(number).ok_or_else(|| error::history_pruned(number))?;
        if header.logs_bloom.is_zero() || !filter.matches_bloom(header.logs_bloom) {
            continue;
        }
        block_logs(number, hash, header.timestamp, |log| filter.matches(&log.inner), &mut found);
        if found.len() > LOGS_MAX {
            return Ok((found, number + 1));
        }
    }
    Ok((found, first.max(last + 1)))
}

fn block_logs(number: u64, hash: B256, timestamp: u64, wanted: impl Fn(&Log) -> bool, found: &mut Vec<Log>) {
    let mut hashes: Option<Vec<B256>> = None;
    for (position, row) in ReceiptRow::load_block(number).into_iter().enumerate() {
        for (log_index, inner) in (row.first_log..).zip(row.logs) {
            let mut log = Log {
                inner,
                block_hash: Some(hash),
                block_number: Some(number),
                block_timestamp: Some(timestamp),
                transaction_hash: None,
                transaction_index: Some(position as u64),
                log_index: Some(log_index),
                removed: false,
            };
            if wanted(&log) {
                let hashes = hashes.get_or_insert_with(|| transaction_hashes(number));
                log.transaction_hash = hashes.get(position).copied();
                found.push(log);
            }
        }
    }
}

fn transaction_hashes(number: u64) -> Vec<B256> {
    index::decoded_block(number)
        .map_or_else(Vec::new, |block| block.body.transactions.iter().map(|transaction| *transaction.tx_hash()).collect())
}
