//! Each tracer on one transaction whose steps, gas and changes are worked out by hand.

use alloy_consensus::Block;
use alloy_eips::eip2718::Encodable2718;
use alloy_primitives::{Address, Bytes, TxKind, address, bytes, hex, keccak256};
use alloy_rlp::{BufMut, Decodable};
use serde_json::{Value, json};

use super::{
    cases::ask,
    developer::{self, COINBASE, SENDER, word},
};
use crate::{bindings::subnode::chain::types::BlockRef, transaction::Transaction};

const CALLER: Address = address!("c100000000000000000000000000000000000000");
const CALLED: Address = address!("c200000000000000000000000000000000000000");

/// Writes 42 to slot 1 and reads it again, logs nothing at all, calls [`CALLED`] with a selector and a word of zeros, and returns the word that
/// the selector is in.
fn caller() -> Bytes {
    let store = hex!("602a600155600154 50");
    let selector = hex!("63a9059cbb60e01b5f52");
    let log = hex!("5f5fa0");
    let arguments = hex!("5f5f60245f5f73");
    let call = hex!("5af15060205ff3");
    [&store[..], &selector, &log, &arguments, CALLED.as_slice(), &call].concat().into()
}

/// Gas of that transaction: 21,000 as such; 22,106 to write the slot, 105 to read it; 17 for the selector in memory; 379 for the log; 16 for the
/// call's arguments, 2,603 for the call (cold account, one more word of memory) and 4 in it; 7 to return.
const GAS: u64 = 21_000 + 22_106 + 105 + 17 + 379 + 16 + 2_603 + 4 + 7;

/// A chain whose second block has a transfer and then the transaction that the tests are about.
fn traced() -> (BlockRef, Transaction) {
    let head = developer::begin(&[(CALLER, caller()), (CALLED, bytes!("5f5ffd"))]);
    let head = developer::mine(&head, &[]);
    let transfer = developer::transaction(0, TxKind::Call(Address::with_last_byte(0xaa)), 5, Bytes::new());
    let transaction = developer::transaction(1, TxKind::Call(CALLER), 0, Bytes::new());
    let head = developer::mine(&head, &[transfer, transaction.clone()]);
    // What the chain does later is nothing to the trace.
    let later = developer::transaction(2, TxKind::Call(CALLER), 0, Bytes::new());
    (developer::mine(&head, &[later]), transaction)
}

fn trace(config: Value) -> Value {
    let (head, transaction) = traced();
    let receipt = ask(&head, "eth_getTransactionReceipt", &json!([transaction.tx_hash()])).expect("a receipt");
    assert_eq!(receipt["gasUsed"], json!(format!("{GAS:#x}")));
    ask(&head, "debug_traceTransaction", &json!([transaction.tx_hash(), config])).expect("a trace")
}

#[test]
fn struct_logs_have_each_step_as_geth_writes_it() {
    let trace = trace(json!({}));
    assert_eq!((&trace["gas"], &trace["failed"]), (&json!(GAS), &json!(false)));
    assert_eq!(trace["returnValue"], json!(format!("0xa9059cbb{}", "0".repeat(56))));
    let steps = trace["structLogs"].as_array().expect("steps");
    assert_eq!(steps[0], json!({ "pc": 0, "op": "PUSH1", "gas": 79_000, "gasCost": 3, "depth": 1, "stack": [] }));
    let slot = format!("0x{:064x}", 1);
    let storage = json!({ slot: word(42) });
    let sstore = json!({
        "pc": 4, "op": "SSTORE", "gas": 78_994, "gasCost": 22_100, "depth": 1, "stack": ["0x2a", "0x1"], "storage": storage,
    });
    assert_eq!(steps[2], sstore);
    let sload = json!({ "pc": 7, "op": "SLOAD", "gas": 56_891, "gasCost": 100, "depth": 1, "stack": ["0x1"], "storage": storage });
    assert_eq!(steps[4], sload);
    let called = steps.iter().find(|step| step["op"] == "CALL").expect("a call");
    // All but a 64th of what is left after the call's own cost is passed on, and counts as its cost.
    let gas = called["gas"].as_u64().expect("a number");
    let left = gas - 2_603;
    assert_eq!(called["gasCost"], json!(2_603 + left - left / 64));
    let inner: Vec<_> = steps.iter().filter(|step| step["depth"] == 2).map(|step| step["op"].as_str().expect("text")).collect();
    assert_eq!(inner, ["PUSH0", "PUSH0", "REVERT"]);
    let last = steps.last().expect("steps");
    assert_eq!((&last["op"], &last["gasCost"], &last["stack"]), (&json!("RETURN"), &json!(0), &json!(["0x20", "0x0"])));
}

