//! `subnode dev` against anvil, over HTTP, from one native client.
//!
//! Ratios are medians of pairs: each round measures both programs, one after the other. CPU time is that of the
//! server process. The system counts CPU time in hundredths of a second, so each load takes some tenths of a second
//! at least.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant},
};

use alloy::{
    eips::Encodable2718,
    primitives::{B256, hex, keccak256},
};
use anyhow::{Context as _, anyhow, ensure};
use serde_json::json;
use subnode_devnet::{Account, DEFAULT_MNEMONIC, accounts};
use subnode_tests::http::Client;

use crate::{
    machine::cpu_seconds,
    peer::{ANVIL, Peer, Program},
    ratio::{Pairs, quantile},
    workload::{CONTRACT, Workload},
};

const GAS_PRICE: u128 = 100_000_000_000;
const ROUNDS: usize = 3;
const STARTS: usize = 9;
/// Requests in flight, each on its own connection, for the latency of reads, and how many each connection makes: enough for a second.
const READERS: [(usize, usize); 2] = [(1, 10_000), (8, 3_000)];

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

/// What one program did in one round.
struct Measured {
    figure: f64,
    /// CPU time of the server for each transaction or call. Not measured for starts: it is a few of the hundredths that the system counts in.
    cpu_us: Option<f64>,
}

/// A row of the table, round by round.
struct Row {
    label: String,
    unit: &'static str,
    figures: Pairs,
    cpu_us: Pairs,
}

impl Row {
    fn new(label: String, unit: &'static str) -> Self {
        Self { label, unit, figures: Pairs::new(), cpu_us: Pairs::new() }
    }

    fn push(&mut self, [ours, theirs]: [Measured; 2]) {
        self.figures.push_figures(ours.figure, theirs.figure);
        if let (Some(ours), Some(theirs)) = (ours.cpu_us, theirs.cpu_us) {
            self.cpu_us.push_figures(ours, theirs);
        }
    }

    fn print(&self) {
        let cells = |pairs: &Pairs, unit: &str| {
            let ((ours, theirs), (ratio, least, most)) = (pairs.medians(), pairs.ratio());
            format!("{ours:.0} {unit} | {theirs:.0} {unit} | **{ratio:.2}** ({least:.2} to {most:.2})")
        };
        let cpu = if self.cpu_us.is_empty() { "| |".to_owned() } else { cells(&self.cpu_us, "us") };
        println!("| {} | {} | {cpu} |", self.label, cells(&self.figures, self.unit));
    }
}

/// Measures both programs, one after the other.
fn in_turns<T>([ours, theirs]: &[Program; 2], measure: impl Fn(&Program) -> anyhow::Result<T>) -> anyhow::Result<[T; 2]> {
    let measure = |program: &Program| measure(program).with_context(|| format!("{program:?}"));
    Ok([measure(ours)?, measure(theirs)?])
}

/// Prints the table.
pub(crate) fn run() -> anyhow::Result<()> {
    let programs = Program::both()?;
    let accounts = accounts(DEFAULT_MNEMONIC, 10)?;
    println!("\n## subnode dev against anvil {ANVIL}\n");
    println!("CPU is of the server, for each transaction or call. In parentheses the least and the most of the rounds.\n");
    println!("| measured | subnode | anvil | subnode / anvil | subnode, CPU | anvil, CPU | subnode / anvil, CPU |");
    println!("|---|---|---|---|---|---|---|");
    for (sealing, arguments, load) in [("instant", [].as_slice(), INSTANT), ("1 s blocks", ["--block-time", "1"].as_slice(), INTERVAL)] {
        for workload in [Workload::Transfer, Workload::Erc20] {
            let label = format!("{} mined, {sealing}, {} batches of {} in flight", workload.name(), load.in_flight, load.batch);
            let mut row = Row::new(label, "/s");
            for _ in 0..ROUNDS {
                row.push(in_turns(&programs, |program| mined_at_last(program, arguments, &accounts, workload, load))?);
            }
            row.print();
        }
    }
    for (connections, reads) in READERS {
        let row = |method| Row::new(format!("{method}, median, {connections} in flight"), "us");
        let mut rows = [row("eth_call"), row("eth_getBalance")];
        for _ in 0..ROUNDS {
            let [[call, balance], [their_call, their_balance]] = in_turns(&programs, |program| {
                let peer = program.start(&[])?;
                prepared(&peer, Workload::Erc20)?;
                let input = [&keccak256("transfer(address,uint256)")[..4], &[0; 64]].concat();
                let call = json!([{ "from": accounts[0].address, "to": CONTRACT, "data": hex::encode_prefixed(input) }, "latest"]);
                let balance = json!([accounts[0].address, "latest"]);
                let read = |method, params| read(&peer, (connections, reads), method, params);
                Ok([read("eth_call", &call)?, read("eth_getBalance", &balance)?])
            })?;
            rows[0].push([call, their_call]);
            rows[1].push([balance, their_balance]);
        }
        rows.iter().for_each(Row::print);
    }
    let mut starts = Row::new("start to first answer, median".to_owned(), "ms");
    for _ in 0..STARTS {
        starts.push(in_turns(&programs, |program| {
            let started_in = program.start(&[])?.started_in;
            Ok(Measured { figure: started_in.as_secs_f64() * 1e3, cpu_us: None })
        })?);
    }
    starts.print();
    let peer = programs[0].start(&[])?;
    let flood = mined(&peer, &accounts, Workload::Transfer, FLOOD)?;
    println!(
        "| {} transfers in batches of {}, instant | all mined, {:.0}/s, {:.0} MiB resident | not run: it livelocks | | {:.0} us | | |",
        FLOOD.transactions,
        FLOOD.batch,
        flood.figure,
        peer.resident_mib(),
        flood.cpu_us.unwrap_or(f64::NAN)
    );
    Ok(())
}

