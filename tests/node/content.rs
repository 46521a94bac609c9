//! Chains that name their modules by hash: nodes get the modules from each other, whatever peers do, and whenever a node is killed.

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use subnode_chain_core::wire::encode;
use subnode_network::{NodeId, Overlay, Purpose};
use subnode_sandbox::ModuleHash;
use subnode_scheduler::Bandwidth;
use subnode_tests::{
    operator::{Home, Node, Operator},
    testnet::Testnet,
};
use tokio::runtime::Runtime;

use crate::giver::{Giver, How, PART_BYTES, endpoint, key};

/// What a module of ours is larger than `kv`: a real runtime of an Ethereum chain has as much.
const MORE_BYTES: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(60);

/// `kv` under a hash that no program has embedded: a custom section is behind it, of random bytes.
fn module(seed: u64) -> (Arc<Vec<u8>>, ModuleHash) {
    let mut section = vec![4];
    section.extend_from_slice(b"more");
    let mut more = vec![0; MORE_BYTES];
    StdRng::seed_from_u64(seed).fill_bytes(&mut more);
    section.extend_from_slice(&more);
    let mut bytes = subnode_modules::by_name("kv").unwrap().to_vec();
    bytes.push(0);
    // Its length, in LEB128.
    let mut length = section.len();
    while length > 0x7f {
        bytes.push(u8::try_from(length & 0x7f).unwrap() | 0x80);
        length >>= 7;
    }
    bytes.push(u8::try_from(length).unwrap());
    bytes.extend_from_slice(&section);
    let hash = ModuleHash::of(&bytes);
    (Arc::new(bytes), hash)
}

/// A node with a chain that runs the module of this hash, and these peers.
fn home(hash: ModuleHash, peers: &[&Giver], more: &str) -> Home {
    let home = Home::new("").unwrap();
    home.succeeds_alone(&["key", "new", "node.key"]).unwrap();
    fs::write(home.path("kv.json"), "{}").unwrap();
    let peers: String = peers.iter().map(|peer| format!("{} = \"{}\"\n", peer.id, peer.address)).collect();
    let network = format!("[network]\nlisten = \"127.0.0.1:0\"\nname = \"testnet\"\nkey = \"node.key\"\n[network.peers]\n{peers}");
    let chain = format!("[[chain]]\nname = \"a\"\nruntime = \"sha256:{hash}\"\ngenesis = \"kv.json\"\nsealing = \"20ms\"\n{more}\n");
    home.configure(&format!("[metrics]\nlisten = \"127.0.0.1:0\"\n{network}{chain}")).unwrap();
    home
}

fn runs(chain: &Value) -> bool {
    chain["state"] == "running" && chain["height"].as_u64() > Some(2)
}

/// Files of modules, and of those that are not whole.
fn files(home: &Home) -> (Vec<String>, Vec<String>) {
    let names = fs::read_dir(home.path("data/modules"))
        .map_or_else(|_| Vec::new(), |files| files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect());
    names.into_iter().partition(|name| Path::new(name).extension().is_some_and(|extension| extension == "wasm"))
}

fn runtime() -> Arc<Runtime> {
    Arc::new(Runtime::new().unwrap())
}

const UNLIMITED: u64 = 1 << 40;

