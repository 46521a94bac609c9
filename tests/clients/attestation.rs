//! Strangers who verify attestations, with the scripts of the documents; and the verifier's artefact, built again.

use std::{
    fs,
    path::{Path, PathBuf},
};

use alloy::primitives::{B256, U256, hex};
use anyhow::{Context as _, ensure};
use serde_json::{Value, json};
use subnode_attestation::{Attestation, Collected, Extra, Signed};
use subnode_tests::attesters::{Attesters, attestation, next_committee};

use crate::{ENDS_WITHIN, finished, packages::Packages, run};

const CONTRACTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../host/attestation/contracts");

#[test]
fn the_verifier_s_artefact_is_built_again_byte_for_byte() -> anyhow::Result<()> {
    let packages = Packages::install()?;
    let build = Path::new(CONTRACTS).join("build.mjs");
    let built = run(packages.node(build.to_str().context("the folder's name is text")?).arg(packages.solc()))?;
    let kept = fs::read_to_string(Path::new(CONTRACTS).join("Attestations.json"))?;
    ensure!(built == kept, "Attestations.json is not what Attestations.sol gives: see contracts/build.mjs");
    Ok(())
}

/// A document and what is wrong with it; nothing where it is valid.
type Case = (&'static str, Value);

fn document(collected: &Collected, extra: Extra) -> anyhow::Result<Value> {
    Ok(serde_json::to_value(Signed::new(collected, extra))?)
}

fn valid_cases(attesters: &Attesters) -> anyhow::Result<Vec<Case>> {
    let extra = next_committee(attesters.committee.hash());
    let numbers = Attestation { height: u64::MAX, outbox_count: (1 << 53) + 1, time_ms: u64::MAX - 1, ..attestation(extra) };
    let short = Attestation { block_id: vec![9; 16].into(), ..attestation(Extra::default()) };
    let long = Attestation { block_id: vec![9; 64].into(), ..attestation(Extra::default()) };
    Ok(vec![
        ("", document(&attesters.signed(&attestation(extra), [0, 1, 2, 3])?, extra)?),
        ("", document(&attesters.signed(&attestation(extra), [3, 0, 2])?, extra)?),
        ("", document(&attesters.signed(&numbers, [1, 2, 3])?, extra)?),
        ("", document(&attesters.signed(&short, [0, 2, 3])?, Extra::default())?),
        ("", document(&attesters.signed(&long, [0, 2, 3])?, Extra::default())?),
    ])
}

/// What strangers are shown who are to be deceived. Powers are 1, 2, 3 and 3.
fn spoilt_cases(attesters: &Attesters) -> anyhow::Result<Vec<Case>> {
    let extra = next_committee(attesters.committee.hash());
    let whole = document(&attesters.signed(&attestation(extra), [0, 1, 2, 3])?, extra)?;
    let mut cases = Vec::new();
    let mut spoilt = |name, spoil: &dyn Fn(&mut Value)| {
        let mut document = whole.clone();
        spoil(&mut document);
        cases.push((name, document));
    };
    for field in ["chain", "epoch", "height", "outboxCount", "timeMs"] {
        spoilt(field, &|document| document["attestation"][field] = json!("5"));
    }
    let other = format!("0x{}", "77".repeat(32));
    for field in ["network", "genesis", "blockId", "outboxRoot", "extra"] {
        spoilt(field, &|document| document["attestation"][field] = json!(other));
    }
    for field in ["delivered", "nextCommittee", "claims"] {
        spoilt(field, &|document| document["extra"][field] = json!(other));
    }
    spoilt("a node key", &|document| document["committee"][0]["key"] = json!(other));
    spoilt("a power", &|document| document["committee"][0]["power"] = json!("5"));
    spoilt("a power of more than 64 bits", &|document| document["committee"][0]["power"] = json!("18446744073709551617"));
    spoilt("an address", &|document| document["committee"][0]["attester"] = json!(format!("0x{}", "77".repeat(20))));
    spoilt("a committee without its last member", &|document| drop(list(document, "committee").pop()));
    spoilt("a committee in another order", &|document| list(document, "committee").swap(0, 1));
    spoilt("an empty committee", &|document| list(document, "committee").clear());
    spoilt("signatures in another order", &|document| list(document, "signatures").swap(0, 1));
    spoilt("a signature twice", &|document| {
        let last = document["signatures"][3].clone();
        list(document, "signatures").push(last);
    });
    spoilt("a signature as two members'", &|document| {
        document["signatures"][2]["signature"] = document["signatures"][3]["signature"].clone();
    });
    spoilt("a member that is none", &|document| document["signatures"][3]["member"] = json!(4));
    spoilt("a member before the first", &|document| document["signatures"][0]["member"] = json!(-1));
    spoilt("no signatures", &|document| list(document, "signatures").clear());
    spoilt("exactly two thirds", &|document| drop(list(document, "signatures").pop()));
    spoilt("high s", &|document| document["signatures"][0]["signature"] = json!(negated(&document["signatures"][0]["signature"])));
    for (name, v) in [("the other v", None), ("a v that is none", Some("1d"))] {
        spoilt(name, &|document| {
            let signature = document["signatures"][0]["signature"].as_str().unwrap_or_default().to_owned();
            let v = v.unwrap_or(if signature.ends_with("1b") { "1c" } else { "1b" });
            document["signatures"][0]["signature"] = json!(format!("{}{v}", &signature[..130]));
        });
    }
    spoilt("a signature that is cut off", &|document| document["signatures"][0]["signature"] = json!("0x1234"));
    spoilt("a signature of zeros", &|document| document["signatures"][0]["signature"] = json!(format!("0x{}1b", "00".repeat(64))));
    spoilt("no attestation", &|document| document["attestation"] = Value::Null);
    // Signed by others than those who are trusted.
    let theirs = Attesters::new(&[1, 1, 1, 1])?;
    cases.push(("another committee", document(&theirs.signed(&attestation(extra), 0..4)?, extra)?));
    Ok(cases)
}

fn list<'a>(document: &'a mut Value, name: &str) -> &'a mut Vec<Value> {
    document[name].as_array_mut().expect("a list")
}

