//! Measures Subnode against named peers on this machine and prints tables.
//!
//! `make bench` runs all; `make bench ARGS="guest dev"` some of: guest, dev, devnet, durable.

mod dev;
mod devnet;
mod durable;
mod guest;
mod peer;
mod ratio;
mod workload;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let known = ["guest", "dev", "devnet", "durable"];
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
    if wants("durable") {
        Box::pin(durable::run()).await?;
    }
    Ok(())
}
