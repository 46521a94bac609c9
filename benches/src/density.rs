//! Many durable chains on one `subnode run`: idle, created and deleted, and all at work.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::{eips::Encodable2718, primitives::hex};
use anyhow::ensure;
use serde_json::{Value, json};
use subnode_chain::{Chain, TimeSource};
use subnode_devnet::{Account, DEFAULT_MNEMONIC, Signers, accounts, default_options, module_cache_dir};
use subnode_node::{ChainSetup, Node};
use subnode_sandbox::{Sandbox, SandboxOptions};
use subnode_storage::{Retention, RocksOptions, RocksStore, Store};
use subnode_tests::operator::{GENESIS, Home};
use subnode_types::{Parts, Sealing, Slice};

use crate::{
    machine::cpu_seconds,
    ratio::{median, quantile},
    workload::{CONTRACT, Workload},
};

/// How long idle chains are watched, and busy ones.
const IDLE: Duration = Duration::from_secs(10);
const BUSY: Duration = Duration::from_secs(20);
/// Chains that come and go beside 127 others.
const COMERS: usize = 100;
const CHAINS: usize = 128;
/// Transfers of each chain's block of each second.
const TRANSFERS: usize = 20;

/// Prints the tables.
pub(crate) async fn run() -> anyhow::Result<()> {
    println!("\n## Idle durable chains\n");
    println!("| chains | to make all | open to ready | resident | of one core | answer all |\n|---|---|---|---|---|---|");
    for chains in [CHAINS, 1_000] {
        idle(chains)?;
    }
    comers()?;
    Box::pin(busy()).await
}

fn configured(chains: usize) -> String {
    // As many parts as there are chains: what is measured is what they cost, not what they are promised.
    let chains = (0..chains).map(|index| format!("[[chain]]\nname = \"c{index}\"\ngenesis = \"genesis.json\"\nslice = 1\nmemory = \"4MiB\"\nstorage = \"4MiB\"\nbandwidth = 1000\n"));
    format!("parts = 2000\n{}", chains.collect::<String>())
}

fn idle(chains: usize) -> anyhow::Result<()> {
    let home = Home::new(&configured(chains))?;
    let started = Instant::now();
    let node = home.start()?;
    let made = started.elapsed();
    ensure!(node.stop()?, "it does not stop");
    let started = Instant::now();
    let mut node = home.start()?;
    let opened = started.elapsed();
    let process = node.run.child().id();
    // The first sweep of idle instances is behind it.
    std::thread::sleep(Duration::from_secs(12));
    let (before, since) = (cpu_seconds(process), Instant::now());
    std::thread::sleep(IDLE);
    let cpu = (cpu_seconds(process) - before) / since.elapsed().as_secs_f64();
    let status = node.operator.call("node_status", json!({}))?;
    let started = Instant::now();
    for chain in 0..chains {
        node.chain(&format!("c{chain}"))?.call("eth_blockNumber", &json!([]))?;
    }
    let answered = started.elapsed();
    println!(
        "| {chains} | {:.2} s | **{:.2} s** | **{} MiB** | **{:.2} %** | {:.2} s |",
        made.as_secs_f64(),
        opened.as_secs_f64(),
        status["residentBytes"].as_u64().unwrap_or_default() >> 20,
        cpu * 100.0,
        answered.as_secs_f64()
    );
    Ok(())
}

