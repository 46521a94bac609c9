//! Calls and estimates: where they run, and what they pay.

use serde_json::{Value, json};

use crate::chain::{Chain, quantity};

/// Answers the word that this instruction pushes.
fn answers(instruction: &str) -> String {
    format!("0x{instruction}5f5260205ff3")
}

fn word(number: u64) -> Value {
    json!(format!("{number:#066x}"))
}

/// Creation code that reverts before a time.
fn not_before(time: u64) -> String {
    format!("0x63{time:08x}4210600d575f5ff35b5f5ffd")
}

#[test]
fn estimates_run_in_the_next_block() {
    let mut chain = Chain::start(&["--wait-mined"]);
    let from = chain.accounts[0].clone();
    chain.call("evm_mine", json!([]));
    let head = chain.call("eth_getBlockByNumber", json!(["latest", false]));
    chain.call("evm_increaseTime", json!([6_000]));
    let later = json!({ "from": from, "data": not_before(quantity(&head["timestamp"]) + 5_000) });
    assert!(chain.error("eth_estimateGas", json!([later, "latest"]))["message"].as_str().unwrap().contains("revert"));
    for params in [json!([later]), json!([later, null]), json!([later, "pending"])] {
        chain.quantity("eth_estimateGas", params);
    }
    let hash = chain.call("eth_sendTransaction", json!([later]));
    assert_eq!(chain.receipt(&hash)["status"], "0x1");

    chain.call("evm_setBlockGasLimit", json!(["0xf4240"]));
    // Reverts unless the block's gas limit is a million.
    let limited = json!({ "from": from, "data": "0x45620f424014600c575f5ffd5b5f5ff3" });
    chain.quantity("eth_estimateGas", json!([limited]));
    let hash = chain.call("eth_sendTransaction", json!([limited]));
    assert_eq!(chain.receipt(&hash)["status"], "0x1");
}

#[test]
fn estimates_run_after_what_the_pool_has() {
    let mut chain = Chain::start(&["--no-mining"]);
    let from = chain.accounts[0].clone();
    let nonce = chain.quantity("eth_getTransactionCount", json!([from]));
    // Writes to storage when it is called: far more than a transfer costs.
    chain.call("eth_sendTransaction", json!([{ "from": from, "data": "0x6460015f55005f526005601bf3" }]));
    let deployed = {
        let pending = chain.call("eth_getBlockReceipts", json!(["pending"]));
        pending[0]["contractAddress"].clone()
    };
    assert!(chain.quantity("eth_estimateGas", json!([{ "from": from, "to": deployed }])) > 40_000);
    let hash = chain.call("eth_sendTransaction", json!([{ "from": from, "to": deployed }]));
    chain.call("evm_mine", json!([]));
    assert_eq!(chain.receipt(&hash)["status"], "0x1");
    assert_eq!(chain.quantity("eth_getTransactionCount", json!([from])), nonce + 2);
}

#[test]
fn calls_run_in_the_block_they_name() {
    let mut chain = Chain::start(&["--timestamp", "2000000000"]);
    chain.call("evm_setNextBlockTimestamp", json!([2_000_000_100]));
    chain.call("evm_mine", json!([]));
    chain.call("evm_setNextBlockTimestamp", json!([2_000_000_777]));
    let time = json!({ "data": answers("42") });
    for (params, expected) in [
        (json!([time]), 2_000_000_100),
        (json!([time, "latest"]), 2_000_000_100),
        (json!([time, "pending"]), 2_000_000_777),
        (json!([time, "0x0"]), 2_000_000_000),
        (json!([time, 0]), 2_000_000_000),
    ] {
        assert_eq!(chain.call("eth_call", params.clone()), word(expected), "{params}");
    }
}

#[test]
fn a_block_may_be_a_json_number() {
    let mut chain = Chain::start(&[]);
    chain.call("evm_mine", json!([]));
    let account = chain.accounts[0].clone();
    assert_eq!(chain.call("eth_getBalance", json!([account, 0])), chain.call("eth_getBalance", json!([account, "0x0"])));
    assert_eq!(chain.call("eth_getBlockByNumber", json!([1, false]))["number"], "0x1");
    assert_eq!(chain.call("eth_feeHistory", json!([1, 1, []]))["oldestBlock"], "0x1");
    assert_eq!(chain.error("eth_getBalance", json!([account, -1]))["code"], -32602);
    assert_eq!(chain.error("eth_getBalance", json!([account, 1.5]))["code"], -32602);
}

#[test]
fn a_call_knows_256_blocks() {
    let mut chain = Chain::start(&[]);
    chain.call("hardhat_mine", json!(["0x104"]));
    let hash_of = |back: u64| json!({ "data": format!("0x61{back:04x}4303405f5260205ff3") });
    for block in ["latest", "pending", "0x103"] {
        let number = match block {
            "pending" => 0x105,
            "latest" => 0x104,
            _ => 0x103,
        };
        for back in [1, 255, 256] {
            let expected = chain.call("eth_getBlockByNumber", json!([format!("{:#x}", number - back), false]))["hash"].clone();
            assert_eq!(chain.call("eth_call", json!([hash_of(back), block])), expected, "{back} before {block}");
        }
        assert_eq!(chain.call("eth_call", json!([hash_of(257), block])), word(0));
    }
}

