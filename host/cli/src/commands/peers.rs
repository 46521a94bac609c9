//! `subnode peers`: which nodes are connected.

use serde_json::{Value, json};
use subnode_types::ByteSize;

use crate::{args::NodeArgs, client::Client, output::table::table};

pub fn run(args: &NodeArgs) -> anyhow::Result<()> {
    let known = Client::connect(args)?.call("node_peers", &json!({}))?;
    if args.json {
        println!("{known}");
        return Ok(());
    }
    let Some(node) = known["node"].as_str() else {
        println!("this node is in no network: its configuration has no [network]");
        return Ok(());
    };
    println!("node {node}");
    let peers: Vec<_> = known["peers"].as_array().into_iter().flatten().map(row).collect();
    if peers.is_empty() {
        println!("nobody is connected");
    } else {
        print!("{}", table(&["NODE", "ADDRESS", "FOR", "ROUND TRIP", "SENT", "RECEIVED", "CHAINS", "FAULTS"], &peers));
    }
    Ok(())
}

fn row(peer: &Value) -> Vec<String> {
    let number = |name: &str| peer[name].as_u64().unwrap_or_default();
    let text = |name: &str| peer[name].as_str().unwrap_or_default().to_owned();
    let minutes = number("connectedMs") / 60_000;
    vec![
        text("node"),
        text("address"),
        format!("{} h {} min", minutes / 60, minutes % 60),
        format!("{}.{} ms", number("roundTripUs") / 1_000, number("roundTripUs") / 100 % 10),
        ByteSize(number("sentBytes")).to_string(),
        ByteSize(number("receivedBytes")).to_string(),
        number("chains").to_string(),
        number("faults").to_string(),
    ]
}
