//! One file per command.

pub mod attestation;
pub mod chain;
pub mod config;
pub mod dev;
pub mod doctor;
pub mod key;
pub mod module;
pub mod peers;
pub mod run;
pub mod status;
pub mod testnet;
pub mod top;
mod transfer;

use std::{
    io::IsTerminal,
    net::SocketAddr,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use alloy::primitives::{Address, U256, utils::parse_ether};
use anyhow::Context;
use clap::CommandFactory;
use serde_json::Value;
use subnode_devnet::{DEFAULT_MNEMONIC, DevGenesis, Hardfork, accounts};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

/// Prints a completion script.
pub fn completions(shell: clap_complete::Shell) {
    clap_complete::generate(shell, &mut crate::args::Args::command(), "subnode", &mut std::io::stdout());
}

/// Logs go to standard error, in colour on a terminal; RUST_LOG overrides the level.
fn log(default: &str) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).init();
}

/// Unix time in seconds: when a chain that is made now is born.
fn unix_time() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH).context("the machine's clock is before 1970")?.as_secs())
}

async fn bind(address: SocketAddr, remedy: &str) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}; another program may use that port: {remedy}"))
}

/// Accounts that everybody has the keys of.
const ACCOUNTS: u32 = 10;
/// What a funded account has.
const ETHER: &str = "10000";

/// Accounts for a genesis in which nobody else is named.
fn known_accounts() -> anyhow::Result<Vec<Address>> {
    Ok(accounts(DEFAULT_MNEMONIC, ACCOUNTS)?.iter().map(|account| account.address).collect())
}

/// A genesis of now in which these have ether.
fn genesis(chain_id: u64, funded: &[Address], extension: Value) -> anyhow::Result<DevGenesis> {
    let balance: U256 = parse_ether(ETHER)?;
    Ok(DevGenesis {
        chain_id,
        hardfork: Hardfork::default(),
        balances: funded.iter().map(|account| (*account, balance)).collect(),
        gas_limit: DevGenesis::DEFAULT_GAS_LIMIT,
        base_fee: DevGenesis::DEFAULT_BASE_FEE,
        timestamp: unix_time()?,
        extension,
    })
}

/// Why a name is no module's.
fn no_module(name: &str) -> String {
    let embedded = subnode_modules::ALL.map(|(embedded, _)| embedded);
    format!(
        "module {name:?} is neither embedded ({}), nor a file, nor `sha256:` and a hash{}",
        embedded.join(", "),
        crate::config::meant(name, &embedded)
    )
}

/// What was attempted where a chain does not open.
fn opening(chain: &str, genesis: Option<&Path>) -> String {
    genesis.map_or_else(|| format!("open {chain}"), |path| format!("open a chain from {}", path.display()))
}
