//! Chains come, change and go while the node runs, and are as they should be after every start.

use serde_json::{Value, json};
use subnode_tests::operator::{GENESIS, Home, Node, signal};

fn state(chain: &Value) -> &str {
    chain["state"].as_str().unwrap()
}

#[test]
fn a_chain_lives_through_all_it_can() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    let created = node.operator.create("a", json!({ "sealing": "20ms" })).unwrap();
    assert_eq!((state(&created), created["id"].as_u64()), ("running", Some(1)));
    assert_eq!(node.operator.create("a", json!({ "sealing": "20ms" })).unwrap()["id"], 1, "asked again for the same, it is there");
    node.operator.wait("a", |chain| chain["height"].as_u64() > Some(2)).unwrap();

    let paused = node.operator.call("chain_pause", json!({ "name": "a" })).unwrap();
    assert_eq!(state(&paused), "paused");
    let mut client = node.chain("a").unwrap();
    let height = client.call("eth_blockNumber", &json!([])).unwrap();
    let refused = client.call("eth_sendRawTransaction", &json!(["0x00"])).unwrap_err().to_string();
    assert!(refused.contains("paused") || refused.contains("decode") || refused.contains("rlp"), "{refused}");
    let node = restarted(&home, node);
    let mut node = node;
    assert_eq!(state(&node.operator.show("a").unwrap()), "paused", "also after a start");
    assert_eq!(node.chain("a").unwrap().call("eth_blockNumber", &json!([])).unwrap(), height);
    node.operator.call("chain_resume", json!({ "name": "a" })).unwrap();
    let shown = node.operator.show("a").unwrap()["height"].as_u64();
    node.operator.wait("a", |chain| chain["height"].as_u64() > shown).unwrap();

    node.operator.call("chain_stop", json!({ "name": "a" })).unwrap();
    let gone = node.chain("a").unwrap().call("eth_blockNumber", &json!([])).unwrap_err().to_string();
    assert!(gone.contains("stopped"), "{gone}");
    let mut node = restarted(&home, node);
    assert_eq!(state(&node.operator.show("a").unwrap()), "stopped");
    node.operator.call("chain_start", json!({ "name": "a" })).unwrap();
    node.operator.wait("a", |chain| chain["height"].as_u64() > shown).unwrap();

    let running = node.operator.call("chain_delete", json!({ "name": "a" })).unwrap_err().to_string();
    assert!(running.contains("running") && running.contains("--force"), "{running}");
    node.operator.call("chain_delete", json!({ "name": "a", "force": true })).unwrap();
    assert!(node.operator.show("a").is_err());
    let mut node = restarted(&home, node);
    assert!(node.operator.show("a").is_err());
    assert_eq!(node.operator.create("a", json!({})).unwrap()["height"], 0, "the name is free, and nothing of the old one is there");
    assert!(node.stop().unwrap());
}

/// The same node after a kill.
fn restarted(home: &Home, node: Node) -> Node {
    node.kill().unwrap();
    home.start().unwrap()
}

#[test]
fn all_of_a_slice_changes_while_the_chain_runs() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    node.operator.create("a", json!({ "sealing": "20ms" })).unwrap();
    let resized = node
        .operator
        .call("chain_resize", json!({ "name": "a", "slice": 9, "memoryBytes": 100 << 20, "bandwidthBytes": 12345, "history": 5 }))
        .unwrap();
    assert_eq!(resized["slice"]["parts"], 9);
    assert_eq!((resized["slice"]["memoryBytes"].as_u64(), resized["slice"]["bandwidthBytes"].as_u64()), (Some(100 << 20), Some(12345)));
    assert_eq!(resized["history"], 5);
    let mut node = restarted(&home, node);
    let shown = node.operator.show("a").unwrap();
    assert_eq!((&shown["slice"], &shown["history"]), (&resized["slice"], &resized["history"]));
}

