//! A small chain beside hostile chains on one node: how long it waits, against how long it waits alone.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use alloy::primitives::{Address, address};
use anyhow::anyhow;
use serde_json::{Value, json};
use subnode_chain::{Chain, ChainOptions, PoolLimits, Session, TimeSource};
use subnode_devnet::{Account, DEFAULT_MNEMONIC, DevGenesis, Signers, accounts, default_options, module_cache_dir};
use subnode_node::{ChainSetup, Node};
use subnode_sandbox::{Module, Sandbox, SandboxOptions};
use subnode_storage::{Retention, RocksOptions, RocksStore};
use subnode_types::{Parts, Sealing, Slice};
use tokio::task::JoinSet;

use crate::ratio::{median, quantile};

/// Each neighbour is measured in turns with quiet, that whatever else troubles the machine (its disk, mostly) troubles both: so often, and
/// so long each time.
const ROUNDS: usize = 10;
const ROUND: Duration = Duration::from_secs(1);
/// After which a neighbour that begins is at its height, and one that ends has ended.
const SETTLES: Duration = Duration::from_millis(300);
/// How long shares are measured.
const TIME: Duration = Duration::from_secs(6);
/// What the victim does: a block with some transfers so often, and a call in between. It takes a sixth of a core, which is within its share
/// beside one neighbour and beside all six (two cores among seven chains): what it waits for is theirs.
const BLOCK_EVERY: Duration = Duration::from_millis(40);
const TRANSFERS: usize = 5;
const CALL_EVERY: Duration = Duration::from_millis(5);
/// Calls that a neighbour keeps in flight.
const IN_FLIGHT: usize = 64;
const CONTRACT: Address = address!("00000000000000000000000000000000000c0de1");
const MEMORY: u64 = 512 << 20;
const STORAGE: u64 = 1 << 30;

/// What a neighbour does, without end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hostile {
    /// Blocks full of a loop.
    Loop,
    /// Blocks full of storage writes.
    Storage,
    /// Transactions faster than blocks take them.
    Pool,
    /// Blocks full of logs, with a subscriber.
    Logs,
    /// Calls that loop until they are cut.
    Queries,
    /// Calls that grow their memory until they are cut.
    Memory,
}

impl Hostile {
    const ALL: [Self; 6] = [Self::Loop, Self::Storage, Self::Pool, Self::Logs, Self::Queries, Self::Memory];

    fn code(self) -> &'static str {
        match self {
            // for (;;) {}
            Self::Loop | Self::Queries | Self::Pool => "0x5b5f56",
            // do sstore(gas, gas) while (gas > 30000)
            Self::Storage => "0x5b5a5a556175305a115f5700",
            // do log0(0, 1024) while (gas > 30000)
            Self::Logs => "0x5b6104005fa06175305a115f5700",
            // for (;;) mstore(msize, 0)
            Self::Memory => "0x5b5f59525f56",
        }
    }
}

struct Bench {
    runtime: Module,
    consensus: Module,
    accounts: Vec<Account>,
}

impl Bench {
    fn new() -> anyhow::Result<Self> {
        let sandbox = Sandbox::new(&SandboxOptions { instances: 512, cache_dir: module_cache_dir() })?;
        let (runtime, consensus) = (sandbox.load(subnode_modules::EVM)?, sandbox.load(subnode_modules::SOLO)?);
        Ok(Self { runtime, consensus, accounts: accounts(DEFAULT_MNEMONIC, 10)? })
    }

    async fn open(&self, node: &Node, name: &str, parts: u32, sealing: Sealing, code: Option<&str>) -> anyhow::Result<Chain> {
        let mut genesis: Value = serde_json::from_slice(
            &DevGenesis {
                chain_id: DevGenesis::DEFAULT_CHAIN_ID,
                hardfork: subnode_devnet::Hardfork::default(),
                balances: self.accounts.iter().map(|account| (account.address, alloy::primitives::U256::MAX >> 128)).collect(),
                gas_limit: DevGenesis::DEFAULT_GAS_LIMIT,
                base_fee: 0,
                timestamp: 1_704_067_200,
                extension: json!({ "dev": true, "sharedSeconds": true }),
            }
            .to_json(),
        )?;
        if let Some(code) = code {
            genesis["alloc"][CONTRACT.to_string()] = json!({ "balance": "0x0", "code": code });
        }
        let defaults = default_options(sealing, TimeSource::Wall);
        let setup = ChainSetup {
            name: name.parse()?,
            runtime: self.runtime.clone(),
            consensus: self.consensus.clone(),
            spec: genesis.to_string().into_bytes().into(),
            consensus_config: sealing.consensus_config().into_bytes(),
            retention: Retention::Last(64),
            slice: Slice {
                cpu: Parts::new(parts).unwrap_or(Parts::ONE),
                memory_bytes: MEMORY,
                storage_bytes: STORAGE,
                bandwidth_bytes: u64::MAX,
            },
            accounts: Arc::new(Signers::of(&self.accounts)),
            options: ChainOptions { pool: PoolLimits { bytes: 32 << 20, ..defaults.pool }, ..defaults },
        };
        Ok(Box::pin(node.open(setup)).await?)
    }
}

