//! The past of a chain: snapshots, what is kept, and long work beside short.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use serde_json::{Value, json};
use subnode_tests::{http::Client, process::Dev};

use crate::{client, refusal};

const STRANGER: &str = "0x00000000000000000000000000000000000f00d5";

fn height(client: &mut Client) -> u64 {
    client.quantity("eth_blockNumber", &json!([])).unwrap()
}

fn balance(client: &mut Client, of: &str) -> Value {
    client.call("eth_getBalance", &json!([of, "latest"])).unwrap()
}

#[test]
fn a_snapshot_holds_the_history_that_it_needs() {
    let node = Dev::start(["--history", "16", "--history-memory", "8MiB"]).unwrap();
    let mut client = client(&node);
    client.call("anvil_mine", &json!(["0x20"])).unwrap();
    client.call("anvil_setBalance", &json!([STRANGER, "0x5"])).unwrap();
    let snapshot = client.call("evm_snapshot", &json!([])).unwrap();
    client.call("anvil_setBalance", &json!([STRANGER, "0x6"])).unwrap();
    client.call("hardhat_mine", &json!(["0x800"])).unwrap();
    assert_eq!(client.call("evm_revert", &json!([snapshot])).unwrap(), true);
    assert_eq!((height(&mut client), balance(&mut client, STRANGER)), (0x20, json!("0x5")));
    assert_eq!(client.call("evm_revert", &json!([snapshot])).unwrap(), false, "a snapshot is used once");
    client.call("hardhat_mine", &json!(["0x800"])).unwrap();
    let (_, message) = refusal(&mut client, "eth_getBalance", &json!([STRANGER, "0x20"]));
    assert!(message.contains("missing trie node") || message.contains("header not found"), "nothing holds it any more: {message}");
}

#[test]
fn a_snapshot_that_is_never_returned_to_does_not_fill_the_memory() {
    let mut node = Dev::start(["--history-memory", "1MiB"]).unwrap();
    let mut client = client(&node);
    let forgotten = client.call("evm_snapshot", &json!([])).unwrap();
    client.call("hardhat_mine", &json!(["0x2000"])).unwrap();
    let before = resident_mib(&mut node);
    let snapshot = client.call("evm_snapshot", &json!([])).unwrap();
    client.call("hardhat_mine", &json!(["0x2000"])).unwrap();
    client.call("hardhat_mine", &json!(["0x2000"])).unwrap();
    let after = resident_mib(&mut node);
    // Held, these blocks take 60 MiB and more.
    assert!(after < before + 20, "{before} MiB, then {after}");
    for given_up in [forgotten, snapshot] {
        assert_eq!(client.call("evm_revert", &json!([given_up])).unwrap(), false);
    }
}

#[test]
fn impersonation_and_the_pool_outlive_a_revert() {
    let node = Dev::start(["--no-mining"]).unwrap();
    let mut client = client(&node);
    let accounts = client.call("eth_accounts", &json!([])).unwrap();
    client.call("anvil_setBalance", &json!([STRANGER, "0xde0b6b3a7640000"])).unwrap();
    let transfer = |from: &Value| json!([{ "from": from, "to": accounts[1], "value": "0x1", "gas": "0x5208" }]);
    let pooled = client.call("eth_sendTransaction", &transfer(&accounts[0])).unwrap();
    let snapshot = client.call("evm_snapshot", &json!([])).unwrap();
    client.call("hardhat_impersonateAccount", &json!([STRANGER])).unwrap();
    client.call("evm_mine", &json!([])).unwrap();
    assert_eq!(client.call("evm_revert", &json!([snapshot])).unwrap(), true);

    let known = client.call("eth_accounts", &json!([])).unwrap();
    assert!(known.as_array().unwrap().contains(&json!(STRANGER)), "{known}");
    assert_eq!(client.call("txpool_status", &json!([])).unwrap()["pending"], "0x1");
    let impersonated = client.call("eth_sendTransaction", &transfer(&json!(STRANGER))).unwrap();
    client.call("evm_mine", &json!([])).unwrap();
    for hash in [pooled, impersonated] {
        assert_eq!(client.call("eth_getTransactionReceipt", &json!([hash])).unwrap()["status"], "0x1");
    }
    client.call("hardhat_stopImpersonatingAccount", &json!([STRANGER])).unwrap();
    assert_eq!(client.call("eth_accounts", &json!([])).unwrap(), accounts);
    client.call("anvil_autoImpersonateAccount", &json!([true])).unwrap();
    client.call("anvil_reset", &json!([])).unwrap();
    assert!(client.call("eth_sendTransaction", &transfer(&json!(STRANGER))).is_err(), "a reset forgets whom it impersonates");
}

