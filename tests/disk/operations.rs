//! A disk that is full before, or in the midst of, each thing an operator can ask.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use rand::RngCore;
use serde_json::json;
use subnode_tests::{
    operations::{CHAIN, OPERATIONS, Operation, facts, furnish},
    operator::{Home, Node},
    transfer::Sender,
};

/// Set where the test runs on a disk of its own: the disk.
const DISK: &str = "SUBNODE_TEST_DISK";
const SIZE: &str = "size=256m";
/// What is left free: nothing, some rows, most of a chunk of an archive.
const LEFT: [u64; 3] = [0, 16 << 10, 768 << 10];
/// A chain that uses up what the store reserves, which is less than so many of its blocks.
const FILLER: &str = "filler";
const BLOCKS_MAX: usize = 1_000;
/// The store looks for room again after a second or so.
const RECOVERS_WITHIN: Duration = Duration::from_secs(60);

#[test]
fn a_disk_full_in_the_midst_of_each_operation_leaves_all_or_nothing_of_it() {
    if let Some(disk) = std::env::var_os(DISK) {
        return on(disk.as_ref());
    }
    if !cfg!(target_os = "linux") {
        return;
    }
    let mount = tempfile::tempdir().unwrap();
    let again = Command::new("unshare")
        .args(["-rm", "sh", "-c", r#"mount -t tmpfs -o "$0" disk "$TMPDIR" || exit 9; exec "$@""#, SIZE])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "operations::a_disk_full_in_the_midst_of_each_operation_leaves_all_or_nothing_of_it", "--nocapture"])
        .envs([(DISK, mount.path()), ("TMPDIR", mount.path())])
        .status();
    match again.map(|status| status.code()) {
        Ok(Some(0)) => {}
        Ok(Some(1 | 9)) | Err(_) => println!("skipped: no mounts without privilege here"),
        Ok(code) => panic!("it ended with {code:?}"),
    }
}

/// Takes all of a disk, until it is dropped.
struct Ballast<'a>(&'a Path);

impl<'a> Ballast<'a> {
    fn all(path: &'a Path) -> Self {
        let ballast = Self(path);
        ballast.grow();
        ballast
    }

    /// Takes what came free since: the store deletes files of its own in the background.
    fn grow(&self) {
        let mut file = File::options().create(true).append(true).open(self.0).unwrap();
        while file.write_all(&[0; 4096]).is_ok() {}
    }

    fn leave(&self, left: u64) {
        let file = File::options().write(true).open(self.0).unwrap();
        file.set_len(file.metadata().unwrap().len() - left).unwrap();
    }
}

impl Drop for Ballast<'_> {
    fn drop(&mut self) {
        drop(fs::remove_file(self.0));
    }
}

fn on(disk: &Path) {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    furnish(&home, &mut node).unwrap();
    let ballast = disk.join("ballast");
    let mut refused = 0;
    for operation in &OPERATIONS {
        for left in LEFT {
            let before = prepared(operation, &home, &mut node);
            let full = fill(&mut node, &ballast);
            full.leave(left);
            let output = home.subnode(operation.arguments).unwrap();
            if !output.status.success() {
                let said = String::from_utf8_lossy(&output.stderr).to_lowercase();
                assert!(said.contains("space") || said.contains("disk"), "{:?} with {left} bytes left: {said}", operation.arguments);
                refused += 1;
            }
            // Whatever became of it, the node answers, and says the same after a restart.
            let then = facts(&mut node.operator);
            drop(full);
            node.kill().unwrap();
            node = home.start().unwrap();
            assert_eq!(facts(&mut node.operator), then, "{:?} with {left} bytes left, after a restart", operation.arguments);
            operation.complete(&home, &mut node.operator, &before).unwrap();
        }
    }
    println!("{refused} of {} were refused", OPERATIONS.len() * LEFT.len());
    assert!(refused > OPERATIONS.len(), "the disk was not full");
    // Without a restart as well.
    let before = prepared(&OPERATIONS[0], &home, &mut node);
    let full = fill(&mut node, &ballast);
    assert!(!home.subnode(OPERATIONS[0].arguments).unwrap().status.success());
    drop(full);
    let started = Instant::now();
    while let Err(error) = OPERATIONS[0].complete(&home, &mut node.operator, &before) {
        assert!(started.elapsed() < RECOVERS_WITHIN, "it does not recover: {error}");
    }
    node.operator.wait(CHAIN, |chain| chain["height"].as_u64() > Some(3)).unwrap();
    assert!(node.stop().unwrap());
}

/// Fills the disk, and then what the store reserved of it beforehand: a chain writes until that is full as well.
fn fill<'a>(node: &mut Node, ballast: &'a Path) -> Ballast<'a> {
    drop(node.operator.call("chain_delete", json!({ "name": FILLER, "force": true })));
    let unlimited = json!({ "sealing": "manual", "controls": true, "storageBytes": 4_u64 << 30, "bandwidthBytes": 100_000_000 });
    node.operator.create(FILLER, unlimited).unwrap();
    let full = Ballast::all(ballast);
    let mut client = node.chain(FILLER).unwrap();
    let mut sender = Sender::new(0);
    for _ in 0..BLOCKS_MAX {
        let mut data = vec![0; 100_000];
        rand::rng().fill_bytes(&mut data);
        sender.send(&mut client, data).unwrap();
        if client.call("evm_mine", &json!([])).is_err() {
            return full;
        }
        full.grow();
    }
    panic!("the disk does not fill");
}

fn prepared(operation: &Operation, home: &Home, node: &mut Node) -> serde_json::Value {
    operation.prepare(home, &mut node.operator).unwrap()
}
