//! The rules of one chain: which fork when, read from a geth-style genesis file and kept as a row of the state table.

use std::sync::OnceLock;

use alloy_eips::eip7840::BlobParams;
use alloy_genesis::Genesis;
use alloy_primitives::{Address, address};
use revm::primitives::hardfork::SpecId;
use serde::{Deserialize, Serialize};

use crate::{
    committee::Founders,
    host::{self, Table},
};

/// Key of the chain's [`Spec`] in the state table.
pub const SPEC_KEY: &[u8] = b"G";

/// The deposit contract of mainnet, where the genesis file names no other.
const MAINNET_DEPOSIT_CONTRACT: Address = address!("00000000219ab540356cbb839cbe05303d7705fa");

/// What every call needs to know of the chain.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Spec {
    pub chain_id: u64,
    /// Number of the genesis block; 0 but in tests.
    pub genesis_number: u64,
    /// Forks after Paris and the time each begins, in their order.
    pub forks: Vec<(Fork, u64)>,
    /// Blob limits, and the time each begins, in their order.
    pub blobs: Vec<(u64, BlobLimits)>,
    pub deposit_contract: Address,
    /// What the blocks built here move their gas limit towards.
    pub gas_limit: u64,
    /// Who earns the fees of the blocks built here.
    pub coinbase: Address,
    /// Whether this is a developer's chain: impersonated senders are let in, and system contracts may be missing.
    pub dev: bool,
}

/// The forks this runtime knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Fork {
    Paris,
    Shanghai,
    Cancun,
    Prague,
    Osaka,
}

/// EIP-7840: a fork's blob parameters.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct BlobLimits {
    target: u64,
    pub max: u64,
    update_fraction: u128,
}

impl Fork {
    pub fn revm(self) -> SpecId {
        match self {
            Self::Paris => SpecId::MERGE,
            Self::Shanghai => SpecId::SHANGHAI,
            Self::Cancun => SpecId::CANCUN,
            Self::Prague => SpecId::PRAGUE,
            Self::Osaka => SpecId::OSAKA,
        }
    }
}

impl BlobLimits {
    pub fn params(&self, fork: Fork) -> BlobParams {
        let base = if fork >= Fork::Osaka { BlobParams::osaka() } else { BlobParams::cancun() };
        // EIP-7594: six blobs a transaction, from Osaka on. Before, the block's limit alone counts.
        let max_blobs_per_tx = if fork >= Fork::Osaka { base.max_blobs_per_tx.min(self.max) } else { self.max };
        BlobParams {
            target_blob_count: self.target,
            max_blob_count: self.max,
            update_fraction: self.update_fraction,
            max_blobs_per_tx,
            ..base
        }
    }

    fn of(params: BlobParams) -> Self {
        Self { target: params.target_blob_count, max: params.max_blob_count, update_fraction: params.update_fraction }
    }
}

/// The part of a chain's `config` that only Subnode reads.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Extension {
    dev: bool,
    /// Who decides blocks, where a committee does.
    pub committee: Option<Founders>,
}

impl Extension {
    pub fn from_genesis(genesis: &Genesis) -> Result<Self, String> {
        match genesis.config.extra_fields.get("subnode") {
            None => Ok(Self::default()),
            Some(value) => serde_json::from_value(value.clone()).map_err(|error| format!("config.subnode: {error}")),
        }
    }
}