/// Memory of a process that nothing else has, in MiB.
fn resident_mib(node: &mut Dev) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.child().id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn the_memory_of_a_chain_levels_off_and_says_what_it_dropped() {
    const BLOCKS: u64 = 3_000;
    let mut node = Dev::start(["--history-memory", "4MiB", "--history", "64"]).unwrap();
    let mut client = client(&node);
    let genesis = client.call("eth_getBlockByNumber", &json!(["latest", false])).unwrap();
    let mine = json!([format!("{BLOCKS:#x}")]);
    client.call("hardhat_mine", &mine).unwrap();
    let before = resident_mib(&mut node);
    client.call("hardhat_mine", &mine).unwrap();
    client.call("hardhat_mine", &mine).unwrap();
    let after = resident_mib(&mut node);
    // Unbounded, these blocks take 12 MiB and more.
    assert!(after < before + 9, "{before} MiB, after {BLOCKS} blocks twice {after}");

    assert_eq!(client.call("eth_getBlockByNumber", &json!(["earliest", false])).unwrap()["number"], "0x0");
    assert_eq!(client.call("eth_getBlockByNumber", &json!(["0x2000", false])).unwrap()["number"], "0x2000");
    let pruned = [
        ("eth_getBlockByNumber", json!(["0x100", false])),
        ("eth_getBlockReceipts", json!(["0x100"])),
        ("eth_getBlockTransactionCountByNumber", json!(["0x100"])),
        ("eth_getLogs", json!([{ "fromBlock": "0x0" }])),
    ];
    for (method, params) in pruned {
        let (code, message) = refusal(&mut client, method, &params);
        assert!(code == 4444 && message.contains("pruned history unavailable"), "{method}: {code} {message}");
    }
    assert_eq!(client.call("eth_getLogs", &json!([{ "fromBlock": "0x2000" }])).unwrap(), json!([]));

    // Genesis can be returned to all the same.
    let filter = client.call("eth_newBlockFilter", &json!([])).unwrap();
    client.call("anvil_setBalance", &json!([STRANGER, "0x7"])).unwrap();
    client.call("anvil_reset", &json!([])).unwrap();
    assert_eq!((height(&mut client), balance(&mut client, STRANGER)), (0, "0x0".into()));
    assert_eq!(client.call("eth_getBlockByNumber", &json!(["latest", false])).unwrap(), genesis);
    client.call("evm_mine", &json!([])).unwrap();
    let block = client.call("eth_getBlockByNumber", &json!(["latest", false])).unwrap();
    assert_eq!((&block["number"], &block["parentHash"]), (&json!("0x1"), &genesis["hash"]));
    assert_eq!(client.call("eth_getFilterChanges", &json!([filter])).unwrap(), json!([block["hash"]]));
    client.call("hardhat_mine", &mine).unwrap();
    assert_eq!(height(&mut client), BLOCKS + 1);
}

#[test]
fn a_client_that_mines_many_blocks_keeps_no_other_waiting() {
    let node = Dev::start([""; 0]).unwrap();
    let (mut long, mut short) = (client(&node), client(&node));
    let mined = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            long.call("hardhat_mine", &json!(["0x800"])).unwrap();
            mined.store(true, Ordering::Release);
        });
        while height(&mut short) == 0 {
            thread::yield_now();
        }
        for round in 0..4 {
            let before = height(&mut short);
            short.call("evm_mine", &json!([])).unwrap();
            short.call("anvil_setBalance", &json!([STRANGER, format!("{round:#x}")])).unwrap();
            assert!(height(&mut short) > before);
            assert!(!mined.load(Ordering::Acquire), "the short calls of round {round} waited for the long one");
        }
    });
    assert_eq!(height(&mut short), 0x804);
    assert_eq!(balance(&mut short, STRANGER), "0x3");
}

