//! The genesis of a dev chain, as a geth-style genesis file.

use std::{fmt, str::FromStr};

use alloy::{
    eips::{
        eip2935::{HISTORY_STORAGE_ADDRESS, HISTORY_STORAGE_CODE},
        eip4788::{BEACON_ROOTS_ADDRESS, BEACON_ROOTS_CODE},
        eip7002::{WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, WITHDRAWAL_REQUEST_PREDEPLOY_CODE},
        eip7251::{CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, CONSOLIDATION_REQUEST_PREDEPLOY_CODE},
    },
    primitives::{Address, U256},
};
use serde_json::{Map, Value, json};

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
    /// The newest: a transaction may ask for at most 16,777,216 gas.
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

    /// A developer's chain: impersonated senders are let in.
    #[must_use]
    pub fn dev() -> Value {
        json!({ "dev": true })
    }

    /// The genesis file, which geth would take as well.
    pub fn to_json(&self) -> Vec<u8> {
        let mut config = Map::new();
        config.insert("chainId".into(), self.chain_id.into());
        let past = ["homestead", "eip150", "eip155", "eip158", "byzantium", "constantinople", "petersburg", "istanbul", "berlin", "london"];
        for fork in past {
            config.insert(format!("{fork}Block"), 0.into());
        }
        config.insert("terminalTotalDifficulty".into(), 0.into());
        let timed =
            [("shanghai", Hardfork::Shanghai), ("cancun", Hardfork::Cancun), ("prague", Hardfork::Prague), ("osaka", Hardfork::Osaka)];
        for (name, fork) in timed {
            if fork <= self.hardfork {
                config.insert(format!("{name}Time"), 0.into());
            }
        }
        config.insert("subnode".into(), self.extension.clone());

        let mut alloc = Map::new();
        for (address, balance) in &self.balances {
            alloc.insert(address.to_string(), json!({ "balance": balance }));
        }
        let contracts = [
            (Hardfork::Cancun, BEACON_ROOTS_ADDRESS, &BEACON_ROOTS_CODE),
            (Hardfork::Prague, HISTORY_STORAGE_ADDRESS, &HISTORY_STORAGE_CODE),
            (Hardfork::Prague, WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, &WITHDRAWAL_REQUEST_PREDEPLOY_CODE),
            (Hardfork::Prague, CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, &CONSOLIDATION_REQUEST_PREDEPLOY_CODE),
        ];
        for (fork, address, code) in contracts {
            if fork <= self.hardfork {
                alloc.insert(address.to_string(), json!({ "balance": "0x0", "nonce": "0x1", "code": code }));
            }
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
