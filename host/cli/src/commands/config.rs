//! `subnode config`: prints or checks a configuration.

use std::path::Path;

use anyhow::Context;

use crate::{
    args::{ConfigArgs, ConfigCommand},
    config,
};

/// A unit that gives the node its user, its directory, and little else.
const UNIT: &str = include_str!("../config/subnode.service");
/// A dashboard of the figures that `subnode-rpc` documents.
const DASHBOARD: &str = include_str!("../config/grafana.json");

pub async fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    match &args.command {
        ConfigCommand::Example => print!("{}", config::EXAMPLE),
        ConfigCommand::Grafana => print!("{DASHBOARD}"),
        ConfigCommand::Systemd { config } => {
            let program = std::env::current_exe()?;
            print!("{}", unit(&program, config));
        }
        ConfigCommand::Check { file } => {
            // What chains print is said as well: it may be about their genesis.
            super::log("off,subnode::guest=info");
            let loaded = config::load(file)?;
            Box::pin(super::run::rehearse(&loaded)).await.with_context(|| format!("configuration {}", file.display()))?;
            println!("{}: {} chains, no errors", file.display(), loaded.chains.len());
        }
    }
    Ok(())
}

fn unit(program: &Path, config: &Path) -> String {
    UNIT.replace("@PROGRAM@", &program.display().to_string()).replace("@CONFIG@", &config.display().to_string())
}
