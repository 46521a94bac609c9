//! `subnode`: many blockchains in one process.
#![allow(unreachable_pub, reason = "nothing is reachable from outside a binary")]

mod args;
mod client;
mod commands;
mod config;
mod confine;
mod logging;
mod output;
mod service;
mod shutdown;
mod template;

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use args::{Args, Command};

fn main() -> ExitCode {
    output::unread::end_quietly();
    match dispatch(Args::parse().command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(command: Command) -> anyhow::Result<ExitCode> {
    let done = match command {
        Command::Dev(dev) => runtime()?.block_on(Box::pin(commands::dev::run(*dev))),
        Command::Run(run) => {
            let prepared = commands::run::prepare(run)?;
            runtime()?.block_on(Box::pin(commands::run::run(prepared)))
        }
        Command::Chain(chain) => commands::chain::run(chain),
        Command::Status(status) => commands::status::run(&status),
        Command::Health(health) => return commands::status::health(&health),
        Command::Peers(peers) => commands::peers::run(&peers),
        Command::Attestation(attestation) => commands::attestation::run(&attestation),
        Command::Top(top) => commands::top::run(&top),
        Command::Doctor(doctor) => runtime()?.block_on(Box::pin(commands::doctor::run(doctor))),
        Command::Config(config) => runtime()?.block_on(Box::pin(commands::config::run(&config))),
        Command::Module(module) => commands::module::run(&module),
        Command::Key(key) => commands::key::run(&key),
        Command::Testnet(testnet) => runtime()?.block_on(Box::pin(commands::testnet::run(testnet))),
        Command::Completions { shell } => {
            commands::completions(shell);
            Ok(())
        }
    };
    done.map(|()| ExitCode::SUCCESS)
}

/// A thread for each core, which looks for clients and timers after every second turn of a guest, not after every 61st as by default:
/// beside busy chains, whoever wakes up then waits for a turn or two (99 of 100 calls took a fifth of the time).
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(cores).event_interval(2).global_queue_interval(3).enable_all().build().context("no async runtime")
}
