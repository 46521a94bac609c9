//! Catching up: a node that has nothing gets a large checkpoint, or many blocks, from another node over QUIC on
//! loopback.

use std::{
    io::Write as _,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::ensure;
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use subnode_tests::{process::Run, testnet::Testnet};

use crate::network;

/// Bytes of the state, in values of this length.
const STATE_BYTES: usize = 1 << 30;
const VALUE_BYTES: usize = 60 << 10;
/// Heights between states that can be got.
const EVERY: u64 = 64;
/// Blocks of the other measurement.
const BLOCKS: u64 = 2_000;
const PATIENCE: Duration = Duration::from_secs(600);

/// Two nodes of a chain that the first decides alone.
struct Pair {
    files: Testnet,
    running: [Option<Run>; 2],
}

impl Pair {
    fn new(checkpoint_every: u64, sealing: &str) -> anyhow::Result<Self> {
        let every = checkpoint_every.to_string();
        // The second has a key and a port, and is not of the committee.
        let files = Testnet::new(2, &["--runtime", "kv", "--members", "1", "--sealing", sealing, "--checkpoint-every", &every])?;
        // Room for the state, its past, and what waits.
        let room = "storage = \"16GiB\"\nmemory = \"2GiB\"\nbandwidth = \"1000MB\"\nhistory = 1\n\n[capacity]\nbandwidth = \"1000MB\"\n";
        for node in 0..2 {
            let config = files.config(node);
            std::fs::write(&config, std::fs::read_to_string(&config)? + room)?;
        }
        Ok(Self { files, running: [None, None] })
    }

    fn start(&mut self, node: usize) -> anyhow::Result<()> {
        self.running[node] = Some(Run::start(&self.files.config(node))?);
        Ok(())
    }

    fn height(&self, node: usize) -> u64 {
        let height = || self.files.client(node, 0)?.quantity("kv_height", &json!([]));
        // None while the chain is opened anew.
        height().unwrap_or_default()
    }

    fn log(&self, node: usize) -> String {
        self.running[node].as_ref().map(Run::logged).unwrap_or_default()
    }
}

fn until(what: &str, mut so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let started = Instant::now();
    while !so()? {
        ensure!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn put(key: &SigningKey, sequence: u64, value: &[u8]) -> anyhow::Result<Value> {
    let name = sequence.to_be_bytes();
    let owner = key.verifying_key();
    let head = [owner.as_bytes(), &sequence.to_be_bytes()[..], &[u8::try_from(name.len())?], &name, value].concat();
    let transaction = [&head[..], &key.sign(&head).to_bytes()].concat();
    Ok(json!([alloy::hex::encode_prefixed(transaction)]))
}

/// The rate of a file copied over the same QUIC: what a state costs at least.
async fn copied(dir: &Path) -> anyhow::Result<Duration> {
    let network = network::raw(network::AT_ONCE).await?;
    let started = Instant::now();
    let mut file = std::fs::File::create(dir.join("copy"))?;
    let piece = vec![7; 4 << 20];
    for _ in 0..network::TRANSFER_BYTES / piece.len() as u64 {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    Ok(network + started.elapsed())
}

pub(crate) async fn run() -> anyhow::Result<()> {
    println!("\n## sync: a node that has nothing, over QUIC on loopback\n");
    state().await?;
    blocks()
}

/// Bytes that no compression makes fewer.
fn noise(seed: &mut u64, bytes: &mut [u8]) {
    for chunk in bytes.chunks_exact_mut(8) {
        *seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        chunk.copy_from_slice(&seed.to_be_bytes());
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
async fn state() -> anyhow::Result<()> {
    let mut pair = Pair::new(EVERY, "instant")?;
    pair.start(0)?;
    let key = SigningKey::from_bytes(&[3; 32]);
    let owner = json!([alloy::hex::encode_prefixed(key.verifying_key().as_bytes())]);
    let mut client = pair.files.client(0, 0)?;
    let values = (STATE_BYTES / VALUE_BYTES) as u64;
    let (mut value, mut seed) = (vec![0; VALUE_BYTES], 1);
    for sequence in 0..values {
        noise(&mut seed, &mut value);
        let put = put(&key, sequence, &value)?;
        while client.call("kv_send", &put).is_err() {
            // The pool is full until the next block.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    until("all values are written", || Ok(client.quantity("kv_sequence", &owner)? == values))?;
    // On to a block that vouches for a state with all of them.
    let full = pair.height(0);
    for sequence in values.. {
        if pair.height(0) > full + 2 * EVERY {
            break;
        }
        client.call("kv_send", &put(&key, sequence, b"more")?)?;
        until("a block", || Ok(client.quantity("kv_sequence", &owner)? > sequence))?;
    }
    let started = Instant::now();
    pair.start(1)?;
    until("the second node has the state", || Ok(pair.log(1).contains("opened anew on the state of a later block")))?;
    let took = started.elapsed().as_secs_f64();
    let copied = copied(&pair.files.folder(1)).await?.as_secs_f64();
    let (ours, theirs) = (STATE_BYTES as f64 / took / 1e6, network::TRANSFER_BYTES as f64 / copied / 1e6);
    println!("| | MB/s | a file over the same QUIC, MB/s | ratio |\n|---|---|---|---|");
    println!("| a state of 1 GiB, checked and durable, from the node's start on | {ours:.0} | {theirs:.0} | {:.2} |", ours / theirs);
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn blocks() -> anyhow::Result<()> {
    let mut pair = Pair::new(1_000_000, "5ms")?;
    pair.start(0)?;
    until("blocks", || Ok(pair.height(0) >= BLOCKS))?;
    let started = Instant::now();
    pair.start(1)?;
    until("the second node has the blocks", || Ok(pair.height(1) >= BLOCKS))?;
    let rate = BLOCKS as f64 / started.elapsed().as_secs_f64();
    println!("\nBlocks with their certificates, empty, fetched, checked, executed and committed one by one: {rate:.0}/s.");
    Ok(())
}
