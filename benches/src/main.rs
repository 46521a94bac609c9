//! Measures Subnode against named peers on this machine and prints tables.
//!
//! `make bench` runs all; `make bench ARGS="guest dev"` some of: guest.

mod guest;
mod ratio;
mod workload;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let wants = |name: &str| wanted.is_empty() || wanted.iter().any(|one| one == name);
    if wants("guest") {
        guest::run().await?;
    }
    Ok(())
}
