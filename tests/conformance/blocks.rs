//! Cases of blocks from elsewhere, good and bad: each is accepted with its hash, or refused for the reason that is expected.

use alloy::{
    consensus::{Block, TxEnvelope, proofs},
    primitives::Bytes,
    rlp::Decodable,
};
use anyhow::{Context, ensure};
use serde_json::Value;
use subnode_sandbox::{Invalid, Module};
use subnode_tests::replay::Replay;

use crate::{refusals, rules::Rules, suites::Verdict};

/// What the kinds are called that are about a transaction.
const OF_TRANSACTIONS: &str = "TransactionException.";
/// How the guest begins where header and body have other transactions.
const TRANSACTIONS_ROOT: &str = "transactions root";

pub(crate) async fn run(module: &Module, rules: Rules, case: &Value) -> anyhow::Result<Verdict> {
    let header = &case["genesisBlockHeader"];
    let expected = &header["hash"];
    let genesis = rules.with(&case["config"])?.genesis(header, &case["pre"]);
    let mut replay = Replay::genesis(module, genesis.to_string().as_bytes()).await?.map_err(anyhow::Error::msg)?;
    let hash = |replay: &Replay| Value::from(Bytes::from(replay.head().id.clone()).to_string());
    ensure!(hash(&replay) == *expected, "genesis is {}, expected {expected}", hash(&replay));
    for (position, block) in case["blocks"].as_array().context("blocks")?.iter().enumerate() {
        let bytes: Bytes = block["rlp"].as_str().context("rlp")?.parse()?;
        let expected = block.as_object().context("a block")?.iter().find(|(key, _)| key.starts_with("expectException"));
        match (replay.execute(&bytes).await?, expected) {
            (Ok(outcome), None) => {
                replay.commit(&bytes, &outcome);
                let expected = &block["blockHeader"]["hash"];
                ensure!(hash(&replay) == *expected, "block {position} is {}, expected {expected}", hash(&replay));
            }
            (Err(Invalid { mut reason }), Some((_, expected))) => {
                let expected = expected.as_str().context("an exception")?;
                if expected.contains(OF_TRANSACTIONS) && reason.starts_with(TRANSACTIONS_ROOT) {
                    // Older cases have the root of the transactions that should be left, which hides the reason they are about.
                    let refused = replay.execute(&with_own_root(&bytes)?).await?.err();
                    reason = refused.with_context(|| format!("block {position} is accepted with its own root of transactions"))?.reason;
                }
                match refusals::is_expected(expected, &reason) {
                    Ok(matches) => ensure!(matches, "block {position} is refused for `{reason}`, expected {expected}"),
                    Err(unknown) => return Ok(Verdict::Excluded(unknown)),
                }
            }
            (Ok(_), Some((_, expected))) => anyhow::bail!("block {position} is accepted, expected {expected}"),
            (Err(invalid), None) => anyhow::bail!("block {position} is refused: {}", invalid.reason),
        }
    }
    ensure!(hash(&replay) == case["lastblockhash"], "the last block is {}, expected {}", hash(&replay), case["lastblockhash"]);
    Ok(Verdict::Passed)
}

/// The block with the root of its transactions in its header.
fn with_own_root(bytes: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut block = Block::<TxEnvelope>::decode(&mut &bytes[..])?;
    block.header.transactions_root = proofs::calculate_transaction_root(&block.body.transactions);
    Ok(alloy::rlp::encode(&block))
}
