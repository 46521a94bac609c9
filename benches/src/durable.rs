//! Chains on disk with every block synced: 32 chains in one store, whose batches share a sync, against 32 stores.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use alloy::eips::Encodable2718;
use alloy::primitives::hex;
use serde_json::json;
use subnode_chain::TimeSource;
use subnode_devnet::{Account, DEFAULT_MNEMONIC, Signers, accounts, default_options, module_cache_dir};
use subnode_node::{ChainSetup, Node};
use subnode_sandbox::{Sandbox, SandboxOptions};
use subnode_storage::{Retention, RocksOptions, RocksStore};
use subnode_types::{ChainName, Sealing, Slice};

use crate::workload::{CONTRACT, Workload};

const CHAINS: usize = 32;
const TIME: Duration = Duration::from_secs(5);
/// Transfers a block: with one, a block is mostly its synced write; with twenty, mostly their signatures.
const BLOCKS: [usize; 2] = [1, 20];
const STORE: RocksOptions = RocksOptions::SMALL;

/// Prints the table.
pub(crate) async fn run() -> anyhow::Result<()> {
    let accounts = accounts(DEFAULT_MNEMONIC, 10)?;
    println!("\n## Durable chains, every block synced\n");
    println!("| chains and stores | transfers a block | blocks/s | transfers/s |\n|---|---|---|---|");
    let sandbox = Sandbox::new(&SandboxOptions { instances: 512, cache_dir: module_cache_dir() })?;
    for transfers in BLOCKS {
        let mut rates = Vec::new();
        for (chains, stores) in [(1, 1), (CHAINS, 1), (CHAINS, CHAINS)] {
            let dir = tempfile::tempdir()?;
            let rate = blocks_per_second(&sandbox, dir.path(), &accounts, transfers, (chains, stores)).await?;
            println!("| {chains} in {stores} | {transfers} | {rate:.0} | {:.0} |", rate * transfers as f64);
            rates.push(rate);
        }
        println!("| {CHAINS} in 1 against {CHAINS} in {CHAINS} | {transfers} | **{:.2}** | |", rates[1] / rates[2]);
    }
    Ok(())
}

async fn blocks_per_second(
    sandbox: &Sandbox,
    dir: &Path,
    accounts: &[Account],
    transfers: usize,
    (chains, stores): (usize, usize),
) -> anyhow::Result<f64> {
    let mut nodes = Vec::new();
    for store in 0..stores {
        let store = RocksStore::open(&dir.join(store.to_string()), &STORE)?;
        nodes.push(Node::new(Arc::new(store)));
    }
    let (runtime, consensus) = (sandbox.load(subnode_modules::EVM)?, sandbox.load(subnode_modules::SOLO)?);
    let mut tasks = tokio::task::JoinSet::new();
    let mut opened = Vec::new();
    for index in 0..chains {
        let name: ChainName = format!("bench{index}").parse()?;
        let setup = ChainSetup {
            name,
            runtime: runtime.clone(),
            consensus: consensus.clone(),
            spec: Workload::Transfer.genesis(accounts).to_string().into_bytes().into(),
            consensus_config: Sealing::Manual.consensus_config().into_bytes(),
            retention: Retention::Last(64),
            slice: Slice::WHOLE,
            accounts: Arc::new(Signers::default()),
            options: default_options(Sealing::Manual, TimeSource::Wall),
        };
        opened.push(Box::pin(nodes[index % stores].open(setup)).await?);
    }
    let signed: Arc<Vec<String>> = Arc::new(
        Workload::Transfer
            .signed(accounts, CONTRACT, 0, 40_000, 1_000_000_000)
            .iter()
            .map(|(_, transaction)| json!([hex::encode_prefixed(transaction.encoded_2718())]).to_string())
            .collect(),
    );
    let started = Instant::now();
    let until = started + TIME;
    for chain in opened {
        let signed = signed.clone();
        tasks.spawn(async move {
            let mut blocks = 0_u64;
            for block in signed.chunks(transfers) {
                if Instant::now() >= until {
                    break;
                }
                let sent = block.iter().map(|params| chain.query("eth_sendRawTransaction", params.as_bytes(), None));
                for sent in futures_util::future::join_all(sent).await {
                    sent.map_err(|error| anyhow::anyhow!("{error:?}"))?;
                }
                chain.query("evm_mine", b"[]", None).await.map_err(|error| anyhow::anyhow!("{error:?}"))?;
                blocks += 1;
            }
            anyhow::Ok(blocks)
        });
    }
    let mut blocks = 0;
    while let Some(done) = tasks.join_next().await {
        blocks += done??;
    }
    let rate = blocks as f64 / started.elapsed().as_secs_f64();
    for node in nodes {
        node.stop().await;
    }
    Ok(rate)
}
