//! What a reviewer would otherwise check by hand: which crate may know which, and where the few special things are named.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod bounds;
mod circles;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// Who names whom, as drawn in ARCHITECTURE.md. Everyone may name `types`; `tests` and `benches` may name anyone, and nobody them but as dev-dependencies.
const ARROWS: [(&str, &[&str]); 17] = [
    ("attestation", &[]),
    ("chain", &["attestation", "chain-core", "peers", "sandbox", "scheduler", "signer", "storage"]),
    ("chain-core", &[]),
    (
        "cli",
        &["attestation", "chain", "devnet", "modules", "network", "node", "rpc", "sandbox", "scheduler", "signer", "simulator", "storage"],
    ),
    ("devnet", &["chain", "modules", "node", "rpc", "sandbox", "signer", "storage"]),
    ("keccak", &[]),
    ("modules", &[]),
    ("network", &["peers", "scheduler"]),
    ("node", &["chain", "network", "sandbox", "scheduler", "storage"]),
    ("peers", &["scheduler"]),
    ("rpc", &["chain", "node", "storage"]),
    ("sandbox", &["keccak", "scheduler"]),
    ("scheduler", &[]),
    ("signer", &["sandbox"]),
    ("simulator", &["chain", "chain-core", "devnet", "peers", "sandbox", "scheduler", "signer", "storage"]),
    ("storage", &[]),
    ("types", &[]),
];

/// Libraries that one crate alone may name.
const ALONE: [(&str, &[&str]); 6] = [
    ("wasmtime", &["sandbox"]),
    ("wasmtime-wasi", &["sandbox"]),
    ("rocksdb", &["storage"]),
    ("axum", &["rpc"]),
    ("quinn", &["benches", "network", "tests"]),
    ("secp256k1", &["attestation", "sandbox", "signer"]),
];

fn packages() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO")).args(["metadata", "--no-deps", "--format-version", "1"]).current_dir(ROOT).output().unwrap();
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let name = |value: &serde_json::Value| {
        let name = value["name"].as_str().unwrap();
        name.strip_prefix("subnode-").unwrap_or(if name == "subnode" { "cli" } else { name }).to_owned()
    };
    let dependencies = |package: &serde_json::Value| {
        let all = package["dependencies"].as_array().unwrap().iter();
        all.filter(|dependency| dependency["kind"].is_null()).map(name).collect()
    };
    metadata["packages"].as_array().unwrap().iter().map(|package| (name(package), dependencies(package))).collect()
}

#[test]
fn crates_know_whom_the_architecture_lets_them_know() {
    let packages = packages();
    for (name, allowed) in ARROWS {
        let ours: BTreeSet<_> = packages[name].iter().filter(|known| packages.contains_key(*known) && *known != "types").cloned().collect();
        assert_eq!(ours, allowed.iter().map(ToString::to_string).collect(), "{name}: ARCHITECTURE.md draws other arrows");
    }
    assert_eq!(packages.len(), ARROWS.len() + 4, "a crate without a place in ARCHITECTURE.md");
    for (library, homes) in ALONE {
        for (package, dependencies) in &packages {
            assert!(!dependencies.contains(library) || homes.contains(&package.as_str()), "{package} names {library}");
        }
    }
}

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() && !["target", "node_modules", ".git"].iter().any(|skipped| path.ends_with(skipped)) {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn files_are_about_one_thing() {
    let mut files = Vec::new();
    sources(Path::new(ROOT), &mut files);
    assert!(files.len() > 100, "the sources are not where they were");
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.lines().count() <= 500, "{}: too long for one concept", file.display());
        assert!(!text.contains(concat!("TO", "DO")), "{}: unfinished", file.display());
    }
}

#[test]
fn architecture_names_every_crate_and_the_changelog_every_wit_version() {
    let architecture = fs::read_to_string(Path::new(ROOT).join("ARCHITECTURE.md")).unwrap();
    for (name, _) in ARROWS {
        let heading = format!("**{}**", if name == "storage" { "storage".to_owned() } else { format!("host/{name}") });
        assert!(architecture.contains(&heading), "ARCHITECTURE.md says nothing of {heading}");
    }
    let wit = fs::read_to_string(Path::new(ROOT).join("wit/types.wit")).unwrap();
    let version = wit.lines().find_map(|line| line.strip_prefix("package subnode:chain@")).unwrap().trim_end_matches(';');
    let changes = fs::read_to_string(Path::new(ROOT).join("wit/CHANGES.md")).unwrap();
    assert!(changes.contains(&format!("**{version}**")), "wit/CHANGES.md says nothing of {version}");
}
