//! Takes the countermeasures against attackers out of the network, one after another. The runs against that attacker
//! must then fail. The test changes a copy of the sources, so every build of `subnode` has all countermeasures.

use std::{fs, path::Path, process::Command};

use subnode_tests::guests;

const PROJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
/// Runs of each.
const SEEDS: u64 = 12;

/// What is taken out: the file, what is there, what is put in its place.
type Gone = (&'static str, &'static str, &'static str);

/// What is taken out, and the plans ([`super::Plan::named`]) that must then fail.
struct Without {
    name: &'static str,
    plan: &'static str,
    gone: &'static [Gone],
}

const WITHOUT: [Without; 7] = [
    Without {
        name: "a call waits until the ended connection is not listed any more",
        plan: "cut",
        gone: &[("network/src/dial.rs", "peer.unlisted.cancelled().await;", "drop(peer.connection.closed().await);")],
    },
    Without {
        name: "a frame is paid and has room before it is read, on one stream for each chain and purpose",
        plan: "HalfFrames",
        gone: &[
            (
                "network/src/limits.rs",
                "let streams = Purpose::OF_CHAIN.len().saturating_mul(shared_chains);",
                "let streams = shared_chains.min(1) << 14;",
            ),
            ("network/src/streams.rs", "() = another.cancelled() => Ok(()),", "() = std::future::pending() => Ok(()),"),
            ("network/src/streams.rs", "chain.pass(chain.payer(purpose, peer.id), price(length)).await;", ""),
            ("network/src/streams.rs", "room.extend(lane.room(price(length)).await);", ""),
            ("network/src/streams.rs", "room.extend(peer.room(price(length)).await);", ""),
        ],
    },
    Without {
        name: "peers are served in turn",
        plan: "Floods(Consensus)",
        gone: &[(
            "network/src/mailbox.rs",
            "queue.waiting.push(from, price, incoming)",
            "queue.waiting.push(NodeId([0; 32]), price.min(1), incoming)",
        )],
    },
    Without {
        name: "members keep a share of a chain's bytes",
        plan: "Unread",
        gone: &[("network/src/chain.rs", "if self.is_member(node) { Payer::Members } else { Payer::Others }", "Payer::Others")],
    },
    Without {
        name: "a peer has one queue for each chain and purpose, whatever chains it leaves and joins",
        plan: "DeafChurns",
        gone: &[(
            "network/src/peer.rs",
            ".iter().filter(|((key, _), _)| !chains.contains(key)).for_each(|(_, lane)| lane.close_queue());",
            ".retain(|(key, _), _| chains.contains(key));",
        )],
    },
    Without {
        name: "callers show that they are where they say they are",
        plan: "cut Spoofed",
        gone: &[("network/src/network.rs", "if !incoming.remote_address_validated() {", "if incoming.remote_address().port() == 0 {")],
    },
    Without {
        name: "members' hosts have places of their own among those that are greeted",
        plan: "cut HalfOpen",
        gone: &[(
            "network/src/network.rs",
            "registry.is_members_host(address)",
            "registry.is_members_host(address) && address.is_unspecified()",
        )],
    },
];

/// The program that runs plans against the sources beside it: the plan's name, seeds, and seconds after which a run is
/// stuck.
const PROGRAM: &str = r#"
#![allow(dead_code, missing_docs)]
mod network;
fn main() {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let [plan, seeds, stuck] = &arguments[..] else { panic!("a plan, seeds, seconds") };
    let stuck = std::time::Duration::from_secs(stuck.parse().unwrap());
    for seed in 0..seeds.parse().unwrap() {
        if let Err(reason) = network::run_watched(seed, network::Plan::named(plan, seed).unwrap(), stuck) {
            println!("{reason}");
            return;
        }
    }
}
"#;

const MANIFEST: &str = r#"
[package]
name = "subnode-countermeasures"
version = "0.0.0"
edition = "2024"

[dependencies]
bytes = "1"
quinn = { version = "0.11", default-features = false, features = ["runtime-tokio", "rustls-ring"] }
rand = "0.9"
subnode-network.workspace = true
subnode-scheduler.workspace = true
tokio = { workspace = true, features = ["test-util"] }
tokio-util = { version = "0.7", features = ["rt"] }
"#;

/// The network, and what it is made of.
const PARTS: [&str; 5] = ["host/network", "host/peers", "host/scheduler", "host/types", "tests/fuzzer"];

/// A workspace of the network and of the simulation, as they are.
fn copy(to: &Path) {
    drop(fs::remove_dir_all(to));
    let project = Path::new(PROJECT);
    for part in PARTS {
        guests::copy(&project.join(part), &to.join(part)).unwrap();
    }
    guests::copy(&project.join("tests/sim/network"), &to.join("program/src/network")).unwrap();
    fs::write(to.join("program/src/main.rs"), PROGRAM).unwrap();
    fs::write(to.join("program/Cargo.toml"), MANIFEST).unwrap();
    fs::copy(project.join("Cargo.lock"), to.join("Cargo.lock")).unwrap();
    let workspace = fs::read_to_string(project.join("Cargo.toml")).unwrap();
    let (before, members) = workspace.split_once("members = [").unwrap();
    let (_, after) = members.split_once("]\n").unwrap();
    let members = format!("members = [\"program\", {}]\n", PARTS.map(|part| format!("{part:?}")).join(", "));
    fs::write(to.join("Cargo.toml"), [before, &members, after].concat()).unwrap();
}

/// What the runs of a plan came to: nothing where all went well.
fn runs(workspace: &Path, plan: &str) -> String {
    let cargo = |arguments: &[&str]| {
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(arguments).current_dir(workspace).env("CARGO_TARGET_DIR", workspace.with_extension("target"));
        let ran = cargo.output().unwrap();
        assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).trim().to_owned()
    };
    cargo(&["run", "--release", "--quiet", "-p", "subnode-countermeasures", "--", plan, &SEEDS.to_string(), "20"])
}

#[test]
#[ignore = "builds the network anew for each: make countermeasures"]
fn each_attacker_does_harm_once_its_countermeasure_is_taken_out() {
    let workspace = Path::new(env!("CARGO_TARGET_TMPDIR")).join("network");
    copy(&workspace);
    for Without { plan, .. } in WITHOUT {
        let well = runs(&workspace, plan);
        assert!(well.is_empty(), "{plan} fails with all countermeasures in place: {well}");
    }
    let mut harmless = Vec::new();
    for Without { name, plan, gone } in WITHOUT {
        copy(&workspace);
        for (file, what, instead) in gone {
            let file = workspace.join("host").join(file);
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.contains(what), "{} has changed: {what}", file.display());
            fs::write(&file, text.replace(what, instead)).unwrap();
        }
        let harm = runs(&workspace, plan);
        println!("without \"{name}\", {plan}: {}", if harm.is_empty() { "no harm" } else { &harm });
        if harm.is_empty() {
            harmless.push(name);
        }
    }
    assert!(harmless.is_empty(), "{harmless:?}: no harm without them, so their runs show nothing");
}
