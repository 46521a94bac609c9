//! Filters that clients poll, and subscriptions. Their state is the host's to keep, as a cursor or a filter of bytes.

use alloy_primitives::B256;
use alloy_rpc_types_eth::{Filter, Header, Log};
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

use super::{
    Call, Result, act, error, json,
    logs::{BLOCKS_MAX, all_matching, ends, matching},
    to_json,
};
use crate::{
    bindings::{
        exports::{Action, Answer, Occurrence, Subscription, Topic},
        subnode::chain::{host, pool, types::BlockRef},
    },
    headers,
    rpc::blocks,
    transaction,
};

/// What is kept under a cursor. Its names are not those of [`Wanted`]: [`notify`] is told of either.
#[derive(Serialize, Deserialize)]
enum Cursor {
    /// Logs of blocks from `next` on; those from `first` on were told before. What was told and then undone is told once more, as removed.
    PolledLogs { filter: Box<Filter>, first: u64, next: u64, removed: Vec<Box<RawValue>> },
    /// Blocks from `next` on.
    BlocksFrom { next: u64 },
    /// Pooled transactions from a mark on.
    PooledSince { mark: u64 },
}

/// Bytes of removed logs that wait for a client; it hears of no more.
const REMOVED_BYTES_MAX: usize = 512 << 10;

/// What a subscriber wants.
#[derive(Serialize, Deserialize)]
enum Wanted {
    Heads,
    Logs(Box<Filter>),
    Hashes,
    Transactions,
}

fn open(cursor: &Cursor) -> Result {
    act(Action::OpenCursor(to_json(cursor)))
}

pub(super) fn new_logs(call: &mut Call<'_>) -> Result {
    let filter: Filter = call.params.required()?;
    // Without a last block it is about all that come.
    let (first, last) = ends(call.head, &filter)?;
    if filter.get_to_block().is_some() && first > last {
        return Err(error::invalid_params("invalid block range params"));
    }
    let next = filter.get_from_block().unwrap_or_default().max(call.head.height + 1);
    open(&Cursor::PolledLogs { filter: Box::new(filter), first: next, next, removed: Vec::new() })
}

pub(super) fn new_blocks(call: &mut Call<'_>) -> Result {
    open(&Cursor::BlocksFrom { next: call.head.height + 1 })
}

pub(super) fn new_transactions(_call: &mut Call<'_>) -> Result {
    // The mark after all there are: a mark beyond the end is moved to it.
    let (_, mark) = pool::since(u64::MAX);
    open(&Cursor::PooledSince { mark })
}

fn load(id: u64) -> Result<Cursor> {
    let bytes = host::cursor(id).ok_or_else(|| error::rejected("filter not found"))?;
    serde_json::from_slice(&bytes).map_err(|_| error::rejected("filter not found"))
}

pub(super) fn changes(call: &mut Call<'_>) -> Result {
    let id = call.params.number()?;
    let head = call.head.height;
    let (found, cursor) = match load(id)? {
        Cursor::PolledLogs { filter, first, next, removed } => {
            // Of a client that polls seldom, some may have been dropped.
            let kept = headers::first_kept(next);
            let last = filter.get_to_block().unwrap_or(head).min(head).min(kept.saturating_add(BLOCKS_MAX - 1));
            let (found, next) = if kept <= last { matching(&filter, kept, last)? } else { (Vec::new(), next) };
            let told: Vec<_> = removed.into_iter().chain(found.iter().map(raw)).collect();
            (to_json(&told), Cursor::PolledLogs { filter, first, next, removed: Vec::new() })
        }
        Cursor::BlocksFrom { next } => {
            let hashes: Vec<B256> = (headers::first_kept(next)..=head).filter_map(headers::block_hash).collect();
            (to_json(&hashes), Cursor::BlocksFrom { next: next.max(head + 1) })
        }
        Cursor::PooledSince { mark } => {
            let (ids, mark) = pool::since(mark);
            let hashes: Vec<B256> = ids.iter().filter_map(|id| B256::try_from(id.as_slice()).ok()).collect();
            (to_json(&hashes), Cursor::PooledSince { mark })
        }
    };
    Ok(Answer { json: Some(found), action: Some(Action::UpdateCursor((id, to_json(&cursor)))) })
}

