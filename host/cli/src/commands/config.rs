//! `subnode config`: prints or checks a configuration, and prints a genesis.

use std::path::Path;

use anyhow::Context;
use serde_json::json;

use crate::{
    args::{ConfigArgs, ConfigCommand, GenesisArgs},
    config,
};

/// A unit that gives the node its user, its directory, and little else.
const UNIT: &str = include_str!("../config/subnode.service");
/// A dashboard of the figures that `subnode-rpc` documents.
const DASHBOARD: &str = include_str!("../config/grafana.json");

pub async fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    match &args.command {
        ConfigCommand::Example => print!("{}", config::EXAMPLE),
        ConfigCommand::Genesis(args) => println!("{}", genesis(args)?),
        ConfigCommand::Grafana => print!("{DASHBOARD}"),
        ConfigCommand::Systemd { config } => {
            let program = std::env::current_exe()?;
            print!("{}", unit(&program, config));
        }
        ConfigCommand::Check { file } => {
            // What chains print is said as well: it may be about their genesis.
            super::log("off,subnode::guest=info");
            let loaded = config::load(file)?;
            let waiting = Box::pin(super::run::rehearse(&loaded)).await.with_context(|| format!("configuration {}", file.display()))?;
            for chain in waiting {
                println!("chain {chain} is not checked: a module that it names by its hash is got from other nodes");
            }
            let chains = loaded.chains.len();
            println!("{}: {chains} chain{}, no errors", file.display(), if chains == 1 { "" } else { "s" });
        }
    }
    Ok(())
}

fn genesis(args: &GenesisArgs) -> anyhow::Result<String> {
    let funded = if args.fund.is_empty() {
        eprintln!("everybody knows the keys of the accounts that have ether in this genesis; --fund ADDRESS funds others");
        super::known_accounts()?
    } else {
        args.fund.clone()
    };
    let genesis = super::genesis(args.chain_id, &funded, json!({}))?;
    let genesis: serde_json::Value = serde_json::from_slice(&genesis.to_json())?;
    Ok(serde_json::to_string_pretty(&genesis)?)
}

fn unit(program: &Path, config: &Path) -> String {
    UNIT.replace("@PROGRAM@", &program.display().to_string()).replace("@CONFIG@", &config.display().to_string())
}
