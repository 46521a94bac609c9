//! A chain that seals every 200 ms beside each consensus that misbehaves, on one `subnode run`: how late its blocks are, against how late they are
//! alone, in turns.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::Context;
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use subnode_tests::{
    guests,
    operator::{Home, Node},
};

use crate::{
    options::Length,
    ratio::{median, quantile},
    report::{Cell, Report},
};

const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-modules");
/// What `misbehaving` can be told to do.
const WAYS: [&str; 13] = [
    "nothing",
    "trap",
    "loop",
    "memory",
    "effects",
    "log",
    "broadcast",
    "evidence",
    "builds",
    "no-time",
    "timers",
    "nonsense",
    "sign-twice",
];
const SEALING: &str = "200ms";
/// How often the chain is looked at: each of its blocks is seen by itself.
const LOOKED_EVERY: Duration = Duration::from_millis(20);
/// After which the neighbour is at its height, or gone.
const SETTLES: Duration = Duration::from_millis(500);
const PARTS: u32 = 32;

/// How late blocks were in a turn, in milliseconds: of each, the time from when it was due until it was committed.
fn watch(node: &mut Node, time: Duration, late: &mut Vec<f64>) -> anyhow::Result<()> {
    let figures = |chain: Value| {
        let figure = |name: &str| chain["stats"][name].as_f64().with_context(|| format!("{name} of {chain}"));
        anyhow::Ok((figure("blocks")?, figure("lateUs")?))
    };
    let mut before = figures(node.operator.show("victim")?)?;
    let began = Instant::now();
    while began.elapsed() < time {
        std::thread::sleep(LOOKED_EVERY);
        let now = figures(node.operator.show("victim")?)?;
        if now.0 > before.0 {
            late.push((now.1 - before.1) / 1e3 / (now.0 - before.0));
            before = now;
        }
    }
    Ok(())
}

/// How late blocks were in quiet, and beside a neighbour.
fn beside(component: &str, way: &str, length: Length) -> anyhow::Result<[Vec<f64>; 2]> {
    let (rounds, time) = (length.of(1, 8, 20), Duration::from_secs(length.of(2, 4, 5)));
    let victim = format!("[[chain]]\nname = \"victim\"\nslice = {PARTS}\ngenesis = \"genesis.json\"\nsealing = \"{SEALING}\"\n");
    let mut node = Home::new(&victim).and_then(|home| Ok((home.start()?, home)))?;
    let (node, _home) = (&mut node.0, &node.1);
    let module = node.operator.call("module_add", json!({ "component": component }))?["name"].clone();
    let neighbour =
        json!({ "runtime": "kv", "consensus": module, "consensusConfig": way, "genesis": "{}", "slice": PARTS, "stopped": true });
    node.operator.create("neighbour", neighbour)?;
    let mut seen: [Vec<f64>; 2] = Default::default();
    for _ in 0..rounds {
        for (order, late) in ["chain_stop", "chain_start"].into_iter().zip(&mut seen) {
            // One that has been given up is started anew; one that fails at once has been started all the same.
            if let Err(error) = node.operator.call(order, json!({ "name": "neighbour" })) {
                eprintln!("{way}: {order}: {error}");
            }
            std::thread::sleep(SETTLES);
            watch(node, time, late)?;
        }
    }
    Ok(seen)
}

/// Prints the table.
pub(crate) fn run(length: Length) -> anyhow::Result<()> {
    let target = std::env::current_exe()?.parent().context("a binary is in a folder")?.join("misbehaving");
    let built = guests::build(Path::new(MODULES), &["subnode-misbehaving"], &target)?;
    let component = BASE64_STANDARD.encode(std::fs::read(built.join("subnode_misbehaving.wasm"))?);
    let columns =
        &["neighbour", "late p50, quiet", "beside it", "p99, quiet", "p99, beside it", "ratio", "blocks, quiet", "blocks, beside it"];
    let mut report = Report::new("A chain that seals every 200 ms beside a consensus that misbehaves", columns);
    for way in WAYS {
        let [quiet, loud] = beside(&component, way, length)?;
        let p99 = |late: &[f64]| quantile(late, 0.99);
        report.row(&[
            way.into(),
            Cell::Figure(median(&quiet), 2, "ms"),
            Cell::Figure(median(&loud), 2, "ms"),
            Cell::Figure(p99(&quiet), 2, "ms"),
            Cell::Figure(p99(&loud), 2, "ms"),
            Cell::Result(p99(&loud) / p99(&quiet), 2, ""),
            Cell::Figure(quiet.len() as f64, 0, ""),
            Cell::Figure(loud.len() as f64, 0, ""),
        ]);
    }
    report.finish();
    Ok(())
}
