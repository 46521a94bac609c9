//! `subnode dev`: chains for one developer.

mod announce;
mod blocks;
mod settings;

use std::{net::SocketAddr, num::NonZeroU64, path::Path, sync::Arc};

use anyhow::{Context, bail};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subnode_chain::{Chain, Reply, Spec, TimeSource};
use subnode_devnet::{Account, DEFAULT_MNEMONIC, DEV_CLIENT_VERSION, Signers, accounts, adopt_file, default_options, module_cache_dir};
use subnode_node::{ChainSetup, Node};
use subnode_rpc::RpcLimits;
use subnode_sandbox::{Sandbox, SandboxOptions};
use subnode_storage::{MemoryStore, Retention, RocksOptions, RocksStore, Store};
use subnode_types::{ChainName, Sealing, Slice};

use self::{announce::Announcement, blocks::Form, settings::Settings};
use crate::{args::DevArgs, shutdown};

/// Budgets of a dev chain's store: a developer's machine has other things to do.
const STORE: RocksOptions = RocksOptions::SMALL;

/// Heights of a chain on disk whose state is kept where no flag says how many.
const HISTORY_KEPT: u64 = 10_000;
/// What Hardhat's plugins take for their own network.
const HARDHAT_CLIENT_VERSION: &str = concat!("HardhatNetwork/2.29.1/subnode/", env!("CARGO_PKG_VERSION"));

/// Chains that run, and what they were made with.
struct Opened {
    node: Arc<Node>,
    chains: Vec<Chain>,
    ids: Vec<u64>,
    accounts: Vec<Account>,
    mnemonic: String,
    /// None where a genesis file says what the chains are.
    settings: Option<Settings>,
}

/// What is recorded of chains that were made from a genesis file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FromFile {
    /// What flags added to the file.
    added: Value,
}

pub async fn run(args: DevArgs) -> anyhow::Result<()> {
    super::log(if args.silent { "off" } else { "warn,subnode=info" });
    let shutdown = shutdown::token()?;
    let listener = super::bind(SocketAddr::new(args.host, args.port), "choose another with --port (0 takes a free one)").await?;
    let address = listener.local_addr()?;
    let opened = open(&args).await?;
    if !args.silent || args.json {
        let announcement = Announcement {
            address,
            ids: &opened.ids,
            accounts: &opened.accounts,
            mnemonic: &opened.mnemonic,
            settings: opened.settings.as_ref(),
            data_dir: args.data_dir.as_deref(),
        };
        let mut out = std::io::stdout().lock();
        // Whoever closed our standard output does not want to read it.
        drop(if args.json { announcement.json(&mut out) } else { announcement.banner(&mut out) });
    }
    let printing = match (args.silent, args.json) {
        (true, _) => None,
        (false, true) => Some(blocks::print(opened.chains, Form::Json)?),
        (false, false) => Some(blocks::print(opened.chains, Form::Text)?),
    };
    subnode_rpc::serve(opened.node.clone(), listener, RpcLimits::DEFAULT, shutdown).await?;
    drop(printing);
    opened.node.stop().await;
    Ok(())
}

/// What the chains are made with, or were: none where a genesis file says it.
fn settings(args: &DevArgs, store: &dyn Store) -> anyhow::Result<Option<Settings>> {
    let dir = args.data_dir.as_deref().unwrap_or(Path::new(""));
    if args.init.is_some() {
        return Ok(None);
    }
    let first = name(0)?;
    if !exists(store, &first)? {
        return Ok(Some(Settings::new(args, super::unix_time()?)));
    }
    let record = store.record(&first)?.unwrap_or_default();
    if record.is_empty() || serde_json::from_slice::<FromFile>(&record).is_ok() {
        settings::refuse(args, dir)?;
        return Ok(None);
    }
    let kept: Settings = serde_json::from_slice(&record)
        .with_context(|| format!("the chains in {} are not of `subnode dev`; choose another --data-dir", dir.display()))?;
    Ok(Some(kept.resume(args, dir)?))
}

/// What goes into a genesis file beside what it says: what flags ask for now, and where the chains are kept, what they asked for when those were made.
fn added(args: &DevArgs, store: &dyn Store) -> anyhow::Result<Value> {
    let asked = settings::extension(settings::code_size_limit(args), args.enable_tx_gas_limit, settings::shared_seconds(args));
    let first = name(0)?;
    let record = if exists(store, &first)? { store.record(&first)?.unwrap_or_default() } else { Vec::new() };
    let Ok(FromFile { added: Value::Object(mut added) }) = serde_json::from_slice(&record) else { return Ok(asked) };
    if let Value::Object(asked) = asked {
        added.extend(asked);
    }
    Ok(Value::Object(added))
}

