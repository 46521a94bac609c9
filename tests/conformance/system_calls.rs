//! Calls that a block makes by itself, and what becomes of the block where they fail.

use alloy::{
    consensus::{Block, TxEnvelope},
    eips::{
        eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
        eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, eip7685::Requests,
    },
    primitives::{Address, Bytes, U256},
    rlp::Decodable,
};
use anyhow::bail;
use serde_json::{Value, json};
use subnode_sandbox::{Attributes, Built, Invalid, Module};
use subnode_tests::replay::Replay;

use crate::{fixtures, rules};

/// Code that reverts, and code that is no instruction.
const FAILING: [&str; 2] = ["0x60006000fd", "0xfe"];
/// Returns the gas that is left in a word.
const GAS_LEFT: &str = "0x5a5f5260205ff3";

/// A chain of one contract per pair of address and code, and what an empty block on it is.
async fn block(module: &Module, fork: &str, contracts: &[(Address, &str)]) -> anyhow::Result<(Replay, Result<Built, Invalid>)> {
    let accounts: Value =
        contracts.iter().map(|(address, code)| (address.to_string(), json!({ "balance": "0x0", "code": code }))).collect();
    let genesis = rules::named(fork).expect("a fork of this runtime").genesis(&rules::first_header(), &accounts);
    let mut replay = Replay::genesis(module, genesis.to_string().as_bytes()).await?.map_err(anyhow::Error::msg)?;
    // A transition is at 15,000 seconds.
    let timestamp_ms = if fork.ends_with("AtTime15k") { 15_000_000 } else { 1_000 };
    let built = replay.build(Vec::new(), &Attributes { timestamp_ms, seed: vec![0; 32] }).await?;
    Ok((replay, built))
}

/// The execution specification leaves the calls of EIP-4788 and EIP-2935 unchecked.
#[tokio::test]
async fn a_block_holds_where_an_unchecked_call_fails() -> anyhow::Result<()> {
    let module = fixtures::evm()?;
    for code in FAILING {
        let prague = [
            (WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, "0x00"),
            (CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, "0x00"),
            (BEACON_ROOTS_ADDRESS, code),
            (HISTORY_STORAGE_ADDRESS, code),
        ];
        for (fork, contracts) in [("Cancun", &[(BEACON_ROOTS_ADDRESS, code)][..]), ("Prague", &prague[..]), ("Osaka", &prague[..])] {
            let (mut replay, built) = block(&module, fork, contracts).await?;
            let built = built.map_err(|invalid| anyhow::anyhow!("{fork}, {code}: {}", invalid.reason))?;
            let outcome = replay.execute(&built.block).await?.map_err(|invalid| anyhow::anyhow!("{fork}, {code}: {}", invalid.reason))?;
            assert_eq!(outcome.block.height, 1);
        }
    }
    Ok(())
}

/// The calls of EIP-7002 and EIP-7251 are checked: a block is invalid without them.
#[tokio::test]
async fn no_block_holds_where_a_checked_call_fails() -> anyhow::Result<()> {
    let module = fixtures::evm()?;
    for (failing, other) in [
        (WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS),
        (CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS),
    ] {
        for code in FAILING {
            let (_, built) = block(&module, "Prague", &[(failing, code), (other, "0x00")]).await?;
            assert_eq!(built.map(|_| ()).map_err(|invalid| invalid.reason), Err(format!("system call to {failing} failed")));
        }
        let Err(refused) = block(&module, "Prague", &[(other, "0x00")]).await else { bail!("a chain without {failing} begins in Prague") };
        assert!(refused.to_string().contains(&format!("contract at {failing}; put the code into alloc")), "{refused}");
        let (_, built) = block(&module, "CancunToPragueAtTime15k", &[(other, "0x00")]).await?;
        assert_eq!(built.map(|_| ()).map_err(|invalid| invalid.reason), Err(format!("system contract {failing} has no code")));
    }
    Ok(())
}

#[tokio::test]
async fn a_system_call_has_thirty_million_gas() -> anyhow::Result<()> {
    let module = fixtures::evm()?;
    let (_, built) =
        block(&module, "Prague", &[(WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, GAS_LEFT), (CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, "0x00")])
            .await?;
    let built = built.map_err(|invalid| anyhow::anyhow!(invalid.reason))?;
    let header = Block::<TxEnvelope>::decode(&mut built.block.as_slice())?.header;
    let mut requests = Requests::default();
    // GAS itself costs two.
    requests.push_request_with_type(1, Bytes::from(U256::from(30_000_000 - 2).to_be_bytes_vec()));
    assert_eq!(header.requests_hash, Some(requests.requests_hash()));
    Ok(())
}