#[test]
fn a_committee_gets_its_runtime_from_the_one_member_that_has_it_and_decides() {
    let (bytes, hash) = module(1);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("ours.wasm");
    fs::write(&file, &*bytes).unwrap();
    let net = Testnet::new(4, &["--runtime", file.to_str().unwrap(), "--sealing", "100ms"]).unwrap();
    for node in 1..4 {
        let config = net.config(node);
        let text = fs::read_to_string(&config).unwrap().replace(&json!(file).to_string(), &format!("\"sha256:{hash}\""));
        fs::write(config, text).unwrap();
    }
    let operator = |node: usize| Operator::connect(&net.folder(node).join("data/subnode.sock")).unwrap();
    let mut running: Vec<_> = (1..4).map(|node| net.start(node).unwrap()).collect();
    for node in 1..4 {
        let waiting =
            operator(node).wait("chain1", |chain| chain["reason"].as_str().is_some_and(|reason| reason.contains("connected"))).unwrap();
        assert_eq!((&waiting["state"], &waiting["fetching"]["bytes"]), (&json!("fetching"), &json!(0)), "{waiting}");
        let health = operator(node).call("node_health", json!({})).unwrap();
        assert!(health["problems"][0].as_str().unwrap().contains(&format!("waiting for module sha256:{hash}")), "{health}");
    }
    // The module comes later, and everything goes on by itself.
    running.push(net.start(0).unwrap());
    for node in 0..4 {
        operator(node).wait("chain1", |chain| runs(chain) && chain["height"].as_u64() > Some(5)).unwrap();
    }
    // It is there for good, and three of four decide without the one that had it first.
    drop(running.pop());
    drop(running.remove(0));
    running.insert(0, net.start(1).unwrap());
    let height = operator(2).show("chain1").unwrap()["height"].as_u64();
    for node in 1..4 {
        operator(node).wait("chain1", |chain| runs(chain) && chain["height"].as_u64() > height.map(|height| height + 5)).unwrap();
    }
}

#[test]
fn peers_that_lie_stop_or_say_nothing_cost_time_and_the_module_comes_from_another() {
    let (bytes, hash) = module(2);
    let runtime = runtime();
    let bad = [How::Wrongly, How::Padded, How::Endlessly, How::Empty, How::Changing, How::Short, How::Garbage, How::Stopping, How::Silent];
    let givers: Vec<_> = (10..).zip(bad).map(|(seed, how)| (how, Giver::new(&runtime, seed, how, hash, &bytes, UNLIMITED))).collect();
    for (how, giver) in &givers {
        let honest = Giver::new(&runtime, 100, How::Honestly, hash, &bytes, UNLIMITED);
        let home = home(hash, &[giver], "");
        let mut node = home.start().unwrap();
        let waiting = node.operator.wait("a", |chain| {
            let reason = chain["reason"].as_str().unwrap_or_default();
            reason.contains("gave something else") || reason.contains("do not give it")
        });
        let reason = waiting.unwrap()["reason"].to_string();
        let lies = !matches!(how, How::Stopping | How::Silent);
        assert_eq!(reason.contains("gave something else"), lies, "{how:?}: {reason}");
        assert_eq!(files(&home).0, Vec::<String>::new(), "{how:?}");
        drop(node);
        // What the liar gave is gone on with, found out, and got anew.
        let text = fs::read_to_string(home.config()).unwrap();
        let peers = format!("[network.peers]\n{} = \"{}\"\n", honest.id, honest.address);
        fs::write(home.config(), text.replace("[network.peers]\n", &peers)).unwrap();
        let mut node = home.start().unwrap();
        node.operator.wait("a", runs).unwrap_or_else(|error| panic!("{how:?}: {error}"));
        assert_eq!(files(&home), (vec![format!("{hash}.wasm")], Vec::new()), "{how:?}");
        assert!(node.stop().unwrap());
    }
    // All at once, and one that is honest.
    let honest = Giver::new(&runtime, 100, How::Honestly, hash, &bytes, UNLIMITED);
    let all: Vec<_> = givers.iter().map(|(_, giver)| giver).chain([&honest]).collect();
    let home = home(hash, &all, "");
    let mut node = home.start().unwrap();
    node.operator.wait("a", runs).unwrap();
    assert!(node.stop().unwrap());
}

