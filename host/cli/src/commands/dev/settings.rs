//! What dev chains are made with: flags, stored beside chains that outlive the process.

use std::{path::Path, time::Duration};

use alloy::primitives::{U256, utils::format_ether};
use anyhow::bail;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use subnode_devnet::{Account, DEFAULT_MNEMONIC, DevGenesis, Hardfork};

use crate::args::DevArgs;

/// What Hardhat's node has.
const HARDHAT_ACCOUNTS: u32 = 20;
/// What anvil has.
const ACCOUNTS: u32 = 10;
const ETHER: u64 = 10_000;

/// The flags that decide what genesis is, by their names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Settings {
    /// Of the first chain.
    pub chain_id: u64,
    pub accounts: u32,
    /// In wei.
    pub balance: U256,
    pub mnemonic: String,
    pub gas_limit: u64,
    pub base_fee: u64,
    #[serde(with = "fork")]
    pub hardfork: Hardfork,
    pub code_size_limit: Option<u64>,
    pub enable_tx_gas_limit: bool,
    pub timestamp: u64,
    /// Ethereum's rules give each block a later second: blocks that come faster share it, or the chain's time would run ahead.
    pub shared_seconds: bool,
}

mod fork {
    use serde::{Deserialize, Deserializer, Serializer, de};
    use subnode_devnet::Hardfork;

    pub(super) fn serialize<S: Serializer>(fork: &Hardfork, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(fork)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Hardfork, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Settings {
    /// Of new chains.
    pub fn new(args: &DevArgs, now: u64) -> Self {
        let defaults = Self {
            chain_id: DevGenesis::DEFAULT_CHAIN_ID,
            accounts: accounts(args),
            balance: U256::from(ETHER) * U256::from(10).pow(U256::from(18)),
            mnemonic: DEFAULT_MNEMONIC.to_owned(),
            gas_limit: DevGenesis::DEFAULT_GAS_LIMIT,
            base_fee: DevGenesis::DEFAULT_BASE_FEE,
            hardfork: Hardfork::default(),
            code_size_limit: None,
            enable_tx_gas_limit: false,
            timestamp: now,
            shared_seconds: shared_seconds(args),
        };
        defaults.with(args)
    }

    /// These, but for the flags that are given.
    fn with(self, args: &DevArgs) -> Self {
        Self {
            chain_id: args.chain_id.unwrap_or(self.chain_id),
            accounts: args.accounts.unwrap_or(self.accounts),
            balance: args.balance.unwrap_or(self.balance),
            mnemonic: args.mnemonic.clone().unwrap_or(self.mnemonic),
            gas_limit: args.gas_limit.unwrap_or(self.gas_limit),
            base_fee: args.base_fee.unwrap_or(self.base_fee),
            hardfork: args.hardfork.unwrap_or(self.hardfork),
            code_size_limit: code_size_limit(args).or(self.code_size_limit),
            enable_tx_gas_limit: args.enable_tx_gas_limit || self.enable_tx_gas_limit,
            timestamp: args.timestamp.unwrap_or(self.timestamp),
            shared_seconds: self.shared_seconds,
        }
    }

    /// Of chains that were kept with these settings: a flag that says otherwise is refused.
    pub fn resume(self, args: &DevArgs, dir: &Path) -> anyhow::Result<Self> {
        let asked = self.clone().with(args);
        let differences: Vec<String> = self
            .flags()
            .into_iter()
            .zip(asked.flags())
            .filter(|((_, kept), (_, asked))| kept != asked)
            .map(|((flag, kept), (_, asked))| format!("{flag} is {kept} there, and {asked} was asked for"))
            .collect();
        if !differences.is_empty() {
            bail!("the chains in {}: {}; leave the flag out, or choose another --data-dir", dir.display(), differences.join("; "));
        }
        Ok(self)
    }

    fn flags(&self) -> [(&'static str, String); 10] {
        [
            ("--chain-id", self.chain_id.to_string()),
            ("--accounts", self.accounts.to_string()),
            ("--balance", ether(self.balance)),
            ("--mnemonic", format!("{:?}", self.mnemonic)),
            ("--gas-limit", self.gas_limit.to_string()),
            ("--base-fee", self.base_fee.to_string()),
            ("--hardfork", self.hardfork.to_string()),
            ("--code-size-limit", self.code_size_limit.map_or_else(|| "EIP-170's".to_owned(), |bytes| bytes.to_string())),
            ("--enable-tx-gas-limit", self.enable_tx_gas_limit.to_string()),
            ("--timestamp", self.timestamp.to_string()),
        ]
    }

    /// The genesis file of the chain with this index.
    pub fn genesis(&self, index: u32, accounts: &[Account]) -> Vec<u8> {
        let genesis = DevGenesis {
            chain_id: self.chain_id + u64::from(index),
            hardfork: self.hardfork,
            balances: accounts.iter().map(|account| (account.address, self.balance)).collect(),
            gas_limit: self.gas_limit,
            base_fee: self.base_fee,
            timestamp: self.timestamp,
            extension: extension(self.code_size_limit, self.enable_tx_gas_limit, self.shared_seconds),
        };
        genesis.to_json()
    }
}

/// How many accounts there are where no flag says it.
pub fn accounts(args: &DevArgs) -> u32 {
    if args.hardhat { HARDHAT_ACCOUNTS } else { ACCOUNTS }
}

/// Ether in as few digits as it needs.
pub fn ether(wei: U256) -> String {
    format_ether(wei).trim_end_matches('0').trim_end_matches('.').to_owned()
}

pub fn code_size_limit(args: &DevArgs) -> Option<u64> {
    if args.disable_code_size_limit { Some(DevGenesis::CODE_SIZE_LIMIT_MAX) } else { args.code_size_limit }
}

/// Whether blocks come faster than one a second.
pub fn shared_seconds(args: &DevArgs) -> bool {
    args.block_time.is_some_and(|every| every < Duration::from_secs(1))
}

/// What a dev chain's genesis says to Subnode alone.
pub fn extension(code_size_limit: Option<u64>, enable_tx_gas_limit: bool, shared_seconds: bool) -> Value {
    let mut extension = DevGenesis::dev();
    if let Some(bytes) = code_size_limit {
        extension["codeSizeLimit"] = bytes.into();
    }
    if enable_tx_gas_limit {
        extension["txGasLimit"] = true.into();
    }
    if shared_seconds {
        extension["sharedSeconds"] = true.into();
    }
    extension
}

/// Refuses flags that describe a genesis, for chains whose genesis is there already and came from a file.
pub fn refuse(args: &DevArgs, dir: &Path) -> anyhow::Result<()> {
    let given = [
        ("--chain-id", args.chain_id.is_some()),
        ("--balance", args.balance.is_some()),
        ("--gas-limit", args.gas_limit.is_some()),
        ("--base-fee", args.base_fee.is_some()),
        ("--hardfork", args.hardfork.is_some()),
        ("--timestamp", args.timestamp.is_some()),
        ("--code-size-limit", args.code_size_limit.is_some()),
        ("--disable-code-size-limit", args.disable_code_size_limit),
        ("--enable-tx-gas-limit", args.enable_tx_gas_limit),
    ];
    if let Some((flag, _)) = given.iter().find(|(_, given)| *given) {
        bail!(
            "the chains in {} were made from a genesis file, which says what {flag} would; leave the flag out, or choose another --data-dir",
            dir.display()
        );
    }
    Ok(())
}
