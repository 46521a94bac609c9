//! The public JSON-RPC cases, answered by the guest on the chain that they are about.
//!
//! That chain begins with proof of work. The guest's begins with its last block of that kind, on the state that revm finds for it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use alloy::{
    consensus::{Block, Header, TxEnvelope},
    genesis::Genesis,
    rlp::Decodable,
};
use anyhow::{Context, ensure};
use serde_json::{Value, json};
use subnode_sandbox::RpcError;
use subnode_tests::replay::Replay;

use crate::{
    before_merge, fixtures,
    suites::{Tally, Verdict},
};

/// JSON-RPC: a method that is not there.
const METHOD_NOT_FOUND: i32 = -32601;

/// Cases that are left out, and why.
const EXCLUDED: [(&str, &str); 2] = [
    ("eth_sendRawTransaction/send-blob-tx.io", "of pooled blobs, which no chain here carries"),
    ("txpool_content/get-content.io", "of a pool, which the host has"),
];

#[tokio::test]
async fn json_rpc_cases_are_answered_as_expected() -> anyhow::Result<()> {
    let Some(root) = fixtures::folder("rpc-compat") else { return Ok(()) };
    let (replay, missing) = import(&root).await?;
    let mut tally = Tally::default();
    for (name, text) in cases(&root)? {
        let verdict = run(&replay, &missing, &name, &text).await;
        tally.add(|| name, verdict);
    }
    tally.report("JSON-RPC cases");
    Ok(())
}

/// The chain of the cases, and what it has not here.
async fn import(root: &Path) -> anyhow::Result<(Replay, Missing)> {
    let text = fs::read_to_string(root.join("genesis.json"))?;
    let genesis: Genesis = serde_json::from_str(&text)?;
    let chain = fs::read(root.join("chain.rlp"))?;
    let mut rest = chain.as_slice();
    let mut state = before_merge::State::genesis(&genesis);
    let (mut last, mut hashes) = (None, BTreeSet::new());
    let mut replay: Option<Replay> = None;
    while !rest.is_empty() {
        let start = rest;
        let block = Block::<TxEnvelope>::decode(&mut rest)?;
        let bytes = &start[..start.len() - rest.len()];
        if !block.header.difficulty.is_zero() {
            state.execute(&genesis.config, &block)?;
            hashes.extend(block.body.transactions.iter().map(|transaction| transaction.tx_hash().to_string()));
            hashes.insert(block.header.parent_hash.to_string());
            last = Some(block.header);
            continue;
        }
        if replay.is_none() {
            let parent = last.as_ref().context("a block of proof of work")?;
            replay = Some(begin(parent, &text, state.alloc()).await?);
        }
        let replay = replay.as_mut().context("a chain")?;
        let outcome = replay.execute(bytes).await?;
        let outcome = outcome.map_err(|invalid| anyhow::anyhow!("block {} is refused: {}", block.header.number, invalid.reason))?;
        replay.commit(bytes, &outcome);
    }
    let first = last.context("a block of proof of work")?.number;
    Ok((replay.context("a block after the merge")?, Missing { first, hashes }))
}

/// Blocks and transactions that are not here, since the chain begins later.
struct Missing {
    /// Number of the first block that is here.
    first: u64,
    hashes: BTreeSet<String>,
}

impl Missing {
    /// Whether a call asks for one of them, or its answer is about one.
    fn has(&self, params: &Value, result: &Value) -> bool {
        // A number that a call begins with is a block's, but for `eth_feeHistory`, whose one case is about such a block as well.
        let asked = params.get(0).and_then(quantity).is_some_and(|number| number < self.first);
        asked || self.is_named_in(params) || self.is_named_in(result)
    }

    fn is_named_in(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => self.hashes.contains(text),
            Value::Array(items) => items.iter().any(|item| self.is_named_in(item)),
            Value::Object(fields) => {
                let numbers = ["number", "blockNumber", "fromBlock", "toBlock", "oldestBlock"].into_iter();
                let named = numbers.filter_map(|key| fields.get(key).and_then(quantity)).any(|number| number < self.first);
                // A block that is here names its parent.
                named || fields.iter().any(|(key, value)| key != "parentHash" && self.is_named_in(value))
            }
            _ => false,
        }
    }
}

/// A number as JSON-RPC writes it: without leading zeros, so neither an address nor a hash.
fn quantity(value: &Value) -> Option<u64> {
    let digits = value.as_str()?.strip_prefix("0x")?;
    if digits.len() > 1 && digits.starts_with('0') { None } else { u64::from_str_radix(digits, 16).ok() }
}

