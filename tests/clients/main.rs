//! Real client libraries against a real `subnode dev`: each deploys a contract, sends, and reads events over HTTP and WebSocket.
//!
//! The packages come from npm and PyPI, in the versions that `scripts/` pins, and are kept in the target folder.

mod packages;

use std::{
    io::Read,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use packages::Packages;
use subnode_tests::process::Dev;
use wait_timeout::ChildExt;

/// What a client that waits for something that never comes gets; the longest takes a tenth of it.
const ENDS_WITHIN: Duration = Duration::from_secs(120);

const KEY: &str = "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80";

/// Runs a command to its end; its output is the error where it fails.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(|| format!("start {command:?}"))?;
    let mut errors = child.stderr.take().context("its errors are piped")?;
    let mut output = child.stdout.take().context("its output is piped")?;
    let errors = std::thread::spawn(move || read(&mut errors));
    let output = std::thread::spawn(move || read(&mut output));
    let status = child.wait_timeout(ENDS_WITHIN)?;
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    let (Ok(output), Ok(errors)) = (output.join(), errors.join()) else { anyhow::bail!("reading its output panicked") };
    ensure!(status.is_some_and(|status| status.success()), "{command:?}: {status:?}\n{output}\n{errors}");
    Ok(output)
}

fn read(from: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    // What was read until a pipe broke is worth showing.
    drop(from.read_to_end(&mut bytes));
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn ethers_works_unchanged() -> anyhow::Result<()> {
    let packages = Packages::install()?;
    let node = Dev::start([""; 0])?;
    run(packages.node("ethers.mjs").args([node.http(), node.ws()])).map(drop)
}

#[test]
fn viem_works_unchanged() -> anyhow::Result<()> {
    let packages = Packages::install()?;
    let node = Dev::start([""; 0])?;
    run(packages.node("viem.mjs").args([node.http(), node.ws()])).map(drop)
}

#[test]
fn web3_py_works_unchanged() -> anyhow::Result<()> {
    let packages = Packages::install()?;
    let node = Dev::start([""; 0])?;
    run(packages.python("web3_client.py").args([node.http(), node.ws()])).map(drop)
}

#[test]
fn hardhat_works_unchanged() -> anyhow::Result<()> {
    let packages = Packages::install()?;
    let node = Dev::start([""; 0])?;
    run(packages.hardhat().args(["run", "exercise.cjs"]).env("HTTP_URL", node.http()).env("WS_URL", node.ws())).map(drop)
}

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