#[test]
fn struct_logs_leave_out_what_they_are_told() {
    let trace = trace(json!({ "disableStack": true, "disableStorage": true, "enableMemory": true, "enableReturnData": true }));
    let steps = trace["structLogs"].as_array().expect("steps");
    assert_eq!(steps[2], json!({ "pc": 4, "op": "SSTORE", "gas": 78_994, "gasCost": 22_100, "depth": 1 }));
    let after_store = steps.iter().position(|step| step["op"] == "MSTORE").expect("a write") + 1;
    assert_eq!(steps[after_store]["memory"], json!([format!("0xa9059cbb{}", "0".repeat(56))]));
    assert!(steps.iter().all(|step| step.get("returnData").is_none()), "nothing is returned");
    let few = self::trace(json!({ "limit": 3 }));
    assert_eq!(few["structLogs"].as_array().map(Vec::len), Some(3));
    assert_eq!(few["gas"], json!(GAS), "the rest runs all the same");
}

#[test]
fn calls_are_a_tree_with_their_logs_and_errors() {
    let trace = trace(json!({ "tracer": "callTracer", "tracerConfig": { "withLog": true } }));
    let inner_gas = trace["calls"][0]["gas"].clone();
    let expected = json!({
        "type": "CALL",
        "from": SENDER,
        "to": CALLER,
        "value": "0x0",
        "gas": "0x186a0",
        "gasUsed": format!("{GAS:#x}"),
        "input": "0x",
        "output": format!("0xa9059cbb{}", "0".repeat(56)),
        "logs": [{ "address": CALLER, "topics": [], "data": "0x", "position": "0x0", "index": "0x0" }],
        "calls": [{
            "type": "CALL",
            "from": CALLER,
            "to": CALLED,
            "value": "0x0",
            "gas": inner_gas,
            "gasUsed": "0x4",
            "input": format!("0xa9059cbb{}", "0".repeat(64)),
            "error": "execution reverted",
        }],
    });
    assert_eq!(trace, expected);
    let top = self::trace(json!({ "tracer": "callTracer", "tracerConfig": { "onlyTopCall": true } }));
    assert_eq!(top.get("calls"), None);
    assert_eq!(top.get("logs"), None);
}

#[test]
fn the_state_before_and_what_changed_are_told() {
    let before = trace(json!({ "tracer": "prestateTracer" }));
    let touched: Vec<&String> = before.as_object().expect("accounts").keys().collect();
    let mut expected = [SENDER, CALLER, CALLED, COINBASE].map(|address| format!("{address:?}"));
    expected.sort();
    assert_eq!(touched, expected.iter().collect::<Vec<_>>());
    let of = |address: Address| &before[format!("{address:?}")];
    assert_eq!(of(SENDER)["nonce"], json!(1), "after the transfer");
    assert_eq!(of(CALLER)["code"], json!(caller()));
    assert_eq!(of(CALLER)["storage"], json!({ format!("0x{:064x}", 1): word(0) }));
    let without = trace(json!({ "tracer": "prestateTracer", "tracerConfig": { "disableCode": true, "disableStorage": true } }));
    let caller = &without[format!("{CALLER:?}")];
    assert_eq!((caller.get("code"), caller.get("storage")), (None, None));

    let diff = trace(json!({ "tracer": "prestateTracer", "tracerConfig": { "diffMode": true } }));
    let caller = format!("{CALLER:?}");
    assert_eq!(diff["post"][&caller]["storage"], json!({ format!("0x{:064x}", 1): word(42) }));
    assert_eq!(diff["pre"][&caller].get("storage"), None, "a slot that was empty");
    assert_eq!(diff["post"][format!("{SENDER:?}")]["nonce"], json!(2));
    assert_eq!(diff["pre"].get(format!("{CALLED:?}")), None, "it did not change");
    // The tip of 1 wei per gas.
    let earned = |which: &str| {
        let balance = diff[which][format!("{COINBASE:?}")]["balance"].as_str().expect("a balance").trim_start_matches("0x").to_owned();
        u64::from_str_radix(&balance, 16).expect("a number")
    };
    assert_eq!(earned("post") - earned("pre"), GAS);
}