#[test]
fn a_revert_ends_the_mining_of_blocks_that_it_undoes() {
    let node = Dev::start([""; 0]).unwrap();
    let (mut long, mut short) = (client(&node), client(&node));
    let snapshot = short.call("evm_snapshot", &json!([])).unwrap();
    thread::scope(|scope| {
        let mining = scope.spawn(|| long.call("hardhat_mine", &json!(["0x10000"])).unwrap_err().to_string());
        while height(&mut short) == 0 {
            thread::yield_now();
        }
        assert_eq!(short.call("evm_revert", &json!([snapshot])).unwrap(), true);
        let error = mining.join().unwrap();
        assert!(error.contains("the chain went back"), "{error}");
    });
    assert_eq!(height(&mut short), 0);
}

#[test]
fn calls_that_meet_a_revert_are_answered_before_or_after_it() {
    meet_reverts(&Dev::start([""; 0]).unwrap(), 300);
    // Where nothing moves the version but reverts.
    meet_reverts(&Dev::start(["--no-mining"]).unwrap(), 100);
    let dir = tempfile::tempdir().unwrap();
    meet_reverts(&Dev::start(["--data-dir", dir.path().to_str().unwrap()]).unwrap(), 30);
}

fn meet_reverts(node: &Dev, reverts: u32) {
    let mut reverting = client(node);
    let accounts = reverting.call("eth_accounts", &json!([])).unwrap();
    let transfer = json!({ "from": accounts[0], "to": STRANGER, "value": "0x1" });
    let read = json!([transfer, "latest"]);
    let sent = json!([transfer]);
    let calls = [("eth_call", &read), ("eth_estimateGas", &read), ("eth_sendTransaction", &sent)];
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let callers: Vec<_> = calls
            .into_iter()
            .map(|(method, params)| {
                let (mut client, stop) = (client(node), &stop);
                scope.spawn(move || {
                    while !stop.load(Ordering::Acquire) {
                        client.call(method, params).unwrap();
                    }
                })
            })
            .collect();
        for _ in 0..reverts {
            let snapshot = reverting.call("evm_snapshot", &json!([])).unwrap();
            reverting.call("hardhat_mine", &json!(["0x4"])).unwrap();
            // A send may outrun it, and the chain goes on from what it has then.
            reverting.call("evm_revert", &json!([snapshot])).unwrap();
        }
        stop.store(true, Ordering::Release);
        callers.into_iter().for_each(|caller| caller.join().unwrap());
    });
}

#[test]
fn receipts_have_the_time_of_their_block_and_the_pending_block_its_requests() {
    let node = Dev::start(["--wait-mined"]).unwrap();
    let mut client = client(&node);
    let accounts = client.call("eth_accounts", &json!([])).unwrap();
    let transfer = json!([{ "from": accounts[0], "to": accounts[1], "value": "0x1" }]);
    let hash = client.call("eth_sendTransaction", &transfer).unwrap();
    let block = client.call("eth_getBlockByNumber", &json!(["latest", false])).unwrap();
    let receipt = client.call("eth_getTransactionReceipt", &json!([hash])).unwrap();
    assert_eq!((&receipt["blockTimestamp"], &receipt["blockHash"]), (&block["timestamp"], &block["hash"]));
    assert_eq!(client.call("eth_getBlockReceipts", &json!(["latest"])).unwrap(), json!([receipt]));
    let pending = client.call("eth_getBlockByNumber", &json!(["pending", false])).unwrap();
    assert_eq!(pending["requestsHash"], block["requestsHash"]);
    assert!(block["requestsHash"].is_string());
}
