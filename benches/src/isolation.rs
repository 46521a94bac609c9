//! A small chain beside hostile ones on one node: what it waits for, against what it waits for alone.

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

/// How long each neighbour is measured.
const TIME: Duration = Duration::from_secs(6);
/// What the victim does: a block with some transfers so often, and a call in between.
const BLOCK_EVERY: Duration = Duration::from_millis(20);
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
            spec: genesis.to_string().into_bytes(),
            consensus_config: sealing.solo_config().into_bytes(),
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

/// Does what a neighbour does, until it is told to stop.
async fn attack(chain: Chain, hostile: Hostile, from: Vec<Address>, stop: Arc<AtomicBool>) {
    let mut tasks = JoinSet::new();
    let session = Arc::new(Session::new(64));
    if hostile == Hostile::Logs {
        drop(chain.query("eth_subscribe", b"[\"logs\"]", Some(&session.0)).await);
    }
    let in_flight = match hostile {
        Hostile::Loop | Hostile::Storage | Hostile::Logs => 2,
        Hostile::Pool | Hostile::Queries | Hostile::Memory => IN_FLIGHT,
    };
    for index in 0..in_flight {
        let (chain, stop, from) = (chain.clone(), stop.clone(), from[index % from.len()]);
        let session = session.clone();
        tasks.spawn(async move {
            let _session = session;
            while !stop.load(Ordering::Relaxed) {
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

/// Latencies of the victim, in milliseconds.
struct Latencies {
    blocks: Vec<f64>,
    calls: Vec<f64>,
}

async fn victim(chain: &Chain, accounts: &[Account]) -> anyhow::Result<Latencies> {
    let until = Instant::now() + TIME;
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
    Ok(Latencies { blocks: blocks?, calls: calls? })
}

async fn beside(bench: &Bench, hostiles: &[Hostile]) -> anyhow::Result<Latencies> {
    let dir = tempfile::tempdir()?;
    let node = Node::new(Arc::new(RocksStore::open(dir.path(), &RocksOptions::SMALL)?));
    let chain = bench.open(&node, "victim", 1, Sealing::Manual, None).await?;
    let stop = Arc::new(AtomicBool::new(false));
    let mut attacks = JoinSet::new();
    for (index, hostile) in hostiles.iter().enumerate() {
        let hostile_chain = bench.open(&node, &format!("hostile{index}"), 1, Sealing::Instant, Some(hostile.code())).await?;
        let from = bench.accounts.iter().map(|account| account.address).collect();
        attacks.spawn(attack(hostile_chain, *hostile, from, stop.clone()));
    }
    // The attack is at its height when it is measured.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let latencies = victim(&chain, &bench.accounts).await;
    stop.store(true, Ordering::Relaxed);
    node.stop().await;
    while attacks.join_next().await.is_some() {}
    latencies
}

/// Parts of chains that are all busy.
const SHARES: [u32; 8] = [1, 1, 2, 2, 4, 4, 8, 8];

/// CPU time that busy chains got, against their parts.
async fn shares(bench: &Bench) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let node = Node::new(Arc::new(RocksStore::open(dir.path(), &RocksOptions::SMALL)?));
    let stop = Arc::new(AtomicBool::new(false));
    let mut attacks = JoinSet::new();
    let mut chains = Vec::new();
    for (index, parts) in SHARES.iter().enumerate() {
        // Different work takes different fuel for the same time.
        let hostile = [Hostile::Queries, Hostile::Memory][index % 2];
        let chain = bench.open(&node, &format!("busy{index}"), *parts, Sealing::Instant, Some(hostile.code())).await?;
        chains.push(chain.clone());
        attacks.spawn(attack(chain, hostile, bench.accounts.iter().map(|account| account.address).collect(), stop.clone()));
    }
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = |chain: &Chain| chain.stats().usage.ran_ns;
    let before: Vec<u64> = chains.iter().map(used).collect();
    tokio::time::sleep(TIME).await;
    let ran: Vec<f64> = chains.iter().zip(&before).map(|(chain, before)| (used(chain) - before) as f64 / 1e9).collect();
    stop.store(true, Ordering::Relaxed);
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

/// Prints the tables.
pub(crate) async fn run() -> anyhow::Result<()> {
    println!("\n## A chain of one part beside hostile ones of one part\n");
    println!("| neighbour | block p50 | p99 | to alone | eth_call p50 | p99 | to alone |\n|---|---|---|---|---|---|---|");
    let bench = Bench::new()?;
    let mut alone: Option<Latencies> = None;
    let mut cases: Vec<(String, Vec<Hostile>)> = vec![("none".into(), Vec::new())];
    cases.extend(Hostile::ALL.map(|hostile| (format!("{hostile:?}").to_lowercase(), vec![hostile])));
    cases.push(("all together".into(), Hostile::ALL.to_vec()));
    for (name, hostiles) in cases {
        let latencies = Box::pin(beside(&bench, &hostiles)).await?;
        let quiet = alone.as_ref().unwrap_or(&latencies);
        let p99 = |latencies: &[f64]| quantile(latencies, 0.99);
        println!(
            "| {name} | {:.2} ms | {:.2} ms | **{:.2}** | {:.2} ms | {:.2} ms | **{:.2}** |",
            median(&latencies.blocks),
            p99(&latencies.blocks),
            p99(&latencies.blocks) / p99(&quiet.blocks),
            median(&latencies.calls),
            p99(&latencies.calls),
            p99(&latencies.calls) / p99(&quiet.calls),
        );
        alone.get_or_insert(latencies);
    }
    Box::pin(shares(&bench)).await
}