#[test]
fn small_tracers_and_several_at_once() {
    assert_eq!(trace(json!({ "tracer": "noopTracer" })), json!({}));
    let selectors = json!({ "0xa9059cbb-32": 1 });
    assert_eq!(trace(json!({ "tracer": "4byteTracer" })), selectors);
    let both = trace(json!({
        "tracer": "muxTracer",
        "tracerConfig": { "4byteTracer": null, "callTracer": null, "prestateTracer": { "diffMode": true } },
    }));
    assert_eq!(both["4byteTracer"], selectors);
    assert_eq!(both["callTracer"]["gasUsed"], json!(format!("{GAS:#x}")));
    assert!(both["prestateTracer"]["post"].is_object());
    let flat = trace(json!({ "tracer": "flatCallTracer" }));
    assert_eq!(flat.as_array().map(Vec::len), Some(2));
    assert_eq!((&flat[1]["traceAddress"], &flat[1]["action"]["to"]), (&json!([0]), &json!(CALLED)));
    assert_eq!(flat[1]["error"], json!("execution reverted"));
    let flat = trace(json!({ "tracer": "flatCallTracer", "tracerConfig": { "convertParityErrors": true } }));
    assert_eq!(flat[1]["error"], json!("Reverted"));
    let (head, transaction) = traced();
    let unknown = ask(&head, "debug_traceTransaction", &json!([transaction.tx_hash(), { "tracer": "{step: function() {}}" }]));
    assert!(unknown.is_err_and(|error| error.message.starts_with("JavaScript tracers are not supported; known: callTracer, ")));
    for name in ["callTracr", "opcodeTracer"] {
        let unknown = ask(&head, "debug_traceTransaction", &json!([transaction.tx_hash(), { "tracer": name }]));
        assert!(unknown.is_err_and(|error| error.message.starts_with(&format!("unknown tracer {name}; known: callTracer, "))));
    }
}

#[test]
fn blocks_and_calls_are_traced() {
    let (head, transaction) = traced();
    let config = json!({ "tracer": "callTracer" });
    let block = ask(&head, "debug_traceBlockByNumber", &json!(["0x2", config])).expect("traces");
    assert_eq!(block.as_array().map(Vec::len), Some(2));
    assert_eq!((&block[0]["result"]["value"], &block[0]["result"]["gasUsed"]), (&json!("0x5"), &json!("0x5208")));
    assert_eq!(block[1]["txHash"], json!(transaction.tx_hash()));
    let single = ask(&head, "debug_traceTransaction", &json!([transaction.tx_hash(), config])).expect("a trace");
    assert_eq!(block[1]["result"], single);
    let hash = ask(&head, "eth_getBlockByNumber", &json!(["0x2", false])).expect("a block")["hash"].clone();
    assert_eq!(ask(&head, "debug_traceBlockByHash", &json!([hash, config])).expect("traces"), block);
    let raw = ask(&head, "debug_getRawBlock", &json!(["0x2"])).expect("bytes");
    assert_eq!(ask(&head, "debug_traceBlock", &json!([raw, config])).expect("traces"), block);
    let genesis = ask(&head, "debug_traceBlockByNumber", &json!(["0x0"]));
    assert!(genesis.is_err_and(|error| error.message == "genesis is not traceable"));
    assert_eq!(ask(&head, "debug_traceBlockByNumber", &json!(["0x1"])).ok(), Some(json!([])));
    let missing = ask(&head, "debug_traceBlockByNumber", &json!(["0x9"]));
    assert!(missing.is_err_and(|error| error.message == "block #9 not found"));

    // A call on what the chain is now: the slot is written already, so that to write it costs 2,200 (cold, unchanged).
    let request = json!({ "from": SENDER, "to": CALLER, "gas": "0x186a0" });
    let now = ask(&head, "debug_traceCall", &json!([request, "latest", config])).expect("a trace");
    assert_eq!(now["gasUsed"], json!(format!("{:#x}", GAS - 22_100 + 2_200)));
    let then = ask(&head, "debug_traceCall", &json!([request, "0x2", { "tracer": "callTracer", "txIndex": "0x1" }])).expect("a trace");
    assert_eq!(then["gasUsed"], json!(format!("{GAS:#x}")));
    let overridden = json!({ "stateOverrides": { CALLER.to_string(): { "code": "0x5f5ffd" } }, "tracer": "callTracer" });
    let overridden = ask(&head, "debug_traceCall", &json!([request, "latest", overridden])).expect("a trace");
    assert_eq!(overridden["error"], json!("execution reverted"));
}

