//! `subnode config`: print or check.

use crate::{
    args::{ConfigArgs, ConfigCommand},
    config,
};

pub fn run(args: &ConfigArgs) -> anyhow::Result<()> {
    match &args.command {
        ConfigCommand::Example => {
            print!("{}", config::EXAMPLE);
            Ok(())
        }
        ConfigCommand::Check { file } => {
            let loaded = config::load(file)?;
            println!("{}: {} chains, no errors", file.display(), loaded.chains.len());
            Ok(())
        }
    }
}
