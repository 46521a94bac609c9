//! One file per command.

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

use anyhow::Context;
use clap::CommandFactory;
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

/// Why a name is no module's.
fn no_module(name: &str) -> String {
    let embedded = subnode_modules::ALL.map(|(embedded, _)| embedded);
    format!("module {name:?} is neither embedded ({}) nor a file{}", embedded.join(", "), crate::config::meant(name, &embedded))
}

/// What was attempted where a chain does not open.
fn opening(chain: &str, genesis: Option<&Path>) -> String {
    genesis.map_or_else(|| format!("open {chain}"), |path| format!("open a chain from {}", path.display()))
}
