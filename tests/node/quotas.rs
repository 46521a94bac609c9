//! Slices of memory, storage and bandwidth hold, and only the chain that passes its own feels it.

use std::time::{Duration, Instant};

use rand::RngCore;
use serde_json::{Value, json};
use subnode_tests::{
    http::Client,
    operator::{Home, Node, signal},
    transfer::Sender,
};

/// A transaction with so many bytes that do not compress, sealed; the receipt.
fn fill(sender: &mut Sender, client: &mut Client, bytes: usize) -> anyhow::Result<Value> {
    let mut data = vec![0; bytes];
    rand::rng().fill_bytes(&mut data);
    let hash = sender.send(client, data)?;
    client.call("evm_mine", &json!([]))?;
    client.call("eth_getTransactionReceipt", &json!([hash]))
}

fn chain(node: &mut Node, name: &str, more: Value) -> Client {
    let mut params = json!({ "sealing": "manual", "controls": true });
    for (key, value) in more.as_object().unwrap() {
        params[key] = value.clone();
    }
    node.operator.create(name, params).unwrap();
    node.chain(name).unwrap()
}

#[test]
fn a_full_chain_is_marked_reads_on_and_goes_on_once_resized_or_pruned() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    let mut client = chain(&mut node, "small", json!({ "storageBytes": 3 << 20, "history": 0 }));
    let mut neighbour = chain(&mut node, "other", json!({}));
    let mut sender = Sender::new(0);
    let mut receipts = Vec::new();
    let refusal = loop {
        match fill(&mut sender, &mut client, 90_000) {
            Ok(receipt) => receipts.push(receipt),
            Err(refusal) => break refusal.to_string(),
        }
        assert!(receipts.len() < 100, "the slice does not hold");
    };
    assert!(refusal.contains("blocks were sealed") || refusal.contains("full"), "{refusal}");
    let shown = node.operator.show("small").unwrap();
    assert_eq!(shown["stats"]["storageFull"], true);
    assert!(shown["stats"]["storageBytes"].as_u64().unwrap() <= 3 << 20);
    let problems = home.subnode(&["health"]).unwrap();
    assert!(String::from_utf8_lossy(&problems.stdout).contains("slice of storage is full; subnode chain resize small --storage SIZE"));
    for receipt in &receipts {
        assert_eq!(&client.call("eth_getTransactionReceipt", &json!([receipt["transactionHash"]])).unwrap(), receipt);
    }
    let said = sender.send(&mut client, vec![1]).unwrap_err().to_string();
    assert!(said.contains("slice of storage is full") && said.contains("resize"), "{said}");
    fill(&mut Sender::new(0), &mut neighbour, 1_000).unwrap();

    home.succeeds(&["chain", "resize", "small", "--storage", "4MiB"]).unwrap();
    client.call("evm_mine", &json!([])).unwrap();
    while fill(&mut sender, &mut client, 90_000).is_ok() {}
    // Less history makes room as well: the blocks of old stay, their undo records go.
    let before = node.operator.show("small").unwrap()["stats"]["storageBytes"].as_u64().unwrap();
    home.succeeds(&["chain", "resize", "small", "--history", "1"]).unwrap();
    let after = node.operator.show("small").unwrap()["stats"]["storageBytes"].as_u64().unwrap();
    assert!(after < before, "{after} of {before}");
    home.succeeds(&["chain", "resize", "small", "--storage", "5MiB"]).unwrap();
    client.call("evm_mine", &json!([])).unwrap();
    assert_eq!(node.operator.show("small").unwrap()["stats"]["storageFull"], false);
}