/// Whether this chain has a genesis block: where that failed, it is as if it had never been tried.
fn exists(store: &dyn Store, name: &ChainName) -> anyhow::Result<bool> {
    Ok(store.record(name)?.is_some() && store.open(name, Retention::Archive)?.head().is_some())
}

fn name(index: u32) -> anyhow::Result<ChainName> {
    Ok(format!("dev{}", index + 1).parse()?)
}

async fn open(args: &DevArgs) -> anyhow::Result<Opened> {
    let store: Arc<dyn Store> = match &args.data_dir {
        None => Arc::new(MemoryStore::default()),
        Some(dir) => Arc::new(RocksStore::open(dir, &STORE)?),
    };
    let settings = settings(args, &*store)?;
    let (mnemonic, count) = match &settings {
        Some(settings) => (settings.mnemonic.clone(), settings.accounts),
        None => (args.mnemonic.clone().unwrap_or_else(|| DEFAULT_MNEMONIC.to_owned()), args.accounts.unwrap_or(settings::accounts(args))),
    };
    let accounts = accounts(&mnemonic, count)?;
    let sandbox =
        Sandbox::new(&SandboxOptions { instances: args.chains.saturating_mul(4).saturating_add(256), cache_dir: module_cache_dir() })?;
    let sealing = match args.block_time {
        _ if args.no_mining => Sealing::Manual,
        None => Sealing::Instant,
        Some(every) => NonZeroU64::new(u64::try_from(every.as_millis())?).map_or(Sealing::Instant, Sealing::Interval),
    };
    let given = match &args.init {
        None => None,
        Some(path) => Some((path, added(args, &*store)?)),
    };
    let version = args.client_version.as_deref().unwrap_or(if args.hardhat { HARDHAT_CLIENT_VERSION } else { DEV_CLIENT_VERSION });
    let signers: Arc<Signers> = Arc::new(Signers::of(&accounts));
    let (runtime, consensus) = (sandbox.load(subnode_modules::EVM)?, sandbox.load(subnode_modules::SOLO)?);
    let retention = match args.history {
        Some(0) => Retention::Archive,
        Some(heights) => Retention::Last(heights),
        None if args.data_dir.is_none() => Retention::Archive,
        None => Retention::Last(HISTORY_KEPT),
    };
    let node = Node::new(store.clone());
    let (mut chains, mut ids) = (Vec::new(), Vec::new());
    for index in 0..args.chains {
        let name = name(index)?;
        let mut options = default_options(sealing, TimeSource::Wall);
        options.answer_after_mining = args.wait_mined || args.hardhat;
        version.clone_into(&mut options.version);
        options.past_bytes_max = if args.data_dir.is_none() { args.history_memory.0 } else { u64::MAX };
        let kept = exists(&*store, &name)?;
        if !kept {
            let record = match (&settings, &given) {
                (Some(settings), _) => serde_json::to_vec(settings)?,
                (None, Some((_, added))) => serde_json::to_vec(&FromFile { added: added.clone() })?,
                (None, None) => Vec::new(),
            };
            store.register(&name, &record)?;
        }
        let spec = match (&given, &settings) {
            (Some((path, added)), _) => {
                adopt_file(path, added, index).with_context(|| format!("read the genesis file {}", path.display()))?
            }
            // It is taken as it is.
            (None, _) if kept => Spec::default(),
            (None, Some(settings)) => settings.genesis(index, &accounts).into(),
            (None, None) => bail!("chain {name} is new, and the first was made from a genesis file: name the file with --init"),
        };
        let label = format!("chain {name}");
        let setup = ChainSetup {
            name,
            runtime: runtime.clone(),
            consensus: consensus.clone(),
            spec,
            consensus_config: sealing.consensus_config().into_bytes(),
            retention,
            slice: Slice::WHOLE,
            accounts: signers.clone(),
            options,
        };
        let opened = node.open(setup).await;
        let chain = opened.with_context(|| super::opening(&label, args.init.as_deref()))?;
        ids.push(chain_id(&chain).await?);
        chains.push(chain);
    }
    Ok(Opened { node, chains, ids, accounts, mnemonic, settings })
}

/// The id that the chain itself answers.
async fn chain_id(chain: &Chain) -> anyhow::Result<u64> {
    let Ok(Reply::Json(json)) = chain.query("eth_chainId", b"[]", None).await else {
        bail!("chain {} does not answer its id", chain.name())
    };
    let id: alloy::primitives::U64 = serde_json::from_slice(&json)?;
    Ok(id.to())
}
