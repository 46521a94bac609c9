//! Measures Subnode against named peers on this machine and prints tables.
//!
//! `make bench` runs all measurements. `make bench ARGS="guest dev"` runs some of: guest, dev, devnet, many,
//! density, isolation, network, consensus, committee, sync, durable. `make bench AGAINST=REV` also runs those of
//! another commit, alternately with this commit's.

mod against;
mod committee;
mod comparison;
mod consensus;
mod density;
mod dev;
mod devnet;
mod durable;
mod guest;
mod isolation;
mod machine;
mod many;
mod network;
mod peer;
mod ratio;
mod sync;
mod tables;
mod workload;

use std::process::ExitCode;

use anyhow::Context as _;

/// What can be measured, each under its name in lower case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Measurement {
    Guest,
    Dev,
    Devnet,
    Many,
    Density,
    Isolation,
    Network,
    Consensus,
    Committee,
    Sync,
    Durable,
}

impl Measurement {
    /// All of them, in the order in which they run.
    const ALL: [Self; 11] = [
        Self::Guest,
        Self::Dev,
        Self::Devnet,
        Self::Many,
        Self::Density,
        Self::Isolation,
        Self::Network,
        Self::Consensus,
        Self::Committee,
        Self::Sync,
        Self::Durable,
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
    async fn run(self) -> anyhow::Result<()> {
        match self {
            Self::Guest => Box::pin(guest::run()).await,
            Self::Dev => dev::run(),
            Self::Devnet => Box::pin(devnet::run()).await,
            Self::Many => many::run(),
            Self::Density => Box::pin(density::run()).await,
            Self::Isolation => Box::pin(isolation::run()).await,
            Self::Network => Box::pin(network::run()).await,
            Self::Consensus => {
                // Its native members are of one thread.
                let handle = tokio::runtime::Handle::current();
                tokio::task::spawn_blocking(move || handle.block_on(consensus::run())).await?
            }
            Self::Committee => tokio::task::spawn_blocking(committee::run).await?,
            Self::Sync => Box::pin(sync::run()).await,
            Self::Durable => Box::pin(durable::run()).await,
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
    for measurement in Measurement::wanted(&arguments)? {
        if let Err(error) = measurement.run().await {
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
