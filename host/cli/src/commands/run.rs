//! `subnode run`: a durable node.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use subnode_chain::ChainOptions;
use subnode_devnet::{Signers, default_options, module_cache_dir};
use subnode_network::{Network, NetworkOptions, NodeKey};
use subnode_node::{Desired, LogBook, Machine, Modules, Origin, Overlay, Peering, Supervisor, SupervisorParts, Wanted};
use subnode_rpc::{Admin, RpcLimits};
use subnode_sandbox::{Limits, Sandbox, SandboxOptions};
use subnode_scheduler::{Capacity, SliceRequest};
use subnode_storage::{MemoryStore, Retention, RocksOptions, RocksStore};
use subnode_types::{ByteSize, ChainName, Parts, Sealing};
use tokio::net::TcpListener;

use crate::{
    args::RunArgs,
    commands::key::Secrets,
    config::{self, CapacityConfig, ChainConfig, Config, HistoryConfig, NetworkConfig},
    confine::{Reach, confine},
    logging::{self, Levels},
    service, shutdown,
};

/// Instances of all chains at once. They cost address space, not memory: a chain has one for its consensus, and some for each of its
/// queries.
const INSTANCES: u32 = 8_192;

/// Calls of one chain that wait, beside the 32 that run. Together they are a quarter of the requests that the port answers at once:
/// one chain's clients cannot take all places.
const QUERIES_WAITING_MAX: usize = 96;

/// Column families kept ready for chains that operators make: some come at once.
const FAMILIES_READY: usize = 8;

/// Nodes that follow chains of this one without a vote.
const STRANGERS_MAX: usize = 64;

/// A node that is confined and has not begun.
pub struct Prepared {
    path: PathBuf,
    config: Config,
    logs: Arc<LogBook>,
    levels: Levels,
    /// Where the node is in a network.
    secrets: Option<Secrets>,
}

/// Reads the configuration and confines the process to what it names. Before any thread is started: a thread is confined only by
/// the one that starts it.
pub fn prepare(args: RunArgs) -> anyhow::Result<Prepared> {
    let config = config::load(&args.config)?;
    let logs = Arc::new(LogBook::default());
    let levels = logging::start(&config, logs.clone());
    let directory = |path: &Path| std::fs::create_dir_all(path).with_context(|| format!("make the directory {}", path.display()));
    directory(&config.data_dir)?;
    let parent = |path: &Path| path.parent().map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir }.to_owned());
    let mut reach = Reach { writable: vec![config.data_dir.clone()], readable: Vec::new() };
    if let Some(cache) = module_cache_dir() {
        // Without it modules are compiled at each start: slower, not wrong.
        drop(std::fs::create_dir_all(&cache));
        reach.writable.push(cache);
    }
    reach.writable.extend(parent(&config.socket()));
    reach.readable.extend(parent(&args.config));
    // Read before the process is confined: the key that attests may have to be made, where nothing else is written.
    let secrets = config.network.as_ref().map(|network| super::key::secrets(&network.key, network.password_file.as_deref())).transpose()?;
    for chain in &config.chains {
        let file = |module: &String| config::is_file(module).then(|| module.into());
        let files = [chain.genesis.clone(), file(&chain.runtime), file(&chain.consensus)];
        reach.readable.extend(files.into_iter().flatten());
    }
    for lacking in confine(&reach) {
        tracing::warn!("{lacking}; a guest that broke out of its sandbox would be held by less");
    }
    Ok(Prepared { path: args.config, config, logs, levels, secrets })
}

