//! What authors of modules have: a new project, a check, a testnet; and consensus modules that do what none should, each beside what stops it.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use serde_json::json;
use subnode_chain::{Chain, ChainParts, TimeSource};
use subnode_devnet::{Signers, default_options};
use subnode_sandbox::{Module, Sandbox, SandboxOptions, Tenant};
use subnode_simulator::{Modules, Plan, Report};
use subnode_storage::{MemoryStore, Retention, Store};
use subnode_tests::{
    guests,
    http::Client,
    process::{binary, free_ports},
};
use subnode_types::{ChainName, Sealing};

const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-modules");
/// Anything that does not happen within this does not happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Builds packages of modules into one folder, so that what they share is built once; where the components are.
fn build(workspace: &Path, packages: &[&str]) -> PathBuf {
    guests::build(workspace, packages, &Path::new(env!("CARGO_TARGET_TMPDIR")).join("kit-target")).unwrap()
}

/// The modules that are not embedded.
fn examples() -> (PathBuf, PathBuf) {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let built = BUILT.get_or_init(|| build(Path::new(MODULES), &["subnode-pbft", "subnode-misbehaving"]));
    (built.join("subnode_pbft.wasm"), built.join("subnode_misbehaving.wasm"))
}

fn subnode(args: &[&str]) -> Output {
    Command::new(binary().unwrap()).args(args).output().unwrap()
}

fn stands(args: &[&str]) -> String {
    let checked = subnode(args);
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success() && !text.contains("FAILED"), "{text}{}", String::from_utf8_lossy(&checked.stderr));
    text
}

#[test]
fn a_new_project_of_either_world_builds_and_stands_its_check() {
    let dir = tempfile::tempdir().unwrap();
    for (name, world) in [("my-consensus", "consensus"), ("my-runtime", "runtime")] {
        let made = Command::new(binary().unwrap()).args(["module", "new", name, "--world", world]).current_dir(&dir).output().unwrap();
        assert!(made.status.success(), "{made:?}");
        let again = Command::new(binary().unwrap()).args(["module", "new", name]).current_dir(&dir).output().unwrap();
        assert!(String::from_utf8_lossy(&again.stderr).contains("is there already"), "{again:?}");
        let file = build(&dir.path().join(name), &[]).join(name.replace('-', "_")).with_extension("wasm");
        let checked = stands(&["module", "check", file.to_str().unwrap(), "--seeds", "5"]);
        assert!(checked.contains(world), "{checked}");
        if world == "consensus" {
            let trusting = subnode(&["module", "check", file.to_str().unwrap(), "--byzantine", "--seeds", "5"]);
            let said = String::from_utf8_lossy(&trusting.stderr);
            assert!(!trusting.status.success() && said.contains("holds while nobody lies"), "{said}");
            assert!(said.contains("is checked without --byzantine"), "{said}");
        }
        let inspected: serde_json::Value =
            serde_json::from_slice(&subnode(&["module", "inspect", file.to_str().unwrap(), "--json"]).stdout).unwrap();
        assert_eq!(inspected["world"], world);
    }
    let refused = subnode(&["module", "new", "No Name"]);
    assert!(String::from_utf8_lossy(&refused.stderr).contains("lower case"), "{refused:?}");
}

#[test]
fn an_example_written_from_the_guide_stands_its_check_and_runs_a_testnet() {
    let (pbft, _) = examples();
    let pbft = pbft.to_str().unwrap();
    stands(&["module", "check", pbft, "--byzantine", "--seeds", "10"]);

    let dir = tempfile::tempdir().unwrap();
    let port = free_ports(4);
    let args = ["testnet", "--nodes", "4", "--sealing", "200ms", "--consensus", pbft, "--port", &port.to_string(), "--dir"];
    let mut net = Command::new(binary().unwrap()).args(args).arg(dir.path()).stdout(std::process::Stdio::null()).spawn().unwrap();
    let height = || {
        Client::connect(([127, 0, 0, 1], port).into()).and_then(|client| client.at("/chain/chain1").quantity("eth_blockNumber", &json!([])))
    };
    let started = Instant::now();
    while !height().is_ok_and(|height| height >= 5) {
        assert!(started.elapsed() < PATIENCE, "no blocks: {}", std::fs::read_to_string(dir.path().join("node1/log")).unwrap_or_default());
        assert!(net.try_wait().unwrap().is_none(), "the testnet ended");
        // Polling is a client's only way; the condition, not the time, decides.
        std::thread::sleep(Duration::from_millis(50));
    }
    let stopped = Command::new("kill").arg(net.id().to_string()).status().unwrap();
    assert!(stopped.success() && net.wait().unwrap().success());
}

/// A runtime, and the module that misbehaves.
fn misbehaving() -> &'static [Module; 2] {
    static LOADED: OnceLock<[Module; 2]> = OnceLock::new();
    LOADED.get_or_init(|| {
        let sandbox = Sandbox::new(&SandboxOptions { instances: 64, cache_dir: subnode_devnet::module_cache_dir() }).unwrap();
        let file = std::fs::read(examples().1).unwrap();
        [sandbox.load(subnode_modules::by_name("kv").unwrap()).unwrap(), sandbox.load(&file).unwrap()]
    })
}

/// A committee of one, with a module that misbehaves.
fn misbehaves(how: &'static str) -> Result<Report, String> {
    let [kv, misbehaving] = misbehaving();
    let modules = Modules { runtime: kv.clone(), consensus: misbehaving.clone() };
    subnode_simulator::run(0, Plan { config: how, troubled_ms: 2_000, ..Plan::calm(1, modules) })
}

#[test]
fn a_consensus_that_faults_ends_its_chain_with_the_reason() {
    for (how, reason) in [
        ("trap", "unreachable"),
        ("loop", "fuel"),
        ("memory", "memory"),
        ("effects", "effects"),
        ("log", "the consensus module logs"),
        ("broadcast", "the consensus module broadcasts"),
    ] {
        let ended = misbehaves(how).unwrap_err();
        assert!(ended.contains("gave up") && ended.contains(reason), "{how}: {ended}");
    }
}

#[test]
fn a_consensus_that_decides_nothing_costs_nobody_anything_but_its_own_blocks() {
    for how in ["evidence", "timers", "nonsense", "sign-twice", "nothing"] {
        let ended = misbehaves(how).unwrap_err();
        assert!(ended.contains("no progress"), "{how}: {ended}");
    }
}

/// One thread: a task that never pauses would keep all others from running.
#[tokio::test]
async fn a_consensus_that_never_rests_can_be_stopped() {
    for how in ["builds", "no-time"] {
        let [kv, misbehaving] = misbehaving().clone();
        let name: ChainName = "restless".parse().unwrap();
        let parts = ChainParts {
            tenant: Tenant::alone(name.clone()),
            runtime: kv,
            consensus: misbehaving,
            store: MemoryStore::default().open(&name, Retention::Archive).unwrap(),
            spec: b"{}".to_vec().into(),
            consensus_config: how.into(),
            accounts: Arc::new(Signers::default()),
            network: None,
            vote_secret: None,
            attest_secret: None,
        };
        let chain = Chain::open(parts, default_options(Sealing::Instant, TimeSource::Wall)).await.unwrap();
        let busy = async {
            while chain.stats().usage.turns < 1_000 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, busy).await.unwrap_or_else(|_| panic!("{how}: it rests"));
        tokio::time::timeout(PATIENCE, chain.stop()).await.unwrap_or_else(|_| panic!("{how}: it does not stop"));
    }
}