#[test]
fn a_call_without_a_price_sees_none() {
    let mut chain = Chain::start(&[]);
    let from = chain.accounts[0].clone();
    let base_fee = |fees: Value| {
        let mut call = json!({ "from": from, "data": answers("48") });
        call.as_object_mut().unwrap().extend(fees.as_object().unwrap().clone());
        json!([call])
    };
    assert_eq!(chain.call("eth_call", base_fee(json!({}))), word(0));
    assert_eq!(chain.call("eth_call", base_fee(json!({ "gasPrice": "0x0" }))), word(0));
    assert_eq!(chain.call("eth_call", base_fee(json!({ "gasPrice": "0x77359400" }))), word(1_000_000_000));
    assert_eq!(chain.call("eth_call", base_fee(json!({ "maxFeePerGas": "0x77359400" }))), word(1_000_000_000));

    // Blobs without a cap: not checked, and their price is 0.
    let blob = format!("0x01{}", "00".repeat(31));
    let to = chain.deploy(&answers("4a")[2..]);
    let blobs = json!({ "from": from, "to": to, "blobVersionedHashes": [blob] });
    assert_eq!(chain.call("eth_call", json!([blobs])), word(0));
    let capped = json!({ "from": from, "to": to, "blobVersionedHashes": [blob], "maxFeePerBlobGas": "0x10", "maxFeePerGas": "0x77359400" });
    assert_eq!(chain.call("eth_call", json!([capped])), word(1));
}

#[test]
fn precompiles_can_be_replaced_and_moved() {
    let mut chain = Chain::start(&[]);
    let identity = "0x0000000000000000000000000000000000000004";
    let elsewhere = "0x00000000000000000000000000000000000bad04";
    let call = |to: &str| json!({ "to": to, "data": "0x010203" });
    assert_eq!(chain.call("eth_call", json!([call(identity)])), "0x010203");
    let replaced = json!({ identity: { "code": answers("6007") } });
    assert_eq!(chain.call("eth_call", json!([call(identity), "latest", replaced])), word(7));
    let moved = json!({ identity: { "movePrecompileToAddress": elsewhere } });
    assert_eq!(chain.call("eth_call", json!([call(elsewhere), "latest", moved])), "0x010203");
    assert_eq!(chain.call("eth_call", json!([call(identity), "latest", moved])), "0x", "there is nothing left");
    let both = json!({ identity: { "code": answers("6007"), "movePrecompileToAddress": elsewhere } });
    assert_eq!(chain.call("eth_call", json!([call(elsewhere), "latest", both])), "0x010203");
    assert_eq!(chain.call("eth_call", json!([call(identity), "latest", both])), word(7));
    let nothing = json!({ elsewhere: { "movePrecompileToAddress": identity } });
    let error = chain.error("eth_call", json!([call(elsewhere), "latest", nothing]));
    assert!(error["message"].as_str().unwrap().contains("is not a precompile"), "{error}");
    let clash = json!({ identity: { "movePrecompileToAddress": elsewhere }, elsewhere: { "balance": "0x1" } });
    let error = chain.error("eth_call", json!([call(elsewhere), "latest", clash]));
    assert!(error["message"].as_str().unwrap().contains("is already overridden"), "{error}");
    // The next call finds them where they were.
    assert_eq!(chain.call("eth_call", json!([call(identity)])), "0x010203");
}

#[test]
fn a_blocks_price_of_blobs_can_be_overridden() {
    let mut chain = Chain::start(&[]);
    let price = json!({ "data": answers("4a") });
    assert_eq!(chain.call("eth_call", json!([price, "latest", {}, { "blobBaseFee": "0x4d" }])), word(0x4d));
    assert_eq!(chain.call("eth_call", json!([price, "latest"])), word(1));
}

#[test]
fn what_is_sent_is_estimated_at_its_price() {
    let mut chain = Chain::start(&["--wait-mined"]);
    let from = chain.accounts[0].clone();
    // Writes to storage where the price of gas is not 0.
    let contract = chain.deploy("3a600557005b60015f5500");
    let call = json!({ "from": from, "to": contract });
    // Without fees an estimate has none, as geth's and anvil's.
    assert!(chain.quantity("eth_estimateGas", json!([call])) < 22_000);
    assert!(chain.quantity("eth_estimateGas", json!([{ "from": from, "to": contract, "gasPrice": "0x77359400" }])) > 40_000);
    let hash = chain.call("eth_sendTransaction", json!([call]));
    assert_eq!(chain.receipt(&hash)["status"], "0x1");
}

#[test]
fn an_estimate_asks_for_no_funds() {
    let mut chain = Chain::start(&[]);
    let to = chain.accounts[1].clone();
    let poor = "0x00000000000000000000000000000000000bad01";
    assert_eq!(chain.call("eth_estimateGas", json!([{ "from": poor, "to": to, "value": "0x1" }])), "0x5208");
    assert_eq!(chain.call("eth_estimateGas", json!([{ "from": poor, "to": to, "value": "0x1", "gasPrice": "0x77359400" }])), "0x5208");
}
