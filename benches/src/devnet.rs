//! What one more in-process chain costs.

use std::time::Instant;

use subnode_devnet::Devnet;

use crate::machine::resident_kib;

/// Prints the table.
pub(crate) async fn run() -> anyhow::Result<()> {
    println!("\n## Chains in one process\n");
    println!("| chains | to start all | each further | resident memory of each further | resident in all |\n|---|---|---|---|---|");
    // The engine, the compiled modules and the first chain are paid once.
    let first = Devnet::builder().spawn().await?;
    for count in [100_u32, 1_000] {
        let before = resident_kib(std::process::id());
        let started = Instant::now();
        let net = Devnet::builder().chains(count).spawn().await?;
        let took = started.elapsed();
        let after = resident_kib(std::process::id());
        println!(
            "| {count} | {:.0} ms | **{:.2} ms** | **{:.0} KiB** | {:.0} MiB |",
            took.as_secs_f64() * 1e3,
            took.as_secs_f64() * 1e3 / f64::from(count),
            (after - before) / f64::from(count),
            after / 1024.0,
        );
        drop(net);
    }
    drop(first);
    Ok(())
}
