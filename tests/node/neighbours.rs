//! Hostile neighbours, one test each: a chain of one part seals and answers beside them as if they were not there.
//!
//! Each test fails when what it tests is taken out: the queue of turns (every guest runs at once, and whoever loops has the cores), the
//! places of calls, the slices of memory, storage and bandwidth.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use alloy::primitives::{Address, address};
use serde_json::{Value, json};
use subnode_tests::{
    operator::{GENESIS, Home, Node},
    transfer::Sender,
};

const CONTRACT: Address = address!("00000000000000000000000000000000000c0de1");
/// Of a block, and of a transaction or call that wants it all: a tenth of a second of looping.
const GAS: u64 = 100_000_000;
const MEMORY: u64 = 512 << 20;
const STORAGE: u64 = 64 << 20;
/// for (;;) {}
const LOOP: &str = "0x5b5f56";
/// do sstore(gas, gas) while (gas > 30000): what runs out of gas would leave nothing.
const STORE: &str = "0x5b5a5a556175305a115f5700";
/// do log0(0, 1024) while (gas > 30000)
const LOG: &str = "0x5b6104005fa06175305a115f5700";
/// for (;;) mstore(msize, 0)
const GROW: &str = "0x5b5f59525f56";
/// How long the victim is watched.
const WATCHED: Duration = Duration::from_secs(4);
/// The victim's calls and blocks take a few milliseconds alone; a neighbour that is not held makes each wait for whole blocks and calls
/// of its own, which take seconds.
const CALL_WITHIN: Duration = Duration::from_millis(100);
const LATE_AT_MOST: Duration = Duration::from_millis(250);

/// What a connection does to a chain of this name, until it is told to stop.
type Attack = fn(usize, &Node, &str, &AtomicBool);

/// A neighbour: its name, its contract, how many connections do what.
type Hostile = (&'static str, &'static str, usize, Attack);

const LOOPS: Hostile = ("loops", LOOP, 1, transactions);
const STORES: Hostile = ("stores", STORE, 1, transactions);
const LOGS: Hostile = ("logs", LOG, 1, transactions);
const FLOODS_THE_POOL: Hostile = ("pool", LOOP, 4, waiting);
const FLOODS_WITH_CALLS: Hostile = ("calls", LOOP, 160, calls);
const GROWS: Hostile = ("grows", GROW, 40, calls);

/// Watches a victim beside these; each of them afterwards.
fn beside(hostiles: &[Hostile]) -> Vec<Value> {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    node.operator.create("victim", json!({ "sealing": "50ms" })).unwrap();
    for (name, code, ..) in hostiles {
        let mut genesis: Value = serde_json::from_str(GENESIS).unwrap();
        genesis["alloc"][CONTRACT.to_string()] = json!({ "balance": "0x0", "code": code });
        genesis["gasLimit"] = json!(format!("{GAS:#x}"));
        let chain = json!({ "genesis": genesis.to_string(), "memoryBytes": MEMORY, "storageBytes": STORAGE, "bandwidthBytes": 19_000_000 });
        node.operator.create(name, chain).unwrap();
    }
    let stop = AtomicBool::new(false);
    let slow = std::thread::scope(|scope| {
        for (name, _, connections, attack) in hostiles {
            for connection in 0..*connections {
                let (node, stop) = (&node, &stop);
                scope.spawn(move || attack(connection, node, name, stop));
            }
        }
        let slow = watch(&node);
        stop.store(true, Ordering::Relaxed);
        slow
    });
    assert!(slow.is_empty(), "calls of the victim took {slow:?}");
    let shown = node.operator.show("victim").unwrap();
    let stats = &shown["stats"];
    let late = Duration::from_micros(stats["lateUs"].as_u64().unwrap() / stats["blocks"].as_u64().unwrap().max(1));
    assert!(late < LATE_AT_MOST, "its blocks were {late:?} late: {shown}");
    assert_eq!((shown["failures"].as_u64(), stats["guestFaults"].as_u64(), stats["hostFaults"].as_u64()), (Some(0), Some(0), Some(0)));
    let after: Vec<Value> = hostiles.iter().map(|(name, ..)| node.operator.show(name).unwrap()).collect();
    for chain in &after {
        assert_eq!(chain["state"], "running", "it is held, not ended: {chain}");
        assert!(chain["stats"]["memoryBytes"].as_u64().unwrap() <= MEMORY && chain["stats"]["storageBytes"].as_u64().unwrap() <= STORAGE);
    }
    after
}

