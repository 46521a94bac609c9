//! Filters that clients poll, and subscriptions. Their state is the host's to keep, as a cursor or a filter of bytes.

use alloy_primitives::B256;
use alloy_rpc_types_eth::{Filter, Header};
use serde::{Deserialize, Serialize};

use super::{
    Call, Result, act, act_then, error, json,
    logs::{matching, range},
    to_json,
};
use crate::{
    bindings::{
        exports::{Action, Occurrence, Subscription, Topic},
        subnode::chain::{host, pool, types::BlockRef},
    },
    index,
    rpc::blocks,
    transaction,
};

/// What is kept under a cursor.
#[derive(Serialize, Deserialize)]
enum Cursor {
    /// Logs of blocks from `next` on.
    Logs { filter: Box<Filter>, next: u64 },
    /// Blocks from `next` on.
    Blocks { next: u64 },
    /// Pooled transactions from a mark on.
    Transactions { mark: u64 },
}

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
    let next = match filter.get_from_block() {
        Some(number) => number.max(call.head.height + 1),
        None => call.head.height + 1,
    };
    open(&Cursor::Logs { filter: Box::new(filter), next })
}

pub(super) fn new_blocks(call: &mut Call<'_>) -> Result {
    open(&Cursor::Blocks { next: call.head.height + 1 })
}

pub(super) fn new_transactions(_call: &mut Call<'_>) -> Result {
    // The mark after all there are: a mark beyond the end is moved to it.
    let (_, mark) = pool::since(u64::MAX);
    open(&Cursor::Transactions { mark })
}

fn load(id: u64) -> Result<Cursor> {
    let bytes = host::cursor(id).ok_or_else(|| error::rejected("filter not found"))?;
    serde_json::from_slice(&bytes).map_err(|_| error::rejected("filter not found"))
}

pub(super) fn changes(call: &mut Call<'_>) -> Result {
    let id = call.params.number()?;
    let head = call.head.height;
    let (found, cursor) = match load(id)? {
        Cursor::Logs { filter, next } => {
            let last = filter.get_to_block().unwrap_or(head).min(head);
            let found = if next <= last { matching(&filter, next, last)? } else { Vec::new() };
            (to_json(&found), Cursor::Logs { filter, next: next.max(last + 1) })
        }
        Cursor::Blocks { next } => {
            let hashes: Vec<B256> = (next..=head).filter_map(index::block_hash).collect();
            (to_json(&hashes), Cursor::Blocks { next: next.max(head + 1) })
        }
        Cursor::Transactions { mark } => {
            let (ids, mark) = pool::since(mark);
            let hashes: Vec<B256> = ids.iter().filter_map(|id| B256::try_from(id.as_slice()).ok()).collect();
            (to_json(&hashes), Cursor::Transactions { mark })
        }
    };
    let found: Box<serde_json::value::RawValue> =
        serde_json::from_slice(&found).unwrap_or_else(|error| panic!("an answer does not parse: {error}"));
    act_then(Action::UpdateCursor((id, to_json(&cursor))), &found)
}

pub(super) fn logs(call: &mut Call<'_>) -> Result {
    let id = call.params.number()?;
    let Cursor::Logs { filter, .. } = load(id)? else { return Err(error::rejected("filter not found")) };
    let (first, last) = range(call.head, &filter)?;
    json(&matching(&filter, first, last)?)
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
    let Ok(wanted) = serde_json::from_slice(filter) else { return Vec::new() };
    match (wanted, occurrence) {
        (Wanted::Heads, Occurrence::Block(number)) => index::header(*number)
            .map(|(hash, inner)| to_json(&Header { hash, inner, total_difficulty: None, size: None }))
            .into_iter()
            .collect(),
        (Wanted::Logs(filter), Occurrence::Block(number) | Occurrence::Undone(number)) if *number <= head.height => {
            let mut found = matching(&filter, *number, *number).unwrap_or_default();
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
