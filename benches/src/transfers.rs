//! Four processes on loopback and nothing beside: how long a transfer takes to its receipt, and how many get there each second. Where another
//! build of `subnode` is named, its processes are measured in turns with this one's.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use alloy::primitives::Address;
use anyhow::{anyhow, ensure};
use serde_json::{Value, json};
use subnode_tests::{http::Client, process::binary, testnet::Testnet, transfer::Sender};

use crate::{
    options::Options,
    ratio::{Pairs, median, quantile},
    report::{Cell, Report},
};

const NODES: usize = 4;
/// `subnode testnet` numbers its chains from here.
const FIRST_CHAIN_ID: u64 = 31_337;
/// Clients at once, an account each; and what each sends in one request.
const CLIENTS: usize = 8;
const TRANSFERS: usize = 200;
/// How often a client asks for a receipt.
const ASKED_EVERY: Duration = Duration::from_millis(1);
const RECEIPT_WITHIN: Duration = Duration::from_secs(60);

/// What a build did in a round.
struct Round {
    /// To the receipt of each transfer that was sent alone, in milliseconds.
    alone_ms: Vec<f64>,
    per_second: f64,
}

fn receipt(client: &mut Client, hash: &Value) -> anyhow::Result<()> {
    let asked = Instant::now();
    while client.call("eth_getTransactionReceipt", &json!([hash]))?.is_null() {
        ensure!(asked.elapsed() < RECEIPT_WITHIN, "no receipt of {hash} within {RECEIPT_WITHIN:?}");
        std::thread::sleep(ASKED_EVERY);
    }
    Ok(())
}

/// One account's transfers, in one request: until the last has its receipt.
fn flood(files: &Testnet, account: usize) -> anyhow::Result<()> {
    let (mut sender, mut client) = (Sender::on(FIRST_CHAIN_ID, account), files.client(account % NODES, 0)?);
    let signed = (0..TRANSFERS).map(|_| sender.sign(Address::repeat_byte(7), 21_000, Vec::new())).collect::<anyhow::Result<Vec<_>>>()?;
    let call = |signed: &String| json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [signed] });
    let answers: Value = serde_json::from_slice(client.post(signed.iter().map(call).collect::<Value>().to_string().as_bytes())?)?;
    let last = answers.as_array().and_then(|answers| answers.last()).map(|answer| answer["result"].clone()).unwrap_or_default();
    ensure!(last.is_string(), "the last transfer was answered with {answers}");
    receipt(&mut client, &last)
}

fn round(program: &Path, alone: usize) -> anyhow::Result<Round> {
    let files = Testnet::by(program.to_owned(), NODES, &["--sealing", "instant"])?;
    let _nodes = (0..NODES).map(|node| files.start(node)).collect::<anyhow::Result<Vec<_>>>()?;
    // Of an account that does not take part later. The first ones wait for connections.
    const WARMING: usize = 5;
    let (mut sender, mut client) = (Sender::on(FIRST_CHAIN_ID, CLIENTS), files.client(0, 0)?);
    let mut alone_ms = Vec::new();
    for index in 0..WARMING + alone {
        let sent = Instant::now();
        let signed = sender.sign(Address::repeat_byte(7), 21_000, Vec::new())?;
        let hash = client.call("eth_sendRawTransaction", &json!([signed]))?;
        receipt(&mut client, &hash)?;
        if index >= WARMING {
            alone_ms.push(sent.elapsed().as_secs_f64() * 1e3);
        }
    }
    let began = Instant::now();
    std::thread::scope(|scope| {
        let files = &files;
        let clients: Vec<_> = (0..CLIENTS).map(|account| scope.spawn(move || flood(files, account))).collect();
        clients.into_iter().try_for_each(|client| client.join().map_err(|_| anyhow!("a client panicked"))?)
    })?;
    #[expect(clippy::cast_precision_loss, reason = "figures for people")]
    let per_second = (CLIENTS * TRANSFERS) as f64 / began.elapsed().as_secs_f64();
    Ok(Round { alone_ms, per_second })
}

/// Prints the table.
pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let (rounds, alone) = (options.length.of(1, 5, 10), options.length.of(10, 40, 100));
    let builds: Vec<PathBuf> = std::iter::once(binary()?).chain(options.other.clone()).collect();
    let mut seen: Vec<Vec<Round>> = builds.iter().map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for (build, seen) in builds.iter().zip(&mut seen) {
            seen.push(round(build, alone)?);
        }
    }
    let mut report = Report::new("Four processes on loopback, nothing beside", &["build", "to a receipt p50", "p99", "transfers/s"]);
    for (build, seen) in builds.iter().zip(&seen) {
        let all: Vec<f64> = seen.iter().flat_map(|round| round.alone_ms.clone()).collect();
        let rates: Vec<f64> = seen.iter().map(|round| round.per_second).collect();
        let cells = [Cell::Result(median(&all), 1, "ms"), Cell::Figure(quantile(&all, 0.99), 1, "ms"), Cell::Result(median(&rates), 0, "")];
        report.row(&std::iter::once(build.display().to_string().as_str().into()).chain(cells).collect::<Vec<_>>());
    }
    if let [ours, theirs] = seen.as_slice() {
        let (mut waits, mut rates) = (Pairs::new(), Pairs::new());
        for (ours, theirs) in ours.iter().zip(theirs) {
            waits.push_figures(median(&ours.alone_ms), median(&theirs.alone_ms));
            rates.push_figures(ours.per_second, theirs.per_second);
        }
        let ratio = |pairs: &Pairs| Cell::Result(pairs.ratio().0, 2, "");
        report.row(&["the first against the other".into(), ratio(&waits), "".into(), ratio(&rates)]);
    }
    report.finish();
    Ok(())
}