/// Calls of the victim's clients that took too long. One in a hundred may: other programs run on this machine.
fn watch(node: &Node) -> Vec<Duration> {
    let mut client = node.chain("victim").unwrap();
    let until = Instant::now() + WATCHED;
    let (mut calls, mut slow) = (0, Vec::new());
    while Instant::now() < until {
        let started = Instant::now();
        client.call("eth_call", &json!([{ "to": CONTRACT }, "latest"])).unwrap();
        calls += 1;
        if started.elapsed() > CALL_WITHIN {
            slow.push(started.elapsed());
        }
    }
    if slow.len() <= calls / 100 { Vec::new() } else { slow }
}

/// Transactions to the contract, each with all the gas of a block.
fn transactions(_connection: usize, node: &Node, name: &str, stop: &AtomicBool) {
    let mut client = node.chain(name).unwrap();
    let mut sender = Sender::new(0);
    while !stop.load(Ordering::Relaxed) {
        // Refused ones are sent again: the slice of storage fills up, the pool as well.
        drop(sender.call(&mut client, CONTRACT, GAS, Vec::new()));
    }
}

/// Transactions behind a gap, which no block takes.
fn waiting(connection: usize, node: &Node, name: &str, stop: &AtomicBool) {
    let mut client = node.chain(name).unwrap();
    let mut sender = Sender::new(0);
    sender.nonce = 1 + 10_000 * connection as u64;
    while !stop.load(Ordering::Relaxed) {
        drop(sender.send(&mut client, vec![0x5a; 10_000]));
    }
}

/// Calls of the contract with all the gas there is.
fn calls(_connection: usize, node: &Node, name: &str, stop: &AtomicBool) {
    let mut client = node.chain(name).unwrap();
    while !stop.load(Ordering::Relaxed) {
        drop(client.call("eth_call", &json!([{ "to": CONTRACT, "gas": format!("{GAS:#x}") }, "latest"])));
    }
}

/// Whether a neighbour did what it is for.
fn number(chain: &Value, key: &str) -> u64 {
    chain["stats"][key].as_u64().unwrap()
}

#[test]
fn endless_loops_at_full_gas() {
    let hostile = beside(&[LOOPS]).remove(0);
    assert!(number(&hostile, "cpuNs") > 1_000_000_000, "it was at work: {hostile}");
}

#[test]
fn a_flood_of_storage() {
    let hostile = beside(&[STORES]).remove(0);
    assert!(number(&hostile, "storageBytes") > 1 << 20, "it was at work: {hostile}");
}

#[test]
fn a_flood_of_logs() {
    let hostile = beside(&[LOGS]).remove(0);
    assert!(number(&hostile, "cpuNs") > 100_000_000, "it was at work: {hostile}");
}

#[test]
fn a_flood_of_transactions() {
    let hostile = beside(&[FLOODS_THE_POOL]).remove(0);
    assert!(number(&hostile, "admitted") + number(&hostile, "refused") > 50, "it was at work: {hostile}");
}

#[test]
fn a_flood_of_calls() {
    let hostile = beside(&[FLOODS_WITH_CALLS]).remove(0);
    assert!(number(&hostile, "queriesRefused") > 0, "it was at work: {hostile}");
}

#[test]
fn calls_that_grow_their_memory() {
    let hostile = beside(&[GROWS]).remove(0);
    assert!(number(&hostile, "cpuNs") > 100_000_000, "it was at work: {hostile}");
}

#[test]
fn all_of_them_together() {
    let all = beside(&[LOOPS, STORES, LOGS, FLOODS_THE_POOL, FLOODS_WITH_CALLS, GROWS]);
    assert_eq!(all.len(), 6);
}
