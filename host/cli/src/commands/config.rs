//! `subnode config`: print or check.

use std::path::Path;

use crate::{
    args::{ConfigArgs, ConfigCommand},
    config,
};

/// A unit that gives the node its user, its directory, and little else.
const UNIT: &str = include_str!("../config/subnode.service");
/// A dashboard of the figures that `subnode-rpc` documents.
const DASHBOARD: &str = include_str!("../config/grafana.json");

pub fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    match &args.command {
        ConfigCommand::Example => print!("{}", config::EXAMPLE),
        ConfigCommand::Grafana => print!("{DASHBOARD}"),
        ConfigCommand::Systemd { config } => {
            let program = std::env::current_exe()?;
            print!("{}", unit(&program, config));
        }
        ConfigCommand::Check { file } => {
            let loaded = config::load(file)?;
            println!("{}: {} chains, no errors", file.display(), loaded.chains.len());
        }
    }
    Ok(())
}

fn unit(program: &Path, config: &Path) -> String {
    UNIT.replace("@PROGRAM@", &program.display().to_string()).replace("@CONFIG@", &config.display().to_string())
}