#[test]
fn a_chain_whose_consensus_fails_is_restarted_and_then_left_alone_beside_one_that_runs() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    node.operator.create("good", json!({ "sealing": "20ms" })).unwrap();
    // Starts well, and traps at its first timer.
    let consensus = subnode_tests::module::failing_consensus().unwrap();
    let path = home.path("failing.wasm");
    std::fs::write(&path, consensus).unwrap();
    std::fs::write(home.path("g.json"), GENESIS).unwrap();
    let file = path.to_str().unwrap();
    home.succeeds(&["chain", "create", "bad", "--genesis", "g.json", "--slice", "small", "--consensus", file]).unwrap();
    let left = node.operator.wait("bad", |chain| state(chain) == "quarantined").unwrap();
    assert!(left["reason"].as_str().unwrap().contains("consensus module failed"), "{left}");
    assert_eq!(left["failures"], 5);
    let health = home.subnode(&["health"]).unwrap();
    assert_eq!(health.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&health.stdout).contains("bad is quarantined"));
    let before = node.operator.show("good").unwrap()["height"].as_u64();
    node.operator.wait("good", |chain| chain["height"].as_u64() > before).unwrap();
    assert_eq!(node.operator.show("good").unwrap()["failures"], 0);
    let logs = home.succeeds(&["chain", "logs", "bad"]).unwrap();
    assert!(logs.contains("failed too often"), "{logs}");
    home.succeeds(&["chain", "start", "bad"]).unwrap();
    node.operator.wait("bad", |chain| chain["failures"].as_u64() > Some(5)).unwrap();
    home.succeeds(&["chain", "delete", "bad", "--force"]).unwrap();
    assert_eq!(home.subnode(&["health"]).unwrap().status.code(), Some(0));
}

#[test]
fn a_chain_that_can_make_no_block_is_not_made_or_not_well() {
    const PRAGUE: &str =
        r#"{"config":{"chainId":7,"shanghaiTime":0,"cancunTime":0,"pragueTime":0},"alloc":{},"gasLimit":"0x1c9c380","difficulty":"0x0"}"#;
    // Genesis is before Prague, and each later block is not.
    let later = PRAGUE.replace("\"pragueTime\":0", "\"pragueTime\":1");
    const REASON: &str = "system contract 0x00000961Ef480Eb55e80D19ad83579A64c007002 has no code";
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    std::fs::write(home.path("prague.json"), PRAGUE).unwrap();
    let refused = home.fails(&["chain", "create", "none", "--genesis", "prague.json"]).unwrap();
    assert!(refused.contains("without EIP-7002's contract at 0x00000961Ef480Eb55e80D19ad83579A64c007002"), "{refused}");
    assert!(refused.contains("`subnode config genesis`") && node.operator.show("none").is_err(), "{refused}");
    node.operator.create("stuck", json!({ "genesis": later, "sealing": "manual", "controls": true })).unwrap();
    let refusal = node.chain("stuck").unwrap().call("evm_mine", &json!([])).unwrap_err().to_string();
    assert!(refusal.contains(REASON), "{refusal}");
    let health = home.subnode(&["health"]).unwrap();
    assert_eq!(health.status.code(), Some(1));
    assert_eq!(String::from_utf8(health.stdout).unwrap(), format!("chain stuck makes no blocks: {REASON}\n"));
    for command in [&["chain", "list"][..], &["chain", "show", "stuck"]] {
        let said = home.succeeds(command).unwrap();
        assert!(said.contains(&format!("makes no blocks: {REASON}")), "{said}");
    }
    // Genesis is the head.
    let shown = home.succeeds(&["chain", "show", "stuck"]).unwrap();
    assert!(shown.contains("chainId       7\n") && shown.contains("fork          cancun"), "{shown}");
    let shown: Value = serde_json::from_str(&home.succeeds(&["chain", "show", "stuck", "--json"]).unwrap()).unwrap();
    assert_eq!(shown["about"], json!({ "chainId": 7, "fork": "cancun" }));
    node.stop().unwrap();
}

