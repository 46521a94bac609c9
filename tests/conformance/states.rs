//! Cases of one transaction on a state: the state root and the logs after it, or its refusal.
//!
//! A case describes no block, but the guest knows nothing else: the transaction is put into a block on a parent that leads to the
//! surroundings of the case. From Prague on a block calls two system contracts that a case does not have. They are added with code
//! that does nothing, and taken out of the state root that is compared.

use alloy::{
    consensus::{Block, Header, Transaction as _, TxEnvelope, proofs::ordered_trie_root_with_encoder, transaction::SignerRecoverable},
    eips::{Decodable2718, eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS, eip7840::BlobParams},
    primitives::{Address, B256, Bytes, U256, keccak256},
    rlp::{BufMut, Decodable, Encodable, Header as RlpHeader},
};
use alloy_trie::{HashBuilder, Nibbles, nodes::TrieNode};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use subnode_sandbox::{Attributes, Module, Pooled};
use subnode_tests::replay::{self, Replay};

use crate::{
    refusals,
    rules::{self, CALLED_LAST, Rules},
    suites::Verdict,
};

/// What a block calls at its beginning, if it is there.
const CALLED_FIRST: [Address; 2] = [BEACON_ROOTS_ADDRESS, HISTORY_STORAGE_ADDRESS];
/// What the rows of the account trie's nodes begin with.
const NODE_PREFIX: u8 = b'T';

fn number(value: &Value) -> anyhow::Result<U256> {
    value.as_str().unwrap_or("0x0").parse().with_context(|| format!("number {value}"))
}

pub(crate) async fn run(module: &Module, rules: Rules, case: &Value, post: &Value) -> anyhow::Result<Verdict> {
    let env = &case["env"];
    let rules = rules.with(&case["config"])?;
    let mut accounts = case["pre"].clone();
    for (called, known) in [(&CALLED_FIRST, rules.has("Cancun")), (&CALLED_LAST, rules.has("Prague"))] {
        if known && called.iter().any(|contract| accounts.get(format!("{contract:#x}")).is_some()) {
            return Ok(Verdict::Excluded("of states with system contracts, which a block would call".into()));
        }
    }
    if rules.has("Prague") {
        rules::add_called_last(&mut accounts);
    }
    let timestamp: u64 = number(&env["currentTimestamp"])?.try_into()?;
    let genesis = rules.genesis(&parent(env, rules.blobs()?, timestamp)?, &accounts);
    let mut replay = Replay::genesis(module, genesis.to_string().as_bytes()).await?.map_err(anyhow::Error::msg)?;
    let bytes: Bytes = post["txbytes"].as_str().context("txbytes")?.parse()?;
    let attributes = Attributes {
        timestamp_ms: timestamp.checked_mul(1_000).context("currentTimestamp")?,
        seed: B256::from(number(&env["currentRandom"])?).to_vec(),
    };
    let built = replay.build(pooled(&bytes).into_iter().collect(), &attributes).await?;
    let built = built.map_err(|invalid| anyhow::anyhow!("{}", invalid.reason))?;
    let header = Block::<TxEnvelope>::decode(&mut built.block.as_slice())?.header;
    let excess = number(&env["currentExcessBlobGas"])?;
    ensure!(header.excess_blob_gas.is_none_or(|found| U256::from(found) == excess), "excess blob gas {:?}", header.excess_blob_gas);

    match (built.outcome.transactions, post.get("expectException").filter(|expected| !expected.is_null())) {
        (1, None) => {}
        (0, Some(expected)) => {
            let expected = expected.as_str().context("an exception")?;
            let reason = match replay.execute(&block_with(header, &bytes)).await? {
                Ok(_) => anyhow::bail!("not built, but accepted in a block from elsewhere, expected {expected}"),
                Err(invalid) => invalid.reason,
            };
            match refusals::is_expected(expected, &reason) {
                Ok(matches) => ensure!(matches, "refused for `{reason}`, expected {expected}"),
                Err(unknown) => return Ok(Verdict::Excluded(unknown)),
            }
        }
        (0, None) => anyhow::bail!("refused: {:?}", replay.execute(&block_with(header, &bytes)).await?.err()),
        (_, expected) => anyhow::bail!("accepted, expected {expected:?}"),
    }
    let elsewhere = replay.execute(&built.block).await?.map_err(|invalid| anyhow::anyhow!("built, but refused: {}", invalid.reason))?;
    ensure!(elsewhere.block.id == built.outcome.block.id, "built and executed differ");
    replay.commit(&built.block, &built.outcome);
    let root = if rules.has("Prague") { root_without(&CALLED_LAST, &replay)? } else { state_root(&built.block)? };
    ensure!(post["hash"] == root.to_string(), "state root {root}, expected {}", post["hash"]);
    let receipts = replay.query("eth_getBlockReceipts", "[\"latest\"]").await?.map_err(|error| anyhow::anyhow!(error.message))?;
    let receipts: Vec<alloy::rpc::types::TransactionReceipt> = serde_json::from_str(&receipts)?;
    let logs: Vec<_> = receipts.iter().flat_map(|receipt| receipt.logs()).map(|log| log.inner.clone()).collect();
    let mut rlp = Vec::new();
    logs.encode(&mut rlp);
    let expected: B256 = post["logs"].as_str().context("logs")?.parse()?;
    ensure!(keccak256(&rlp) == expected, "logs {logs:?}");
    Ok(Verdict::Passed)
}

