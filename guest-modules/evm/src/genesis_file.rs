//! A geth-style genesis file, and errors that name the key at fault.

use alloy_genesis::{ChainConfig, Genesis};
use serde_json::{Value, json};

/// What geth wants of a genesis file, and this runtime as well: without them a chain would be born by accident.
const REQUIRED: [&str; 4] = ["config", "alloc", "gasLimit", "difficulty"];
/// Yellow Paper: no block's gas limit is lower.
const GAS_LIMIT_MIN: u64 = 5_000;

pub fn parse(json: &[u8]) -> Result<Genesis, String> {
    let value: Value = serde_json::from_slice(json).map_err(|error| format!("no JSON: {error}"))?;
    if !value.is_object() {
        return Err("no JSON object; it starts with { as geth's genesis files do".into());
    }
    if let Some(key) = REQUIRED.into_iter().find(|key| value.get(key).is_none()) {
        return Err(format!("{key}: missing; put it into the genesis file"));
    }
    let config = &value["config"];
    if !config.is_object() {
        return Err("config: no object".into());
    }
    if config.get("chainId").is_none() {
        return Err("config.chainId: missing; give the chain a positive id".into());
    }
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let parsed: Result<Genesis, _> = serde_path_to_error::deserialize(&mut deserializer);
    let genesis = parsed.map_err(|error| config_error(config).unwrap_or_else(|| error.to_string()))?;
    if genesis.gas_limit < GAS_LIMIT_MIN {
        return Err(format!("gasLimit: {} is less than the {GAS_LIMIT_MIN} that any block must allow", genesis.gas_limit));
    }
    Ok(genesis)
}

/// The key of `config` that does not decode: it keeps unknown keys, and with that its decoder loses track of which one it was.
fn config_error(config: &Value) -> Option<String> {
    config.as_object()?.iter().find_map(|(key, value)| {
        let error = serde_json::from_value::<ChainConfig>(json!({ key: value })).err()?;
        Some(format!("config.{key}: {error}"))
    })
}
