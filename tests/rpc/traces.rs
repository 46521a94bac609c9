//! Traces and simulations on a running node. What each tracer answers in detail is tested in the guest.

use serde_json::{Value, json};

use crate::chain::Chain;

/// Adds one to slot 0: PUSH0 SLOAD PUSH1 1 ADD PUSH0 SSTORE STOP.
const COUNTER: &str = "5f546001015f5500";

#[test]
fn a_mined_transaction_is_traced_on_the_state_it_found() {
    let mut chain = Chain::start(&["--wait-mined"]);
    let from = chain.accounts[0].clone();
    let counter = chain.deploy(COUNTER);
    let mut count = || chain.call("eth_sendTransaction", json!([{ "from": from, "to": counter, "gas": "0x186a0" }]));
    let (first, second) = (count(), count());
    // Between blocks a developer changes what the next one finds.
    chain.call("anvil_setStorageAt", json!([counter, "0x0", format!("{:#066x}", 41)]));
    let third = chain.call("eth_sendTransaction", json!([{ "from": from, "to": counter, "gas": "0x186a0" }]));
    chain.call("hardhat_mine", json!(["0x5"]));
    for (hash, found) in [(&first, "0x0"), (&second, "0x1"), (&third, "0x29")] {
        let receipt = chain.receipt(hash);
        let trace = chain.call("debug_traceTransaction", json!([hash]));
        let opcodes: Vec<&str> = trace["structLogs"].as_array().unwrap().iter().map(|step| step["op"].as_str().unwrap()).collect();
        assert_eq!(opcodes, ["PUSH0", "SLOAD", "PUSH1", "ADD", "PUSH0", "SSTORE", "STOP"]);
        assert_eq!(trace["structLogs"][2]["stack"], json!([found]), "{hash}");
        let call = chain.call("debug_traceTransaction", json!([hash, { "tracer": "callTracer" }]));
        assert_eq!(call["gasUsed"], receipt["gasUsed"]);
        let block = chain.call("debug_traceBlockByHash", json!([receipt["blockHash"], { "tracer": "callTracer" }]));
        assert_eq!(block, json!([{ "txHash": hash, "result": call }]));
        let traces = chain.call("trace_transaction", json!([hash]));
        assert_eq!((&traces[0]["action"]["to"], &traces[0]["transactionHash"]), (&json!(counter.to_lowercase()), hash));
    }
    let all = chain.call("trace_filter", json!([{ "toAddress": [counter] }]));
    assert_eq!(all.as_array().map(Vec::len), Some(4), "its creation, and three calls");
    assert_eq!(chain.error("debug_traceTransaction", json!([format!("{:#066x}", 1)]))["message"], "transaction not found");
}

#[test]
fn a_trace_beyond_its_bound_is_an_error_and_the_node_goes_on() {
    let mut chain = Chain::start(&["--wait-mined"]);
    // Jumps in circles until its gas is used up: some ten million gas are more than 32 MiB of steps.
    let circle = chain.deploy("5b5f56");
    let request = json!({ "from": chain.accounts[0], "to": circle, "gas": "0x989680" });
    let error = chain.error("debug_traceCall", json!([request, "latest"]));
    assert!(error["message"].as_str().unwrap().contains("\"disableStack\""), "{error}");
    let cut = chain.call("debug_traceCall", json!([request, "latest", { "limit": 10 }]));
    assert_eq!(cut["structLogs"].as_array().map(Vec::len), Some(10));
}

#[test]
fn blocks_are_simulated_and_nothing_of_them_stays() {
    let mut chain = Chain::start(&[]);
    let from = chain.accounts[0].clone();
    let counter = chain.deploy(COUNTER);
    let before: Value = chain.call("eth_getBlockByNumber", json!(["latest", false]));
    let call = json!({ "from": from, "to": counter });
    let blocks = json!([{ "calls": [call, call] }, { "calls": [call], "stateOverrides": { from.as_str(): { "balance": "0x0" } } }]);
    let simulated = chain.call("eth_simulateV1", json!([{ "blockStateCalls": blocks, "traceTransfers": true }, "latest"]));
    assert_eq!(simulated.as_array().map(Vec::len), Some(2));
    assert_eq!(simulated[0]["parentHash"], before["hash"]);
    assert_eq!(simulated[1]["parentHash"], simulated[0]["hash"]);
    assert!(simulated[0]["calls"].as_array().unwrap().iter().all(|call| call["status"] == "0x1"));
    assert_eq!(chain.call("eth_getStorageAt", json!([counter, "0x0", "latest"])), json!(format!("{:#066x}", 0)));
    assert_eq!(chain.call("eth_getBlockByNumber", json!(["latest", false])), before);
}
