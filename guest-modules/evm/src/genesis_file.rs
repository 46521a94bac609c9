//! A geth-style genesis file, and errors that name the key at fault.

use std::{borrow::Borrow, collections::BTreeMap};

use alloy_genesis::{ChainConfig, Genesis};
use alloy_primitives::{Address, B256, Bytes, U256};
use alloy_serde::storage::deserialize_storage_map;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value, json, value::RawValue};

mod keys;
mod stream;

pub use stream::{Sink, Watched, read};

/// What geth wants of a genesis file, and this runtime as well: without them a chain would be born by accident.
const REQUIRED: [&str; 4] = ["config", "alloc", "gasLimit", "difficulty"];
/// Yellow Paper: no block's gas limit is lower.
const GAS_LIMIT_MIN: u64 = 5_000;

/// What the genesis block has, and the rules of the chain.
pub struct GenesisFile {
    pub head: Head,
    pub alloc: BTreeMap<Address, Account>,
}

/// Everything but the accounts.
pub struct Head {
    pub genesis: Genesis,
    pub extra: Extra,
}

/// Header fields that alloy's genesis leaves out and test suites set.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Extra {
    pub gas_used: Option<U256>,
    pub parent_beacon_block_root: Option<B256>,
    pub requests_hash: Option<B256>,
    pub transactions_trie: Option<B256>,
    pub receipt_trie: Option<B256>,
    pub withdrawals_root: Option<B256>,
    pub uncle_hash: Option<B256>,
    pub bloom: Option<Bytes>,
}

/// An account of genesis. Other keys are notes of whoever wrote the file, as `comment` and `privateKey`.
#[derive(Deserialize)]
pub struct Account {
    pub balance: U256,
    #[serde(default, with = "alloy_serde::quantity::opt")]
    pub nonce: Option<u64>,
    pub code: Option<Bytes>,
    #[serde(default, deserialize_with = "deserialize_storage_map")]
    pub storage: Option<BTreeMap<B256, B256>>,
}

pub fn parse(json: &[u8]) -> Result<GenesisFile, String> {
    let mut keys: BTreeMap<String, &RawValue> = serde_json::from_slice(json).map_err(|error| no_file(&error))?;
    missing(|key| keys.contains_key(key))?;
    // The accounts may be many: they are decoded on their own, and once.
    let alloc = keys.remove("alloc").map_or("{}", RawValue::get);
    let alloc = decode(alloc).map_err(|error| format!("alloc{error}"))?;
    let head = head(keys)?;
    Ok(GenesisFile { head, alloc })
}

fn not_json(error: serde_json::Error) -> String {
    format!("no JSON: {error}")
}

/// Why a text is no JSON object.
fn no_file(error: &serde_json::Error) -> String {
    if error.is_data() { "no JSON object; it starts with { as geth's genesis files do".into() } else { format!("no JSON: {error}") }
}

fn missing(has: impl Fn(&str) -> bool) -> Result<(), String> {
    match REQUIRED.into_iter().find(|key| !has(key)) {
        Some(key) => Err(format!("{key}: missing; put it into the genesis file")),
        None => Ok(()),
    }
}

/// What the keys of a file say, but for `alloc`.
fn head<T: Borrow<RawValue>>(keys: BTreeMap<String, T>) -> Result<Head, String> {
    let others: Result<Map<String, Value>, _> =
        keys.into_iter().map(|(key, value)| serde_json::from_str(value.borrow().get()).map(|value| (key, value))).collect();
    let mut others = others.map_err(not_json)?;
    // As many files have it: geth reads keys in any case.
    if let Some(hash) = others.remove("mixhash") {
        others.entry("mixHash").or_insert(hash);
    }
    if !others["config"].is_object() {
        return Err("config: no object".into());
    }
    for key in keys::check(&others)? {
        eprintln!("{key}: unknown, and ignored");
    }
    let others = Value::Object(others);
    let config = &others["config"];
    if config.get("chainId").is_none() {
        return Err("config.chainId: missing; give the chain a positive id".into());
    }
    let genesis: Genesis =
        decode(&others.to_string()).map_err(|error| config_error(config).unwrap_or_else(|| error.trim_start_matches('.').to_owned()))?;
    if genesis.gas_limit < GAS_LIMIT_MIN {
        return Err(format!("gasLimit: {} is less than the {GAS_LIMIT_MIN} that any block must allow", genesis.gas_limit));
    }
    let extra = Extra::deserialize(&others).map_err(|error| error.to_string())?;
    Ok(Head { genesis, extra })
}

/// Decodes a part of the file; errors begin with a dot and the path of the key.
fn decode<T: DeserializeOwned>(json: &str) -> Result<T, String> {
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(json)).map_err(|error| {
        // Lines are counted from where the part begins: they say nothing of the file.
        let reason = error.inner().to_string();
        let reason = reason.rfind(" at line ").map_or(reason.as_str(), |end| &reason[..end]);
        match error.path().to_string().as_str() {
            "." => format!(": {reason}"),
            path => format!(".{path}: {reason}"),
        }
    })
}

/// The key of `config` that does not decode: it keeps unknown keys, and with that its decoder loses track of which one it was.
fn config_error(config: &Value) -> Option<String> {
    config.as_object()?.iter().find_map(|(key, value)| {
        let error = serde_json::from_value::<ChainConfig>(json!({ key: value })).err()?;
        Some(format!("config.{key}: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(alloc: &str) -> String {
        format!(r#"{{"config":{{"chainId":7}},"gasLimit":"0x1c9c380","difficulty":"0x0","alloc":{alloc},"comment":"unknown"}}"#)
    }

    fn wrong(json: &str) -> String {
        parse(json.as_bytes()).err().expect("refused")
    }

    #[test]
    fn unknown_keys_of_an_account_are_notes() {
        let alloc = r#"{"0x0000000000000000000000000000000000000001":{"balance":"5","nonce":"0x2","comment":1,"privateKey":"x"},
            "0000000000000000000000000000000000000002":{"balance":"0x6","code":"0x00","storage":{"0x01":"0x02"},"secretKey":"0x1"}}"#;
        let parsed = parse(file(alloc).as_bytes()).expect("a genesis file");
        let accounts: Vec<_> = parsed.alloc.values().map(|account| (account.balance.to::<u64>(), account.nonce)).collect();
        assert_eq!(accounts, [(5, Some(2)), (6, None)]);
        let second = parsed.alloc.values().last().expect("two");
        assert_eq!(second.storage.as_ref().map(BTreeMap::len), Some(1));
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        let account = r#"{"0x0000000000000000000000000000000000000001":{"balance":"much"}}"#;
        assert!(wrong(&file(account)).starts_with("alloc.0x0000000000000000000000000000000000000001.balance: "));
        assert!(wrong(&file("[]")).starts_with("alloc: invalid type"));
        assert!(wrong(&file("{}").replace("0x1c9c380", "lots")).starts_with("gasLimit: "));
        assert!(wrong("[]").starts_with("no JSON object"));
        assert!(wrong("{").starts_with("no JSON: "));
        assert!(wrong("{}").starts_with("config: missing"));
    }
}
