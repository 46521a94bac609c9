//! Foundry's cast and forge.

use std::{
    fs,
    sync::{Mutex, PoisonError},
};

use anyhow::{Context, ensure};
use serde_json::Value;
use subnode_tests::process::Dev;

use crate::{packages::Packages, run};

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

const SECOND: &str = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8";

/// forge writes what it built and sent into its project, which is one.
static PROJECT: Mutex<()> = Mutex::new(());

fn cast(packages: &Packages, url: &str, arguments: &[&str]) -> anyhow::Result<String> {
    run(packages.foundry("cast")?.arg(arguments[0]).args(["--rpc-url", url]).args(&arguments[1..]))
}

fn cast_json(packages: &Packages, url: &str, arguments: &[&str]) -> anyhow::Result<Value> {
    Ok(serde_json::from_str(&cast(packages, url, arguments)?)?)
}

/// Where a new counter is.
fn deploy(packages: &Packages, url: &str) -> anyhow::Result<String> {
    let deployed = cast_json(packages, url, &["send", "--json", "--private-key", KEY, "--create", &packages.bytecode()?])?;
    Ok(deployed["contractAddress"].as_str().context("a contract address")?.to_owned())
}

#[test]
fn cast_works_unchanged() -> anyhow::Result<()> {
    let packages = Packages::install()?;
    let node = Dev::start([""; 0])?;
    for url in [node.http(), node.ws()] {
        let cast = |arguments: &[&str]| cast(packages, &url, arguments);
        ensure!(cast(&["chain-id"])?.trim() == "31337");
        let address = &deploy(packages, &url)?;
        let sent = cast_json(packages, &url, &["send", "--json", "--private-key", KEY, address, "add(uint256)", "7"])?;
        ensure!(sent["status"] == "0x1", "{sent}");
        ensure!(cast(&["call", address, "count()(uint256)"])?.trim() == "7");
        let logs = cast(&["logs", "--json", "--from-block", "0", "--address", address, "Counted(address indexed,uint256)"])?;
        let logs: Vec<Value> = serde_json::from_str(&logs)?;
        ensure!(logs.len() == 1 && logs[0]["transactionHash"] == sent["transactionHash"], "{logs:?}");
        let refused = cast(&["call", address, "add(uint256)", "0"]).err().context("a reverting call fails")?;
        ensure!(refused.to_string().contains("nothing to add"), "{refused:#}");
        ensure!(cast(&["rpc", "evm_mine"])?.contains("0x0"));

        let hash = sent["transactionHash"].as_str().context("a hash")?;
        cast(&["receipt", hash, "status"])?;
        for tag in ["latest", "pending", "finalized", "safe", "earliest"] {
            cast(&["block", tag])?;
        }
        // Runs it again on this side, on the state that it asks the node for.
        ensure!(cast(&["run", hash])?.contains("Transaction successfully executed"));
        ensure!(cast(&["call", "--trace", address, "count()(uint256)"])?.contains("0000000007"));
        ensure!(cast(&["storage", address, "0"])?.trim().ends_with("07"));
        let proof = cast_json(packages, &url, &["proof", address, "0"])?;
        ensure!(proof["storageProof"][0]["value"] == "0x7", "{proof}");
        ensure!(cast(&["estimate", address, "add(uint256)", "1"])?.trim().parse::<u64>()? > 21_000);
        ensure!(cast(&["access-list", address, "add(uint256)", "1"])?.to_lowercase().contains(&**address));
        ensure!(cast(&["age"])?.contains("UTC") && cast(&["find-block", "1700000000"])?.trim() == "1");
        for method in ["gas-price", "base-fee", "client", "chain", "tx-pool status", "tx-pool content", "tx-pool inspect"] {
            // Its subcommand comes before its options.
            run(packages.foundry("cast")?.args(method.split(' ')).args(["--rpc-url", &url]))?;
        }

        // In each of the ways that a transaction is made.
        let add = ["--json", address, "add(uint256)", "1"];
        let own = ["--private-key", KEY];
        for way in [
            &["--unlocked", "--from", SECOND][..],
            &[own[0], own[1], "--legacy"],
            &[own[0], own[1], "--gas-limit", "80000"],
            &[own[0], own[1], "--access-list", &format!(r#"[{{"address":"{address}","storageKeys":[]}}]"#)],
            &[own[0], own[1], "--auth", address],
        ] {
            let sent = cast_json(packages, &url, &[&["send"], way, &add[..]].concat())?;
            ensure!(sent["status"] == "0x1" && sent["logs"][0]["address"] == *address, "{way:?}: {sent}");
        }
        let raw = cast(&["mktx", own[0], own[1], address, "add(uint256)", "1"])?;
        cast(&["publish", raw.trim()])?;
        ensure!(cast(&["call", address, "count()(uint256)"])?.trim() == "13");
    }
    Ok(())
}

fn forge(packages: &Packages, arguments: &[&str]) -> anyhow::Result<String> {
    run(packages.foundry("forge")?.args(arguments).args(["--use", packages.solc()]))
}

#[test]
fn forge_works_unchanged() -> anyhow::Result<()> {
    let packages = Packages::install()?;
    let _alone = PROJECT.lock().unwrap_or_else(PoisonError::into_inner);
    let node = Dev::start([""; 0])?;
    let url = &node.http();
    for signed in [&["--private-key", KEY][..], &["--unlocked", "--from", SECOND]] {
        let created = forge(packages, &[&["create", "--broadcast", "--rpc-url", url, "src/Counter.sol:Counter"], signed].concat())?;
        ensure!(created.contains("Deployed to: 0x"), "{created}");
    }
    for url in [node.http(), node.ws()] {
        let output = forge(packages, &["script", "--broadcast", "--rpc-url", &url, "script/Add.s.sol:Add", "--private-key", KEY])?;
        ensure!(output.contains("ONCHAIN EXECUTION COMPLETE & SUCCESSFUL"), "{output}");
    }
    let logs = cast(packages, &node.ws(), &["logs", "--json", "--from-block", "0"])?;
    let logs: Vec<Value> = serde_json::from_str(&logs)?;
    ensure!(logs.len() == 4, "two scripts of two additions: {logs:?}");
    Ok(())
}

#[test]
fn forge_scripts_of_many_transactions_are_sent() -> anyhow::Result<()> {
    let packages = Packages::install()?;
    let _alone = PROJECT.lock().unwrap_or_else(PoisonError::into_inner);
    let mut salt = 0;
    for (flags, ways) in [
        (&[][..], &["--skip-simulation", "--slow", "--legacy"][..]),
        (&["--wait-mined"], &["--slow"]),
        (&["--block-time", "1"], &["--legacy"]),
    ] {
        let node = Dev::start(flags)?;
        for way in ways {
            salt += 1;
            let script = ["script", "--broadcast", "--rpc-url", &node.http(), "script/Vaults.s.sol:Vaults", way, "--use", packages.solc()];
            let output = run(packages.foundry("forge")?.args(script).env("SALT", salt.to_string()))?;
            ensure!(output.contains("ONCHAIN EXECUTION COMPLETE & SUCCESSFUL"), "{flags:?} {way}: {output}");
            let sent = fs::read(packages.folder().join("foundry/broadcast/Vaults.s.sol/31337/run-latest.json"))?;
            let sent: Value = serde_json::from_slice(&sent)?;
            let receipts = sent["receipts"].as_array().context("receipts")?;
            ensure!(receipts.len() == 10 && receipts.iter().all(|receipt| receipt["status"] == "0x1"), "{flags:?} {way}: {receipts:?}");
        }
    }
    Ok(())
}

#[test]
fn forge_tests_run_on_top_of_a_chain() -> anyhow::Result<()> {
    let packages = Packages::install()?;
    let _alone = PROJECT.lock().unwrap_or_else(PoisonError::into_inner);
    let node = Dev::start([""; 0])?;
    let url = &node.http();
    let counter = deploy(packages, url)?;
    let add = |amount| cast_json(packages, url, &["send", "--json", "--private-key", KEY, &counter, "add(uint256)", amount]);
    let height = add("3")?["blockNumber"].as_str().context("a height")?.to_owned();
    let transaction = add("4")?["transactionHash"].as_str().context("a hash")?.to_owned();
    let mut forge = packages.foundry("forge")?;
    forge.args(["test", "--use", packages.solc()]).env("RPC_URL", url);
    let output = run(forge.env("COUNTER", &counter).env("HEIGHT", height).env("TRANSACTION", transaction))?;
    ensure!(output.contains("6 tests passed, 0 failed, 0 skipped"), "{output}");
    Ok(())
}
