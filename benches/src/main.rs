//! Measures Subnode against named peers on this machine and prints tables.
//!
//! `make bench` runs all measurements. `make bench ARGS="guest dev"` runs some of: guest, dev, devnet, many,
//! density, isolation, misbehaving, network, consensus, committee, transfers, attacks, port, syncs, sync, content,
//! durable, attestations. `--short` and `--full` make some of them shorter or longer, and `--beside PATH` names another
//! build of `subnode`.
//! `make bench AGAINST=REV` also runs those of another commit, alternately with this commit's.

mod against;
mod attacks;
mod attestations;
mod committee;
mod comparison;
mod consensus;
mod content;
mod density;
mod dev;
mod devnet;
mod durable;
mod guest;
mod isolation;
mod machine;
mod many;
mod misbehaving;
mod network;
mod options;
mod peer;
mod ratio;
mod report;
mod sync;
mod syncs;
mod tables;
mod transfers;
mod workload;

use std::process::ExitCode;

use anyhow::Context as _;

use crate::options::Options;

/// What can be measured, each under its name in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measurement {
    Guest,
    Dev,
    Devnet,
    Many,
    Density,
    Isolation,
    Misbehaving,
    Network,
    Consensus,
    Committee,
    Transfers,
    Attacks,
    Port,
    Syncs,
    Sync,
    Content,
    Durable,
    Attestations,
}

impl Measurement {
    /// All of them, in the order in which they run.
    const ALL: [Self; 18] = [
        Self::Guest,
        Self::Dev,
        Self::Devnet,
        Self::Many,
        Self::Density,
        Self::Isolation,
        Self::Misbehaving,
        Self::Network,
        Self::Consensus,
        Self::Committee,
        Self::Transfers,
        Self::Attacks,
        Self::Port,
        Self::Syncs,
        Self::Sync,
        Self::Content,
        Self::Durable,
        Self::Attestations,
    ];

    fn name(self) -> String {
        format!("{self:?}").to_lowercase()
    }

    /// Those of these names, or all where there is none.
    fn wanted(names: &[String]) -> anyhow::Result<Vec<Self>> {
        if names.is_empty() {
            return Ok(Self::ALL.to_vec());
        }
        let named = |name: &String| {
            let known = || Self::ALL.map(Self::name).join(", ");
            Self::ALL
                .into_iter()
                .find(|one| one.name() == *name)
                .with_context(|| format!("{name:?} is no measurement; there are {}", known()))
        };
        names.iter().map(named).collect()
    }

    /// Prints its tables.
    async fn run(self, options: &Options) -> anyhow::Result<()> {
        let length = options.length;
        match self {
            Self::Guest => Box::pin(guest::run()).await,
            Self::Dev => dev::run(),
            Self::Devnet => Box::pin(devnet::run()).await,
            Self::Many => many::run(),
            Self::Density => Box::pin(density::run()).await,
            Self::Isolation => Box::pin(isolation::run()).await,
            Self::Misbehaving => tokio::task::spawn_blocking(move || misbehaving::run(length)).await?,
            Self::Network => Box::pin(network::run()).await,
            Self::Consensus => {
                // Its native members are of one thread.
                let handle = tokio::runtime::Handle::current();
                tokio::task::spawn_blocking(move || handle.block_on(consensus::run())).await?
            }
            Self::Committee => tokio::task::spawn_blocking(committee::run).await?,
            Self::Transfers => {
                let options = options.clone();
                tokio::task::spawn_blocking(move || transfers::run(&options)).await?
            }
            Self::Attacks => {
                let only = options.only.clone();
                tokio::task::spawn_blocking(move || attacks::run(length, only.as_deref())).await?
            }
            Self::Port => tokio::task::spawn_blocking(move || attacks::run_port(length)).await?,
            Self::Syncs => tokio::task::spawn_blocking(move || syncs::run(length)).await?,
            Self::Sync => Box::pin(sync::run()).await,
            Self::Content => Box::pin(content::run()).await,
            Self::Durable => Box::pin(durable::run()).await,
            Self::Attestations => attestations::run(),
        }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    // As `subnode run` has it.
    let cores = std::thread::available_parallelism()?.get();
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores)
        .event_interval(2)
        .global_queue_interval(3)
        .enable_all()
        .build()?
        .block_on(run())
}

/// Whether all went well. A measurement that failed has said so.
async fn run() -> anyhow::Result<ExitCode> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some((first, others)) = arguments.split_first()
        && first == "against"
    {
        return against::run(others).await;
    }
    // One that fails does not cost the figures of those behind it.
    let mut failed = Vec::new();
    let options = Options::parse(&arguments)?;
    for measurement in Measurement::wanted(&options.names)? {
        if let Err(error) = measurement.run(&options).await {
            eprintln!("{}: {error:#}", measurement.name());
            failed.push(measurement.name());
        }
    }
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("failed: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}
