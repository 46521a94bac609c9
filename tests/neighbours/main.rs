//! Hostile neighbours, one test each: a chain of one part seals and answers beside them as if they were not there.
//!
//! Each test fails when what it tests is taken out: turns (a guest that loops has its core until it is done), the queue (who asks most gets
//! most), the places of calls, the bounds of the pool, the slices of memory and storage. No other tests run beside them.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{
    fs::File,
    io::Write as _,
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use alloy::primitives::{Address, address};
use serde_json::{Value, json};
use subnode_tests::{
    http::Client,
    operator::{GENESIS, Home, Node},
    transfer::Sender,
};

const CONTRACT: Address = address!("00000000000000000000000000000000000c0de1");
/// Of a block, and of a transaction or call that wants it all: half a second of looping.
const GAS: u64 = 400_000_000;
/// The same of logs: twelve megabytes of them.
const LOGS_GAS: u64 = 100_000_000;
/// More than a block needs, and less than all of a chain's calls take that grow.
const MEMORY: u64 = 160 << 20;
const STORAGE: u64 = 16 << 20;
const POOL: u64 = 1 << 20;
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
/// A block waits for the synced write that is under way, and for its own: what the disk takes for those is no neighbour's doing.
const SYNCED_WRITES: u32 = 2;
/// The victim's blocks.
const INTERVAL: Duration = Duration::from_millis(50);

/// CPU time over which shares are compared, in nanoseconds.
const CONTENDED_NS: u64 = 3_000_000_000;

/// What a connection does to its chain with so much gas, until it is told to stop.
type Attack = fn(usize, u64, Client, &AtomicBool);

