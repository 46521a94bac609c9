//! `subnode run`: a durable node.

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use anyhow::Context;
use subnode_chain::{ChainOptions, PoolLimits, TimeSource};
use subnode_devnet::{Signers, default_options, module_cache_dir, sealing_config};
use subnode_node::{ChainSetup, Node};
use subnode_rpc::RpcLimits;
use subnode_sandbox::{Limits, Module, Sandbox, SandboxOptions};
use subnode_storage::{Retention, RocksOptions, RocksStore};
use subnode_types::{Sealing, Slice};

use crate::{
    args::RunArgs,
    config::{self, ChainConfig, Config, HistoryConfig, SealingConfig},
    shutdown,
};

pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    super::log("info");
    let config = config::load(&args.config)?;
    let shutdown = shutdown::token()?;
    let listener = super::bind(config.rpc.listen).await?;
    let address = listener.local_addr()?;
    let node = open(&config).await?;
    tracing::info!(%address, chains = config.chains.len(), "ready");
    subnode_rpc::serve(node.clone(), listener, limits(&config), shutdown).await?;
    tracing::info!("stopping");
    node.stop().await;
    Ok(())
}

fn limits(config: &Config) -> RpcLimits {
    RpcLimits { connections: config.rpc.connections, request_bytes: config.rpc.request_bytes, ..RpcLimits::DEFAULT }
}

async fn open(config: &Config) -> anyhow::Result<Arc<Node>> {
    let instances = u32::try_from(config.chains.len()).unwrap_or(u32::MAX).saturating_mul(4).saturating_add(256);
    let sandbox = Sandbox::new(&SandboxOptions { instances, cache_dir: module_cache_dir() })?;
    let options = RocksOptions { cache_bytes: 128 << 20, write_buffer_bytes: 128 << 20, ..RocksOptions::SMALL };
    let store = RocksStore::open(&config.data_dir, &options)?;
    let node = Node::new(Arc::new(store));
    for chain in &config.chains {
        let setup = setup(&sandbox, chain)?;
        let opened = Box::pin(node.open(setup)).await;
        opened.with_context(|| super::opening("a chain", chain.genesis.as_deref()))?;
        tracing::info!(chain = %chain.name, "open");
    }
    Ok(node)
}

fn module(sandbox: &Sandbox, name: &str) -> anyhow::Result<Module> {
    let file;
    let component = match subnode_modules::by_name(name) {
        Some(embedded) => embedded,
        None => {
            file = std::fs::read(name).with_context(|| format!("module {name:?} is neither embedded (evm, kv, solo) nor a file"))?;
            &file
        }
    };
    sandbox.load(component).with_context(|| format!("module {name}"))
}

fn setup(sandbox: &Sandbox, chain: &ChainConfig) -> anyhow::Result<ChainSetup> {
    let sealing = match chain.sealing {
        SealingConfig::Instant => Sealing::Instant,
        SealingConfig::Manual => Sealing::Manual,
        SealingConfig::Interval(ms) => NonZeroU64::new(ms).map_or(Sealing::Instant, Sealing::Interval),
    };
    let spec = match &chain.genesis {
        Some(path) => std::fs::read(path).with_context(|| format!("chain {}: read its genesis {}", chain.name, path.display()))?,
        None => Vec::new(),
    };
    let defaults = default_options(sealing, TimeSource::Wall);
    Ok(ChainSetup {
        name: chain.name.clone(),
        runtime: module(sandbox, &chain.runtime).with_context(|| format!("chain {}", chain.name))?,
        consensus: module(sandbox, &chain.consensus).with_context(|| format!("chain {}", chain.name))?,
        spec,
        consensus_config: sealing_config(sealing).into_bytes(),
        retention: match chain.history {
            HistoryConfig::Archive => Retention::Archive,
            HistoryConfig::Last(heights) => Retention::Last(heights),
        },
        slice: Slice::WHOLE,
        accounts: Arc::new(Signers::default()),
        options: ChainOptions {
            controls: chain.controls,
            pool: PoolLimits { bytes: chain.pool_bytes, ..defaults.pool },
            query: Limits { wall: Duration::from_secs(10), ..defaults.query },
            ..defaults
        },
    })
}