pub async fn run(prepared: Prepared) -> anyhow::Result<()> {
    let Prepared { path, config, logs, levels, secrets } = prepared;
    let shutdown = shutdown::token()?;
    let mut reloads = service::reloads()?;

    let listener = super::bind(config.rpc.listen, "set rpc.listen to another").await?;
    let address = listener.local_addr()?;
    let metrics = match config.metrics.listen {
        None => None,
        Some(address) => Some(super::bind(address, "set metrics.listen to another").await?),
    };
    let options = RocksOptions {
        cache_bytes: 128 << 20,
        write_buffer_bytes: 128 << 20,
        families_ready: FAMILIES_READY,
        families_at_open: config.chains.len() + FAMILIES_READY,
        disk_free_bytes_min: config.capacity.keep_free,
        ..RocksOptions::SMALL
    };
    let store = Arc::new(RocksStore::open(&config.data_dir, &options)?);
    let socket = config.socket();
    let admin_listener = subnode_rpc::bind_admin(&socket)
        .with_context(|| format!("cannot listen on {}; give a shorter path or another directory as admin.socket", socket.display()))?;
    let sandbox = Sandbox::new(&SandboxOptions { instances: INSTANCES, cache_dir: module_cache_dir() })?;
    let modules = Modules::new(sandbox, &subnode_modules::ALL, config.data_dir.join("modules"));
    let capacity = capacity(&config.capacity, &config.data_dir, &*store)?;
    let configured = desired(&config, &modules, capacity)?;
    let parts = SupervisorParts {
        store,
        modules: modules.clone(),
        capacity,
        options: chain_options(),
        accounts: Arc::new(Signers::default()),
        disk_free_bytes_min: config.capacity.keep_free,
        peering: config.network.as_ref().zip(secrets).map(|(network, secrets)| peering(network, secrets)).transpose()?,
    };
    let supervisor = Box::pin(Supervisor::start(parts, configured)).await?;

    let stop = shutdown.child_token();
    let mut servers = tokio::task::JoinSet::new();
    let admin = Admin { supervisor: supervisor.clone(), logs };
    servers.spawn(subnode_rpc::serve_admin(admin, admin_listener, stop.clone()));
    servers.spawn(subnode_rpc::serve(supervisor.node().clone(), listener, limits(&config), stop.clone()));
    if let Some(listener) = metrics {
        announce_metrics(&listener);
        servers.spawn(subnode_rpc::serve_metrics(supervisor.clone(), listener, stop.clone()));
    }
    let chains = supervisor.list().len();
    tracing::info!(%address, chains, socket = %socket.display(), "ready");
    service::ready(&format!("{chains} chains on {address}"));
    let watchdog = service::watchdog(supervisor.clone(), stop.clone());

    let failed = loop {
        tokio::select! {
            () = shutdown.cancelled() => break None,
            Some(ended) = servers.join_next() => break Some(ended),
            Some(()) = reloads.recv() => {
                service::reloading();
                match Box::pin(reload(&path, &supervisor, &modules, capacity)).await {
                    Ok(read) => {
                        levels.set(&read);
                        tracing::info!(chains = read.chains.len(), "the configuration was read again");
                        for section in config.fixed_differences(&read) {
                            tracing::warn!("{section} has changed, which takes effect when the node is started again");
                        }
                    }
                    Err(error) => tracing::error!(error = format!("{error:#}"), "the configuration is not taken; the old one stays"),
                }
                service::ready("configuration read again");
            }
        }
    };
    tracing::info!("stopping");
    service::stopping();
    stop.cancel();
    while servers.join_next().await.is_some() {}
    watchdog.await.context("the watchdog ended")?;
    supervisor.shut_down().await;
    // Left behind, it would only be in the way.
    drop(std::fs::remove_file(&socket));
    match failed {
        None => Ok(()),
        Some(ended) => ended.context("a server failed")?.context("a server ended"),
    }
}

/// Opens the chains of a configuration in memory, without other nodes, and says what would keep them from running. The names of those that it does
/// not open: they wait for modules of other nodes.
pub async fn rehearse(config: &Config) -> anyhow::Result<Vec<ChainName>> {
    if let Some(network) = &config.network {
        NodeKey::from_secret(super::key::secrets(&network.key, network.password_file.as_deref())?.node)?;
    }
    let store = Arc::new(MemoryStore::default());
    let sandbox = Sandbox::new(&SandboxOptions { instances: INSTANCES, cache_dir: module_cache_dir() })?;
    let added = tempfile::tempdir().context("make a temporary directory")?;
    let modules = Modules::new(sandbox, &subnode_modules::ALL, added.path().to_owned());
    let capacity = capacity(&config.capacity, &config.data_dir, &*store)?;
    let mut configured = desired(config, &modules, capacity)?;
    let mut waiting = Vec::new();
    if config.network.is_some() {
        let waits = |desired: &Desired| [&desired.runtime, &desired.consensus].into_iter().any(|name| modules.missing(name).is_some());
        waiting.extend(configured.extract_if(.., |(_, desired)| waits(desired)).map(|(name, _)| name));
    }
    let parts = SupervisorParts {
        store,
        modules,
        capacity,
        options: chain_options(),
        accounts: Arc::new(Signers::default()),
        disk_free_bytes_min: 0,
        peering: None,
    };
    let supervisor = Box::pin(Supervisor::start(parts, configured)).await?;
    let mut failed = Vec::new();
    for info in supervisor.list() {
        if let Some(reason) = info.state.reason() {
            failed.push(format!("chain {}: {reason}", info.name));
        } else if let Some(chain) = info.chain
            && let Err(error) = chain.try_block().await
        {
            failed.push(format!("chain {}: {error}", info.name));
        }
    }
    supervisor.shut_down().await;
    if failed.is_empty() { Ok(waiting) } else { bail!("{}", failed.join("\n")) }
}

