//! What the public cases of `eth_simulateV1` do not have.

use alloy_primitives::{Address, address, bytes};
use serde_json::{Value, json};

use super::{
    cases::ask,
    developer::{self, SENDER, word},
};

const CONTRACT: Address = address!("c100000000000000000000000000000000000000");

#[test]
fn logs_keep_their_numbers_where_some_are_undone() {
    // With input it reverts. Without, it calls itself with a byte and the value that it got, and then logs.
    let code = bytes!("366012575f5f60015f34305af1505f5fa0005b5f5ffd");
    let head = developer::begin(&[(CONTRACT, code)]);
    let calls = json!([{ "from": SENDER, "to": CONTRACT, "value": "0x5" }, { "from": SENDER, "to": Address::with_last_byte(0xaa), "value": "0x1" }]);
    let simulated = ask(&head, "eth_simulateV1", &json!([{ "blockStateCalls": [{ "calls": calls }], "traceTransfers": true }, "latest"]));
    let simulated = simulated.expect("blocks");
    let numbers = |call: usize| -> Vec<Value> {
        let logs = simulated[0]["calls"][call]["logs"].as_array().expect("logs");
        logs.iter().map(|log| log["logIndex"].clone()).collect()
    };
    assert_eq!(numbers(0), [json!("0x0"), json!("0x2")], "{simulated}");
    assert_eq!(numbers(1), [json!("0x3")]);
    assert_eq!(simulated[0]["logsBloom"].as_str().map(|bloom| bloom.trim_start_matches("0x").trim_matches('0').is_empty()), Some(false));
}

#[test]
fn blocks_see_what_those_before_them_did() {
    // Answers the hash of the block before: PUSH1 1 NUMBER SUB BLOCKHASH, and returns it.
    let head = developer::begin(&[(CONTRACT, bytes!("600143034060005260206000f3"))]);
    let call = json!({ "from": SENDER, "to": CONTRACT });
    let blocks = json!([{ "calls": [call] }, { "calls": [call], "blockOverrides": { "withdrawals": [
        { "index": "0x0", "validatorIndex": "0x0", "address": CONTRACT, "amount": "0x1" },
    ] } }]);
    let simulated = ask(&head, "eth_simulateV1", &json!([{ "blockStateCalls": blocks }, "latest"])).expect("blocks");
    let genesis = ask(&head, "eth_getBlockByNumber", &json!(["0x0", false])).expect("a block");
    assert_eq!(simulated[0]["calls"][0]["returnData"], genesis["hash"]);
    assert_eq!(simulated[1]["calls"][0]["returnData"], simulated[0]["hash"]);
    assert_eq!(simulated[1]["parentHash"], simulated[0]["hash"]);
    assert_eq!(simulated[1]["withdrawals"].as_array().map(Vec::len), Some(1));
    assert_ne!(simulated[1]["withdrawalsRoot"], simulated[0]["withdrawalsRoot"]);
}

#[test]
fn a_block_has_room_for_so_much_gas() {
    let head = developer::begin(&[]);
    let call = json!({ "from": SENDER, "to": CONTRACT, "gas": "0x7530" });
    let blocks = json!([{ "blockOverrides": { "gasLimit": "0xc350" }, "calls": [call, call] }]);
    let refused = ask(&head, "eth_simulateV1", &json!([{ "blockStateCalls": blocks }, "latest"]));
    assert_eq!(refused.map_err(|error| error.code), Err(-38015));
}

#[test]
fn bundles_of_calls_see_what_those_before_them_did() {
    // Returns slot 0 and adds one to it; with input, returns the block's number.
    let head = developer::begin(&[(CONTRACT, bytes!("366012575f54806001015f555f5260205ff35b435f5260205ff3"))]);
    let count = json!({ "from": SENDER, "to": CONTRACT });
    let number = json!({ "from": SENDER, "to": CONTRACT, "input": "0x01" });
    let poor = json!({ "from": CONTRACT, "to": SENDER, "value": "0x1" });
    let bundles = json!([
        { "transactions": [count, count] },
        { "transactions": [number, poor, count], "blockOverride": { "number": "0x2a" } },
    ]);
    let answers = ask(&head, "eth_callMany", &json!([bundles, { "blockNumber": "latest" }])).expect("answers");
    assert_eq!(answers[0], json!([{ "value": word(0) }, { "value": word(1) }]));
    assert_eq!((&answers[1][0], &answers[1][2]), (&json!({ "value": word(42) }), &json!({ "value": word(2) })));
    assert!(answers[1][1]["error"].as_str().is_some_and(|words| words.contains("insufficient funds")), "{answers}");
    assert_eq!(ask(&head, "eth_getStorageAt", &json!([CONTRACT, "0x0", "latest"])).ok(), Some(word(0)), "nothing is kept");
}

#[test]
fn what_many_calls_answer_is_bounded() {
    // Returns a mebibyte of zeros: some 2.2 million gas.
    let head = developer::begin(&[(CONTRACT, bytes!("621000005ff3"))]);
    let call = json!({ "from": SENDER, "to": CONTRACT, "gas": "0x2dc6c0" });
    let calls = |count: usize| Value::from(vec![call.clone(); count]);
    let bundle = |count: usize| ask(&head, "eth_callMany", &json!([[{ "transactions": calls(count) }]]));
    assert!(bundle(2).is_ok());
    assert!(bundle(17).is_err_and(|error| error.message.contains("make fewer")));
    let blocks = |count: usize| ask(&head, "eth_simulateV1", &json!([{ "blockStateCalls": [{ "calls": calls(count) }] }, "latest"]));
    assert!(blocks(2).is_ok());
    assert!(blocks(14).is_err(), "a block has no room for so many");
    let many = json!([{ "blockStateCalls": [{ "blockOverrides": { "gasLimit": "0x10000000" }, "calls": calls(17) }] }, "latest"]);
    assert!(ask(&head, "eth_simulateV1", &many).is_err_and(|error| error.message.contains("make fewer")));
}
