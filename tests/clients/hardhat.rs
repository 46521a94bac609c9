//! Projects of Hardhat as people run them: ethers, viem, network-helpers, the matchers and Ignition, on the network that
//! is named `localhost`, which the plugins treat unlike any other, and on another.
//!
//! The same suites pass on Hardhat's own node: `hardhat node` in a project, and `hardhat test` beside it.

use anyhow::ensure;
use subnode_tests::process::Dev;

use crate::{packages::Packages, run};

/// Where a transaction's answer does not wait for its block, what fails in it has a hash all the same.
#[derive(PartialEq)]
enum Answers {
    Pooled,
    Mined,
}

fn suites_pass(project: &'static str, flags: &[&str], answers: &Answers, networks: &[&str]) -> anyhow::Result<()> {
    let packages = Packages::install()?;
    packages.hardhat(project)?;
    for network in networks {
        let node = Dev::start(flags)?;
        let mut hardhat = packages.hardhat(project)?;
        hardhat.args(["test", "--no-compile", "--network", network]).env("HTTP_URL", node.http());
        hardhat.env("ANSWERS", if *answers == Answers::Pooled { "pooled" } else { "mined" });
        // Once is enough: it takes as long as all the rest.
        if networks.last() == Some(network) {
            hardhat.env("MANY_BLOCKS", "1");
        }
        let output = run(&mut hardhat)?;
        ensure!(output.contains(" passing"), "no test ran: {output}");
    }
    Ok(())
}

#[test]
fn hardhat_2_passes() -> anyhow::Result<()> {
    suites_pass("hardhat2", &["--hardhat"], &Answers::Mined, &["localhost", "named"])
}

#[test]
fn hardhat_2_passes_without_its_flag() -> anyhow::Result<()> {
    suites_pass("hardhat2", &[], &Answers::Pooled, &["localhost", "named"])
}

#[test]
fn hardhat_2_passes_where_answers_wait_for_a_block() -> anyhow::Result<()> {
    suites_pass("hardhat2", &["--wait-mined"], &Answers::Mined, &["localhost"])
}

#[test]
fn hardhat_2_22_passes() -> anyhow::Result<()> {
    suites_pass("hardhat2.22", &["--hardhat"], &Answers::Mined, &["localhost", "named"])
}

#[test]
fn hardhat_3_passes() -> anyhow::Result<()> {
    suites_pass("hardhat3", &["--hardhat"], &Answers::Mined, &["localhost", "named"])
}

#[test]
fn hardhat_3_passes_without_its_flag() -> anyhow::Result<()> {
    suites_pass("hardhat3", &[], &Answers::Pooled, &["named"])
}
