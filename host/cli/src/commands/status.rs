//! `subnode status` and `subnode health`: what a node has and grants, and whether all is well.

use std::process::ExitCode;

use serde_json::{Value, json};
use subnode_types::ByteSize;

use crate::{args::NodeArgs, client::Client, output::coloured};

pub fn run(args: &NodeArgs) -> anyhow::Result<()> {
    let status = Client::connect(args)?.call("node_status", &json!({}))?;
    println!("{}", if args.json { status.to_string() } else { describe(&status) });
    Ok(())
}

fn describe(status: &Value) -> String {
    let number = |value: &Value| value.as_u64().unwrap_or_default();
    let bytes = |value: &Value| ByteSize(number(value)).to_string();
    let (capacity, granted, store) = (&status["capacity"], &status["granted"], &status["store"]);
    let chains: Vec<String> = ["running", "paused", "stopped", "restarting", "quarantined"]
        .iter()
        .filter(|state| number(&status["chains"][**state]) > 0)
        .map(|state| format!("{} {state}", number(&status["chains"][*state])))
        .collect();
    let minutes = number(&status["uptimeMs"]) / 60_000;
    [
        format!("subnode     {}, up {} h {} min", status["version"].as_str().unwrap_or_default(), minutes / 60, minutes % 60),
        format!("chains      {}", if chains.is_empty() { "none".into() } else { chains.join(", ") }),
        format!("cores       {}, {} of {} parts granted", number(&status["cores"]), granted["parts"], capacity["parts"]),
        format!(
            "memory      {} of {} granted, {} resident",
            bytes(&granted["memoryBytes"]),
            bytes(&capacity["memoryBytes"]),
            bytes(&status["residentBytes"])
        ),
        format!(
            "storage     {} of {} granted, {} on disk, {} free",
            bytes(&granted["storageBytes"]),
            bytes(&capacity["storageBytes"]),
            bytes(&store["diskBytes"]),
            bytes(&store["diskFreeBytes"])
        ),
        format!("bandwidth   {} of {} a second granted", bytes(&granted["bandwidthBytes"]), bytes(&capacity["bandwidthBytes"])),
        format!("writes      {} synced, for {} blocks", store["syncedWrites"], store["batches"]),
        format!("health      {}", if status["healthy"] == true { "well" } else { "not well: `subnode health` says why" }),
    ]
    .join("\n")
}

/// Ends with 0 if all is well, 1 if not, 2 where no node answers.
pub fn health(args: &NodeArgs) -> anyhow::Result<ExitCode> {
    let answer = Client::connect(args).and_then(|mut client| client.call("node_health", &json!({})));
    let health = match answer {
        Ok(health) => health,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitCode::from(2));
        }
    };
    let healthy = health["healthy"] == true;
    if args.json {
        println!("{health}");
    } else if healthy {
        println!("{}", if coloured() { "\x1b[32mwell\x1b[0m" } else { "well" });
    } else {
        for problem in health["problems"].as_array().into_iter().flatten() {
            println!("{}", problem.as_str().unwrap_or_default());
        }
    }
    Ok(if healthy { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
