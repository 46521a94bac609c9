//! 64 chains on one `subnode dev` against 64 anvil processes.

use std::time::{Duration, Instant};

use alloy::{
    consensus::TxEnvelope,
    eips::Encodable2718,
    primitives::{Address, B256, hex},
};
use anyhow::anyhow;
use serde_json::{Value, json};
use subnode_devnet::{Account, DEFAULT_MNEMONIC, accounts};
use subnode_tests::http::Client;

use crate::{
    machine::proportional_kib,
    peer::{ANVIL, Peer, Program},
    workload::{CHAIN_ID, CONTRACT, Workload},
};

const CHAINS: usize = 64;
/// Transfers to each chain, in batches of so many.
const TRANSFERS: usize = 200;
const BATCH: usize = 20;
/// Connections that send at once.
const SENDERS: usize = 4;
const GAS_PRICE: u128 = 100_000_000_000;

/// A request, and the last of its transactions.
type Batch = (Vec<u8>, Option<B256>);

/// What all chains together took.
struct All {
    started_ms: f64,
    resident_mib: f64,
    transfers_per_second: f64,
}

/// Prints the table.
pub(crate) fn run() -> anyhow::Result<()> {
    let [subnode, anvil] = Program::both()?;
    let accounts = accounts(DEFAULT_MNEMONIC, 10)?;
    println!("\n## {CHAINS} chains: one subnode against {CHAINS} anvil {ANVIL}\n");
    println!("| measured | subnode | anvil | subnode / anvil |\n|---|---|---|---|");
    let started = Instant::now();
    let one = subnode.start(&["--chains", &CHAINS.to_string()])?;
    let targets: Vec<(&Peer, String)> = (1..=CHAINS).map(|chain| (&one, format!("/chain/dev{chain}"))).collect();
    let ours = measure(started, &targets, &accounts, |chain| CHAIN_ID + chain as u64)?;
    drop(one);
    let started = Instant::now();
    let peers = (0..CHAINS).map(|_| anvil.start(&[])).collect::<anyhow::Result<Vec<_>>>()?;
    let targets: Vec<(&Peer, String)> = peers.iter().map(|peer| (peer, "/".to_owned())).collect();
    let theirs = measure(started, &targets, &accounts, |_| CHAIN_ID)?;
    for (what, unit, ours, theirs) in [
        ("start of all", "ms", ours.started_ms, theirs.started_ms),
        ("memory of all, proportional", "MiB", ours.resident_mib, theirs.resident_mib),
        ("transfers mined by all", "/s", ours.transfers_per_second, theirs.transfers_per_second),
    ] {
        println!("| {what} | {ours:.0} {unit} | {theirs:.0} {unit} | **{:.2}** |", ours / theirs);
    }
    Ok(())
}

fn measure(started: Instant, targets: &[(&Peer, String)], accounts: &[Account], id: impl Fn(usize) -> u64) -> anyhow::Result<All> {
    for (peer, path) in targets {
        Client::connect(peer.address)?.at(path).call("eth_chainId", &json!([]))?;
    }
    let started_ms = started.elapsed().as_secs_f64() * 1e3;
    let bodies: Vec<Vec<Batch>> = (0..targets.len()).map(|chain| batches(accounts, id(chain))).collect();
    let sending = Instant::now();
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (targets, bodies) = (&targets, &bodies);
                scope.spawn(move || {
                    for chain in (sender..targets.len()).step_by(SENDERS) {
                        let (peer, path) = &targets[chain];
                        let mut client = Client::connect(peer.address)?.at(path);
                        for (body, last) in &bodies[chain] {
                            client.post(body)?;
                            // anvil loses transactions of batches that follow each other faster than it mines.
                            while client.call("eth_getTransactionReceipt", &json!([last]))?.is_null() {
                                std::thread::sleep(Duration::from_millis(1));
                            }
                        }
                    }
                    anyhow::Ok(())
                })
            })
            .collect();
        senders.into_iter().try_for_each(|sender| sender.join().map_err(|_| anyhow!("a client panicked"))?)
    })?;
    let transfers_per_second = (targets.len() * TRANSFERS) as f64 / sending.elapsed().as_secs_f64();
    let mut processes: Vec<u32> = targets.iter().map(|(peer, _)| peer.process()).collect();
    processes.dedup();
    Ok(All { started_ms, resident_mib: processes.into_iter().map(proportional_kib).sum::<f64>() / 1024.0, transfers_per_second })
}

/// A chain's transfers in batches, signed for its id.
fn batches(accounts: &[Account], chain_id: u64) -> Vec<Batch> {
    let signed = Workload::Transfer.signed_for(chain_id, accounts, CONTRACT, 0, TRANSFERS, GAS_PRICE);
    let batch = |batch: &[(Address, TxEnvelope)]| {
        let raw = batch.iter().map(|(_, transaction)| hex::encode_prefixed(transaction.encoded_2718()));
        let calls = raw.map(|raw| json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_sendRawTransaction", "params": [raw] }));
        (calls.collect::<Value>().to_string().into_bytes(), batch.last().map(|(_, transaction)| *transaction.tx_hash()))
    };
    signed.chunks(BATCH).map(batch).collect()
}
