//! What the committees attested, as outsiders see it.

use std::process::Command;

use serde_json::Value;
use subnode_attestation::{B256, Signed};
use subnode_tests::process::binary;

use crate::{
    net::{ATTEST_EVERY, Net},
    until,
};

/// Blocks that a node knows to be attested, the oldest first.
fn all(net: &Net, node: usize, chain: &str) -> Vec<Value> {
    let listed: Vec<Value> = serde_json::from_str(&net.operate(node, &["attestation", "list", chain, "--json"])).unwrap();
    listed.into_iter().rev().collect()
}

fn number(one: &Value, name: &str) -> u64 {
    one[name].as_u64().unwrap_or_else(|| panic!("{name} of {one}"))
}

/// The anchor of genesis leads over so many changes of the committee to the last one, each by what a script verifies without a node.
pub(crate) fn changes_are_attested(net: &Net, node: usize, chain: &str, changes: usize) {
    let is_change = |one: &&Value| one["nextCommittee"] != B256::ZERO.to_string();
    until("every change is attested by more than two thirds", || {
        let all = all(net, node, chain);
        let attested = all.iter().filter(is_change).filter(|one| one["complete"] == true);
        attested.count() == changes
    });
    let mut anchor: B256 = net.operate(node, &["attestation", "anchor", chain]).trim().parse().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let (mut by_rule, mut epochs) = (0, 0);
    for one in all(net, node, chain).iter().filter(|one| one["complete"] == true) {
        let height = number(one, "height");
        let text = net.operate(node, &["attestation", "show", chain, "--height", &height.to_string(), "--json"]);
        let signed: Signed = serde_json::from_str(&text).unwrap();
        let collected = signed.verify(anchor).unwrap_or_else(|error| panic!("height {height}: {error}"));
        assert_eq!((collected.attestation().height, collected.attestation().epoch), (height, epochs));
        by_rule += usize::from(height.is_multiple_of(ATTEST_EVERY));

        let file = dir.path().join("attestation.json");
        std::fs::write(&file, &text).unwrap();
        let verify = |anchor: B256| {
            let done = Command::new(binary().unwrap()).args(["attestation", "verify", &anchor.to_string()]).arg(&file).output().unwrap();
            (done.status.code(), String::from_utf8(done.stdout).unwrap() + &String::from_utf8(done.stderr).unwrap())
        };
        let (code, said) = verify(anchor);
        assert!(code == Some(0) && said.contains(&format!("at height {height}")), "{said}");
        let (code, said) = verify(B256::repeat_byte(7));
        assert!(code == Some(1) && said.contains("trusted is 0x0707"), "{said}");
        if let Some(next) = signed.next_anchor() {
            (anchor, epochs) = (next, epochs + 1);
        }
    }
    assert!(epochs == changes as u64 && by_rule > 2, "{epochs} changes, {by_rule} blocks by the rule");
}

/// Whatever was killed and cut off, no node has a proof against a member.
pub(crate) fn nobody_attests_twice(net: &Net, node: usize, chains: usize) {
    for chain in 1..=chains {
        let proofs = net.operate(node, &["attestation", "proofs", &format!("chain{chain}"), "--json"]);
        assert_eq!(proofs.trim(), "[]", "node {node}, chain {chain}");
    }
}