async fn call(chain: &Chain, method: &str, params: Value) -> anyhow::Result<()> {
    let answered = chain.query(method, params.to_string().as_bytes(), None).await;
    answered.map(drop).map_err(|error| anyhow!("{method}: {}", error.message))
}

/// What neighbours are told.
#[derive(Default)]
struct Orders {
    attack: AtomicBool,
    stop: AtomicBool,
}

/// Does what a neighbour does when it is told to, until it is told to stop.
async fn attack(chain: Chain, hostile: Hostile, from: Vec<Address>, orders: Arc<Orders>) {
    let mut tasks = JoinSet::new();
    let session = Arc::new(Session::new(64, 4 << 20));
    if hostile == Hostile::Logs {
        drop(chain.query("eth_subscribe", b"[\"logs\"]", Some(&session.0)).await);
    }
    let in_flight = match hostile {
        Hostile::Loop | Hostile::Storage | Hostile::Logs => 2,
        Hostile::Pool | Hostile::Queries | Hostile::Memory => IN_FLIGHT,
    };
    for index in 0..in_flight {
        let (chain, orders, from) = (chain.clone(), orders.clone(), from[index % from.len()]);
        let session = session.clone();
        tasks.spawn(async move {
            let _session = session;
            while !orders.stop.load(Ordering::Relaxed) {
                if !orders.attack.load(Ordering::Relaxed) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                    continue;
                }
                // Refusals are what it wants to provoke; it goes on.
                let (method, params) = match hostile {
                    Hostile::Loop | Hostile::Storage | Hostile::Logs => {
                        ("eth_sendTransaction", json!([{ "from": from, "to": CONTRACT, "gas": "0x1c9c380" }]))
                    }
                    Hostile::Pool => ("eth_sendTransaction", json!([{ "from": from, "to": from, "gas": "0x5208" }])),
                    Hostile::Queries | Hostile::Memory => ("eth_call", json!([{ "to": CONTRACT, "gas": "0x5f5e100" }, "latest"])),
                };
                drop(call(&chain, method, params).await);
                tokio::task::yield_now().await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// What the victim saw: latencies in milliseconds, and the CPU time that its turns took for each block and the calls beside it. A block that
/// takes longer at the same CPU time waited; where the CPU time grows, a neighbour slowed the core itself down.
#[derive(Default)]
struct Seen {
    blocks: Vec<f64>,
    calls: Vec<f64>,
    cpu_ms: Vec<f64>,
}

async fn victim(chain: &Chain, accounts: &[Account], seen: &mut Seen) -> anyhow::Result<()> {
    let (ran_ns, until) = (chain.stats().usage.ran_ns, Instant::now() + ROUND);
    let (from, to) = (accounts[0].address, accounts[1].address);
    let calls = async {
        let mut latencies = Vec::new();
        let mut ticks = tokio::time::interval(CALL_EVERY);
        while Instant::now() < until {
            ticks.tick().await;
            let started = Instant::now();
            call(chain, "eth_call", json!([{ "from": from, "to": to, "value": "0x1" }, "latest"])).await?;
            latencies.push(started.elapsed().as_secs_f64() * 1e3);
        }
        anyhow::Ok(latencies)
    };
    let blocks = async {
        let mut latencies = Vec::new();
        let mut ticks = tokio::time::interval(BLOCK_EVERY);
        while Instant::now() < until {
            ticks.tick().await;
            let started = Instant::now();
            for _ in 0..TRANSFERS {
                call(chain, "eth_sendTransaction", json!([{ "from": from, "to": to, "value": "0x1", "gas": "0x5208" }])).await?;
            }
            call(chain, "evm_mine", json!([])).await?;
            latencies.push(started.elapsed().as_secs_f64() * 1e3);
        }
        anyhow::Ok(latencies)
    };
    let (calls, blocks) = tokio::join!(calls, blocks);
    let blocks = blocks?;
    seen.cpu_ms.push((chain.stats().usage.ran_ns - ran_ns) as f64 / 1e6 / blocks.len() as f64);
    seen.blocks.extend(blocks);
    seen.calls.extend(calls?);
    Ok(())
}

/// What the victim saw in quiet, and beside these.
async fn beside(bench: &Bench, hostiles: &[Hostile]) -> anyhow::Result<[Seen; 2]> {
    let dir = tempfile::tempdir()?;
    let node = Node::yielding(Arc::new(RocksStore::open(dir.path(), &RocksOptions::SMALL)?), None);
    let chain = bench.open(&node, "victim", 1, Sealing::Manual, None).await?;
    let orders = Arc::<Orders>::default();
    let (mut attacks, mut chains) = (JoinSet::new(), Vec::new());
    for (index, hostile) in hostiles.iter().enumerate() {
        let hostile_chain = bench.open(&node, &format!("hostile{index}"), 1, Sealing::Instant, Some(hostile.code())).await?;
        chains.push(hostile_chain.clone());
        let from = bench.accounts.iter().map(|account| account.address).collect();
        attacks.spawn(attack(hostile_chain, *hostile, from, orders.clone()));
    }
    let mut seen: [Seen; 2] = Default::default();
    for _ in 0..ROUNDS {
        for (loud, seen) in [false, true].into_iter().zip(&mut seen) {
            orders.attack.store(loud, Ordering::Relaxed);
            for hostile in &chains {
                hostile.set_paused(!loud).await.map_err(|error| anyhow!(error.message))?;
            }
            tokio::time::sleep(SETTLES).await;
            victim(&chain, &bench.accounts, seen).await?;
        }
    }
    orders.stop.store(true, Ordering::Relaxed);
    node.stop().await;
    while attacks.join_next().await.is_some() {}
    Ok(seen)
}

/// Parts of chains that are all busy.
const SHARES: [u32; 8] = [1, 1, 2, 2, 4, 4, 8, 8];

/// CPU time that busy chains got, against their parts.
async fn shares(bench: &Bench) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let node = Node::yielding(Arc::new(RocksStore::open(dir.path(), &RocksOptions::SMALL)?), None);
    let orders = Arc::<Orders>::default();
    orders.attack.store(true, Ordering::Relaxed);
    let mut attacks = JoinSet::new();
    let mut chains = Vec::new();
    for (index, parts) in SHARES.iter().enumerate() {
        // Different work takes different fuel for the same time.
        let hostile = [Hostile::Queries, Hostile::Memory][index % 2];
        let chain = bench.open(&node, &format!("busy{index}"), *parts, Sealing::Instant, Some(hostile.code())).await?;
        chains.push(chain.clone());
        attacks.spawn(attack(chain, hostile, bench.accounts.iter().map(|account| account.address).collect(), orders.clone()));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = |chain: &Chain| chain.stats().usage.ran_ns;
    let before: Vec<u64> = chains.iter().map(used).collect();
    tokio::time::sleep(TIME).await;
    let ran: Vec<f64> = chains.iter().zip(&before).map(|(chain, before)| (used(chain) - before) as f64 / 1e9).collect();
    orders.stop.store(true, Ordering::Relaxed);
    node.stop().await;
    while attacks.join_next().await.is_some() {}
    let (all, parts): (f64, f64) = (ran.iter().sum(), SHARES.iter().map(|parts| f64::from(*parts)).sum());
    println!("\n## CPU time of busy chains\n");
    println!("| parts | share of the time | of the parts | ratio |\n|---|---|---|---|");
    let mut ratios = Vec::new();
    for (ran, of) in ran.iter().zip(SHARES) {
        let (got, entitled) = (ran / all, f64::from(of) / parts);
        ratios.push(got / entitled);
        println!("| {of} | {:.2} % | {:.2} % | **{:.3}** |", got * 100.0, entitled * 100.0, got / entitled);
    }
    let (sum, squares) = ratios.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
    println!("\nJain's index {:.4}; {:.2} cores used.", sum * sum / (ratios.len() as f64 * squares), all / TIME.as_secs_f64());
    Ok(())
}

fn row(name: &str, quiet: &[f64], loud: &[f64]) -> String {
    let p99 = |latencies: &[f64]| quantile(latencies, 0.99);
    format!(
        "| {name} | {:.2} ms | {:.2} ms | {:.2} ms | {:.2} ms | **{:.2}** |",
        median(quiet),
        median(loud),
        p99(quiet),
        p99(loud),
        p99(loud) / p99(quiet),
    )
}

/// Prints the tables.
pub(crate) async fn run() -> anyhow::Result<()> {
    println!("\n## A chain of one part beside hostile ones of one part\n");
    println!(
        "| neighbour | block p50, quiet | beside it | p99, quiet | beside it | ratio | CPU a block and its calls, quiet | beside it |"
    );
    println!("|---|---|---|---|---|---|---|---|");
    let bench = Bench::new()?;
    let mut cases: Vec<(String, Vec<Hostile>)> = Hostile::ALL.map(|hostile| (format!("{hostile:?}").to_lowercase(), vec![hostile])).into();
    cases.push(("all together".into(), Hostile::ALL.to_vec()));
    let mut calls = Vec::new();
    for (name, hostiles) in cases {
        let [quiet, loud] = Box::pin(beside(&bench, &hostiles)).await?;
        let cpu = format!(" {:.2} ms | {:.2} ms |", median(&quiet.cpu_ms), median(&loud.cpu_ms));
        println!("{}{cpu}", row(&name, &quiet.blocks, &loud.blocks));
        calls.push(row(&name, &quiet.calls, &loud.calls));
    }
    println!("\n| neighbour | eth_call p50, quiet | beside it | p99, quiet | beside it | ratio |");
    println!("|---|---|---|---|---|---|\n{}", calls.join("\n"));
    Box::pin(shares(&bench)).await
}
