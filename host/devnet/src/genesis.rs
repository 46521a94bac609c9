//! The genesis of a dev chain, as a geth-style genesis file.

use std::{
    collections::BTreeMap,
    fmt,
    fs::File,
    io::{self, BufReader, Read},
    ops::Range,
    os::unix::fs::FileExt,
    path::Path,
    str::FromStr,
    sync::Arc,
};

use alloy::{
    eips::{
        eip2935::{HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CODE},
        eip4788::{BEACON_ROOTS_ADDRESS, BEACON_ROOTS_CODE},
        eip7002::{WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, WITHDRAWAL_REQUEST_PREDEPLOY_CODE},
        eip7251::{CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, CONSOLIDATION_REQUEST_PREDEPLOY_CODE},
    },
    primitives::{Address, U256, address, hex},
};
use serde_json::{Map, Value, json, value::RawValue};
use subnode_chain::Spec;

use crate::outline::Outline;

/// Where tools expect a contract that deploys others by CREATE2, at one address on each chain.
pub const DEPLOYER_ADDRESS: Address = address!("4e59b44847b379578588920ca78fbf26c0b4956c");
/// The first 32 bytes of the call data are the salt, the rest is init code; answers the contract's address.
const DEPLOYER_CODE: [u8; 69] = hex!(
    "7fffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffe03601600081602082378035828234f58015156039578182fd5b8082525050506014600cf3"
);

/// Forks that begin at a time, by the name of the key that says so.
const TIMED: [(&str, Hardfork); 4] = [
    ("shanghaiTime", Hardfork::Shanghai),
    ("cancunTime", Hardfork::Cancun),
    ("pragueTime", Hardfork::Prague),
    ("osakaTime", Hardfork::Osaka),
];

/// What the rules of forks need to be there: since when, where, and its code.
fn system_contracts() -> [(Hardfork, Address, &'static [u8]); 4] {
    [
        (Hardfork::Cancun, BEACON_ROOTS_ADDRESS, &BEACON_ROOTS_CODE),
        (Hardfork::Prague, HISTORY_STORAGE_ADDRESS, &HISTORY_STORAGE_CODE),
        (Hardfork::Prague, WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, &WITHDRAWAL_REQUEST_PREDEPLOY_CODE),
        (Hardfork::Prague, CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, &CONSOLIDATION_REQUEST_PREDEPLOY_CODE),
    ]
}

fn contract(code: &[u8]) -> Value {
    json!({ "balance": "0x0", "nonce": "0x1", "code": hex::encode_prefixed(code) })
}

/// The forks a dev chain can start in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum Hardfork {
    /// The merge.
    Paris,
    /// Withdrawals, PUSH0.
    Shanghai,
    /// Transient storage, blobs.
    Cancun,
    /// Set-code transactions.
    Prague,
    /// The newest.
    #[default]
    Osaka,
}

/// A name that is no fork.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown hardfork {0:?}: use paris, shanghai, cancun, prague or osaka")]
pub struct HardforkError(String);

const NAMES: [(&str, Hardfork); 5] = [
    ("paris", Hardfork::Paris),
    ("shanghai", Hardfork::Shanghai),
    ("cancun", Hardfork::Cancun),
    ("prague", Hardfork::Prague),
    ("osaka", Hardfork::Osaka),
];

impl FromStr for Hardfork {
    type Err = HardforkError;

    fn from_str(text: &str) -> Result<Self, HardforkError> {
        let lower = text.to_ascii_lowercase();
        let known = match lower.as_str() {
            "latest" => Some(Self::default()),
            "merge" => Some(Self::Paris),
            name => NAMES.iter().find(|(known, _)| *known == name).map(|(_, fork)| *fork),
        };
        known.ok_or_else(|| HardforkError(text.to_owned()))
    }
}

impl fmt::Display for Hardfork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NAMES.iter().find(|(_, fork)| fork == self).map_or("osaka", |(name, _)| name))
    }
}

