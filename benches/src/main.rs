//! Measures Subnode against named peers on this machine and prints tables.
//!
//! `make bench` runs all; `make bench ARGS="guest dev"` some of: guest, dev, devnet, many, durable, density, isolation, network, consensus,
//! committee, sync.

mod committee;
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
mod workload;

fn main() -> anyhow::Result<()> {
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

async fn run() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known = ["guest", "dev", "devnet", "many", "durable", "density", "isolation", "network", "consensus", "committee", "sync"];
    if let Some(unknown) = wanted.iter().find(|one| !known.contains(&one.as_str())) {
        anyhow::bail!("{unknown:?} is no measurement; there are {}", known.join(", "));
    }
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    if wants("guest") {
        guest::run().await?;
    }
    if wants("dev") {
        dev::run()?;
    }
    if wants("devnet") {
        devnet::run().await?;
    }
    if wants("many") {
        many::run()?;
    }
    if wants("density") {
        Box::pin(density::run()).await?;
    }
    if wants("isolation") {
        Box::pin(isolation::run()).await?;
    }
    if wants("network") {
        Box::pin(network::run()).await?;
    }
    if wants("consensus") {
        // Its native members are of one thread.
        let handle = tokio::runtime::Handle::current();
        tokio::task::spawn_blocking(move || handle.block_on(consensus::run())).await??;
    }
    if wants("committee") {
        tokio::task::spawn_blocking(committee::run).await??;
    }
    if wants("sync") {
        Box::pin(sync::run()).await?;
    }
    if wants("durable") {
        Box::pin(durable::run()).await?;
    }
    Ok(())
}
