//! Committees in processes of their own: four nodes on this machine, over QUIC on loopback.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::primitives::Address;
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use subnode_sandbox::{Sandbox, SandboxOptions};
use subnode_simulator::{Modules, Plan};
use subnode_tests::{process::Run, testnet::Testnet, transfer::Sender};

use crate::{
    machine::{cpu_seconds, resident_kib},
    ratio::quantile,
};

const NODES: usize = 4;
const MEASURED_FOR: Duration = Duration::from_secs(30);
/// `subnode testnet` numbers its chains from here.
const FIRST_CHAIN_ID: u64 = 31_337;
/// Clients, an account each.
const CLIENTS: usize = 8;
const READY_WITHIN: Duration = Duration::from_secs(120);

/// Nodes that run. They end with it.
struct Net {
    files: Testnet,
    nodes: Vec<Run>,
}

impl Net {
    fn start(chains: usize, sealing: &str) -> anyhow::Result<Self> {
        let files = Testnet::new(NODES, &["--sealing", sealing, "--chains", &chains.to_string()])?;
        let nodes = (0..NODES).map(|node| Run::start(&files.config(node))).collect::<anyhow::Result<_>>()?;
        let net = Self { files, nodes };
        let started = Instant::now();
        // A chain that seals as transactions come has no block yet.
        while sealing != "instant" && (0..chains).any(|chain| !net.height(chain).is_ok_and(|height| height > 0)) {
            ensure!(started.elapsed() < READY_WITHIN, "the nodes make no blocks within {READY_WITHIN:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(net)
    }

    /// Of a chain, as the first node has it.
    fn height(&self, chain: usize) -> anyhow::Result<u64> {
        self.files.client(0, chain)?.quantity("eth_blockNumber", &json!([]))
    }

    /// CPU seconds so far, and resident MiB, of each node.
    fn used(&self) -> Vec<(f64, f64)> {
        self.nodes.iter().map(|node| (cpu_seconds(node.id()), resident_kib(node.id()) / 1024.0)).collect()
    }
}

pub(crate) fn run() -> anyhow::Result<()> {
    finality()?;
    many_chains()?;
    messages()
}

/// One account's transfers, one after the other: how long each took until a node showed its receipt.
fn client(net: &Net, account: usize, stop: &AtomicBool, done: &AtomicU64, times: &Mutex<Vec<f64>>) -> anyhow::Result<()> {
    let mut sender = Sender::on(FIRST_CHAIN_ID, account);
    let mut client = net.files.client(account % NODES, 0)?;
    while !stop.load(Ordering::Relaxed) {
        // Some at once, and the last one timed.
        const AT_ONCE: u64 = 16;
        let mut last = Value::Null;
        let sent = Instant::now();
        for _ in 0..AT_ONCE {
            let signed = sender.sign(Address::repeat_byte(7), 21_000, Vec::new())?;
            last = client.call("eth_sendRawTransaction", &json!([signed]))?;
        }
        while client.call("eth_getTransactionReceipt", &json!([last]))?.is_null() {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        done.fetch_add(AT_ONCE, Ordering::Relaxed);
        if let Ok(mut times) = times.lock() {
            times.push(sent.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn finality() -> anyhow::Result<()> {
    println!("\n## committee: {NODES} processes on loopback, bft, EVM, {} s each\n", MEASURED_FOR.as_secs());
    println!(
        "| blocks | blocks/s | transfers/s | to finality p50, ms | p99, ms | CPU per node, cores | resident, MiB |\n|---|---|---|---|---|---|---|"
    );
    for sealing in ["instant", "200ms", "1s"] {
        let net = Net::start(1, sealing)?;
        let (stop, done, times) = (AtomicBool::new(false), AtomicU64::new(0), Mutex::default());
        let (blocks, used) = std::thread::scope(|scope| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|account| {
                    scope.spawn({
                        let (net, stop, done, times) = (&net, &stop, &done, &times);
                        move || client(net, account, stop, done, times)
                    })
                })
                .collect();
            let (before, used) = (net.height(0).unwrap_or_default(), net.used());
            std::thread::sleep(MEASURED_FOR);
            let blocks = net.height(0).unwrap_or_default() - before;
            let after = net.used();
            stop.store(true, Ordering::Relaxed);
            for client in clients {
                if let Ok(Err(error)) = client.join() {
                    eprintln!("a client failed: {error:#}");
                }
            }
            let used: Vec<_> = used.iter().zip(after).map(|((before, _), (after, resident))| (after - before, resident)).collect();
            (blocks, used)
        });
        let seconds = MEASURED_FOR.as_secs_f64();
        let times = times.into_inner().unwrap_or_default();
        let cores: Vec<f64> = used.iter().map(|(cpu, _)| cpu / seconds).collect();
        let resident: Vec<f64> = used.iter().map(|(_, resident)| *resident).collect();
        println!(
            "| {sealing} | {:.1} | {:.0} | {:.0} | {:.0} | {:.2} | {:.0} |",
            blocks as f64 / seconds,
            done.into_inner() as f64 / seconds,
            quantile(&times, 0.5),
            quantile(&times, 0.99),
            quantile(&cores, 0.5),
            quantile(&resident, 0.5)
        );
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn many_chains() -> anyhow::Result<()> {
    const CHAINS: usize = 32;
    let net = Net::start(CHAINS, "1s")?;
    let heights = || (0..CHAINS).map(|chain| net.height(chain).unwrap_or_default()).collect::<Vec<_>>();
    let (before, used, began) = (heights(), net.used(), Instant::now());
    std::thread::sleep(MEASURED_FOR);
    let (after, used_after, seconds) = (heights(), net.used(), began.elapsed().as_secs_f64());
    let rates: Vec<f64> = before.iter().zip(&after).map(|(before, after)| (after - before) as f64 / seconds).collect();
    println!(
        "\n{NODES} nodes with {CHAINS} chains each, a block per second, on this machine: blocks/s of a chain {:.2} in the middle, {:.2} at least.\n",
        quantile(&rates, 0.5),
        quantile(&rates, 0.0)
    );
    println!("| node | CPU, cores | resident, MiB |\n|---|---|---|");
    for (index, ((cpu, _), (after, resident))) in used.iter().zip(used_after).enumerate() {
        println!("| {} | {:.2} | {resident:.0} |", index + 1, (after - cpu) / seconds);
    }
    Ok(())
}

/// What a decision costs a committee, in the simulator.
fn messages() -> anyhow::Result<()> {
    let sandbox = Sandbox::new(&SandboxOptions { instances: 64, cache_dir: subnode_devnet::module_cache_dir() })?;
    let load = |name| anyhow::Ok(sandbox.load(subnode_modules::by_name(name).context("embedded")?)?);
    println!("\nMessages of a decision among members that are well (simulated):\n");
    println!("| module | members | messages | bytes |\n|---|---|---|---|");
    for name in ["authority", "bft"] {
        let modules = Modules { runtime: load("kv")?, consensus: load(name)? };
        for members in [4, 16] {
            let report = subnode_simulator::run(0, Plan::calm(members, modules.clone())).map_err(anyhow::Error::msg)?;
            println!("| {name} | {members} | {} | {} |", report.frames.0 / report.height, report.frames.1 / report.height);
        }
    }
    Ok(())
}
