//! `subnode dev`: chains for one developer.

use std::{
    io::Write,
    net::SocketAddr,
    num::NonZeroU64,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use alloy::primitives::{hex, utils::format_ether};
use anyhow::Context;
use serde_json::json;
use subnode_chain::TimeSource;
use subnode_devnet::{Account, DevGenesis, Signers, accounts, default_options, module_cache_dir};
use subnode_node::{ChainSetup, Node};
use subnode_rpc::RpcLimits;
use subnode_sandbox::{Sandbox, SandboxOptions};
use subnode_storage::{MemoryStore, Retention, RocksOptions, RocksStore, Store};
use subnode_types::{ChainName, Sealing, Slice};

use crate::{args::DevArgs, shutdown};

/// Budgets of a dev chain's store: a developer's machine has other things to do.
const STORE: RocksOptions = RocksOptions::SMALL;

pub async fn run(args: DevArgs) -> anyhow::Result<()> {
    super::log(if args.silent { "off" } else { "warn,subnode=info" });
    let shutdown = shutdown::token()?;
    let listener = super::bind(SocketAddr::new(args.host, args.port)).await?;
    let address = listener.local_addr()?;
    let accounts = accounts(&args.mnemonic, args.accounts)?;
    let node = open(&args, &accounts).await?;
    if !args.silent {
        let mut out = std::io::stdout().lock();
        let printed =
            if args.json { print_json(&mut out, &args, address, &accounts) } else { print_banner(&mut out, &args, address, &accounts) };
        // Whoever closed our standard output does not want to read it.
        drop(printed);
    }
    subnode_rpc::serve(node.clone(), listener, RpcLimits::DEFAULT, shutdown).await?;
    node.stop().await;
    Ok(())
}

async fn open(args: &DevArgs, accounts: &[Account]) -> anyhow::Result<Arc<Node>> {
    let sandbox =
        Sandbox::new(&SandboxOptions { instances: args.chains.saturating_mul(4).saturating_add(256), cache_dir: module_cache_dir() })?;
    let store: Arc<dyn Store> = match &args.data_dir {
        None => Arc::new(MemoryStore::default()),
        Some(dir) => Arc::new(RocksStore::open(dir, &STORE)?),
    };
    let sealing = match args.block_time {
        _ if args.no_mining => Sealing::Manual,
        None => Sealing::Instant,
        Some(every) => NonZeroU64::new(u64::try_from(every.as_millis())?).map_or(Sealing::Instant, Sealing::Interval),
    };
    let given = match &args.init {
        None => None,
        Some(path) => Some(std::fs::read(path).with_context(|| format!("read the genesis file {}", path.display()))?),
    };
    let signers: Arc<Signers> = Arc::new(Signers::of(accounts));
    let existing = store.names();
    let (runtime, consensus) = (sandbox.load(subnode_modules::EVM)?, sandbox.load(subnode_modules::SOLO)?);
    let node = Node::new(store);
    for index in 0..args.chains {
        let name: ChainName = format!("dev{}", index + 1).parse()?;
        let mut options = default_options(sealing, TimeSource::Wall);
        options.answer_after_mining = args.wait_mined;
        let spec = match &given {
            Some(json) => json.clone(),
            // A durable chain's genesis has its birth time in it: without one given, it is taken as it was.
            None if args.timestamp.is_none() && existing.contains(&name) => Vec::new(),
            None => genesis(args, index, accounts)?,
        };
        let setup = ChainSetup {
            name,
            runtime: runtime.clone(),
            consensus: consensus.clone(),
            spec,
            consensus_config: sealing.consensus_config().into_bytes(),
            retention: if args.history == 0 { Retention::Archive } else { Retention::Last(args.history) },
            slice: Slice::WHOLE,
            accounts: signers.clone(),
            options,
        };
        let opened = Box::pin(node.open(setup)).await;
        opened.with_context(|| super::opening("a dev chain", args.init.as_deref()))?;
    }
    Ok(node)
}

fn genesis(args: &DevArgs, index: u32, accounts: &[Account]) -> anyhow::Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).context("the machine's clock is before 1970")?.as_secs();
    let genesis = DevGenesis {
        chain_id: args.chain_id + u64::from(index),
        hardfork: args.hardfork,
        balances: accounts.iter().map(|account| (account.address, args.balance)).collect(),
        gas_limit: args.gas_limit,
        base_fee: args.base_fee,
        timestamp: args.timestamp.unwrap_or(now),
        extension: DevGenesis::dev(),
    };
    Ok(genesis.to_json())
}

fn print_json(out: &mut impl Write, args: &DevArgs, address: SocketAddr, accounts: &[Account]) -> std::io::Result<()> {
    let list = accounts.iter().map(|account| json!({ "address": account.address, "key": account.secret() })).collect::<Vec<_>>();
    let chains: Vec<_> = (0..args.chains)
        .map(|index| {
            let id = args.chain_id + u64::from(index);
            json!({ "name": format!("dev{}", index + 1), "chainId": id, "url": format!("http://{address}/chain/dev{}", index + 1) })
        })
        .collect();
    writeln!(
        out,
        "{}",
        json!({ "listening": address.to_string(), "url": format!("http://{address}"), "chains": chains, "mnemonic": args.mnemonic, "accounts": list })
    )?;
    out.flush()
}

fn print_banner(out: &mut impl Write, args: &DevArgs, address: SocketAddr, accounts: &[Account]) -> std::io::Result<()> {
    writeln!(out, "Subnode {}\n", env!("CARGO_PKG_VERSION"))?;
    if args.init.is_none() {
        writeln!(out, "Available Accounts\n==================\n")?;
        for (index, account) in accounts.iter().enumerate() {
            let ether = format_ether(args.balance);
            let ether = ether.trim_end_matches('0').trim_end_matches('.');
            writeln!(out, "({index}) {} ({ether} ETH)", account.address)?;
        }
        writeln!(out, "\nPrivate Keys\n==================\n")?;
        for (index, account) in accounts.iter().enumerate() {
            writeln!(out, "({index}) {}", hex::encode_prefixed(account.secret()))?;
        }
        writeln!(out, "\nWallet\n==================\nMnemonic:          {}\nDerivation path:   m/44'/60'/0'/0/", args.mnemonic)?;
        writeln!(out, "\nChain ID\n==================\n\n{}", args.chain_id)?;
        writeln!(out, "\nBase Fee\n==================\n\n{}", args.base_fee)?;
        writeln!(out, "\nGas Limit\n==================\n\n{}", args.gas_limit)?;
        writeln!(out, "\nHardfork\n==================\n\n{}", args.hardfork)?;
    }
    if let Some(dir) = &args.data_dir {
        writeln!(out, "\nKept in\n==================\n\n{}", dir.display())?;
    }
    writeln!(out, "\nUse it\n==================\n")?;
    for index in 0..args.chains.min(20) {
        let path = if args.chains == 1 { String::new() } else { format!("/chain/dev{}", index + 1) };
        writeln!(out, "chain {}:  http://{address}{path}  and  ws://{address}{path}", args.chain_id + u64::from(index))?;
    }
    if args.chains > 20 {
        writeln!(out, "... up to /chain/dev{}", args.chains)?;
    }
    writeln!(out, "\n  cast block-number --rpc-url http://{address}")?;
    writeln!(out, "  curl -s http://{address} -H 'content-type: application/json' \\")?;
    writeln!(out, "    -d '{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_blockNumber\",\"params\":[]}}'")?;
    writeln!(out, "\nCtrl-C ends it.\n\nListening on {address}")?;
    out.flush()
}