/// Opens the endpoint for other nodes.
fn peering(config: &NetworkConfig, Secrets { node: secret, attest: attest_secret }: Secrets) -> anyhow::Result<Peering> {
    let options = NetworkOptions { listen: config.listen, network: config.name.clone(), strangers_max: STRANGERS_MAX };
    let network = Network::open(NodeKey::from_secret(secret)?, options)?;
    tracing::info!(node = %network.id(), address = %network.address()?, network = config.name, "open to other nodes, on UDP");
    Ok(Peering { network: Arc::new(Overlay::new(network, config.peers.clone())), secret, attest_secret })
}

fn announce_metrics(listener: &TcpListener) {
    if let Ok(address) = listener.local_addr() {
        tracing::info!(metrics = %address, "figures at /metrics");
    }
}

async fn reload(path: &Path, supervisor: &Arc<Supervisor>, modules: &Modules, capacity: Capacity) -> anyhow::Result<Config> {
    let config = config::load(path)?;
    supervisor.configure(desired(&config, modules, capacity)?).await?;
    Ok(config)
}

fn limits(config: &Config) -> RpcLimits {
    RpcLimits {
        connections: config.rpc.connections,
        request_bytes: usize::try_from(config.rpc.request_bytes).unwrap_or(usize::MAX),
        ..RpcLimits::DEFAULT
    }
}

/// How chains are run, but for what each one's settings say.
fn chain_options() -> ChainOptions {
    let defaults = default_options(Sealing::Instant, subnode_chain::TimeSource::Wall);
    ChainOptions {
        controls: false,
        queries_waiting_max: QUERIES_WAITING_MAX,
        query: Limits { wall: Duration::from_secs(10), ..defaults.query },
        version: concat!("subnode/", env!("CARGO_PKG_VERSION")).to_owned(),
        ..defaults
    }
}

/// What the node has to give.
fn capacity(config: &CapacityConfig, data_dir: &Path, store: &dyn subnode_storage::Store) -> anyhow::Result<Capacity> {
    let machine = Machine::of(data_dir);
    let storage = machine.disk_free_bytes.saturating_sub(config.keep_free).saturating_add(store.usage().disk_bytes);
    if storage == 0 && config.storage.is_none() {
        bail!(
            "the disk of {} has {} left, and capacity.keep-free is {}: nothing is left for chains; set keep-free to less, or data-dir to another disk",
            data_dir.display(),
            ByteSize(machine.disk_free_bytes),
            ByteSize(config.keep_free)
        );
    }
    Ok(Capacity {
        parts: Parts::new(config.parts).unwrap_or(Parts::ONE),
        memory_bytes: config.memory.unwrap_or(machine.memory_bytes / 4 * 3),
        storage_bytes: config.storage.unwrap_or(storage),
        bandwidth_bytes: config.bandwidth,
    })
}

/// What the configuration says should run.
fn desired(config: &Config, modules: &Modules, capacity: Capacity) -> anyhow::Result<Vec<(ChainName, Desired)>> {
    let all = config.chains.iter();
    all.map(|chain| Ok((chain.name.clone(), one(chain, modules, capacity).with_context(|| format!("chain {}", chain.name))?))).collect()
}

fn one(chain: &ChainConfig, modules: &Modules, capacity: Capacity) -> anyhow::Result<Desired> {
    let spec = match &chain.genesis {
        Some(path) => {
            std::fs::read(path).with_context(|| format!("read its genesis {} (`subnode config genesis` prints one)", path.display()))?
        }
        None => Vec::new(),
    };
    let module = |name: &str| -> anyhow::Result<String> {
        if !config::is_file(name) {
            // Refused where it is no hash.
            Modules::hash_in(name)?;
            return Ok(name.to_owned());
        }
        let component = std::fs::read(name).with_context(|| super::no_module(name))?;
        Ok(modules.add(&component)?)
    };
    let asked =
        SliceRequest { parts: chain.slice, memory_bytes: chain.memory, storage_bytes: chain.storage, bandwidth_bytes: chain.bandwidth };
    Ok(Desired {
        id: chain.id,
        origin: Origin::Config,
        wanted: Wanted::Running,
        runtime: module(&chain.runtime)?,
        consensus: module(&chain.consensus)?,
        spec,
        consensus_config: chain.consensus_config.clone().unwrap_or_else(|| chain.sealing.consensus_config()).into_bytes(),
        sealing: chain.sealing,
        slice: asked.over(capacity.default_slice(), &capacity),
        retention: match chain.history {
            HistoryConfig::Archive => Retention::Archive,
            HistoryConfig::Last(heights) => Retention::Last(heights),
            HistoryConfig::Within(bytes) => Retention::within(bytes),
        },
        controls: chain.controls,
        pool_bytes: chain.pool_bytes,
        checkpoint_every: chain.checkpoint_every,
        attest_every: chain.attest_every,
        silent: false,
    })
}