#[test]
fn a_full_chain_of_the_configuration_file_is_given_more_there() {
    let main = |storage: &str| {
        format!("[[chain]]\nname = \"main\"\ngenesis = \"genesis.json\"\nsealing = \"manual\"\ncontrols = true\nstorage = \"{storage}\"\n")
    };
    let home = Home::new(&main("1MiB")).unwrap();
    let mut node = home.start().unwrap();
    let mut client = node.chain("main").unwrap();
    let mut sender = Sender::new(0);
    while fill(&mut sender, &mut client, 90_000).is_ok() {}
    let problems = String::from_utf8(home.subnode(&["health"]).unwrap().stdout).unwrap();
    assert!(problems.contains("slice of storage is full; give it more `storage` in the configuration file"), "{problems}");
    assert!(!problems.contains("chain resize"), "{problems}");
    home.configure(&main("2MiB")).unwrap();
    signal(node.run.child().id(), "-HUP").unwrap();
    node.operator.wait("main", |chain| chain["slice"]["storageBytes"] == 2 << 20).unwrap();
    client.call("evm_mine", &json!([])).unwrap();
    assert_eq!(home.subnode(&["health"]).unwrap().status.code(), Some(0));
    node.stop().unwrap();
}

#[test]
fn old_states_of_a_durable_chain_are_kept_as_far_as_their_bytes_reach() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    node.operator.create("a", json!({ "controls": true, "sealing": "manual", "historyBytes": 32 << 10 })).unwrap();
    assert_eq!(node.operator.show("a").unwrap()["history"], json!({ "bytes": 32 << 10 }));
    let oldest = |node: &mut Node| -> (u64, u64) {
        let mut client = node.chain("a").unwrap();
        let head = client.quantity("eth_blockNumber", &json!([])).unwrap();
        let mut readable = |height: u64| {
            let balance = json!([Sender::new(0).address(), format!("{height:#x}")]);
            client.ask("eth_getBalance", &balance).unwrap().is_ok()
        };
        (head, (0..=head).find(|height| readable(*height)).unwrap())
    };
    node.chain("a").unwrap().call("evm_mine", &json!([{ "blocks": 250 }])).unwrap();
    let (head, first) = oldest(&mut node);
    assert!(head == 250 && head - first >= 64 && first > 0, "{first} to {head}");
    // The same after a restart, and for the next blocks.
    assert!(node.stop().unwrap());
    let mut node = home.start().unwrap();
    node.chain("a").unwrap().call("evm_mine", &json!([{ "blocks": 20 }])).unwrap();
    let (head, later) = oldest(&mut node);
    assert!(later >= first + 20 && head - later >= 64, "blocks take no less than before: {first}, then {later} to {head}");
    // More of it by the command, and nothing that makes no sense.
    home.succeeds(&["chain", "resize", "a", "--history", "1MiB"]).unwrap();
    assert!(home.succeeds(&["chain", "show", "a"]).unwrap().contains("1 MiB"));
    node.chain("a").unwrap().call("evm_mine", &json!([{ "blocks": 20 }])).unwrap();
    assert_eq!(oldest(&mut node), (290, later), "nothing more goes");
    for wrong in ["0MiB", "-5", "2 parsecs", "all"] {
        let said = home.fails(&["chain", "resize", "a", &format!("--history={wrong}")]).unwrap();
        assert!(said.contains(wrong) && said.contains("number of heights") && said.contains("2GiB"), "{wrong}: {said}");
    }
    for (params, hint) in [(json!({ "historyBytes": 0 }), "nonzero"), (json!({ "history": 5, "historyBytes": 5 }), "one of them")] {
        let mut params = params.clone();
        params["name"] = json!("a");
        let said = node.operator.call("chain_resize", params).unwrap_err().to_string();
        assert!(said.contains(hint), "{said}");
    }
    assert_eq!(node.operator.show("a").unwrap()["history"], json!({ "bytes": 1 << 20 }), "refusals change nothing");
}