fn raw(log: &Log) -> Box<RawValue> {
    to_raw_value(log).unwrap_or_else(|error| panic!("a log does not serialize: {error}"))
}

/// What a cursor becomes as this block and all after it are undone; none where that changes nothing.
fn undone(head: &BlockRef, cursor: Cursor, lowest: u64) -> Option<Cursor> {
    match cursor {
        Cursor::PolledLogs { filter, first, next, mut removed } if lowest < next => {
            let last = filter.get_to_block().unwrap_or(head.height).min(next - 1).min(head.height);
            let mut bytes: usize = removed.iter().map(|log| log.get().len()).sum();
            for number in (lowest.max(first)..=last).rev() {
                let Ok((found, _)) = matching(&filter, number, number) else { break };
                let texts = found.into_iter().map(|log| raw(&Log { removed: true, ..log })).take_while(|text| {
                    bytes += text.get().len();
                    bytes <= REMOVED_BYTES_MAX
                });
                removed.extend(texts);
            }
            let next = filter.get_from_block().unwrap_or_default().max(lowest);
            Some(Cursor::PolledLogs { filter, first: first.min(next), next, removed })
        }
        Cursor::BlocksFrom { next } if lowest < next => Some(Cursor::BlocksFrom { next: lowest }),
        Cursor::PolledLogs { .. } | Cursor::BlocksFrom { .. } | Cursor::PooledSince { .. } => None,
    }
}

pub(super) fn logs(call: &mut Call<'_>) -> Result {
    let id = call.params.number()?;
    let Cursor::PolledLogs { filter, .. } = load(id)? else { return Err(error::rejected("filter not found")) };
    let (first, last) = ends(call.head, &filter)?;
    let last = last.min(call.head.height);
    if first > last {
        return json(&[(); 0]);
    }
    json(&all_matching(&filter, first, last)?)
}

pub(super) fn subscribe(call: &mut Call<'_>) -> Result {
    let kind: String = call.params.required()?;
    let (topic, wanted) = match kind.as_str() {
        "newHeads" => (Topic::Blocks, Wanted::Heads),
        "logs" => (Topic::Blocks, Wanted::Logs(Box::new(call.params.optional()?.unwrap_or_default()))),
        "newPendingTransactions" => {
            let full: bool = call.params.optional()?.unwrap_or_default();
            (Topic::Transactions, if full { Wanted::Transactions } else { Wanted::Hashes })
        }
        _ => return Err(error::invalid_params(format!("no {kind:?} subscription in eth namespace"))),
    };
    act(Action::Subscribe(Subscription { topic, filter: to_json(&wanted), method: "eth_subscription".into() }))
}

pub(super) fn notify(head: &BlockRef, filter: &[u8], occurrence: &Occurrence) -> Vec<Vec<u8>> {
    if let Occurrence::Undone(lowest) = occurrence
        && let Ok(cursor) = serde_json::from_slice(filter)
    {
        return undone(head, cursor, *lowest).iter().map(to_json).collect();
    }
    let Ok(wanted) = serde_json::from_slice(filter) else { return Vec::new() };
    match (wanted, occurrence) {
        (Wanted::Heads, Occurrence::Block(number)) => headers::header(*number)
            .map(|(hash, inner)| to_json(&Header { hash, inner, total_difficulty: None, size: None }))
            .into_iter()
            .collect(),
        (Wanted::Logs(filter), Occurrence::Block(number) | Occurrence::Undone(number)) if *number <= head.height => {
            let (mut found, _) = matching(&filter, *number, *number).unwrap_or_default();
            for log in &mut found {
                log.removed = matches!(occurrence, Occurrence::Undone(_));
            }
            found.iter().map(to_json).collect()
        }
        (Wanted::Hashes, Occurrence::Transaction(id)) => B256::try_from(id.as_slice()).map(|hash| to_json(&hash)).into_iter().collect(),
        (Wanted::Transactions, Occurrence::Transaction(id)) => pool::get(id)
            .and_then(|waiting| {
                let transaction = transaction::decode(&waiting.data).ok()?;
                let sender = waiting.sender.as_slice().try_into().ok()?;
                Some(to_json(&blocks::pooled(transaction, sender)))
            })
            .into_iter()
            .collect(),
        _ => Vec::new(),
    }
}