/// The signature with the other s, and the other v, which check as well.
fn negated(signature: &Value) -> String {
    let order = U256::from_be_bytes(hex!("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141"));
    let mut bytes = hex::decode(signature.as_str().expect("text")).expect("hexadecimal");
    let s = order - U256::from_be_slice(&bytes[32..64]);
    bytes[32..64].copy_from_slice(&s.to_be_bytes::<32>());
    bytes[64] = 27 + 28 - bytes[64];
    hex::encode_prefixed(bytes)
}

#[test]
fn strangers_verify_attestations_and_are_not_deceived() -> anyhow::Result<()> {
    let packages = Packages::install()?;
    let attesters = Attesters::new(&[1, 2, 3, 3])?;
    let trusted = attestation(Extra::default()).subject().anchor(0, attesters.committee.hash());
    let cases = [valid_cases(&attesters)?, spoilt_cases(&attesters)?].concat();
    let folder = tempfile::tempdir()?;
    let mut files = Vec::new();
    for (at, (name, document)) in cases.iter().enumerate() {
        let library = serde_json::from_value::<Signed>(document.clone()).is_ok_and(|signed| signed.verify(trusted).is_ok());
        ensure!(library == name.is_empty(), "the library on {name:?}");
        let file = folder.path().join(format!("{at}.json"));
        fs::write(&file, serde_json::to_vec_pretty(document)?)?;
        files.push(file);
    }
    let scripts = [("attestation.mjs", Packages::node as fn(&Packages, &str) -> _), ("attestation.py", Packages::python)];
    for (script, program) in scripts {
        let verdicts = |anchor: B256, files: &[PathBuf]| {
            let (status, output, errors) = finished(ENDS_WITHIN, program(packages, script).arg(anchor.to_string()).args(files))?;
            let verdicts: Vec<_> = output.lines().map(str::to_owned).collect();
            ensure!(verdicts.len() == files.len(), "{script}: {output}\n{errors}");
            let valid = verdicts.iter().all(|verdict| verdict.starts_with("valid: "));
            ensure!(status.is_some_and(|status| status.success() == valid), "{script}: {status:?}");
            Ok(verdicts)
        };
        for ((name, _), verdict) in cases.iter().zip(verdicts(trusted, &files)?) {
            println!("{script}: {name}: {verdict}");
            ensure!(verdict.starts_with(if name.is_empty() { "valid: " } else { "refused: " }), "{script} on {name:?}: {verdict}");
        }
        let only_valid = verdicts(trusted, &files[..1])?.remove(0);
        let next = attestation(Extra::default()).subject().anchor(1, attesters.committee.hash());
        ensure!(only_valid.ends_with(&format!("next anchor {next}")), "{script}: {only_valid}");
        // Whoever trusts the same committee for another epoch believes none of it.
        let other = verdicts(next, &files[..1])?.remove(0);
        ensure!(other == "refused: another chain, epoch or committee", "{script}: {other}");
    }
    Ok(())
}