/// A chain that begins with this block.
async fn begin(header: &Header, genesis: &str, alloc: Value) -> anyhow::Result<Replay> {
    let mut config: Value = serde_json::from_str::<Value>(genesis)?["config"].take();
    config["terminalTotalDifficulty"] = json!(0);
    config["subnode"] = json!({ "foreign": true });
    config.as_object_mut().context("config")?.remove("ethash");
    let hexadecimal = |number: u64| format!("{number:#x}");
    let spec = json!({
        "config": config,
        "alloc": alloc,
        "parentHash": header.parent_hash,
        "uncleHash": header.ommers_hash,
        "coinbase": header.beneficiary,
        "transactionsTrie": header.transactions_root,
        "receiptTrie": header.receipts_root,
        "bloom": header.logs_bloom,
        "difficulty": header.difficulty,
        "number": hexadecimal(header.number),
        "gasLimit": hexadecimal(header.gas_limit),
        "gasUsed": hexadecimal(header.gas_used),
        "timestamp": hexadecimal(header.timestamp),
        "extraData": header.extra_data,
        "mixHash": header.mix_hash,
        "nonce": header.nonce,
        "baseFeePerGas": header.base_fee_per_gas.map(hexadecimal),
    });
    let module = fixtures::evm()?;
    let replay = Replay::genesis(&module, spec.to_string().as_bytes()).await?.map_err(anyhow::Error::msg)?;
    ensure!(replay.head().id == header.hash_slow().to_vec(), "block {} has another hash as a genesis", header.number);
    Ok(replay)
}

/// The cases by folder and file.
fn cases(root: &Path) -> anyhow::Result<BTreeMap<String, String>> {
    let mut cases = BTreeMap::new();
    for method in fs::read_dir(root)? {
        let method = method?;
        if !method.file_type()?.is_dir() {
            continue;
        }
        for case in fs::read_dir(method.path())? {
            let case = case?;
            let name = format!("{}/{}", method.file_name().display(), case.file_name().display());
            if name.ends_with(".io") {
                cases.insert(name, fs::read_to_string(case.path())?);
            }
        }
    }
    Ok(cases)
}

/// Sends what a case sends, and compares each answer.
async fn run(replay: &Replay, missing: &Missing, name: &str, text: &str) -> anyhow::Result<Verdict> {
    if let Some((_, reason)) = EXCLUDED.iter().find(|(excluded, _)| *excluded == name) {
        return Ok(Verdict::Excluded((*reason).into()));
    }
    // Where a case says so, only the form of the answer counts.
    let form_alone = text.lines().any(|line| line.starts_with("//") && line.contains("speconly"));
    let mut asked: Option<(Value, Result<Value, RpcError>)> = None;
    for line in text.lines() {
        if let Some(request) = line.strip_prefix(">> ") {
            let request: Value = serde_json::from_str(request)?;
            let method = request["method"].as_str().context("method")?;
            let params = request.get("params").map(Value::to_string).unwrap_or_default();
            let answer = match replay.query(method, &params).await? {
                Ok(json) => Ok(serde_json::from_str(&json).with_context(|| format!("answer {json}"))?),
                Err(error) if error.code == METHOD_NOT_FOUND => return Ok(Verdict::Excluded(format!("of {method}, which is not there"))),
                Err(error) => Err(error),
            };
            asked = Some((request, answer));
        } else if let Some(expected) = line.strip_prefix("<< ") {
            let (request, answer) = asked.take().context("an answer without a request")?;
            let expected: Value = serde_json::from_str(expected)?;
            if missing.has(&request["params"], &expected["result"]) {
                return Ok(Verdict::Excluded("of blocks before Paris".into()));
            }
            compare(&expected, answer, form_alone)?;
        }
    }
    ensure!(asked.is_none(), "a request without an answer");
    Ok(Verdict::Passed)
}

/// Compares an answer with the expected one. Nodes word their errors differently: code and data count.
fn compare(expected: &Value, answer: Result<Value, RpcError>, form_alone: bool) -> anyhow::Result<()> {
    let answer = answer.map(|answer| without_newer(answer, &expected["result"]));
    match (expected.get("error"), answer) {
        (None, Ok(answer)) if form_alone => {
            ensure!(form(&answer) == form(&expected["result"]), "answer {answer}, expected the form of {expected}")
        }
        (None, Ok(answer)) => ensure!(answer == expected["result"], "answer {answer}, expected {}", expected["result"]),
        (Some(expected), Err(error)) => {
            let data: Value = error.data.map(|data| serde_json::from_slice(&data)).transpose()?.unwrap_or_default();
            let same = form_alone || (expected["code"] == json!(error.code) && expected["data"] == data);
            ensure!(same, "error {} ({}), data {data}, expected {expected}", error.code, error.message);
        }
        (None, Err(error)) => anyhow::bail!("error {} ({}), expected {}", error.code, error.message, expected["result"]),
        (Some(expected), Ok(answer)) => anyhow::bail!("answer {answer}, expected error {expected}"),
    }
    Ok(())
}

/// A receipt without the time of its block, where one of the cases has none: clients came to expect it later.
fn without_newer(mut answer: Value, expected: &Value) -> Value {
    if let Some(receipt) = answer.as_object_mut().filter(|fields| fields.contains_key("cumulativeGasUsed"))
        && expected.get("blockTimestamp").is_none()
    {
        receipt.remove("blockTimestamp");
    }
    answer
}

/// A value with nothing in it but what kind of value is where.
fn form(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(text) => json!(if text.starts_with("0x") { "hexadecimal" } else { "text" }),
        Value::Array(items) => items.iter().map(form).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), form(value))).collect(),
    }
}
