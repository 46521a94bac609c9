//! `BlockchainTests`: blocks from elsewhere, good and bad.

use alloy::primitives::Bytes;
use anyhow::{Context, ensure};
use serde_json::Value;
use subnode_sandbox::Module;
use subnode_tests::replay::Replay;

use crate::{fixtures, report};

#[test]
fn every_block_test_passes_through_the_guest() -> anyhow::Result<()> {
    let Some(files) = fixtures::suite("ethereum-tests/BlockchainTests")? else { return Ok(()) };
    let module = fixtures::evm()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut passed, mut blocks, mut refused) = (0, 0, 0);
    let (mut excluded, mut failures) = (Vec::new(), Vec::new());
    for (file, tests) in &files {
        for (name, test) in tests {
            match runtime.block_on(run(&module, test)) {
                Ok(Some(counts)) => {
                    passed += 1;
                    blocks += counts.0;
                    refused += counts.1;
                }
                Ok(None) => excluded.push(format!("{file} {name}: a fork before Paris")),
                Err(error) => failures.push(format!("{file} {name}: {error:#}")),
            }
        }
    }
    println!("BlockchainTests: {blocks} blocks accepted, {refused} refused");
    report("BlockchainTests", passed, &excluded, &failures);
    Ok(())
}

/// Replays a test; how many blocks were accepted and refused as they should, or none where its fork is not known.
async fn run(module: &Module, test: &Value) -> anyhow::Result<Option<(usize, usize)>> {
    let header = test["genesisBlockHeader"].clone();
    let expected = header["hash"].clone();
    let fork = test["network"].as_str().context("network")?;
    let Some(genesis) = fixtures::genesis(fork, header, &test["pre"]) else { return Ok(None) };
    let mut replay = Replay::genesis(module, genesis.to_string().as_bytes()).await?.map_err(anyhow::Error::msg)?;
    let hash = |replay: &Replay| Value::from(Bytes::from(replay.head().id.clone()).to_string());
    ensure!(hash(&replay) == expected, "genesis is {}, expected {expected}", hash(&replay));
    let (mut accepted, mut refused) = (0, 0);
    for (position, block) in test["blocks"].as_array().context("blocks")?.iter().enumerate() {
        let bytes: Bytes = block["rlp"].as_str().context("rlp")?.parse()?;
        let reason = block.as_object().context("a block")?.keys().find(|key| key.starts_with("expectException"));
        match (replay.execute(&bytes).await?, reason) {
            (Ok(outcome), None) => {
                replay.commit(&bytes, &outcome);
                let expected = &block["blockHeader"]["hash"];
                ensure!(hash(&replay) == *expected, "block {position} is {}, expected {expected}", hash(&replay));
                accepted += 1;
            }
            (Err(_), Some(_)) => refused += 1,
            (Ok(_), Some(reason)) => anyhow::bail!("block {position} is accepted, expected {}", block[reason]),
            (Err(invalid), None) => anyhow::bail!("block {position} is refused: {}", invalid.reason),
        }
    }
    ensure!(hash(&replay) == test["lastblockhash"], "the last block is {}, expected {}", hash(&replay), test["lastblockhash"]);
    Ok(Some((accepted, refused)))
}
