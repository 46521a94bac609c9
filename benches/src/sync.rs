//! Catching up: a node that has nothing gets a large state from another, or many blocks, over QUIC on loopback.

use std::{
    fmt::Write as _,
    io::Write as _,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use subnode_tests::{
    http::Client,
    process::{binary, free_ports},
};

use crate::network;

/// Bytes of the state, in values of this length.
const STATE_BYTES: usize = 1 << 30;
const VALUE_BYTES: usize = 60 << 10;
/// Blocks of the other measurement.
const BLOCKS: u64 = 2_000;
const PATIENCE: Duration = Duration::from_secs(600);

/// Nodes that run. They end with it.
struct Pair {
    dir: tempfile::TempDir,
    port: u16,
    running: Vec<Child>,
}

impl Drop for Pair {
    fn drop(&mut self) {
        for node in &mut self.running {
            drop(node.kill());
            drop(node.wait());
        }
    }
}

impl Pair {
    /// A chain that the first node decides alone. The second is only written.
    fn new(checkpoint_every: u64, sealing: &str) -> anyhow::Result<Self> {
        let (dir, port) = (tempfile::tempdir()?, free_ports(2));
        let every = checkpoint_every.to_string();
        let written = Command::new(binary()?)
            .args(["testnet", "--write-only", "--runtime", "kv", "--nodes", "1", "--sealing", sealing, "--checkpoint-every", &every])
            .args(["--port", &port.to_string(), "--dir"])
            .arg(dir.path())
            .output()?;
        if !written.status.success() {
            bail!("{}", String::from_utf8_lossy(&written.stderr));
        }
        let key = |node: &str, command: &str| -> anyhow::Result<String> {
            let shown = Command::new(binary()?).args(["key", command]).arg(dir.path().join(node).join("node.key")).output()?;
            Ok(String::from_utf8(shown.stdout)?.trim().to_owned())
        };
        std::fs::create_dir_all(dir.path().join("node2"))?;
        key("node2", "new")?;
        let first = std::fs::read_to_string(dir.path().join("node1/subnode.toml"))?;
        let (own, other) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", port + 1));
        // Room for the state, its past, and what waits.
        let room = "storage = \"16GiB\"\nmemory = \"2GiB\"\nbandwidth = \"1000MB\"\nhistory = 1\n";
        let second =
            first.replace(&own, &other).replace("[network.peers]\n", &format!("[network.peers]\n{} = \"{own}\"\n", key("node1", "show")?));
        for (node, mut text) in [("node1", first), ("node2", second)] {
            text.write_str(room)?;
            std::fs::write(dir.path().join(node).join("subnode.toml"), text)?;
        }
        Ok(Self { dir, port, running: Vec::new() })
    }

    fn start(&mut self, node: u16) -> anyhow::Result<()> {
        let config = self.dir.path().join(format!("node{node}/subnode.toml"));
        let log = std::fs::File::create(self.dir.path().join(format!("node{node}/log")))?;
        self.running.push(Command::new(binary()?).args(["run", "--config"]).arg(config).stdout(Stdio::null()).stderr(log).spawn()?);
        until("a node answers", || Ok(self.client(node).is_some()))
    }

    fn client(&self, node: u16) -> Option<Client> {
        Some(Client::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port + node - 1))).ok()?.at("/chain/chain1"))
    }

    fn height(&self, node: u16) -> u64 {
        let number = || self.client(node)?.call("kv_height", &json!([])).ok();
        let parsed = number().and_then(|number: Value| u64::from_str_radix(number.as_str()?.trim_start_matches("0x"), 16).ok());
        parsed.unwrap_or_default()
    }

    fn log(&self, node: u16) -> String {
        std::fs::read_to_string(self.dir.path().join(format!("node{node}/log"))).unwrap_or_default()
    }
}

fn until(what: &str, mut so: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    let started = Instant::now();
    while !so()? {
        if started.elapsed() > PATIENCE {
            bail!("not within {PATIENCE:?}: {what}");
        }
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
    let network = network::raw().await?;
    let started = Instant::now();
    let mut file = std::fs::File::create(dir.join("copy"))?;
    let piece = vec![7; 4 << 20];
    for _ in 0..network::TRANSFER_BYTES / piece.len() as u64 {
        file.write_all(&piece)?;
    }
    file.sync_all()?;
    Ok(network + started.elapsed())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) async fn run() -> anyhow::Result<()> {
    println!("\n## sync: a node that has nothing, over QUIC on loopback\n");
    let mut pair = Pair::new(64, "instant")?;
    pair.start(1)?;
    let key = SigningKey::from_bytes(&[3; 32]);
    let mut client = pair.client(1).context("the first node")?;
    let values = (STATE_BYTES / VALUE_BYTES) as u64;
    // Of different bytes, or compression would carry them.
    let mut value = vec![0_u8; VALUE_BYTES];
    let mut seed = 1_u64;
    for sequence in 0..values {
        for chunk in value.chunks_exact_mut(8) {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            chunk.copy_from_slice(&seed.to_be_bytes());
        }
        let put = put(&key, sequence, &value)?;
        while client.call("kv_send", &put).is_err() {
            // The pool is full until the next block.
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let owner = json!([alloy::hex::encode_prefixed(key.verifying_key().as_bytes())]);
    let written = |client: &mut Client| client.call("kv_sequence", &owner).is_ok_and(|sequence| sequence == format!("{values:#x}"));
    until("all values are written", || Ok(written(&mut client)))?;
    // On to a block that vouches for a state with all of them.
    let full = pair.height(1);
    for sequence in values.. {
        if pair.height(1) >= full + 129 {
            break;
        }
        client.call("kv_send", &put(&key, sequence, b"more")?)?;
        until("a block", || Ok(client.call("kv_sequence", &owner).is_ok_and(|next| next == format!("{:#x}", sequence + 1))))?;
    }
    std::thread::sleep(Duration::from_secs(3));
    let started = Instant::now();
    pair.start(2)?;
    let renewed = "opened anew on the state of a later block";
    until("the second node has the state", || Ok(pair.log(2).contains(renewed)))?;
    let took = started.elapsed().as_secs_f64();
    let copied = copied(pair.dir.path()).await?.as_secs_f64();
    let (ours, theirs) = (STATE_BYTES as f64 / took / 1e6, network::TRANSFER_BYTES as f64 / copied / 1e6);
    println!("| | MB/s | a file over the same QUIC, MB/s | ratio |\n|---|---|---|---|");
    println!("| a state of 1 GiB, checked and durable, from the node's start on | {ours:.0} | {theirs:.0} | {:.2} |", ours / theirs);
    drop(pair);

    let mut pair = Pair::new(1_000_000, "5ms")?;
    pair.start(1)?;
    until("blocks", || Ok(pair.height(1) >= BLOCKS))?;
    let started = Instant::now();
    pair.start(2)?;
    until("the second node has the blocks", || Ok(pair.height(2) >= BLOCKS))?;
    println!(
        "\nBlocks with their certificates, empty, fetched, checked, executed and committed one by one: {:.0}/s.",
        BLOCKS as f64 / started.elapsed().as_secs_f64()
    );
    Ok(())
}