#[test]
fn openethereum_traces_are_lists_with_addresses() {
    let (head, transaction) = traced();
    let hash = transaction.tx_hash();
    let traces = ask(&head, "trace_transaction", &json!([hash])).expect("traces");
    let outer = &traces[0];
    assert_eq!((&outer["traceAddress"], &outer["subtraces"], &outer["type"]), (&json!([]), &json!(1), &json!("call")));
    let action =
        json!({ "callType": "call", "from": SENDER, "gas": format!("{:#x}", 79_000), "input": "0x", "to": CALLER, "value": "0x0" });
    assert_eq!(outer["action"], action);
    assert_eq!(outer["result"]["gasUsed"], json!(format!("{:#x}", GAS - 21_000)));
    assert_eq!((&outer["blockNumber"], &outer["transactionPosition"]), (&json!(2), &json!(1)));
    let inner = &traces[1];
    assert_eq!((&inner["traceAddress"], &inner["subtraces"], &inner["error"]), (&json!([0]), &json!(0), &json!("Reverted")));
    assert_eq!(ask(&head, "trace_get", &json!([hash, ["0x0"]])).ok().as_ref(), Some(inner));
    assert_eq!(ask(&head, "trace_get", &json!([hash, ["0x1"]])).ok(), Some(Value::Null));
    let block = ask(&head, "trace_block", &json!(["0x2"])).expect("traces");
    assert_eq!(block.as_array().map(Vec::len), Some(3));
    assert_eq!(&block[1], outer);

    let filter = |filter: Value| ask(&head, "trace_filter", &json!([filter])).expect("traces");
    assert_eq!(filter(json!({ "fromBlock": "0x1", "toBlock": "latest" })).as_array().map(Vec::len), Some(5));
    let named = filter(json!({ "fromBlock": "0x2", "toBlock": "0x2", "toAddress": [CALLED] }));
    assert_eq!(named, json!([inner]));
    let paged = filter(json!({ "fromBlock": "0x2", "toBlock": "0x2", "after": 1, "count": 1 }));
    assert_eq!(paged, json!([outer]));
}

#[test]
fn openethereum_replays_tell_what_is_asked_for() {
    let (head, transaction) = traced();
    let all = json!(["trace", "stateDiff", "vmTrace"]);
    let replayed = ask(&head, "trace_replayTransaction", &json!([transaction.tx_hash(), all])).expect("a replay");
    assert_eq!(replayed["output"], json!(format!("0xa9059cbb{}", "0".repeat(56))));
    assert_eq!(replayed["trace"].as_array().map(Vec::len), Some(2));
    let diff = &replayed["stateDiff"];
    let slot = format!("0x{:064x}", 1);
    assert_eq!(diff[format!("{CALLER:?}")]["storage"], json!({ slot: { "*": { "from": word(0), "to": word(42) } } }));
    assert_eq!(diff[format!("{SENDER:?}")]["nonce"], json!({ "*": { "from": "0x1", "to": "0x2" } }));
    assert_eq!(diff.get(format!("{CALLED:?}")), None);
    let steps = replayed["vmTrace"]["ops"].as_array().expect("steps");
    assert_eq!(replayed["vmTrace"]["code"], json!(caller()));
    assert_eq!((&steps[2]["pc"], &steps[2]["cost"]), (&json!(4), &json!(22_100)));
    assert_eq!(steps[2]["ex"]["store"], json!({ "key": "0x1", "val": "0x2a" }));
    let block = ask(&head, "trace_replayBlockTransactions", &json!(["0x2", ["stateDiff"]])).expect("replays");
    assert_eq!(block.as_array().map(Vec::len), Some(2));
    assert_eq!((&block[1]["stateDiff"], &block[1]["vmTrace"]), (diff, &Value::Null));
    assert_eq!(block[1]["transactionHash"], json!(transaction.tx_hash()));

    let request = json!({ "from": SENDER, "to": CALLER, "gas": "0x186a0" });
    let called = ask(&head, "trace_call", &json!([request, ["stateDiff"], "0x1"])).expect("a trace");
    assert_eq!(called["stateDiff"][format!("{CALLER:?}")]["storage"], diff[format!("{CALLER:?}")]["storage"]);
    let many = ask(&head, "trace_callMany", &json!([[[request, ["stateDiff"]], [request, ["stateDiff"]]], "0x1"])).expect("traces");
    assert_eq!(many[0], called);
    assert_eq!(many[1]["stateDiff"].get(format!("{CALLER:?}")), None, "the first call wrote the slot");
    let raw = developer::transaction(3, TxKind::Call(CALLER), 0, Bytes::new()).encoded_2718();
    let sent = ask(&head, "trace_rawTransaction", &json!([Bytes::from(raw), ["trace"]])).expect("a trace");
    assert_eq!(sent["trace"].as_array().map(Vec::len), Some(2));
}