/// The parent of the block that the case describes: half full, so that the base fee stays, and with a blob gas that leads to the
/// excess of the case.
fn parent(env: &Value, blobs: BlobParams, timestamp: u64) -> anyhow::Result<Value> {
    let gas_limit: u64 = number(&env["currentGasLimit"])?.try_into()?;
    let base_fee: u64 = number(&env["currentBaseFee"])?.try_into()?;
    let excess: u64 = number(&env["currentExcessBlobGas"])?.try_into()?;
    // A block without blobs lowers the excess by the target, or leaves it where EIP-7918's reserve price is above the price.
    let lowered = excess.saturating_add(blobs.target_blob_gas_per_block());
    let leads = |parent: u64| blobs.next_block_excess_blob_gas_osaka(parent, 0, base_fee) == excess;
    let parent_excess =
        [lowered, excess].into_iter().find(|parent| leads(*parent)).context("no parent leads to this excess of blob gas")?;
    Ok(json!({
        "number": format!("{:#x}", number(&env["currentNumber"])?.checked_sub(U256::ONE).context("currentNumber")?),
        "timestamp": format!("{:#x}", timestamp.checked_sub(1).context("currentTimestamp")?),
        "gasLimit": env["currentGasLimit"],
        "gasUsed": format!("{:#x}", gas_limit / 2),
        "baseFeePerGas": env["currentBaseFee"],
        "coinbase": env["currentCoinbase"],
        "difficulty": "0x0",
        "excessBlobGas": format!("{parent_excess:#x}"),
        "blobGasUsed": "0x0",
        "extraData": "0x",
    }))
}

/// The transaction as admission would lay it into the pool; none where it is not even one.
fn pooled(bytes: &Bytes) -> Option<Pooled> {
    let transaction = TxEnvelope::decode_2718_exact(bytes).ok()?;
    let sender = transaction.recover_signer().ok()?;
    Some(replay::pooled(&transaction, sender))
}

/// A block with this header, but for what the transaction in it determines before it is executed.
fn block_with(mut header: Header, transaction: &Bytes) -> Vec<u8> {
    let blobs = TxEnvelope::decode_2718_exact(transaction).ok().and_then(|transaction| transaction.blob_count()).unwrap_or_default();
    header.blob_gas_used = header.blob_gas_used.map(|_| blobs * alloy::eips::eip4844::DATA_GAS_PER_BLOB);
    header.transactions_root = ordered_trie_root_with_encoder(&[transaction], |bytes, out| out.put_slice(bytes));
    let mut transactions = Vec::new();
    match transaction.first() {
        // A legacy transaction is a list, any other a string with a type before its list.
        Some(0xc0..) => transactions.extend_from_slice(transaction),
        _ => transaction.encode(&mut transactions),
    }
    let mut payload = Vec::new();
    header.encode(&mut payload);
    RlpHeader { list: true, payload_length: transactions.len() }.encode(&mut payload);
    payload.extend(transactions);
    let empty_list = RlpHeader { list: true, payload_length: 0 };
    empty_list.encode(&mut payload);
    if header.withdrawals_root.is_some() {
        empty_list.encode(&mut payload);
    }
    let mut block = Vec::new();
    RlpHeader { list: true, payload_length: payload.len() }.encode(&mut block);
    block.extend(payload);
    block
}

fn state_root(block: &[u8]) -> anyhow::Result<B256> {
    Ok(Block::<TxEnvelope>::decode(&mut &block[..])?.header.state_root)
}

/// The root of the account trie without some accounts, which must be in it. The guest's rows hold a node each under its path, a nibble
/// a byte; an account is too long for a node inside another.
fn root_without(left_out: &[Address], replay: &Replay) -> anyhow::Result<B256> {
    let mut left_out: Vec<_> = left_out.iter().map(|address| Nibbles::unpack(keccak256(address))).collect();
    let mut root = HashBuilder::default();
    for (key, node) in replay.state_rows().range(vec![NODE_PREFIX]..vec![NODE_PREFIX + 1]) {
        if let TrieNode::Leaf(leaf) = TrieNode::decode(&mut node.as_slice())? {
            let path = Nibbles::from_nibbles(&key[1..]).join(&leaf.key);
            match left_out.iter().position(|other| *other == path) {
                Some(position) => drop(left_out.swap_remove(position)),
                None => root.add_leaf(path, &leaf.value),
            }
        }
    }
    ensure!(left_out.is_empty(), "the trie lacks {left_out:?}");
    Ok(root.root())
}