fn comers() -> anyhow::Result<()> {
    println!("\n## Durable chains that come and go, {} others running\n", CHAINS - 1);
    println!("| | p50 | p99 |\n|---|---|---|");
    let home = Home::new(&configured(CHAINS - 1))?;
    let mut node = home.start()?;
    let params =
        json!({ "name": "comer", "genesis": GENESIS, "slice": 1, "memoryBytes": 4 << 20, "storageBytes": 4 << 20, "bandwidthBytes": 1000 });
    let name = json!({ "name": "comer" });
    let mut times: [Vec<f64>; 3] = Default::default();
    for _ in 0..COMERS {
        for (times, (method, params)) in times.iter_mut().zip([("chain_create", &params), ("chain_stop", &name), ("chain_delete", &name)]) {
            let started = Instant::now();
            node.operator.call(method, Value::clone(params))?;
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    for (what, times) in ["create", "stop", "delete"].iter().zip(&times) {
        println!("| {what} | **{:.1} ms** | **{:.1} ms** |", median(times), quantile(times, 0.99));
    }
    Ok(())
}

/// What chains at work cost.
struct Cost {
    late_p50: f64,
    late_p99: f64,
    blocks: usize,
    syncs_per_second: f64,
    cores: f64,
}

async fn busy() -> anyhow::Result<()> {
    println!("\n## {CHAINS} durable chains, a block of {TRANSFERS} transfers each second\n");
    println!("| stores | late p50 | p99 | blocks on the way | synced writes/s | cores |\n|---|---|---|---|---|---|");
    let one = Box::pin(at_work(1)).await?;
    let many = Box::pin(at_work(CHAINS)).await?;
    for (stores, cost) in [(1, &one), (CHAINS, &many)] {
        println!(
            "| {stores} | {:.1} ms | **{:.1} ms** | {} | {:.0} | {:.2} |",
            cost.late_p50, cost.late_p99, cost.blocks, cost.syncs_per_second, cost.cores
        );
    }
    println!("| 1 against {CHAINS} | | | | **{:.3}** | **{:.2}** |", one.syncs_per_second / many.syncs_per_second, one.cores / many.cores);
    Ok(())
}

async fn open(stores: &[Arc<RocksStore>], accounts: &[Account]) -> anyhow::Result<(Vec<Arc<Node>>, Vec<Chain>)> {
    let sandbox = Sandbox::new(&SandboxOptions { instances: 2_048, cache_dir: module_cache_dir() })?;
    let (runtime, consensus) = (sandbox.load(subnode_modules::EVM)?, sandbox.load(subnode_modules::SOLO)?);
    let nodes: Vec<_> = stores.iter().map(|store| Node::new(store.clone())).collect();
    let sealing = Sealing::Interval(std::num::NonZeroU64::new(1_000).unwrap_or(std::num::NonZeroU64::MIN));
    let mut chains = Vec::new();
    for index in 0..CHAINS {
        let setup = ChainSetup {
            name: format!("c{index}").parse()?,
            runtime: runtime.clone(),
            consensus: consensus.clone(),
            spec: Workload::Transfer.genesis(accounts).to_string().into_bytes().into(),
            consensus_config: sealing.consensus_config().into_bytes(),
            retention: Retention::Last(64),
            slice: Slice { cpu: Parts::ONE, ..Slice::WHOLE },
            accounts: Arc::new(Signers::default()),
            options: default_options(sealing, TimeSource::Wall),
        };
        chains.push(Box::pin(nodes[index % nodes.len()].open(setup)).await?);
    }
    Ok((nodes, chains))
}

async fn at_work(count: usize) -> anyhow::Result<Cost> {
    let dir = tempfile::tempdir()?;
    let accounts = accounts(DEFAULT_MNEMONIC, 10)?;
    let stores = (0..count).map(|store| Ok(Arc::new(RocksStore::open(&dir.path().join(store.to_string()), &RocksOptions::SMALL)?)));
    let stores: Vec<Arc<RocksStore>> = stores.collect::<anyhow::Result<_>>()?;
    let (nodes, chains) = open(&stores, &accounts).await?;
    let seconds = usize::try_from(BUSY.as_secs())? + 2;
    let signed: Arc<Vec<String>> = Arc::new(
        Workload::Transfer
            .signed(&accounts, CONTRACT, 0, seconds * TRANSFERS, 1_000_000_000)
            .iter()
            .map(|(_, transaction)| json!([hex::encode_prefixed(transaction.encoded_2718())]).to_string())
            .collect(),
    );
    let syncs = || stores.iter().map(|store| store.usage().synced_writes).sum::<u64>();
    let (syncs_before, cpu_before, started) = (syncs(), cpu_seconds(std::process::id()), Instant::now());
    let mut tasks = tokio::task::JoinSet::new();
    for (index, chain) in chains.into_iter().enumerate() {
        let signed = signed.clone();
        tasks.spawn(async move {
            // Clients of different chains do not send in step.
            tokio::time::sleep(Duration::from_millis(index as u64 * 1_000 / CHAINS as u64)).await;
            let (mut late, mut seen) = (Vec::new(), chain.stats());
            let mut ticks = tokio::time::interval(Duration::from_millis(1_000 / TRANSFERS as u64));
            for transfer in signed.iter() {
                ticks.tick().await;
                chain.query("eth_sendRawTransaction", transfer.as_bytes(), None).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
                let now = chain.stats();
                if now.blocks > seen.blocks {
                    late.push((now.late_us - seen.late_us) as f64 / 1e3 / (now.blocks - seen.blocks) as f64);
                    seen = now;
                }
                if started.elapsed() > BUSY {
                    break;
                }
            }
            anyhow::Ok(late)
        });
    }
    let mut late = Vec::new();
    while let Some(done) = tasks.join_next().await {
        late.extend(done??);
    }
    let elapsed = started.elapsed().as_secs_f64();
    let cost = Cost {
        late_p50: median(&late),
        late_p99: quantile(&late, 0.99),
        blocks: late.len(),
        syncs_per_second: (syncs() - syncs_before) as f64 / elapsed,
        cores: (cpu_seconds(std::process::id()) - cpu_before) / elapsed,
    };
    for node in nodes {
        node.stop().await;
    }
    Ok(cost)
}
