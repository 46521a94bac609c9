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
    check_config(&value["config"])?;
    let mut deserializer = serde_json::Deserializer::from_slice(json);
    let genesis: Genesis = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| error.to_string())?;
    if genesis.gas_limit < GAS_LIMIT_MIN {
        return Err(format!("gasLimit: {} is less than the {GAS_LIMIT_MIN} that any block must allow", genesis.gas_limit));
    }
    Ok(genesis)
}

/// Key by key: the configuration keeps unknown keys, and with that loses track of which one does not decode.
fn check_config(config: &Value) -> Result<(), String> {
    let Some(entries) = config.as_object() else { return Err("config: no object".into()) };
    if !entries.contains_key("chainId") {
        return Err("config.chainId: missing; give the chain a positive id".into());
    }
    for (key, value) in entries {
        if let Err(error) = serde_json::from_value::<ChainConfig>(json!({ key: value })) {
            return Err(format!("config.{key}: {error}"));
        }
    }
    Ok(())
}
