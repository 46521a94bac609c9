//! Errors as geth words and numbers them.

use alloy_primitives::{Bytes, hex};

use super::reason;
use crate::bindings::exports::RpcError;

fn new(code: i32, message: impl Into<String>) -> RpcError {
    RpcError { code, message: message.into(), data: None }
}

/// Refused by the pool or by execution.
pub fn rejected(message: &str) -> RpcError {
    new(-32000, message)
}

/// JSON-RPC's code for them.
pub const INVALID_PARAMS: i32 = -32602;

/// JSON-RPC: invalid params.
pub fn invalid_params(message: impl Into<String>) -> RpcError {
    new(INVALID_PARAMS, message)
}

pub fn method_not_found(method: &str) -> RpcError {
    new(-32601, format!("the method {method} does not exist/is not available"))
}

/// EIP-1474: a method that other nodes have, and what this one cannot do of it.
pub fn not_supported(message: impl Into<String>) -> RpcError {
    new(-32004, message)
}

/// The block a client named is not there.
pub fn unknown_block() -> RpcError {
    new(-32000, "header not found")
}

/// The state of a block is not kept.
pub fn pruned(number: u64, oldest: u64) -> RpcError {
    new(-32000, format!("missing trie node: state of block {number} is not available, the oldest kept is {oldest}"))
}

/// A block that was dropped, or never was here (geth's code and first words).
pub fn history_pruned(number: u64) -> RpcError {
    new(4444, format!("pruned history unavailable: block {number} is not kept here"))
}

/// Execution reverted: code 3, the data as it is, and its reason in words where it has one.
pub fn reverted(output: &Bytes) -> RpcError {
    let message = match reason::reverted(output) {
        Some(reason) => format!("execution reverted: {reason}"),
        None => "execution reverted".to_owned(),
    };
    RpcError { code: 3, message, data: Some(format!("\"{}\"", hex::encode_prefixed(output)).into_bytes()) }
}

/// Why `eth_simulateV1` refuses, by the codes of execution-apis.
pub fn simulation(code: i32, message: impl Into<String>) -> RpcError {
    new(code, message)
}

/// More blocks than one call simulates.
pub fn too_many_blocks() -> RpcError {
    simulation(-38026, "too many blocks")
}

/// A block that does not come after the one before it.
pub fn block_numbers_out_of_order(number: u64, before: u64) -> RpcError {
    simulation(-38020, format!("block numbers must be in order: {number} <= {before}"))
}

/// A block that is not later than the one before it. Unix times in seconds.
pub fn block_timestamps_out_of_order(timestamp: u64, before: u64) -> RpcError {
    simulation(-38021, format!("block timestamps must be in order: {timestamp} <= {before}"))
}

/// A call that asks for more gas than its block has left.
pub fn block_gas_limit_reached(used: u64, limit: u64) -> RpcError {
    simulation(-38015, format!("block gas limit reached: {used} >= {limit}"))
}
