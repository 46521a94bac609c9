//! Foundry's cast and forge.

use anyhow::{Context, ensure};
use subnode_tests::process::Dev;

use crate::{packages::Packages, run};

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

#[test]
fn cast_works_unchanged() -> anyhow::Result<()> {
    let packages = Packages::install()?;
    let node = Dev::start([""; 0])?;
    for url in [node.http(), node.ws()] {
        let cast = |arguments: &[&str]| run(packages.foundry("cast")?.arg(arguments[0]).args(["--rpc-url", &url]).args(&arguments[1..]));
        ensure!(cast(&["chain-id"])?.trim() == "31337");
        let bytecode = packages.bytecode()?;
        let deployed: serde_json::Value = serde_json::from_str(&cast(&["send", "--json", "--private-key", KEY, "--create", &bytecode])?)?;
        let address = deployed["contractAddress"].as_str().context("a contract address")?;
        let sent: serde_json::Value =
            serde_json::from_str(&cast(&["send", "--json", "--private-key", KEY, address, "add(uint256)", "7"])?)?;
        ensure!(sent["status"] == "0x1", "{sent}");
        ensure!(cast(&["call", address, "count()(uint256)"])?.trim() == "7");
        let logs = cast(&["logs", "--json", "--from-block", "0", "--address", address, "Counted(address indexed,uint256)"])?;
        let logs: Vec<serde_json::Value> = serde_json::from_str(&logs)?;
        ensure!(logs.len() == 1 && logs[0]["transactionHash"] == sent["transactionHash"], "{logs:?}");
        let refused = cast(&["call", address, "add(uint256)", "0"]).err().context("a reverting call fails")?;
        ensure!(refused.to_string().contains("nothing to add"), "{refused:#}");
        ensure!(cast(&["rpc", "evm_mine"])?.contains("0x0"));
        cast(&["receipt", sent["transactionHash"].as_str().context("a hash")?, "status"])?;
        cast(&["block", "latest"])?;
    }
    Ok(())
}

#[test]
fn forge_works_unchanged() -> anyhow::Result<()> {
    let packages = Packages::install()?;
    let node = Dev::start([""; 0])?;
    let forge = |arguments: &[&str]| run(packages.foundry("forge")?.args(arguments).args(["--private-key", KEY]));
    let created = forge(&["create", "--broadcast", "--use", packages.solc(), "--rpc-url", &node.http(), "src/Counter.sol:Counter"])?;
    ensure!(created.contains("Deployed to: 0x"), "{created}");
    for url in [node.http(), node.ws()] {
        let output = forge(&["script", "--broadcast", "--use", packages.solc(), "--rpc-url", &url, "script/Add.s.sol:Add"])?;
        ensure!(output.contains("ONCHAIN EXECUTION COMPLETE & SUCCESSFUL"), "{output}");
    }
    let logs = run(packages.foundry("cast")?.args(["logs", "--json", "--rpc-url", &node.ws(), "--from-block", "0"]))?;
    let logs: Vec<serde_json::Value> = serde_json::from_str(&logs)?;
    ensure!(logs.len() == 4, "two scripts of two additions: {logs:?}");
    Ok(())
}
