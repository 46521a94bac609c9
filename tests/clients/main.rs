//! Real client libraries against a real `subnode dev`: each deploys a contract, sends, and reads events over HTTP and WebSocket.
//!
//! The packages come from npm and PyPI, in the versions that `scripts/` pins, and are kept in the target folder.

mod attestation;
mod foundry;
mod hardhat;
mod packages;

use std::{
    io::Read,
    process::{Command, ExitStatus, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use packages::Packages;
use subnode_tests::process::Dev;
use wait_timeout::ChildExt;

/// What a client that waits for something that never comes gets; the longest takes a tenth of it.
const ENDS_WITHIN: Duration = Duration::from_secs(120);

/// Runs a command to its end; its output is the error where it fails.
fn run(command: &mut Command) -> anyhow::Result<String> {
    run_within(ENDS_WITHIN, command)
}

fn run_within(limit: Duration, command: &mut Command) -> anyhow::Result<String> {
    let (status, output, errors) = finished(limit, command)?;
    ensure!(status.is_some_and(|status| status.success()), "{command:?}: {status:?}\n{output}\n{errors}");
    Ok(output)
}

/// What a command ended with, nothing where it was ended; its output and its errors.
fn finished(limit: Duration, command: &mut Command) -> anyhow::Result<(Option<ExitStatus>, String, String)> {
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().with_context(|| format!("start {command:?}"))?;
    let mut errors = child.stderr.take().context("its errors are piped")?;
    let mut output = child.stdout.take().context("its output is piped")?;
    let errors = std::thread::spawn(move || read(&mut errors));
    let output = std::thread::spawn(move || read(&mut output));
    let status = child.wait_timeout(limit)?;
    if status.is_none() {
        child.kill()?;
        child.wait()?;
    }
    let (Ok(output), Ok(errors)) = (output.join(), errors.join()) else { anyhow::bail!("reading its output panicked") };
    Ok((status, output, errors))
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
fn viem_s_test_client_works_whole() -> anyhow::Result<()> {
    let packages = Packages::install()?;
    for (flags, mode) in [(&[][..], "anvil"), (&["--hardhat"][..], "hardhat")] {
        let node = Dev::start(flags)?;
        run(packages.node("viem_test_client.mjs").args([&node.http(), mode]))?;
    }
    Ok(())
}