#[test]
fn a_module_that_does_not_check_leaves_the_chain_alone_with_the_reason_and_no_file() {
    let runtime = runtime();
    let junk = Arc::new(vec![7; 3 * PART_BYTES / 2]);
    let hash = ModuleHash::of(&junk);
    let giver = Giver::new(&runtime, 10, How::Honestly, hash, &junk, UNLIMITED);
    let home = home(hash, &[&giver], "");
    let mut node = home.start().unwrap();
    let left = node.operator.wait("a", |chain| chain["state"] == "quarantined").unwrap();
    assert!(left["reason"].as_str().unwrap().contains("not a WebAssembly component"), "{left}");
    assert_eq!(files(&home), (Vec::new(), Vec::new()));
    // An operator may ask for it again.
    node.operator.call("chain_start", json!({ "name": "a" })).unwrap();
    node.operator.wait("a", |chain| chain["state"] == "quarantined").unwrap();
    assert!(node.stop().unwrap());
}

#[test]
fn a_kill_at_any_moment_of_a_fetch_loses_nothing_that_came_and_leaves_nothing_wrong() {
    const KILLS: usize = 20;
    let (bytes, hash) = module(3);
    let runtime = runtime();
    let mut random = StdRng::seed_from_u64(4);
    // A few seconds long.
    let giver = Giver::new(&runtime, 10, How::Honestly, hash, &bytes, 400_000);
    let home = home(hash, &[&giver], "");
    let partial = home.path(&format!("data/modules/{hash}.fetch"));
    let mut resumed = 0;
    for kill in 0..KILLS {
        giver.asked.lock().unwrap().clear();
        let here = fs::metadata(&partial).map_or(0, |file| file.len());
        let mut node = home.start().unwrap();
        // Questions of the process before may come late.
        let asks_on = |giver: &Giver| giver.asked.lock().unwrap().contains(&here).then_some(here);
        let before = Instant::now();
        while asks_on(&giver).is_none() && node.operator.show("a").unwrap()["state"] == "fetching" {
            assert!(before.elapsed() < PATIENCE);
        }
        if asks_on(&giver).is_some() {
            let first = giver.asked.lock().unwrap().iter().copied().min();
            assert_eq!(first, Some(here), "it goes on where it was, at kill {kill}");
            resumed += usize::from(here > 0);
        }
        // Where the kill falls, not what it waits for.
        std::thread::sleep(Duration::from_millis(random.random_range(0..400)));
        node.kill().unwrap();
        let (whole, parts) = files(&home);
        assert!(whole.iter().all(|name| *name == format!("{hash}.wasm")) && parts.iter().all(|name| *name == format!("{hash}.fetch")));
        for name in &whole {
            assert_eq!(ModuleHash::of(&fs::read(home.path("data/modules").join(name)).unwrap()), hash);
        }
    }
    assert!(resumed > 2, "{resumed}");
    let mut node = home.start().unwrap();
    node.operator.wait("a", runs).unwrap();
    assert_eq!(files(&home), (vec![format!("{hash}.wasm")], Vec::new()));
    assert!(node.stop().unwrap());
}

#[test]
fn what_is_here_of_a_module_goes_with_the_last_chain_that_wanted_it() {
    let (bytes, hash) = module(5);
    let runtime = runtime();
    let giver = Giver::new(&runtime, 10, How::Stopping, hash, &bytes, UNLIMITED);
    let home = home(hash, &[&giver], "");
    let text = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), text.split("[[chain]]").next().unwrap()).unwrap();
    let mut node = home.start().unwrap();
    let create = |node: &mut Node, name: &str, consensus: &str| {
        let asked = json!({ "runtime": format!("sha256:{hash}"), "consensus": consensus, "genesis": "{}" });
        node.operator.create(name, asked)
    };
    assert!(create(&mut node, "a", "nope").unwrap_err().to_string().contains("neither embedded"), "a module that is nowhere to be had");
    for name in ["a", "b"] {
        assert_eq!(create(&mut node, name, "solo").unwrap()["state"], "fetching");
    }
    let is_one_of_two = |chain: &Value| {
        chain["fetching"]["bytes"].as_u64() > Some(0) || chain["reason"].as_str().is_some_and(|reason| reason.contains("another chain"))
    };
    for name in ["a", "b"] {
        node.operator.wait(name, is_one_of_two).unwrap();
    }
    let shown = home.succeeds(&["chain", "show", "a"]).unwrap();
    assert!(shown.contains("fetching") && shown.contains(&format!("waiting for module sha256:{hash}")), "{shown}");
    assert!(home.succeeds(&["chain", "list"]).unwrap().contains("fetching"));
    node.kill().unwrap();
    let mut node = home.start().unwrap();
    node.operator.call("chain_delete", json!({ "name": "a", "force": true })).unwrap();
    assert_eq!(files(&home), (Vec::new(), vec![format!("{hash}.fetch")]), "the other chain wants it");
    node.operator
        .wait("b", |chain| chain["fetching"]["bytes"].as_u64() > Some(0))
        .unwrap_or_else(|error| panic!("{error}\n{}{}", node.run.log, node.run.logged()));
    node.operator.call("chain_delete", json!({ "name": "b", "force": true })).unwrap();
    assert_eq!(files(&home), (Vec::new(), Vec::new()));
    assert!(node.stop().unwrap());
}

