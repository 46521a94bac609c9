//! Errors as geth words and numbers them.

use alloy_dyn_abi::{DynSolType, DynSolValue};
use alloy_primitives::{Bytes, hex};

use crate::bindings::exports::RpcError;

fn new(code: i32, message: impl Into<String>) -> RpcError {
    RpcError { code, message: message.into(), data: None }
}

/// Refused by the pool or by execution.
pub fn rejected(message: &str) -> RpcError {
    new(-32000, message)
}

/// JSON-RPC: invalid params.
pub fn invalid_params(message: impl Into<String>) -> RpcError {
    new(-32602, message)
}

pub fn method_not_found(method: &str) -> RpcError {
    new(-32601, format!("the method {method} does not exist/is not available"))
}

/// The block a client named is not there.
pub fn unknown_block() -> RpcError {
    new(-32000, "header not found")
}

/// The state of a block is not kept.
pub fn pruned(number: u64, oldest: u64) -> RpcError {
    new(-32000, format!("missing trie node: state of block {number} is not available, the oldest kept is {oldest}"))
}

/// Execution reverted: code 3, the data as it is, and its reason in words where it has one.
pub fn reverted(output: &Bytes) -> RpcError {
    let message = match reason(output) {
        Some(reason) => format!("execution reverted: {reason}"),
        None => "execution reverted".to_owned(),
    };
    RpcError { code: 3, message, data: Some(format!("\"{}\"", hex::encode_prefixed(output)).into_bytes()) }
}

/// The text of `Error(string)`, or what `Panic(uint256)` stands for.
fn reason(output: &[u8]) -> Option<String> {
    let (selector, data) = output.split_first_chunk::<4>()?;
    match selector {
        [0x08, 0xc3, 0x79, 0xa0] => match DynSolType::String.abi_decode(data).ok()? {
            DynSolValue::String(text) => Some(text),
            _ => None,
        },
        [0x4e, 0x48, 0x7b, 0x71] => Some(match data.get(31)? {
            0x01 => "assert(false)".into(),
            0x11 => "arithmetic underflow or overflow".into(),
            0x12 => "division or modulo by zero".into(),
            0x21 => "enum overflow".into(),
            0x22 => "invalid encoded storage byte array accessed".into(),
            0x31 => "out-of-bounds array access; popping on an empty array".into(),
            0x32 => "out-of-bounds access of an array or bytesN".into(),
            0x41 => "out of memory".into(),
            0x51 => "uninitialized function".into(),
            code => format!("unknown panic code: {code:#x}"),
        }),
        _ => None,
    }
}