impl Spec {
    pub fn from_genesis(genesis: &Genesis) -> Result<Self, String> {
        let config = &genesis.config;
        if config.chain_id == 0 {
            return Err("config.chainId: missing or 0; give the chain a positive id".into());
        }
        if let Some(block) = [("londonBlock", config.london_block), ("berlinBlock", config.berlin_block)]
            .into_iter()
            .find(|(_, block)| block.is_some_and(|block| block > genesis.number.unwrap_or(0)))
        {
            return Err(format!("config.{}: forks before Paris must be active from the start, put 0", block.0));
        }
        if config.terminal_total_difficulty.is_some_and(|total| total > genesis.difficulty) {
            return Err("config.terminalTotalDifficulty: proof-of-work blocks are not supported, put 0".into());
        }
        let known = [
            ("shanghaiTime", Fork::Shanghai, config.shanghai_time),
            ("cancunTime", Fork::Cancun, config.cancun_time),
            ("pragueTime", Fork::Prague, config.prague_time),
            ("osakaTime", Fork::Osaka, config.osaka_time),
        ];
        let mut forks: Vec<(Fork, u64)> = Vec::new();
        let mut missing = None;
        for (name, fork, time) in known {
            match (time, missing) {
                (None, _) => missing = missing.or(Some(name)),
                (Some(_), Some(earlier)) => return Err(format!("config.{name}: set, but {earlier} before it is not")),
                (Some(time), None) => {
                    if forks.last().is_some_and(|(_, last)| *last > time) {
                        return Err(format!("config.{name}: {time} is before the fork that precedes it"));
                    }
                    forks.push((fork, time));
                }
            }
        }
        if config.amsterdam_time.is_some() {
            return Err("config.amsterdamTime: forks after Osaka are not supported".into());
        }
        let scheduled = |name: &str, default: BlobParams| BlobLimits::of(config.blob_schedule.get(name).copied().unwrap_or(default));
        let mut blobs: Vec<(u64, BlobLimits)> = Vec::new();
        for (fork, time) in &forks {
            match fork {
                Fork::Cancun => blobs.push((*time, scheduled("cancun", BlobParams::cancun()))),
                Fork::Prague => blobs.push((*time, scheduled("prague", BlobParams::prague()))),
                Fork::Osaka => blobs.push((*time, scheduled("osaka", BlobParams::osaka()))),
                Fork::Paris | Fork::Shanghai => {}
            }
        }
        let steps = [
            ("bpo1", config.bpo1_time),
            ("bpo2", config.bpo2_time),
            ("bpo3", config.bpo3_time),
            ("bpo4", config.bpo4_time),
            ("bpo5", config.bpo5_time),
        ];
        for (name, time) in steps {
            let Some(time) = time else { continue };
            let Some(params) = config.blob_schedule.get(name) else {
                return Err(format!("config.{name}Time: set, but config.blobSchedule.{name} is missing"));
            };
            blobs.push((time, BlobLimits::of(*params)));
        }
        Ok(Self {
            chain_id: config.chain_id,
            genesis_number: genesis.number.unwrap_or(0),
            forks,
            blobs,
            deposit_contract: config.deposit_contract_address.unwrap_or(MAINNET_DEPOSIT_CONTRACT),
            gas_limit: genesis.gas_limit,
            coinbase: genesis.coinbase,
            dev: Extension::from_genesis(genesis)?.dev,
        })
    }

    /// The spec of this chain, read once by an instance: nothing changes it after genesis. A chain without one is a broken store:
    /// this traps.
    pub fn load() -> &'static Self {
        static LOADED: OnceLock<Spec> = OnceLock::new();
        LOADED.get_or_init(|| {
            let row = host::get(Table::State, SPEC_KEY).unwrap_or_else(|| panic!("the chain has no spec row"));
            serde_json::from_slice(&row).unwrap_or_else(|error| panic!("malformed spec row: {error}"))
        })
    }

    pub fn to_row(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_else(|error| panic!("spec does not serialize: {error}"))
    }

    pub fn fork(&self, timestamp: u64) -> Fork {
        self.forks.iter().take_while(|(_, time)| *time <= timestamp).last().map_or(Fork::Paris, |(fork, _)| *fork)
    }

    /// The blob parameters at a time, from Cancun on.
    pub fn blob_params(&self, timestamp: u64) -> Option<BlobParams> {
        let limits = self.blobs.iter().take_while(|(time, _)| *time <= timestamp).last()?;
        Some(limits.1.params(self.fork(timestamp)))
    }
}
