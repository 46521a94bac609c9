//! `GeneralStateTests`: one transaction on a state.

use std::sync::Mutex;

use alloy::{
    consensus::{Transaction as _, TxEnvelope, transaction::SignerRecoverable},
    eips::Decodable2718,
    primitives::{B256, Bytes, U256, keccak256},
    rlp::Encodable,
};
use anyhow::Context;
use serde_json::{Value, json};
use subnode_sandbox::{Attributes, Module, Pooled};
use subnode_tests::replay::Replay;

use crate::{fixtures, report};

/// EIP-4844 under the rules of Cancun: three blobs.
const TARGET_BLOB_GAS: u64 = 3 * 131_072;

#[test]
fn every_state_test_passes_through_the_guest() -> anyhow::Result<()> {
    every_state_test_passes("GeneralStateTests", fixtures::evm)
}

/// The guest does plain transfers itself. A guest that leaves them to revm gives the same.
#[test]
fn every_state_test_passes_where_revm_does_transfers_too() -> anyhow::Result<()> {
    every_state_test_passes("GeneralStateTests, transfers by revm", fixtures::evm_with_transfers_by_revm)
}

fn every_state_test_passes(title: &str, module: impl FnOnce() -> anyhow::Result<Module>) -> anyhow::Result<()> {
    let Some(files) = fixtures::suite("ethereum-tests/GeneralStateTests")? else { return Ok(()) };
    let module = module()?;
    let work = Mutex::new(files.iter());
    let outcome = Mutex::new((0, Vec::new(), Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
                loop {
                    let Some((file, tests)) = work.lock().expect("no panics").next() else { break };
                    for (name, test) in tests {
                        let results = runtime.block_on(run(&module, test));
                        let mut outcome = outcome.lock().expect("no panics");
                        for (case, result) in results {
                            match result {
                                Ok(true) => outcome.0 += 1,
                                Ok(false) => outcome.1.push(format!("{file} {name} {case}: a fork before Paris")),
                                Err(error) => outcome.2.push(format!("{file} {name} {case}: {error:#}")),
                            }
                        }
                    }
                }
            });
        }
    });
    let (passed, excluded, failures) = outcome.into_inner()?;
    report(title, passed, &excluded, &failures);
    Ok(())
}

async fn run(module: &Module, test: &Value) -> Vec<(String, anyhow::Result<bool>)> {
    let mut results = Vec::new();
    for (fork, posts) in test["post"].as_object().into_iter().flatten() {
        for (position, post) in posts.as_array().into_iter().flatten().enumerate() {
            results.push((format!("{fork}[{position}]"), case(module, test, fork, post).await));
        }
    }
    results
}

fn number(value: &Value) -> anyhow::Result<U256> {
    value.as_str().unwrap_or("0x0").parse().with_context(|| format!("number {value}"))
}

/// One transaction; false where its fork is not known.
async fn case(module: &Module, test: &Value, fork: &str, post: &Value) -> anyhow::Result<bool> {
    let env = &test["env"];
    let timestamp: u64 = number(&env["currentTimestamp"])?.try_into()?;
    let gas_limit: u64 = number(&env["currentGasLimit"])?.try_into()?;
    let excess_blob_gas: u64 = number(&env["currentExcessBlobGas"])?.try_into()?;
    // The parent of the block that the test describes: half full, so that the base fee stays.
    let header = json!({
        "number": format!("{:#x}", number(&env["currentNumber"])? - U256::from(1)),
        "timestamp": format!("{:#x}", timestamp - 1),
        "gasLimit": env["currentGasLimit"],
        "gasUsed": format!("{:#x}", gas_limit / 2),
        "baseFeePerGas": env["currentBaseFee"],
        "coinbase": env["currentCoinbase"],
        "difficulty": "0x0",
        "excessBlobGas": format!("{:#x}", excess_blob_gas + TARGET_BLOB_GAS),
        "blobGasUsed": "0x0",
        "extraData": "0x",
    });
    let Some(genesis) = fixtures::genesis(fork, header, &test["pre"]) else { return Ok(false) };
    let mut replay = Replay::genesis(module, genesis.to_string().as_bytes()).await?.map_err(anyhow::Error::msg)?;
    let bytes: Bytes = post["txbytes"].as_str().context("txbytes")?.parse()?;
    let pooled = pooled(&bytes);
    let attributes = Attributes { timestamp_ms: timestamp * 1000, seed: B256::from(number(&env["currentRandom"])?).to_vec() };
    let built = replay.build(pooled.into_iter().collect(), &attributes).await?.map_err(|invalid| anyhow::anyhow!("{}", invalid.reason))?;
    replay.commit(&built.block, &built.outcome);

    let refused = built.outcome.transactions == 0;
    anyhow::ensure!(refused == post.get("expectException").is_some(), "refused: {refused}, expected {}", post["expectException"]);
    let block: Value =
        serde_json::from_str(&replay.query("eth_getBlockByNumber", "[\"latest\",false]").await?.map_err(anyhow::Error::msg)?)?;
    anyhow::ensure!(block["stateRoot"] == post["hash"], "state root {}, expected {}", block["stateRoot"], post["hash"]);
    let receipts = replay.query("eth_getBlockReceipts", "[\"latest\"]").await?.map_err(anyhow::Error::msg)?;
    let receipts: Vec<alloy::rpc::types::TransactionReceipt> = serde_json::from_str(&receipts)?;
    let logs: Vec<_> = receipts.iter().flat_map(|receipt| receipt.logs()).map(|log| log.inner.clone()).collect();
    let mut rlp = Vec::new();
    logs.encode(&mut rlp);
    let expected: B256 = post["logs"].as_str().context("logs")?.parse()?;
    anyhow::ensure!(keccak256(&rlp) == expected, "logs {logs:?}");
    Ok(true)
}

/// The transaction as admission would lay it into the pool; none where it is not even one.
fn pooled(bytes: &Bytes) -> Option<Pooled> {
    let transaction = TxEnvelope::decode_2718_exact(bytes).ok()?;
    let sender = transaction.recover_signer().ok()?;
    Some(Pooled {
        id: transaction.tx_hash().to_vec(),
        sender: sender.to_vec(),
        sequence: transaction.nonce(),
        data: bytes.to_vec(),
        ready: true,
    })
}