/// What a dev chain starts with.
#[derive(Clone, Debug)]
pub struct DevGenesis {
    /// EIP-155.
    pub chain_id: u64,
    /// The fork it is in from the start.
    pub hardfork: Hardfork,
    /// Who has how much, in wei.
    pub balances: Vec<(Address, U256)>,
    /// Gas limit of every block.
    pub gas_limit: u64,
    /// Base fee of genesis, in wei.
    pub base_fee: u64,
    /// Time of genesis, Unix seconds.
    pub timestamp: u64,
    /// What only Subnode reads of its configuration; [`Self::dev`] on a developer's chain.
    pub extension: Value,
}

impl DevGenesis {
    /// anvil's and Hardhat's, which wallets know as a developer's chain.
    pub const DEFAULT_CHAIN_ID: u64 = 31_337;
    /// anvil's default.
    pub const DEFAULT_GAS_LIMIT: u64 = 30_000_000;
    /// EIP-1559's initial base fee, 1 gwei.
    pub const DEFAULT_BASE_FEE: u64 = 1_000_000_000;

    /// The largest contracts that a genesis file may allow, in bytes of code.
    pub const CODE_SIZE_LIMIT_MAX: u64 = 2 << 20;

    /// A developer's chain: impersonated senders are let in, and a transaction may ask for all gas of a block.
    #[must_use]
    pub fn dev() -> Value {
        json!({ "dev": true })
    }

    /// The genesis file, which geth would take as well. A developer's chain has the deployer of contracts at [`DEPLOYER_ADDRESS`].
    pub fn to_json(&self) -> Vec<u8> {
        let mut config = Map::new();
        config.insert("chainId".into(), self.chain_id.into());
        let past = ["homestead", "eip150", "eip155", "eip158", "byzantium", "constantinople", "petersburg", "istanbul", "berlin", "london"];
        for fork in past {
            config.insert(format!("{fork}Block"), 0.into());
        }
        config.insert("terminalTotalDifficulty".into(), 0.into());
        for (key, fork) in TIMED {
            if fork <= self.hardfork {
                config.insert(key.into(), 0.into());
            }
        }
        config.insert("subnode".into(), self.extension.clone());

        let mut alloc = Map::new();
        for (address, balance) in &self.balances {
            alloc.insert(address.to_string(), json!({ "balance": balance }));
        }
        for (fork, address, code) in system_contracts() {
            if fork <= self.hardfork {
                alloc.insert(address.to_string(), contract(code));
            }
        }
        if self.extension["dev"] == true {
            alloc.insert(DEPLOYER_ADDRESS.to_string(), contract(&DEPLOYER_CODE));
        }
        let genesis = json!({
            "config": Value::Object(config),
            "alloc": Value::Object(alloc),
            "nonce": "0x0",
            "timestamp": format!("{:#x}", self.timestamp),
            "extraData": "0x",
            "gasLimit": format!("{:#x}", self.gas_limit),
            "baseFeePerGas": format!("{:#x}", self.base_fee),
            "difficulty": "0x0",
            "mixHash": format!("{:#066x}", 0),
            "coinbase": format!("{:#042x}", 0),
        });
        genesis.to_string().into_bytes()
    }
}

/// Longest file that is made a dev chain's in memory, where it takes some five times its bytes. Of a longer one the accounts stay on disk.
const WHOLE_BYTES_MAX: u64 = 32 << 20;
/// Longest `config` of such a file.
const CONFIG_BYTES_MAX: u64 = 4 << 20;

/// Makes developers' chains of a genesis file, whatever it says: `extension` goes over its `config.subnode`, and system contracts of
/// forks that are active at genesis are put where the file has nothing. The first chain, of index 0, has the file's chain id; those of further
/// ones follow on it. What does not decode is left to the runtime, which says why.
#[must_use]
pub fn adopt(file: &[u8], extension: &Value, index: u32) -> Vec<u8> {
    adopted(file, extension, index).unwrap_or_else(|| file.to_vec())
}

/// The same of a file on disk: of a long one, the accounts are read when the chain is born.
///
/// # Errors
/// Where it cannot be read.
pub fn adopt_file(path: &Path, extension: &Value, index: u32) -> io::Result<Spec> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    if len <= WHOLE_BYTES_MAX {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        return Ok(adopt(&bytes, extension, index).into());
    }
    let file = Arc::new(file);
    if let Some(spec) = spliced(&file, len, extension, index)? {
        return Ok(spec);
    }
    let mut spec = Spec::default();
    spec.push_file(&file, 0, len);
    Ok(spec)
}