#[test]
fn blocks_and_receipts_are_there_as_bytes() {
    let (head, transaction) = traced();
    let bytes = |method: &str| -> Value { ask(&head, method, &json!(["0x2"])).expect("bytes") };
    let header: Bytes = serde_json::from_value(bytes("debug_getRawHeader")).expect("bytes");
    let block = ask(&head, "eth_getBlockByNumber", &json!(["0x2", false])).expect("a block");
    assert_eq!(json!(keccak256(header)), block["hash"]);
    assert_eq!(bytes("debug_getRawBlock"), json!(Bytes::from(crate::index::block(2).expect("a block"))));
    let receipts: Vec<Bytes> = serde_json::from_value(bytes("debug_getRawReceipts")).expect("receipts");
    assert_eq!(
        json!(alloy_consensus::proofs::ordered_trie_root_with_encoder(&receipts, |receipt, out| out.put_slice(receipt))),
        block["receiptsRoot"]
    );
    let raw = ask(&head, "debug_getRawTransaction", &json!([transaction.tx_hash()])).expect("bytes");
    assert_eq!(raw, json!(Bytes::from(transaction.encoded_2718())));
    assert!(ask(&head, "debug_getRawHeader", &json!(["2"])).is_err_and(|error| error.code == -32602));
}

#[test]
fn a_contract_that_prints_is_heard() {
    // Copies its data to memory, and calls the console with it (STATICCALL).
    let print = [&hex!("36 5f 5f 37 5f 5f 36 5f 73")[..], crate::console::ADDRESS.as_slice(), &hex!("5a fa 00")].concat();
    let head = developer::begin(&[(CALLER, print.into())]);
    let (hash, parent) = crate::headers::expect_header(head.height);
    let header = crate::block::pending_header(crate::spec::Spec::load(), hash, &parent, 12);
    let mut execution = crate::execute::Execution::start(crate::spec::Spec::load(), &header, crate::state::State::default());
    let data = [hex!("f82c50f1").as_slice(), &[0; 31], &[42]].concat();
    let transaction = developer::transaction(0, TxKind::Call(CALLER), 0, data.clone().into());
    execution.transact(&transaction, SENDER).expect("a transaction that executes");
    assert!(execution.take_printed().is_empty(), "nobody listens");
    execution.hear_console();
    let transaction = developer::transaction(1, TxKind::Call(CALLER), 0, data.into());
    execution.transact(&transaction, SENDER).expect("a transaction that executes");
    assert_eq!(execution.take_printed(), ["42"]);
    assert_eq!(execution.receipts[0].gas_used, execution.receipts[1].gas_used, "to be heard costs nothing");
}

#[test]
fn a_block_that_is_not_the_chains_is_traced_on_its_parent() {
    let (head, transaction) = traced();
    let config = json!({ "tracer": "callTracer" });
    let raw: Bytes = serde_json::from_value(ask(&head, "debug_getRawBlock", &json!(["0x2"])).expect("bytes")).expect("bytes");
    let mut block = Block::<Transaction>::decode(&mut raw.as_ref()).expect("a block");
    let traced = |block: &Block<Transaction>| ask(&head, "debug_traceBlock", &json!([Bytes::from(alloy_rlp::encode(block)), config]));
    // Another one, which has the second transaction before the first: the nonces are not in order.
    block.body.transactions.reverse();
    block.header.transactions_root = alloy_consensus::proofs::calculate_transaction_root(&block.body.transactions);
    assert!(traced(&block).is_err_and(|error| error.message.contains("nonce")));
    block.body.transactions.truncate(1);
    assert!(traced(&block).is_err_and(|error| error.message.contains("transactions root")));
    block.body.transactions = vec![developer::transaction(0, TxKind::Call(CALLER), 0, Bytes::new())];
    block.header.transactions_root = alloy_consensus::proofs::calculate_transaction_root(&block.body.transactions);
    let traces = traced(&block).expect("traces");
    assert_eq!((&traces[0]["result"]["to"], traces.as_array().map(Vec::len)), (&json!(CALLER), Some(1)));
    assert_ne!(traces[0]["txHash"], json!(transaction.tx_hash()));
    block.header.parent_hash = block.header.transactions_root;
    assert!(traced(&block).is_err_and(|error| error.message.contains("not found")));
}
