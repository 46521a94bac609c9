//! A disk that fills up, in a small file system of the test's own: clients and operators hear of it, nothing acknowledged is lost, and
//! all goes on once there is room again.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod operations;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use rand::RngCore;
use serde_json::{Value, json};
use subnode_tests::{
    http::Client,
    process::{Process, binary},
};

const FROM: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
/// Room for the ballast, and some tens of blocks beside it.
const DISK: &str = "size=48m";
const BALLAST: &str = "16m";

/// A node whose data directory is on a disk of its own, seen by it and its children only.
struct Node {
    process: Process,
    client: Client,
    dir: PathBuf,
}

/// None where this machine lets no ordinary user mount anything.
fn start(dir: PathBuf) -> Option<Node> {
    let script = r#"mount -t tmpfs -o "$0" disk "$1" || exit 9; head -c "$2" /dev/zero > "$1/ballast"; exec "$3" dev --no-mining --port 0 --json --gas-limit 100000000 --data-dir "$1/data""#;
    let child = Command::new("unshare")
        .args(["-rm", "sh", "-c", script, DISK])
        .arg(&dir)
        .arg(BALLAST)
        .arg(binary().unwrap())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn();
    let mut process = Process(child.ok()?);
    let mut line = String::new();
    BufReader::new(process.0.stdout.take()?).read_line(&mut line).unwrap();
    let Ok(announced) = serde_json::from_str::<Value>(&line) else {
        println!("skipped: no mounts without privilege here ({})", process.0.wait().unwrap());
        return None;
    };
    let client = Client::connect(announced["listening"].as_str().unwrap().parse().unwrap()).unwrap();
    Some(Node { process, client, dir })
}

impl Node {
    /// A block with a transaction of 100 kB that does not compress; its receipt.
    fn fill(&mut self) -> Result<Value, String> {
        let mut data = vec![0; 100_000];
        rand::rng().fill_bytes(&mut data);
        let request = json!([{ "from": FROM, "to": FROM, "gas": "0x500000", "data": alloy::hex::encode_prefixed(data) }]);
        let hash = self.call("eth_sendTransaction", &request)?;
        self.call("evm_mine", &json!([]))?;
        self.call("eth_getTransactionReceipt", &json!([hash]))
    }

    fn call(&mut self, method: &str, params: &Value) -> Result<Value, String> {
        self.client.call(method, params).map_err(|error| error.to_string())
    }
}

#[test]
fn a_full_disk_is_said_and_passes() {
    if !cfg!(target_os = "linux") {
        return;
    }
    let mount = tempfile::tempdir().unwrap();
    let Some(mut node) = start(mount.path().into()) else { return };
    let mut receipts = Vec::new();
    let refusal = loop {
        match node.fill() {
            Ok(receipt) => receipts.push(receipt),
            Err(refusal) => break refusal,
        }
        assert!(receipts.len() < 2_000, "the disk does not fill");
    };
    assert!(refusal.contains("disk full") || refusal.contains("were sealed"), "{refusal}");
    let height = receipts.last().unwrap()["blockNumber"].clone();
    for _ in 0..3 {
        // It goes on answering, and sealing goes on failing cleanly.
        assert_eq!(node.call("eth_blockNumber", &json!([])).unwrap(), height);
        assert!(node.call("evm_mine", &json!([])).is_err());
    }
    for receipt in &receipts {
        assert_eq!(node.call("eth_getTransactionReceipt", &json!([receipt["transactionHash"]])).as_ref(), Ok(receipt));
    }
    let ballast = format!("/proc/{}/root{}/ballast", node.process.0.id(), node.dir.display());
    fs::remove_file(ballast).unwrap();
    let started = Instant::now();
    while let Err(error) = node.call("evm_mine", &json!([])) {
        assert!(started.elapsed() < Duration::from_secs(60), "it does not recover: {error}");
    }
    receipts.push(node.fill().unwrap());
    for receipt in &receipts {
        assert_eq!(node.call("eth_getTransactionReceipt", &json!([receipt["transactionHash"]])).as_ref(), Ok(receipt));
    }
}
