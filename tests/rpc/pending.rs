//! The block that `pending` names: one block, whatever method shows it.

use serde_json::{Value, json};

use crate::chain::{Chain, quantity};

const STRANGER: &str = "0x00000000000000000000000000000000000bad02";
/// Stores what it is called with at slot 0, and logs it: `sstore(0, calldataload(0))`, LOG1.
const KEEPS: &str = "60003560005560003560006000a100";

#[test]
fn state_is_that_after_the_pool() {
    let mut chain = Chain::start(&["--wait-mined"]);
    let contract = chain.deploy(KEEPS);
    let from = chain.accounts[0].clone();
    chain.call("evm_setAutomine", json!([false]));
    chain.call("eth_sendTransaction", json!([{ "from": from, "to": STRANGER, "value": "0x5" }]));
    chain.call("eth_sendTransaction", json!([{ "from": from, "to": contract, "data": format!("{:#066x}", 7), "gas": "0x20000" }]));
    let made = chain.call("eth_sendTransaction", json!([{ "from": from, "data": "0x6001600c60003960016000f3fe", "gas": "0x20000" }]));
    let nonce = chain.quantity("eth_getTransactionCount", json!([from, "latest"]));

    let seven = format!("{:#066x}", 7);
    for (method, params, latest, pending) in [
        ("eth_getBalance", json!([STRANGER]), json!("0x0"), json!("0x5")),
        ("eth_getStorageAt", json!([contract, "0x0"]), json!(format!("{:#066x}", 0)), json!(seven)),
        ("eth_getTransactionCount", json!([from]), json!(format!("{nonce:#x}")), json!(format!("{:#x}", nonce + 3))),
        ("eth_call", json!([{ "to": STRANGER, "data": "0x" }]), json!("0x"), json!("0x")),
        // The balance of the stranger, by code that is given for the call.
        (
            "eth_call",
            json!([{ "data": format!("0x73{}315f5260205ff3", &STRANGER[2..]) }]),
            json!(format!("{:#066x}", 0)),
            json!(format!("{:#066x}", 5)),
        ),
    ] {
        let at = |block: &str| {
            let mut params = params.clone();
            params.as_array_mut().unwrap().push(block.into());
            params
        };
        assert_eq!(chain.call(method, at("latest")), latest, "{method} {params} at latest");
        assert_eq!(chain.call(method, at("pending")), pending, "{method} {params} at pending");
    }
    let created = chain.call("eth_getBlockReceipts", json!(["pending"]))[2]["contractAddress"].clone();
    assert_eq!(chain.call("eth_getCode", json!([created, "latest"])), "0x");
    assert_eq!(chain.call("eth_getCode", json!([created, "pending"])), "0xfe");
    let proof = chain.call("eth_getProof", json!([contract, ["0x0"], "pending"]));
    assert_eq!(proof["storageProof"][0]["value"], "0x7");

    // What is pending is what is then mined.
    let pending = chain.call("eth_getBlockByNumber", json!(["pending", false]));
    chain.call("evm_mine", json!([]));
    let mined = chain.call("eth_getBlockByNumber", json!(["latest", false]));
    for field in [
        "number",
        "parentHash",
        "transactions",
        "transactionsRoot",
        "receiptsRoot",
        "logsBloom",
        "gasUsed",
        "gasLimit",
        "baseFeePerGas",
        "requestsHash",
    ] {
        assert_eq!(pending[field], mined[field], "{field}");
    }
    let address = chain.receipt(&made)["contractAddress"].clone();
    assert_eq!(chain.call("eth_getCode", json!([address, "latest"])), "0xfe");
}

#[test]
fn every_method_shows_the_same_block() {
    let mut chain = Chain::start(&["--wait-mined", "--timestamp", "2000000000"]);
    chain.call("evm_setNextBlockTimestamp", json!([2_000_001_000]));
    let contract = chain.deploy(KEEPS);
    chain.call("evm_setAutomine", json!([false]));
    chain.call("evm_setNextBlockTimestamp", json!([2_000_002_000]));
    let from = chain.accounts[0].clone();
    let sent: Vec<Value> = [
        json!({ "from": from, "to": STRANGER, "value": "0x5" }),
        json!({ "from": from, "to": contract, "data": format!("{:#066x}", 7), "gas": "0x20000" }),
    ]
    .into_iter()
    .map(|transaction| chain.call("eth_sendTransaction", json!([transaction])))
    .collect();
    let block = chain.call("eth_getBlockByNumber", json!(["pending", false]));
    assert_eq!(block["transactions"], json!(sent));
    assert_eq!((quantity(&block["number"]), quantity(&block["timestamp"])), (2, 2_000_002_000));
    assert!(quantity(&block["size"]) > 500 && quantity(&block["gasUsed"]) > 42_000, "{block}");
    let hash = &block["hash"];

    let full = chain.call("eth_getBlockByNumber", json!(["pending", true]));
    assert_eq!(full["hash"], *hash);
    let header = chain.call("eth_getHeaderByNumber", json!(["pending"]));
    assert_eq!((&header["hash"], &header["stateRoot"]), (hash, &block["stateRoot"]));
    assert_eq!(chain.call("eth_getBlockTransactionCountByNumber", json!(["pending"])), "0x2");
    let receipts = chain.call("eth_getBlockReceipts", json!(["pending"]));
    for (index, sent) in sent.iter().enumerate() {
        let transaction = chain.call("eth_getTransactionByBlockNumberAndIndex", json!(["pending", format!("{index:#x}")]));
        assert_eq!(transaction, full["transactions"][index]);
        assert_eq!((&transaction["hash"], &transaction["blockHash"]), (sent, hash));
        let receipt = &receipts[index];
        assert_eq!((&receipt["transactionHash"], &receipt["blockHash"], &receipt["status"]), (sent, hash, &json!("0x1")));
    }
    assert_eq!(receipts[1]["logs"][0]["topics"], json!([format!("{:#066x}", 7)]));
    assert!(chain.call("eth_getTransactionByBlockNumberAndIndex", json!(["pending", "0x2"])).is_null());
    assert!(chain.receipt(&sent[0]).is_null(), "it is in no block yet");
}

#[test]
fn a_pending_block_has_no_more_than_fits() {
    let mut chain = Chain::start(&["--no-mining", "--gas-limit", "100000"]);
    let from = chain.accounts[0].clone();
    for _ in 0..6 {
        chain.call("eth_sendTransaction", json!([{ "from": from, "to": STRANGER, "value": "0x1", "gas": "0x5208" }]));
    }
    assert_eq!(chain.call("eth_getBlockTransactionCountByNumber", json!(["pending"])), "0x4");
    assert_eq!(chain.call("eth_getBalance", json!([STRANGER, "pending"])), "0x4");
    // A count of transactions is for who sends the next: all that are ready are before it.
    assert_eq!(chain.call("eth_getTransactionCount", json!([from, "pending"])), "0x6");
}