/// A neighbour: its contract, its gas, how many connections do what.
type Hostile = (&'static str, u64, usize, Attack);

const LOOPS: Hostile = (LOOP, GAS, 1, transactions);
const STORES: Hostile = (STORE, GAS, 1, transactions);
const LOGS: Hostile = (LOG, LOGS_GAS, 1, transactions);
const FLOODS_THE_POOL: Hostile = (LOOP, GAS, 4, waiting);
const FLOODS_WITH_CALLS: Hostile = (LOOP, GAS, 160, calls);
const GROWS: Hostile = (GROW, GAS, 40, calls);

/// A chain makes one block at a time. More of them than this machine has cores have all of them.
fn one_more_than_cores(hostile: Hostile) -> Vec<Hostile> {
    vec![hostile; thread::available_parallelism().unwrap().get() + 1]
}

/// A chain's genesis with such a contract, and so much gas for a block.
fn genesis(code: &str, gas: u64) -> String {
    let mut genesis: Value = serde_json::from_str(GENESIS).unwrap();
    genesis["alloc"][CONTRACT.to_string()] = json!({ "balance": "0x0", "code": code });
    genesis["gasLimit"] = json!(format!("{gas:#x}"));
    genesis.to_string()
}

/// Watches a victim beside these, for a while and until each of them `met` what it is for.
fn beside(hostiles: &[Hostile], met: fn(&Value) -> bool) {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    node.operator.create("victim", json!({ "sealing": format!("{}ms", INTERVAL.as_millis()) })).unwrap();
    let names: Vec<String> = (0..hostiles.len()).map(|index| format!("hostile{index}")).collect();
    for (name, (code, gas, ..)) in names.iter().zip(hostiles) {
        let chain = json!({
            "genesis": genesis(code, *gas),
            "memoryBytes": MEMORY,
            "storageBytes": STORAGE,
            "bandwidthBytes": 19_000_000,
            "poolBytes": POOL,
        });
        node.operator.create(name, chain).unwrap();
    }
    let stop = AtomicBool::new(false);
    let (slow, synced) = thread::scope(|scope| {
        let disk = scope.spawn(|| synced_write(&home.path("probe"), &stop));
        for (name, (_, gas, connections, attack)) in names.iter().zip(hostiles) {
            for connection in 0..*connections {
                let (client, stop) = (node.chain(name).unwrap(), &stop);
                scope.spawn(move || attack(connection, *gas, client, stop));
            }
        }
        let slow = watch(&node);
        let at_work = names.iter().try_for_each(|name| node.operator.wait(name, met).map(drop));
        stop.store(true, Ordering::Relaxed);
        at_work.unwrap();
        (slow, disk.join().unwrap())
    });
    assert!(slow.is_empty(), "calls of the victim took {slow:?}");
    let shown = node.operator.show("victim").unwrap();
    let stats = &shown["stats"];
    let late = Duration::from_micros(stats["lateUs"].as_u64().unwrap() / stats["blocks"].as_u64().unwrap().max(1));
    assert!(late < LATE_AT_MOST + synced * SYNCED_WRITES, "its blocks were {late:?} late, synced writes take {synced:?}: {shown}");
    assert_eq!((shown["failures"].as_u64(), stats["guestFaults"].as_u64(), stats["hostFaults"].as_u64()), (Some(0), Some(0), Some(0)));
    for name in &names {
        let chain = node.operator.show(name).unwrap();
        assert_eq!(chain["state"], "running", "it is held, not ended: {chain}");
        for (used, limit) in [("memoryBytes", MEMORY), ("storageBytes", STORAGE), ("poolBytes", POOL)] {
            assert!(number(&chain, used) <= limit, "{used}: {chain}");
        }
    }
}

/// What a synced write of this disk takes on average, at the victim's pace and beside the same neighbours.
fn synced_write(path: &Path, stop: &AtomicBool) -> Duration {
    let mut file = File::create(path).unwrap();
    let (mut writes, mut taken) = (0, Duration::ZERO);
    while !stop.load(Ordering::Relaxed) || writes == 0 {
        let started = Instant::now();
        file.write_all(&[0; 4096]).unwrap();
        file.sync_data().unwrap();
        writes += 1;
        taken += started.elapsed();
        thread::sleep(INTERVAL.saturating_sub(started.elapsed()));
    }
    taken / writes
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
fn transactions(_connection: usize, gas: u64, mut client: Client, stop: &AtomicBool) {
    let mut sender = Sender::new(0);
    while !stop.load(Ordering::Relaxed) {
        // Refused ones are sent again: the slice of storage fills up, the pool as well.
        drop(sender.call(&mut client, CONTRACT, gas, Vec::new()));
    }
}

/// Transactions behind a gap, which no block takes.
fn waiting(connection: usize, _gas: u64, mut client: Client, stop: &AtomicBool) {
    let mut sender = Sender::new(0);
    sender.nonce = 1 + 10_000 * connection as u64;
    while !stop.load(Ordering::Relaxed) {
        drop(sender.send(&mut client, vec![0x5a; 10_000]));
    }
}

/// Calls of the contract with all the gas there is.
fn calls(_connection: usize, gas: u64, mut client: Client, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        drop(client.call("eth_call", &json!([{ "to": CONTRACT, "gas": format!("{gas:#x}") }, "latest"])));
    }
}

/// One of a chain's figures.
fn number(chain: &Value, key: &str) -> u64 {
    chain["stats"][key].as_u64().unwrap()
}

/// It used a tenth of a second of a core.
fn at_work(chain: &Value) -> bool {
    number(chain, "cpuNs") > 100_000_000
}

#[test]
fn endless_loops_at_full_gas() {
    beside(&one_more_than_cores(LOOPS), at_work);
}

#[test]
fn a_flood_of_storage() {
    beside(&one_more_than_cores(STORES), at_work);
}

#[test]
fn a_flood_of_logs() {
    beside(&[LOGS], |hostile| hostile["stats"]["storageFull"] == true);
}

#[test]
fn a_flood_of_transactions() {
    beside(&[FLOODS_THE_POOL], |hostile| number(hostile, "refused") > 0);
}

#[test]
fn a_flood_of_calls() {
    beside(&[FLOODS_WITH_CALLS], |hostile| number(hostile, "queriesRefused") > 0);
}

#[test]
fn calls_that_grow_their_memory() {
    beside(&[GROWS], |hostile| number(hostile, "hostFaults") > 0);
}

#[test]
fn all_of_them_together() {
    beside(&[LOOPS, STORES, LOGS, FLOODS_THE_POOL, FLOODS_WITH_CALLS, GROWS], |hostile| number(hostile, "cpuNs") > 0);
}

#[test]
fn who_asks_most_gets_no_more_than_its_share() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    let cores = thread::available_parallelism().unwrap().get();
    // Both always have a call that waits for a core: with as many calls as cores, a chain whose client is late to ask leaves a core to the
    // other. One has as many calls as there are places.
    let asking = [("modest", (8 * cores).min(32)), ("greedy", 64)];
    for (name, _) in asking {
        node.operator.create(name, json!({ "genesis": genesis(LOOP, GAS) })).unwrap();
    }
    let stop = AtomicBool::new(false);
    let cpu = |node: &mut Node| asking.map(|(name, _)| number(&node.operator.show(name).unwrap(), "cpuNs"));
    let used = thread::scope(|scope| {
        for (name, connections) in asking {
            for connection in 0..connections {
                let (client, stop) = (node.chain(name).unwrap(), &stop);
                scope.spawn(move || calls(connection, GAS / 10, client, stop));
            }
        }
        let begun = cpu(&mut node);
        // However much of the machine other programs leave.
        let used = loop {
            let ended = cpu(&mut node);
            let used = [ended[0] - begun[0], ended[1] - begun[1]];
            if used.iter().sum::<u64>() > CONTENDED_NS {
                break used;
            }
        };
        stop.store(true, Ordering::Relaxed);
        used
    });
    assert!(used[0] * 3 > used[1] * 2, "{used:?} ns of {cores} cores");
}