/// A part of a file, whose values stay as they are written.
type Parts<'a> = BTreeMap<String, &'a RawValue>;

fn adopted(file: &[u8], extension: &Value, index: u32) -> Option<Vec<u8>> {
    let mut genesis: Parts<'_> = serde_json::from_slice(file).ok()?;
    let mut alloc: Parts<'_> = serde_json::from_str(genesis.get("alloc")?.get()).ok()?;
    let config = own_config(genesis.get("config")?.get(), extension, index)?;

    let born = genesis.get("timestamp").and_then(|time| number(time)).unwrap_or(0);
    let there: Vec<Address> = alloc.keys().filter_map(|address| address.parse().ok()).collect();
    let missing = missing_contracts(&config, born, |address| there.contains(&address))?;
    alloc.extend(missing.iter().map(|(address, contract)| (address.clone(), &**contract)));

    let alloc = serde_json::value::to_raw_value(&alloc).ok()?;
    genesis.insert("config".into(), &config);
    genesis.insert("alloc".into(), &alloc);
    serde_json::to_vec(&genesis).ok()
}

/// A long file with what is changed put between its parts; none where it has no outline.
fn spliced(file: &Arc<File>, len: u64, extension: &Value, index: u32) -> io::Result<Option<Spec>> {
    let bare = |address: Address| hex::encode(address);
    let looked_for = system_contracts().map(|(_, address, _)| bare(address));
    let Some(outline) = Outline::of(BufReader::new(&**file), &looked_for)? else { return Ok(None) };
    if outline.config.end - outline.config.start > CONFIG_BYTES_MAX {
        return Ok(None);
    }
    let text = |range: &Range<u64>| -> io::Result<String> {
        let mut bytes = vec![0; usize::try_from(range.end - range.start).unwrap_or_default()];
        file.read_exact_at(&mut bytes, range.start)?;
        String::from_utf8(bytes).map_err(io::Error::other)
    };
    let born = match outline.timestamp.as_ref().filter(|range| range.end - range.start <= CONFIG_BYTES_MAX) {
        Some(range) => serde_json::from_str::<&RawValue>(&text(range)?).ok().and_then(number).unwrap_or(0),
        None => 0,
    };
    let config = own_config(&text(&outline.config)?, extension, index);
    let there = |address| outline.there.contains(&bare(address));
    let Some((config, missing)) = config.and_then(|config| missing_contracts(&config, born, there).map(|missing| (config, missing))) else {
        return Ok(None);
    };
    let accounts: Vec<String> = missing.iter().map(|(address, contract)| format!("\"{address}\":{}", contract.get())).collect();
    let accounts = accounts.join(",") + if outline.has_accounts && !missing.is_empty() { "," } else { "" };
    let mut changes = [(outline.config.clone(), config.get()), (outline.alloc..outline.alloc, accounts.as_str())];
    changes.sort_by_key(|(range, _)| range.start);
    let (mut spec, mut at) = (Spec::default(), 0);
    for (range, text) in changes {
        spec.push_file(file, at, range.start - at);
        spec.push_bytes(text.as_bytes());
        at = range.end;
    }
    spec.push_file(file, at, len.saturating_sub(at));
    Ok(Some(spec))
}

/// A file's `config` with what only Subnode reads over it, and the chain id of this chain among those from one file.
fn own_config(config: &str, extension: &Value, index: u32) -> Option<Box<RawValue>> {
    let mut config: Parts<'_> = serde_json::from_str(config).ok()?;
    let mut own: Map<String, Value> = match config.get("subnode") {
        Some(own) => serde_json::from_str(own.get()).ok()?,
        None => Map::new(),
    };
    own.extend(extension.as_object().cloned().unwrap_or_default());
    let own = serde_json::value::to_raw_value(&own).ok()?;
    config.insert("subnode".into(), &own);
    let chain_id = match index {
        0 => None,
        index => serde_json::value::to_raw_value(&number(config.get("chainId")?)?.checked_add(index.into())?).ok(),
    };
    config.extend(chain_id.as_deref().map(|id| ("chainId".to_owned(), id)));
    serde_json::value::to_raw_value(&config).ok()
}

