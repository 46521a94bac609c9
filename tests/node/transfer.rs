//! Chains move between nodes as files, whatever interrupts them.

use std::{fs, process::Command};

use base64::{Engine, prelude::BASE64_STANDARD};
use rand::{RngCore, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use subnode_tests::{
    operator::{Home, Node},
    process::binary,
    transfer::Sender,
};

/// A node with a chain of many blocks, and all of its receipts.
fn source(home: &Home, blocks: usize, bytes: usize) -> (Node, Vec<Value>) {
    let mut node = home.start().unwrap();
    node.operator
        .create("a", json!({ "sealing": "manual", "controls": true, "storageBytes": 1 << 30, "bandwidthBytes": 100_000_000 }))
        .unwrap();
    let mut client = node.chain("a").unwrap();
    let mut sender = Sender::new(0);
    let mut random = StdRng::seed_from_u64(7);
    let receipts = (0..blocks).map(|_| {
        let mut data = vec![0; bytes];
        random.fill_bytes(&mut data);
        let hash = sender.send(&mut client, data).unwrap();
        client.call("evm_mine", &json!([])).unwrap();
        client.call("eth_getTransactionReceipt", &json!([hash])).unwrap()
    });
    let receipts = receipts.collect();
    (node, receipts)
}

fn check(node: &Node, name: &str, receipts: &[Value]) {
    let mut client = node.chain(name).unwrap();
    for receipt in receipts {
        assert_eq!(&client.call("eth_getTransactionReceipt", &json!([receipt["transactionHash"]])).unwrap(), receipt);
    }
}

#[test]
fn a_chain_moves_to_another_node_while_it_runs() {
    let (here, there) = (Home::new("").unwrap(), Home::new("").unwrap());
    let (node, receipts) = source(&here, 30, 20_000);
    let file = here.path("a.subnode");
    let said = here.succeeds(&["chain", "export", "a", "--output", file.to_str().unwrap(), "--json"]).unwrap();
    assert_eq!(serde_json::from_str::<Value>(&said).unwrap()["height"], 30);
    assert!(here.fails(&["chain", "export", "a", "--output", file.to_str().unwrap()]).unwrap().contains("exists"));
    node.chain("a").unwrap().call("evm_mine", &json!([])).unwrap();
    let mut other = there.start().unwrap();
    let said = there.succeeds(&["chain", "import", "b", file.to_str().unwrap(), "--slice", "small"]).unwrap();
    assert!(said.contains("at height 30"), "{said}");
    check(&other, "b", &receipts);
    other.chain("b").unwrap().call("evm_mine", &json!([])).unwrap();
    assert!(there.fails(&["chain", "import", "b", file.to_str().unwrap()]).unwrap().contains("exists"));
    let live = other.operator.show("b").unwrap()["stats"]["storageBytes"].clone();
    other.kill().unwrap();
    let mut other = there.start().unwrap();
    assert_eq!(other.operator.show("b").unwrap()["stats"]["storageBytes"], live);
    check(&other, "b", &receipts);
    assert!(node.stop().unwrap() && other.stop().unwrap());
}

#[test]
fn files_that_are_no_whole_archive_are_refused_and_leave_nothing() {
    let home = Home::new("").unwrap();
    let (mut node, _) = source(&home, 16, 100_000);
    home.succeeds(&["chain", "export", "a"]).unwrap();
    let whole = fs::read(home.path("a.subnode")).unwrap();
    let mut newer = whole.clone();
    newer[11] = 9;
    let mut corrupt = whole.clone();
    corrupt[whole.len() / 2] ^= 1;
    for (bytes, hint) in [
        (whole[..whole.len() / 2].to_vec(), "truncated"),
        (whole[..10].to_vec(), "not an exported chain"),
        (corrupt, "damaged"),
        (newer, "newer release"),
        (b"PK\x03\x04 something else entirely".to_vec(), "not an exported chain"),
        (Vec::new(), "not an exported chain"),
    ] {
        fs::write(home.path("bad.subnode"), bytes).unwrap();
        let said = home.fails(&["chain", "import", "b", "bad.subnode", "--slice", "small"]).unwrap();
        assert!(said.contains(hint) && said.contains("bad.subnode"), "{hint}: {said}");
    }
    // Past the client's own check, by whoever speaks to the socket.
    let strange = node.operator.call("chain_import", json!({ "name": "b", "header": "AAAA" })).unwrap_err().to_string();
    assert!(strange.contains("not an exported chain"), "{strange}");
    assert!(node.operator.call("chain_importFrame", json!({ "import": 99, "frame": "AAAA" })).is_err());
    assert!(node.operator.call("chain_exportFrame", json!({ "export": 99, "index": 1 })).is_err());
    assert!(home.fails(&["chain", "import", "b", "nowhere.subnode"]).unwrap().contains("nowhere.subnode"));
    assert!(node.operator.show("b").is_err());
    assert_eq!(node.operator.call("chain_list", json!({})).unwrap().as_array().unwrap().len(), 1);
}

/// A client that is killed in the midst of its work, once it has done some of it.
fn killed_midway(home: &Home, arguments: &[&str], begun: impl Fn() -> bool) {
    let mut client = Command::new(binary().unwrap());
    client.args(arguments).arg("--socket").arg(home.socket()).current_dir(home.path(""));
    let mut client = client.spawn().unwrap();
    while !begun() && client.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    // It may have been faster than the kill; then there is nothing to go on with, and the test holds all the same.
    drop(client.kill());
    client.wait().unwrap();
}

#[test]
fn an_interrupted_copy_goes_on_where_it_was() {
    let home = Home::new("").unwrap();
    let (node, receipts) = source(&home, 200, 100_000);
    let partial = home.path("a.subnode.partial");
    killed_midway(&home, &["chain", "export", "a"], || fs::metadata(&partial).is_ok_and(|file| file.len() > 2 << 20));
    // As if the machine had stopped in the midst of a frame.
    if let Ok(file) = fs::OpenOptions::new().write(true).open(&partial) {
        let len = file.metadata().unwrap().len();
        file.set_len(len - 1000).unwrap();
        home.succeeds(&["chain", "export", "a"]).unwrap();
    }
    assert!(!partial.exists() && home.path("a.subnode").exists());

    let progress = || fs::read_dir(home.path("data")).is_ok_and(|files| files.flatten().count() > 0);
    killed_midway(&home, &["chain", "import", "b", "a.subnode", "--slice", "small", "--storage", "1GiB"], progress);
    // And the node with it.
    node.kill().unwrap();
    let node = home.start().unwrap();
    home.succeeds(&["chain", "import", "b", "a.subnode", "--slice", "small", "--storage", "1GiB"]).unwrap_or_else(|error| {
        // Finished before the kill.
        assert!(error.to_string().contains("exists"), "{error}");
        String::new()
    });
    check(&node, "b", &receipts);
    check(&node, "a", &receipts);
}

#[test]
fn an_import_that_is_given_up_can_be_deleted() {
    let home = Home::new("").unwrap();
    let (mut node, _) = source(&home, 16, 100_000);
    home.succeeds(&["chain", "export", "a"]).unwrap();
    let bytes = fs::read(home.path("a.subnode")).unwrap();
    let (_, header) = subnode_storage::ArchiveReader::new(bytes.as_slice()).unwrap();
    let header = BASE64_STANDARD.encode(header.encode());
    let begun = node.operator.call("chain_import", json!({ "name": "b", "header": header, "slice": 1 })).unwrap();
    assert_eq!(begun["nextChunk"], 0);
    let taken = node.operator.create("b", json!({})).unwrap_err().to_string();
    assert!(taken.contains("exists"), "{taken}");
    node.operator.call("chain_delete", json!({ "name": "b" })).unwrap();
    node.operator.create("b", json!({})).unwrap();
}