#[test]
fn a_chain_at_its_memory_sheds_its_pool_and_its_neighbour_keeps_its_own() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    let mut client = chain(&mut node, "small", json!({ "memoryBytes": 16 << 20, "poolBytes": 16 << 20 }));
    let mut neighbour = chain(&mut node, "other", json!({}));
    let mut sender = Sender::new(0);
    let mut others = Sender::new(0);
    let kept = others.send(&mut neighbour, vec![7; 1000]).unwrap();
    let mut taken = 0_u32;
    let refusal = loop {
        match sender.send(&mut client, vec![0x5a; 100_000]) {
            Ok(_) => taken += 1,
            Err(refusal) => break refusal.to_string(),
        }
        assert!(taken < 200, "the slice does not hold");
    };
    assert!(taken > 10 && (refusal.contains("memory") || refusal.contains("full")), "after {taken}: {refusal}");
    let memory = node.operator.show("small").unwrap()["stats"]["memoryBytes"].as_u64().unwrap();
    assert!(memory <= 17 << 20, "{memory}");
    // A block needs memory that the pool has: transactions give way, and fewer are tried, until the block is made.
    let tries = (1..20).find(|_| client.call("evm_mine", &json!([])).is_ok());
    assert!(tries.is_some(), "no block is made: {}", node.operator.show("small").unwrap());
    let stats = node.operator.show("small").unwrap()["stats"].clone();
    assert!(stats["shed"].as_u64().unwrap() > 0 || stats["poolReady"].as_u64().unwrap() < u64::from(taken), "{stats}");
    neighbour.call("evm_mine", &json!([])).unwrap();
    assert!(neighbour.call("eth_getTransactionReceipt", &json!([kept])).unwrap().is_object());
}

#[test]
fn bandwidth_is_held_per_chain() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    let mut slow = chain(&mut node, "slow", json!({ "bandwidthBytes": 20_000 }));
    let mut fast = chain(&mut node, "fast", json!({ "bandwidthBytes": 20_000_000 }));
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": "web3_sha3", "params": [format!("0x{}", "00".repeat(5_000))] }).to_string();
    let time = |client: &mut Client| {
        let started = Instant::now();
        for _ in 0..6 {
            client.post(request.as_bytes()).unwrap();
        }
        started.elapsed()
    };
    // 60 kB at 20 kB a second, of which one second's worth is there at once, and the last one owes.
    let (held, free) = (time(&mut slow), time(&mut fast));
    assert!(held > Duration::from_millis(1_000), "{held:?}");
    assert!(free < held / 2, "{free:?} beside {held:?}");
    home.succeeds(&["chain", "resize", "slow", "--bandwidth", "20MB"]).unwrap();
    let shown = node.operator.show("slow").unwrap();
    assert!(shown["stats"]["receivedBytes"].as_u64().unwrap() > 60_000);
    // What is owed is paid at the new rate.
    assert!(time(&mut slow) < held);
}

#[test]
fn calls_beyond_a_chains_places_are_refused_and_counted() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    // A contract that never ends, and calls that may burn all they are given.
    let mut genesis: Value = serde_json::from_str(subnode_tests::operator::GENESIS).unwrap();
    genesis["alloc"]["0x00000000000000000000000000000000000c0de1"] = json!({ "balance": "0x0", "code": "0x5b5f56" });
    node.operator.create("flooded", json!({ "genesis": genesis.to_string() })).unwrap();
    let mut other = chain(&mut node, "other", json!({}));
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_call", "params": [{ "to": "0x00000000000000000000000000000000000c0de1", "gas": "0x2540be400" }, "latest"] });
    let body = body.to_string();
    std::thread::scope(|scope| {
        let flood: Vec<_> = (0..200)
            .map(|_| {
                let (mut client, body) = (node.chain("flooded").unwrap(), &body);
                scope.spawn(move || client.post(body.as_bytes()).map(|answer| String::from_utf8_lossy(answer).into_owned()))
            })
            .collect();
        let refused = node.operator.wait("flooded", |chain| chain["stats"]["queriesRefused"].as_u64() > Some(20));
        refused.unwrap();
        // The neighbour's clients are answered meanwhile.
        for _ in 0..20 {
            other.call("eth_blockNumber", &json!([])).unwrap();
        }
        let answers: Vec<String> = flood.into_iter().filter_map(|one| one.join().unwrap().ok()).collect();
        assert!(answers.iter().any(|answer| answer.contains("too many calls at once")));
    });
}
