//! `subnode dev` against anvil, over HTTP, from one native client.

use std::{
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use alloy::{
    eips::Encodable2718,
    primitives::{B256, hex, keccak256},
};
use anyhow::{anyhow, ensure};
use serde_json::json;
use subnode_devnet::{Account, DEFAULT_MNEMONIC, accounts};
use subnode_tests::http::Client;

use crate::{
    peer::{ANVIL, Peer, Program},
    ratio::{median, quantile},
    workload::{CONTRACT, Workload},
};

const GAS_PRICE: u128 = 100_000_000_000;
const ROUNDS: usize = 3;
const STARTS: usize = 9;
const READS: usize = 3_000;
/// Requests in flight, each on its own connection, for the latency of reads.
const READERS: [usize; 2] = [1, 8];

/// How load is put on.
#[derive(Clone, Copy)]
struct Load {
    transactions: usize,
    batch: usize,
    in_flight: usize,
    /// Whether a sender waits until its batch is mined: beyond a thousand ready transactions anvil's instant mining livelocks.
    settles: bool,
}

const INSTANT: Load = Load { transactions: 8_000, batch: 100, in_flight: 4, settles: true };
/// Enough transactions that waiting for the last tick is a small part of it.
const INTERVAL: Load = Load { transactions: 60_000, batch: 200, in_flight: 4, settles: false };
const FLOOD: Load = Load { transactions: 10_000, batch: 200, in_flight: 1, settles: false };

/// Prints the table.
pub(crate) fn run() -> anyhow::Result<()> {
    let programs = Program::both()?;
    let accounts = accounts(DEFAULT_MNEMONIC, 10)?;
    println!("\n## subnode dev against anvil {ANVIL}\n");
    println!("| measured | subnode | anvil | subnode / anvil |\n|---|---|---|---|");
    for (sealing, arguments, load) in [("instant", [].as_slice(), INSTANT), ("1 s blocks", ["--block-time", "1"].as_slice(), INTERVAL)] {
        for workload in [Workload::Transfer, Workload::Erc20] {
            let mut rates = [Vec::new(), Vec::new()];
            for _ in 0..ROUNDS {
                for (program, rates) in programs.iter().zip(&mut rates) {
                    let peer = program.start(arguments)?;
                    rates.push(mined_per_second(&peer, &accounts, workload, load)?);
                }
            }
            let label = format!("{} mined, {sealing}, {} batches of {} in flight", workload.name(), load.in_flight, load.batch);
            row(&label, "/s", median(&rates[0]), median(&rates[1]));
        }
    }
    for connections in READERS {
        let mut medians = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
        for _ in 0..ROUNDS {
            for (index, program) in programs.iter().enumerate() {
                let peer = program.start(&[])?;
                prepared(&peer, Workload::Erc20)?;
                let input = [&keccak256("transfer(address,uint256)")[..4], &[0; 64]].concat();
                let call = json!([{ "from": accounts[0].address, "to": CONTRACT, "data": hex::encode_prefixed(input) }, "latest"]);
                medians[0][index].push(read_us(peer.address, connections, "eth_call", &call)?);
                medians[1][index].push(read_us(peer.address, connections, "eth_getBalance", &json!([accounts[0].address, "latest"]))?);
            }
        }
        for (method, medians) in ["eth_call", "eth_getBalance"].iter().zip(&medians) {
            row(&format!("{method}, median, {connections} in flight"), "us", median(&medians[0]), median(&medians[1]));
        }
    }
    let mut starts = [Vec::new(), Vec::new()];
    for _ in 0..STARTS {
        for (program, starts) in programs.iter().zip(&mut starts) {
            starts.push(program.start(&[])?.started_in.as_secs_f64() * 1e3);
        }
    }
    row("start to first answer, median", "ms", median(&starts[0]), median(&starts[1]));
    let peer = programs[0].start(&[])?;
    let rate = mined_per_second(&peer, &accounts, Workload::Transfer, FLOOD)?;
    println!(
        "| {} transfers in batches of {}, instant | all mined, {rate:.0}/s, {:.0} MiB resident | not run: it livelocks | |",
        FLOOD.transactions,
        FLOOD.batch,
        peer.resident_mib()
    );
    Ok(())
}

fn row(label: &str, unit: &str, ours: f64, theirs: f64) {
    println!("| {label} | {ours:.0} {unit} | {theirs:.0} {unit} | **{:.2}** |", ours / theirs);
}

/// A client of a chain that has the contract a workload calls.
fn prepared(peer: &Peer, workload: Workload) -> anyhow::Result<Client> {
    let mut client = Client::connect(peer.address)?;
    if workload != Workload::Transfer {
        client.call("anvil_setCode", &json!([CONTRACT, workload.code()]))?;
    }
    Ok(client)
}

/// Sends signed transactions and waits until the last of each account is mined.
fn mined_per_second(peer: &Peer, accounts: &[Account], workload: Workload, load: Load) -> anyhow::Result<f64> {
    let mut client = prepared(peer, workload)?;
    let signed = workload.signed(accounts, CONTRACT, 0, load.transactions, GAS_PRICE);
    let last: Vec<_> = signed.iter().rev().take(accounts.len()).map(|(_, transaction)| *transaction.tx_hash()).collect();
    let requests: Vec<_> = signed
        .iter()
        .enumerate()
        .map(|(id, (_, transaction))| {
            json!({ "jsonrpc": "2.0", "id": id, "method": "eth_sendRawTransaction", "params": [hex::encode_prefixed(transaction.encoded_2718())] })
        })
        .collect();
    let bodies = requests.chunks(load.batch).map(|batch| json!(batch).to_string().into_bytes());
    let batches =
        bodies.zip(signed.chunks(load.batch)).map(|(body, batch)| (body, batch.last().map(|(_, transaction)| *transaction.tx_hash())));
    let batches: Vec<_> = batches.collect();
    let next = AtomicUsize::new(0);
    let started = Instant::now();
    let send = || {
        let mut client = Client::connect(peer.address)?;
        while let Some((body, last)) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
            let answer = client.post(body)?;
            ensure!(
                !answer.windows(8).any(|window| window == b"\"error\":"),
                "{}",
                String::from_utf8_lossy(&answer[..answer.len().min(400)])
            );
            if load.settles {
                mined(&mut client, last)?;
            }
        }
        anyhow::Ok(())
    };
    on_threads(load.in_flight, send)?;
    for hash in last {
        mined(&mut client, &Some(hash))?;
    }
    Ok(load.transactions as f64 / started.elapsed().as_secs_f64())
}

/// Runs the same on so many threads at once.
fn on_threads<T: Send>(threads: usize, work: impl Fn() -> anyhow::Result<T> + Sync) -> anyhow::Result<Vec<T>> {
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        running.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a client panicked"))?).collect()
    })
}

/// Waits until a transaction is mined.
fn mined(client: &mut Client, hash: &Option<B256>) -> anyhow::Result<()> {
    let started = Instant::now();
    while client.call("eth_getTransactionReceipt", &json!([hash]))?.is_null() {
        ensure!(started.elapsed() < Duration::from_secs(30), "transaction {hash:?} is not mined");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Median microseconds of a call, on so many connections at once.
fn read_us(address: SocketAddr, connections: usize, method: &str, params: &serde_json::Value) -> anyhow::Result<f64> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let read = || {
        let mut client = Client::connect(address)?;
        client.call(method, params)?;
        let mut times = Vec::with_capacity(READS);
        for _ in 0..READS {
            let started = Instant::now();
            client.post(body.as_bytes())?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
        Ok(times)
    };
    Ok(quantile(&on_threads(connections, read)?.concat(), 0.5))
}
