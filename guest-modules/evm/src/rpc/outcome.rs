//! How a mined transaction failed, for the client that waited for it: in the words and the shape of Hardhat's node, whose clients look for them.

use alloy_primitives::{B256, Bytes, U256, hex};
use revm::context::result::{ExecutionResult, HaltReason};
use serde_json::{json as value, to_vec};

use super::{Call, Result, error, json, reason::Revert};
use crate::{
    bindings::{
        exports::RpcError,
        subnode::chain::{host, state as tables},
    },
    execute::Execution,
    headers,
    index::{self, Place, ReceiptRow},
    spec::Spec,
    state::State,
};

/// JSON-RPC: internal error.
const FAILED: i32 = -32603;

/// An error where the transaction failed, else null.
pub(super) fn outcome(call: &mut Call<'_>) -> Result {
    // It executes a part of a block: not for everyone's chain.
    if !host::status().controls {
        return Err(error::method_not_found(call.method));
    }
    let hash: B256 = call.params.required()?;
    let Some(place) = Place::load(hash) else { return json(&()) };
    let is_failed = ReceiptRow::load(place.number, place.index).is_some_and(|row| !row.success);
    if !is_failed {
        return json(&());
    }
    let (text, output) = match again(place) {
        Some(ExecutionResult::Revert { output, .. }) => (reverted(&output), output),
        Some(ExecutionResult::Halt { reason, .. }) => (halted(&reason), Bytes::new()),
        // What it ran on is no longer kept.
        Some(ExecutionResult::Success { .. }) | None => ("Error: Transaction reverted".to_owned(), Bytes::new()),
    };
    let data = value!({ "message": text, "txHash": hash, "data": output });
    let data = to_vec(&data).unwrap_or_else(|error| panic!("an answer does not serialize: {error}"));
    Err(RpcError { code: FAILED, message: text, data: Some(data) })
}

/// Executes a mined transaction again, after those before it in its block.
fn again(place: Place) -> Option<ExecutionResult<HaltReason>> {
    let (_, header) = headers::header(place.number)?;
    let (block, behind) = index::block_and_behind(place.number)?;
    let receipts = ReceiptRow::load_block(place.number);
    tables::seek(place.number.checked_sub(1)?).ok()?;
    let mut execution = Execution::start(Spec::load(), &header, State::default());
    execution.note_again(&behind);
    let mut all = block.body.transactions.iter().zip(&receipts);
    for (transaction, row) in all.by_ref().take(place.index as usize) {
        execution.transact(transaction, row.sender).ok()?;
    }
    let (transaction, row) = all.next()?;
    execution.result(transaction, row.sender)
}

fn reverted(output: &[u8]) -> String {
    let reason = match Revert::decode(output) {
        None if output.is_empty() => return "Error: Transaction reverted without a reason string".into(),
        None => format!("reverted with an unrecognized custom error (return data: {})", hex::encode_prefixed(output)),
        Some(Revert::Text(text)) => format!("reverted with reason string '{text}'"),
        Some(Revert::Panic(code)) => match panic(code) {
            Some(meaning) => format!("reverted with panic code {code:#x} ({meaning})"),
            None => format!("reverted with unknown panic code {code:#x}"),
        },
    };
    format!("Error: VM Exception while processing transaction: {reason}")
}

fn halted(reason: &HaltReason) -> String {
    match reason {
        HaltReason::OutOfGas(_) => "Transaction ran out of gas".into(),
        HaltReason::OpcodeNotFound | HaltReason::InvalidFEOpcode | HaltReason::NotActivated => {
            "Error: VM Exception while processing transaction: invalid opcode".into()
        }
        HaltReason::CreateContractSizeLimit => "Error: Transaction reverted: trying to deploy a contract whose code is too large".into(),
        _ => "Error: Transaction reverted without a reason string".into(),
    }
}

/// What a code of `Panic(uint256)` means.
fn panic(code: U256) -> Option<&'static str> {
    Some(match u8::try_from(code).ok()? {
        0x01 => "Assertion error",
        0x11 => "Arithmetic operation overflowed outside of an unchecked block",
        0x12 => "Division or modulo division by zero",
        0x21 => "Tried to convert a value into an enum, but the value was too big or negative",
        0x22 => "Incorrectly encoded storage byte array",
        0x31 => ".pop() was called on an empty array",
        0x32 => "Array accessed at an out-of-bounds or negative index",
        0x41 => "Too much memory was allocated, or an array was created that is too large",
        0x51 => "Called a zero-initialized variable of internal function type",
        _ => return None,
    })
}