/// A client of a chain that has the contract a workload calls.
fn prepared(peer: &Peer, workload: Workload) -> anyhow::Result<Client> {
    let mut client = Client::connect(peer.address)?;
    if workload != Workload::Transfer {
        client.call("anvil_setCode", &json!([CONTRACT, workload.code()]))?;
    }
    Ok(client)
}

/// Puts a load to a new process. anvil loses a transaction in one load of some twenty, which says nothing of its speed: it gets the load again.
fn mined_at_last(program: &Program, arguments: &[&str], accounts: &[Account], workload: Workload, load: Load) -> anyhow::Result<Measured> {
    let mut tries_left = match program {
        Program::Subnode(_) => 0,
        Program::Anvil(_) => 3,
    };
    loop {
        match mined(&program.start(arguments)?, accounts, workload, load) {
            Err(error) if tries_left > 0 => eprintln!("{program:?}: {error:#}; it gets the load again"),
            done => return done,
        }
        tries_left -= 1;
    }
}

/// Sends signed transactions and waits until the last of each account is mined: how many a second.
fn mined(peer: &Peer, accounts: &[Account], workload: Workload, load: Load) -> anyhow::Result<Measured> {
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
    let (cpu, started) = (cpu_seconds(peer.process()), Instant::now());
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
                wait_until_mined(&mut client, last)?;
            }
        }
        anyhow::Ok(())
    };
    on_threads(load.in_flight, send)?;
    for hash in last {
        wait_until_mined(&mut client, &Some(hash))?;
    }
    let (count, seconds) = (load.transactions as f64, started.elapsed().as_secs_f64());
    Ok(Measured { figure: count / seconds, cpu_us: Some((cpu_seconds(peer.process()) - cpu) * 1e6 / count) })
}

/// Runs the same on so many threads at once.
fn on_threads<T: Send>(threads: usize, work: impl Fn() -> anyhow::Result<T> + Sync) -> anyhow::Result<Vec<T>> {
    thread::scope(|scope| {
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(&work)).collect();
        running.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("a client panicked"))?).collect()
    })
}

/// Waits until a transaction is mined.
fn wait_until_mined(client: &mut Client, hash: &Option<B256>) -> anyhow::Result<()> {
    let started = Instant::now();
    while client.call("eth_getTransactionReceipt", &json!([hash]))?.is_null() {
        ensure!(started.elapsed() < Duration::from_secs(30), "transaction {hash:?} is not mined");
        thread::sleep(Duration::from_millis(1));
    }
    Ok(())
}

/// Median microseconds of a call, on so many connections at once with so many calls each.
fn read(peer: &Peer, (connections, reads): (usize, usize), method: &str, params: &serde_json::Value) -> anyhow::Result<Measured> {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let read = || {
        let mut client = Client::connect(peer.address)?;
        client.call(method, params)?;
        let mut times = Vec::with_capacity(reads);
        for _ in 0..reads {
            let started = Instant::now();
            client.post(body.as_bytes())?;
            times.push(started.elapsed().as_secs_f64() * 1e6);
        }
        Ok(times)
    };
    let cpu = cpu_seconds(peer.process());
    let times = on_threads(connections, read)?.concat();
    let cpu_us = (cpu_seconds(peer.process()) - cpu) * 1e6 / times.len() as f64;
    Ok(Measured { figure: quantile(&times, 0.5), cpu_us: Some(cpu_us) })
}
