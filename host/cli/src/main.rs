//! `subnode`: many blockchains in one process.
#![allow(unreachable_pub, reason = "nothing is reachable from outside a binary")]

mod args;
mod commands;
mod config;
mod shutdown;

use std::process::ExitCode;

use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    let args = Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no async runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let done = runtime.block_on(async {
        match args.command {
            Command::Dev(dev) => Box::pin(commands::dev::run(*dev)).await,
            Command::Run(run) => Box::pin(commands::run::run(run)).await,
            Command::Config(config) => commands::config::run(&config),
            Command::Module(module) => commands::module::run(&module),
            Command::Completions { shell } => {
                commands::completions(shell);
                Ok(())
            }
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
