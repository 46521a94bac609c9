//! A contract without a compiler: any call adds one to slot 0, logs the new count under [`TOPIC`], and returns it; a
//! call with data reverts with `Error("no data")`.

use alloy::{
    hex,
    primitives::{B256, Bytes, b256},
};

/// The log's only topic.
pub const TOPIC: B256 = b256!("00000000000000000000000000000000000000000000000000000000c0de0001");

/// The code that deploys it.
#[must_use]
pub fn init_code() -> Bytes {
    // calldatasize iszero? else revert with Error("no data")
    let revert = concat!(
        "7f08c379a000000000000000000000000000000000000000000000000000000000",
        "5f52",       // selector
        "6020600452", // offset 0x20
        "6007602452", // length 7
        "7f6e6f206461746100000000000000000000000000000000000000000000000000",
        "604452", // "no data"
        "60645ffd",
    );
    let count = concat!(
        "5f54600101805f55", // count = sload(0) + 1; sstore(0, count)
        "5f52",             // mstore(0, count)
        "7f00000000000000000000000000000000000000000000000000000000c0de0001",
        "60205fa1", // log1(0, 32, topic)
        "60205ff3", // return(0, 32)
    );
    // PUSH2 dest, CALLDATASIZE ISZERO, SWAP1, JUMPI: jump over the revert if there is no data.
    let revert_len = revert.len() / 2;
    let dest = 6 + revert_len;
    let runtime = format!("361561{dest:04x}57{revert}5b{count}");
    let len = runtime.len() / 2;
    // PUSH2 len, DUP1, PUSH1 10, PUSH0, CODECOPY, PUSH0, RETURN: 10 bytes of constructor.
    let init = format!("61{len:04x}80600a5f395ff3{runtime}");
    hex::decode(init).unwrap_or_default().into()
}
