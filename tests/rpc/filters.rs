//! Filters that are polled, and ranges of logs.

use serde_json::{Value, json};
use subnode_tests::{http::Client, process::Dev};

use crate::{client, refusal};

/// Logs with the first word of the call data as topic.
const LOGGER: &str = "0x60003560006000a100";
/// Logs as often as the first word of the call data says.
const MANY_LOGS: &str = "0x6000355b60006000a0600190038060035700";
const ADDRESS: &str = "0x00000000000000000000000000000000000010c5";

fn word(number: u64) -> String {
    format!("{number:#066x}")
}

fn call_with(client: &mut Client, number: u64) {
    let accounts = client.call("eth_accounts", &json!([])).unwrap();
    let transaction = json!({ "from": accounts[0], "to": ADDRESS, "data": word(number), "gas": "0xc00000" });
    client.call("eth_sendTransaction", &json!([transaction])).unwrap();
}

/// What a log says, and whether it is removed.
fn told(logs: &Value) -> Vec<(String, bool)> {
    let log = |log: &Value| (log["topics"][0].as_str().unwrap().to_owned(), log["removed"].as_bool().unwrap());
    logs.as_array().unwrap().iter().map(log).collect()
}

fn changes(client: &mut Client, filter: &Value) -> Value {
    client.call("eth_getFilterChanges", &json!([filter])).unwrap()
}

#[test]
fn nobody_guesses_anothers_filter() {
    let node = Dev::start([""; 0]).unwrap();
    let mut client = client(&node);
    for _ in 0..4 {
        let id = client.quantity("eth_newBlockFilter", &json!([])).unwrap();
        assert!(id > u64::from(u32::MAX), "{id}");
        let next = format!("{:#x}", id.wrapping_add(1));
        assert_eq!(client.call("eth_uninstallFilter", &json!([next])).unwrap(), false);
    }
}

#[test]
fn filters_hear_on_when_blocks_are_undone() {
    let node = Dev::start(["--wait-mined"]).unwrap();
    let mut client = client(&node);
    client.call("anvil_setCode", &json!([ADDRESS, LOGGER])).unwrap();
    call_with(&mut client, 1);
    let logs = client.call("eth_newFilter", &json!([{ "address": ADDRESS }])).unwrap();
    let others = client.call("eth_newFilter", &json!([{ "topics": [word(3)] }])).unwrap();
    let blocks = client.call("eth_newBlockFilter", &json!([])).unwrap();
    let snapshot = client.call("evm_snapshot", &json!([])).unwrap();
    for topic in 2..=4 {
        call_with(&mut client, topic);
    }
    assert_eq!(told(&changes(&mut client, &logs)), [(word(2), false), (word(3), false), (word(4), false)]);
    assert_eq!(changes(&mut client, &blocks).as_array().unwrap().len(), 3);
    // Nobody was told of these two.
    call_with(&mut client, 5);
    call_with(&mut client, 3);

    assert_eq!(client.call("evm_revert", &json!([snapshot])).unwrap(), true);
    assert_eq!(told(&changes(&mut client, &logs)), [(word(4), true), (word(3), true), (word(2), true)]);
    assert_eq!(told(&changes(&mut client, &logs)), []);
    assert_eq!(told(&changes(&mut client, &others)), [], "it was told of none of them");
    call_with(&mut client, 6);
    call_with(&mut client, 3);
    assert_eq!(told(&changes(&mut client, &logs)), [(word(6), false), (word(3), false)]);
    assert_eq!(told(&changes(&mut client, &others)), [(word(3), false)]);
    let head = client.call("eth_getBlockByNumber", &json!(["latest", false])).unwrap();
    assert_eq!(changes(&mut client, &blocks)[1], head["hash"]);

    client.call("anvil_reset", &json!([])).unwrap();
    client.call("anvil_setCode", &json!([ADDRESS, LOGGER])).unwrap();
    call_with(&mut client, 7);
    // The first block's log was there before the filter.
    assert_eq!(told(&changes(&mut client, &logs)), [(word(3), true), (word(6), true), (word(7), false)]);
    assert_eq!(changes(&mut client, &blocks).as_array().unwrap().len(), 1);
    let every = client.call("eth_getFilterLogs", &json!([logs])).unwrap();
    assert_eq!(told(&every), [(word(7), false)]);
}

#[test]
fn ranges_that_cannot_be_are_refused() {
    let node = Dev::start([""; 0]).unwrap();
    let mut client = client(&node);
    client.call("anvil_mine", &json!(["0x3"])).unwrap();
    let cases = [
        ("eth_getLogs", json!({ "fromBlock": "0x1", "toBlock": "0x4" }), "beyond current head"),
        ("eth_getLogs", json!({ "fromBlock": "0x4", "toBlock": "0x5" }), "beyond current head"),
        ("eth_getLogs", json!({ "fromBlock": "0x4" }), "invalid block range"),
        ("eth_getLogs", json!({ "fromBlock": "0x3", "toBlock": "0x2" }), "invalid block range"),
        ("eth_newFilter", json!({ "fromBlock": "0x3", "toBlock": "0x2" }), "invalid block range"),
        ("eth_newFilter", json!({ "toBlock": "0x2" }), "invalid block range"),
    ];
    for (method, filter, expected) in cases {
        let (code, message) = refusal(&mut client, method, &json!([filter]));
        assert!(code == -32602 && message.contains(expected), "{method} {filter}: {code} {message}");
    }
    // A filter may wait for blocks that are not there yet.
    let filter = client.call("eth_newFilter", &json!([{ "fromBlock": "0x4", "toBlock": "0x9" }])).unwrap();
    assert_eq!(client.call("eth_getFilterLogs", &json!([filter])).unwrap(), json!([]));
    let filter = client.call("eth_newFilter", &json!([{ "fromBlock": "0x9" }])).unwrap();
    assert_eq!(client.call("eth_getFilterLogs", &json!([filter])).unwrap(), json!([]));
}

#[test]
fn one_block_is_answered_however_many_logs_it_has() {
    const LOGS: u64 = 25_000;
    let node = Dev::start(["--wait-mined"]).unwrap();
    let mut client = client(&node);
    client.call("anvil_setCode", &json!([ADDRESS, MANY_LOGS])).unwrap();
    let filter = client.call("eth_newFilter", &json!([{ "address": ADDRESS }])).unwrap();
    call_with(&mut client, LOGS);
    call_with(&mut client, 1);
    let block = client.call("eth_getBlockByNumber", &json!(["0x1", false])).unwrap();
    for wanted in [json!({ "blockHash": block["hash"] }), json!({ "fromBlock": "0x1", "toBlock": "0x1" })] {
        let logs = client.call("eth_getLogs", &json!([wanted])).unwrap();
        assert_eq!(logs.as_array().unwrap().len() as u64, LOGS, "{wanted}");
    }
    let (_, message) = refusal(&mut client, "eth_getLogs", &json!([{ "fromBlock": "0x0" }]));
    assert!(message.contains("use a smaller block range"), "{message}");
    // Who polls gets them block by block.
    assert_eq!(changes(&mut client, &filter).as_array().unwrap().len() as u64, LOGS);
    assert_eq!(changes(&mut client, &filter).as_array().unwrap().len(), 1);
}
