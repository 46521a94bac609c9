//! A chain's time.

use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use subnode_devnet::DevGenesis;
use subnode_tests::{http::Client, process::Dev};

use crate::{chain::quantity, client, refusal};

fn wall() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// The head's height and time.
fn head(client: &mut Client) -> (u64, u64) {
    let block = client.call("eth_getBlockByNumber", &json!(["latest", false])).unwrap();
    (quantity(&block["number"]), quantity(&block["timestamp"]))
}

/// Asks for the head until it is so high, and checks each one's time against the wall's.
fn follow(client: &mut Client, blocks: u64) {
    loop {
        let (height, timestamp) = head(client);
        assert!(timestamp <= wall() + 1, "block {height} is {} s ahead", timestamp - wall());
        if height >= blocks {
            break;
        }
    }
}

#[test]
fn blocks_of_a_fraction_of_a_second_share_it() {
    let started = wall();
    let node = Dev::start(["--block-time", "0.1"]).unwrap();
    let mut client = client(&node);
    follow(&mut client, 40);
    assert!(wall() - started < 35, "blocks of a tenth of a second came {} s late", wall() - started);
}

#[test]
fn where_each_block_has_a_later_second_the_pace_gives_way() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("genesis.json");
    let genesis = DevGenesis {
        chain_id: 31_337,
        hardfork: subnode_devnet::Hardfork::default(),
        balances: Vec::new(),
        gas_limit: 30_000_000,
        base_fee: 1_000_000_000,
        timestamp: wall(),
        extension: DevGenesis::dev(),
    };
    std::fs::write(&file, genesis.to_json()).unwrap();
    let node = Dev::start(["--block-time", "0.1", "--init", file.to_str().unwrap()]).unwrap();
    let mut client = client(&node);
    follow(&mut client, 4);
}

#[test]
fn the_first_of_many_blocks_is_spaced_as_anvil_and_hardhat_do() {
    let node = Dev::start([""; 0]).unwrap();
    let mut client = client(&node);
    client.call("evm_mine", &json!([])).unwrap();
    let (_, before) = head(&mut client);
    client.call("anvil_mine", &json!(["0x4", "0x3c"])).unwrap();
    let (height, after) = head(&mut client);
    assert_eq!(height, 5);
    assert!((before + 240..before + 250).contains(&after), "four blocks of 60 s from {before} end at {after}");
    client.call("hardhat_mine", &json!(["0x4", "0x3c"])).unwrap();
    let (_, last) = head(&mut client);
    assert!((after + 181..after + 190).contains(&last), "the first is stamped by the clock: {after}, {last}");
}

#[test]
fn times_and_percentiles_that_do_not_ascend_are_refused() {
    let node = Dev::start([""; 0]).unwrap();
    let mut client = client(&node);
    client.call("evm_mine", &json!([])).unwrap();
    let (_, timestamp) = head(&mut client);
    let refused: [(&str, Value, &str); 4] = [
        ("evm_mine", json!([timestamp]), "Timestamp error"),
        ("evm_mine", json!([{ "timestamp": timestamp - 10 }]), "Timestamp error"),
        ("evm_setNextBlockTimestamp", json!([timestamp]), "Timestamp error"),
        ("eth_feeHistory", json!(["0x1", "latest", [10, 10]]), "invalid reward percentile"),
    ];
    for (method, params, expected) in refused {
        let (code, message) = refusal(&mut client, method, &params);
        assert!(code == -32602 && message.contains(expected), "{method} {params}: {code} {message}");
    }
    client.call("evm_mine", &json!([timestamp + 100])).unwrap();
    assert_eq!(head(&mut client), (2, timestamp + 100));
    client.call("evm_mine", &json!([0])).unwrap();
    client.call("eth_feeHistory", &json!(["0x1", "latest", [10, 20]])).unwrap();
}

/// Asks for the head until another block was sealed and the next, which is due in a millisecond, waits for its second.
fn wait_for_a_block_that_waits(client: &mut Client) {
    let before = head(client).0;
    let mut asked_since = 0;
    while asked_since < 100 {
        asked_since += u32::from(head(client).0 > before);
    }
}

#[test]
fn a_chain_whose_next_block_waits_for_the_clock_goes_on_in_another_mode_and_after_a_revert() {
    let node = Dev::start(["--hardhat"]).unwrap();
    let mut client = client(&node);
    let snapshot = client.call("evm_snapshot", &json!([])).unwrap();
    client.call("evm_setAutomine", &json!([false])).unwrap();
    client.call("evm_setIntervalMining", &json!([1])).unwrap();
    wait_for_a_block_that_waits(&mut client);
    client.call("evm_setIntervalMining", &json!([0])).unwrap();
    client.call("evm_mine", &json!([])).unwrap();

    client.call("evm_setIntervalMining", &json!([1])).unwrap();
    wait_for_a_block_that_waits(&mut client);
    assert_eq!(client.call("evm_revert", &json!([snapshot])).unwrap(), true);
    client.call("evm_mine", &json!([])).unwrap();
    wait_for_a_block_that_waits(&mut client);
}