#[test]
fn the_configuration_decides_of_its_chains_and_is_read_again() {
    let chain = |name: &str, more: &str| format!("[[chain]]\nname = \"{name}\"\ngenesis = \"genesis.json\"\n{more}\n");
    let home = Home::new(&(chain("a", "sealing = \"20ms\"") + &chain("b", "slice = \"small\""))).unwrap();
    let mut node = home.start().unwrap();
    node.operator.create("own", json!({})).unwrap();
    let refused = home.fails(&["chain", "stop", "a"]).unwrap();
    assert!(refused.contains("configuration file"), "{refused}");
    home.configure(&(chain("a", "sealing = \"20ms\"\nslice = 7") + &chain("c", "slice = \"small\""))).unwrap();
    signal(node.run.child().id(), "-HUP").unwrap();
    node.operator.wait("a", |chain| chain["slice"]["parts"] == 7).unwrap();
    node.operator.wait("b", |chain| state(chain) == "stopped").unwrap();
    while node.operator.show("c").is_err() {
        std::thread::yield_now();
    }
    node.operator.wait("c", |chain| state(chain) == "running").unwrap();
    assert_eq!(state(&node.operator.show("own").unwrap()), "running", "what an operator made is not the file's");
    // A file that is wrong changes nothing.
    home.configure("[[chain]]\nname = \"A b\"\n").unwrap();
    signal(node.run.child().id(), "-HUP").unwrap();
    let height = node.operator.show("a").unwrap()["height"].as_u64();
    node.operator.wait("a", |chain| chain["height"].as_u64() > height).unwrap();
    home.configure(&chain("b", "slice = \"small\"")).unwrap();
    let mut node = restarted(&home, node);
    assert_eq!(state(&node.operator.show("b").unwrap()), "running");
    assert_eq!(state(&node.operator.show("a").unwrap()), "stopped");
    assert!(node.stop().unwrap());
}

#[test]
fn an_upgrade_that_fails_its_check_leaves_the_old_module_at_work() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    node.operator.create("a", json!({ "sealing": "20ms" })).unwrap();
    std::fs::write(home.path("junk.wasm"), b"junk").unwrap();
    std::fs::write(home.path("failing.wasm"), subnode_tests::module::failing_runtime().unwrap()).unwrap();
    for (arguments, hint) in [
        (["--runtime", "solo"], "consensus"),
        (["--consensus", "evm"], "runtime"),
        (["--runtime", "junk.wasm"], "not a WebAssembly component"),
        (["--runtime", "failing.wasm"], "keeps its modules"),
        (["--runtime", "nowhere.wasm"], "neither embedded"),
    ] {
        let said = home.fails(&[&["chain", "upgrade", "a"], arguments.as_slice()].concat()).unwrap();
        assert!(said.to_lowercase().contains(&hint.to_lowercase()), "{arguments:?}: {said}");
        let height = node.operator.show("a").unwrap()["height"].as_u64();
        let shown = node.operator.wait("a", |chain| chain["height"].as_u64() > height).unwrap();
        assert_eq!((shown["runtime"].as_str(), shown["consensus"].as_str()), (Some("evm"), Some("solo")));
    }
    // The embedded one under its hash: the same code, added as anyone's would be.
    std::fs::write(home.path("mine.wasm"), subnode_tests::module::renamed(subnode_modules::EVM)).unwrap();
    let height = node.operator.show("a").unwrap()["height"].as_u64();
    home.succeeds(&["chain", "upgrade", "a", "--runtime", "mine.wasm"]).unwrap();
    let shown = node.operator.wait("a", |chain| chain["height"].as_u64() > height).unwrap();
    assert!(shown["runtime"].as_str().unwrap().starts_with("sha256:"), "{shown}");
    let mut node = restarted(&home, node);
    assert_eq!(state(&node.operator.show("a").unwrap()), "running", "the added module is there after a start");
}