/// System contracts that a chain born at a time needs and has not.
fn missing_contracts(config: &RawValue, born: u64, there: impl Fn(Address) -> bool) -> Option<Vec<(String, Box<RawValue>)>> {
    let config: Parts<'_> = serde_json::from_str(config.get()).ok()?;
    let active = |fork: Hardfork| {
        let begins = TIMED.iter().find(|(_, timed)| *timed == fork).and_then(|(key, _)| number(config.get(*key)?));
        begins.is_some_and(|begins| begins <= born)
    };
    let missing = system_contracts().into_iter().filter(|(fork, address, _)| active(*fork) && !there(*address));
    missing.map(|(_, address, code)| Some((address.to_string(), serde_json::value::to_raw_value(&contract(code)).ok()?))).collect()
}

/// A number as genesis files write it: in JSON, in decimal or hexadecimal text.
fn number(value: &RawValue) -> Option<u64> {
    match serde_json::from_str(value.get()).ok()? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse::<U256>().ok()?.try_into().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloy::primitives::{b256, keccak256};

    #[test]
    fn the_deployer_is_the_one_that_tools_expect() {
        assert_eq!(keccak256(DEPLOYER_CODE), b256!("2fa86add0aed31f33a762c9d88e807c475bd51d0f52bd0955754b2608f7e4989"));
    }

    #[test]
    fn an_adopted_file_keeps_what_it_says() {
        let file = r#"{"config":{"chainId":7,"terminalTotalDifficulty":58750000000000000000000,"cancunTime":0,"pragueTime":"0x5",
            "subnode":{"codeSizeLimit":9}},"timestamp":"0x4","alloc":{"000F3df6D732807Ef1319fB7B8bB8522d0Beac02":{"balance":"1"}},"note":"n"}"#;
        let adopted = String::from_utf8(adopt(file.as_bytes(), &json!({ "dev": true }), 0)).expect("text");
        assert!(adopted.contains("58750000000000000000000"), "digits of a number beyond 64 bits stay: {adopted}");
        let adopted: Value = serde_json::from_str(&adopted).expect("JSON");
        assert_eq!(adopted["config"]["subnode"], json!({ "codeSizeLimit": 9, "dev": true }));
        assert_eq!(adopted["note"], "n");
        assert_eq!(adopted["alloc"].as_object().map(Map::len), Some(1), "Prague is not active yet, and Cancun's contract has an account");

        let prague = adopt(file.replace("\"0x4\"", "\"0x5\"").as_bytes(), &json!({}), 2);
        let prague: Value = serde_json::from_slice(&prague).expect("JSON");
        assert_eq!(prague["alloc"].as_object().map(Map::len), Some(4));
        assert_eq!(prague["config"]["chainId"], 9);
        assert_eq!(adopt(b"garbage", &json!({}), 0), b"garbage");
    }

    #[test]
    fn a_long_file_is_adopted_as_a_short_one_is() {
        let files = [
            r#"{"alloc":{"000F3df6D732807Ef1319fB7B8bB8522d0Beac02":{"balance":"1"},"0x01":{}},"timestamp":"0x5","note":"}",
                "config":{"chainId":7,"cancunTime":0,"pragueTime":"0x5","subnode":{"codeSizeLimit":9}}}"#,
            r#" {"config":{"chainId":"0x7","cancunTime":1},"alloc":{ } } "#,
            r#"{"config":{"chainId":7,"cancunTime":0},"alloc":{}}"#,
        ];
        let dir = tempfile::tempdir().expect("a directory");
        for file in files {
            let path = dir.path().join("genesis.json");
            std::fs::write(&path, file).expect("written");
            let open = Arc::new(File::open(&path).expect("opens"));
            let spec = spliced(&open, file.len() as u64, &json!({ "dev": true }), 2).expect("reads").expect("an outline");
            let spliced: Value = serde_json::from_slice(&spec.bytes().expect("reads")).expect("JSON");
            let whole: Value = serde_json::from_slice(&adopt(file.as_bytes(), &json!({ "dev": true }), 2)).expect("JSON");
            assert_eq!(spliced, whole, "{file}");
        }
    }
}
