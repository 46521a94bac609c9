//! What a beacon chain says to a block. A proposer may say it in its place on a foreign chain alone.

use alloy::{
    consensus::{Block, TxEnvelope, proofs},
    eips::eip4895::Withdrawal,
    primitives::{Address, B256},
    rlp::{Decodable, Encodable},
};
use serde_json::json;
use subnode_sandbox::Attributes;
use subnode_tests::replay::Replay;

use crate::{fixtures, rules};

/// Why an empty block of Cancun with a change is refused, on a chain that is foreign or is not.
async fn refusal(foreign: bool, change: impl Fn(&mut Block<TxEnvelope>)) -> anyhow::Result<Option<String>> {
    let module = fixtures::evm()?;
    let mut genesis = rules::named("Cancun").expect("a fork of this runtime").genesis(&rules::first_header(), &json!({}));
    genesis["config"]["subnode"] = json!({ "foreign": foreign });
    let mut replay = Replay::genesis(&module, genesis.to_string().as_bytes()).await?.map_err(anyhow::Error::msg)?;
    let built = replay.build(Vec::new(), &Attributes { timestamp_ms: 1_000, seed: vec![0; 32] }).await?;
    let built = built.map_err(|invalid| anyhow::anyhow!(invalid.reason))?;
    let mut block = Block::<TxEnvelope>::decode(&mut built.block.as_slice())?;
    change(&mut block);
    let mut bytes = Vec::new();
    block.encode(&mut bytes);
    Ok(replay.execute(&bytes).await?.err().map(|invalid| invalid.reason))
}

fn withdraw(block: &mut Block<TxEnvelope>) {
    // Of nothing, so that the state root stays.
    let withdrawals = vec![Withdrawal { index: 0, validator_index: 0, address: Address::repeat_byte(1), amount: 0 }];
    block.header.withdrawals_root = Some(proofs::calculate_withdrawals_root(&withdrawals));
    block.body.withdrawals = Some(withdrawals.into());
}

fn name_a_beacon_block(block: &mut Block<TxEnvelope>) {
    block.header.parent_beacon_block_root = Some(B256::repeat_byte(1));
}

#[tokio::test]
async fn a_proposer_makes_no_withdrawals_but_on_a_foreign_chain() -> anyhow::Result<()> {
    assert_eq!(refusal(true, withdraw).await?, None);
    let refusal = refusal(false, withdraw).await?;
    assert!(refusal.as_ref().is_some_and(|reason| reason.contains("withdrawals")), "{refusal:?}");
    Ok(())
}

#[tokio::test]
async fn a_proposer_names_no_beacon_block_but_on_a_foreign_chain() -> anyhow::Result<()> {
    assert_eq!(refusal(true, name_a_beacon_block).await?, None);
    let refusal = refusal(false, name_a_beacon_block).await?;
    assert!(refusal.as_ref().is_some_and(|reason| reason.contains("parent beacon block root")), "{refusal:?}");
    Ok(())
}