#[test]
fn strangers_that_ask_for_all_they_can_neither_hold_up_a_chain_nor_others_that_fetch() {
    let (bytes, hash) = module(6);
    let runtime = runtime();
    let first = home(hash, &[], "bandwidth = \"8MiB\"");
    fs::create_dir_all(first.path("data/modules")).unwrap();
    fs::write(first.path(&format!("data/modules/{hash}.wasm")), &*bytes).unwrap();
    let mut node = first.start().unwrap();
    node.operator.wait("a", runs).unwrap();
    let address = node.run.log.split("address=").skip(1).find_map(|rest| {
        let address = rest.split_whitespace().next()?.parse::<std::net::SocketAddr>().ok()?;
        (address != node.run.address).then_some(address)
    });
    // The second line is the address that it attests with.
    let shown = first.succeeds_alone(&["key", "show", "node.key"]).unwrap();
    let id: NodeId = shown.lines().next().unwrap_or_default().parse().unwrap();
    let at = BTreeMap::from([(id, address.unwrap())]);
    for stranger in 0..8_u8 {
        let at = at.clone();
        runtime.spawn(async move {
            let overlay = Overlay::new(endpoint(100 + stranger), at);
            let asking = Arc::new(overlay.seek(key(hash), Arc::new(Bandwidth::new(UNLIMITED))).unwrap());
            let mut random = StdRng::seed_from_u64(stranger.into());
            let mut tasks = tokio::task::JoinSet::new();
            loop {
                let question = match random.random_range(0..3_u8) {
                    0 => encode(&0_u64),
                    1 => encode(&random.random::<u64>()),
                    _ => encode(&random.random_range(0..1_u64 << 20)),
                };
                let asking = asking.clone();
                tasks.spawn(async move { drop(asking.request(id, Purpose::Content, Bytes::from(question)).await) });
                while tasks.len() >= 64 {
                    tasks.join_next().await;
                }
            }
        });
    }
    let peers = |node: &mut Node| node.operator.call("node_peers", json!({})).unwrap()["peers"].as_array().unwrap().len();
    let started = Instant::now();
    while peers(&mut node) < 8 {
        assert!(started.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
    let second = home(hash, &[], "");
    let text = fs::read_to_string(second.config()).unwrap();
    let peer = format!("[network.peers]\n{id} = \"{}\"\n", address.unwrap());
    fs::write(second.config(), text.replace("[network.peers]\n", &peer)).unwrap();
    let before = node.operator.show("a").unwrap()["height"].as_u64().unwrap();
    let (started, mut other) = (Instant::now(), second.start().unwrap());
    other.operator.wait("a", runs).unwrap();
    let took = started.elapsed();
    node.operator.wait("a", |chain| chain["height"].as_u64() > Some(before + 20)).unwrap();
    println!("a node got 1.2 MB in {took:?} beside eight strangers that asked for 8 MiB/s of it");
    assert!(other.stop().unwrap() && node.stop().unwrap());
}
