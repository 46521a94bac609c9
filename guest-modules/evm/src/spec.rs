//! The rules of one chain: which fork when, read from a geth-style genesis file and kept as a row of the state table.

use std::sync::OnceLock;

use alloy_eips::eip7840::BlobParams;
use alloy_genesis::Genesis;
use alloy_primitives::{Address, address};
use revm::primitives::hardfork::SpecId;
use serde::{Deserialize, Serialize};

use crate::{
    committee::Founders,
    deployers::Deployers,
    fees::{self, Fees},
    host::{self, Table},
};

/// Key of the chain's [`Spec`] in the state table.
pub const SPEC_KEY: &[u8] = b"G";

/// The deposit contract of mainnet, where the genesis file names no other.
const MAINNET_DEPOSIT_CONTRACT: Address = address!("00000000219ab540356cbb839cbe05303d7705fa");

/// A genesis file may allow contracts of this size at most: their init code, of twice the size, then fits into a client's request.
pub const CODE_BYTES_MAX: usize = 2 << 20;
/// EIP-170.
const CODE_BYTES: usize = 24_576;
/// geth's limit on a pooled transaction, whose init code is bounded by EIP-3860.
const POOLED_BYTES: usize = 128 * 1024;
/// EIP-7825.
const TX_GAS: u64 = 1 << 24;

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
    /// Bytes of code that a contract may have, where that is not EIP-170's.
    #[serde(default)]
    pub code_bytes_max: Option<usize>,
    /// Whether EIP-7825 does not bound what a transaction may ask for.
    #[serde(default)]
    pub tx_gas_unbounded: bool,
    /// Whether a block may have its parent's time: blocks of one second then share it, where Ethereum's rules give each a later one.
    #[serde(default)]
    pub shared_seconds: bool,
    /// Whether blocks may hold what a beacon chain says: withdrawals, and any parent beacon block root. Elsewhere a proposer that could say such
    /// things would mint, and the root stands for the block's notes. The name in the row is the one that chains were born with.
    #[serde(default, rename = "beacon")]
    pub foreign: bool,
    /// What gas costs. Left out of the row where nothing is said, so that the row, and with it genesis, is what it is without the choice.
    #[serde(default, skip_serializing_if = "is_default")]
    pub fees: Fees,
    /// Whether only those on the list of [`crate::deployers`] create contracts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deployers: bool,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
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
    /// As clients and operators write it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Paris => "paris",
            Self::Shanghai => "shanghai",
            Self::Cancun => "cancun",
            Self::Prague => "prague",
            Self::Osaka => "osaka",
        }
    }

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
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct Extension {
    dev: bool,
    /// Bytes of code that a contract may have; EIP-170's 24,576 where it is not given. Init code may have twice as many.
    code_size_limit: Option<usize>,
    /// Whether EIP-7825 bounds the gas of a transaction from Osaka on. It does, but for a developer's chain that does not ask for it.
    tx_gas_limit: Option<bool>,
    shared_seconds: bool,
    /// Whether blocks of others may have withdrawals and any parent beacon block root, as those of public suites.
    foreign: bool,
    fees: fees::Asked,
    /// Who decides blocks, where a committee does.
    pub committee: Option<Founders>,
    /// Who may create contracts, where not everybody may.
    pub deployers: Option<Deployers>,
}

impl Extension {
    pub fn from_genesis(genesis: &Genesis) -> Result<Self, String> {
        match genesis.config.extra_fields.get("subnode") {
            None => Ok(Self::default()),
            Some(value) => serde_path_to_error::deserialize(value).map_err(|error| match error.path().to_string().as_str() {
                "." => format!("config.subnode: {}", error.inner()),
                path => format!("config.subnode.{path}: {}", error.inner()),
            }),
        }
    }
}

/// The key that says that blocks are sealed as they were before Paris, where nothing says that Paris was reached.
fn proof_of_work(genesis: &Genesis) -> Option<(&'static str, &'static str)> {
    let config = &genesis.config;
    if config.terminal_total_difficulty.is_some() || config.shanghai_time.is_some() {
        return None;
    }
    if config.clique.is_some() {
        return Some(("config.clique", "Clique's proof-of-authority blocks are not supported"));
    }
    if config.ethash.is_some() {
        return Some(("config.ethash", "Ethash's proof-of-work blocks are not supported"));
    }
    (!genesis.difficulty.is_zero()).then_some(("difficulty", "proof-of-work blocks are not supported"))
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
        if let Some((key, reason)) = proof_of_work(genesis) {
            return Err(format!("{key}: {reason}; for a chain from Paris on put config.terminalTotalDifficulty 0 and remove it"));
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
        for (name, time) in [("amsterdamTime", config.amsterdam_time), ("bogotaTime", config.bogota_time)] {
            if time.is_some() {
                return Err(format!("config.{name}: forks after Osaka are not supported"));
            }
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
        let extension = Extension::from_genesis(genesis)?;
        if let Some(limit) = extension.code_size_limit
            && !(1..=CODE_BYTES_MAX).contains(&limit)
        {
            return Err(format!("config.subnode.codeSizeLimit: {limit} bytes; use 1 to {CODE_BYTES_MAX}"));
        }
        Ok(Self {
            chain_id: config.chain_id,
            genesis_number: genesis.number.unwrap_or(0),
            forks,
            blobs,
            deposit_contract: config.deposit_contract_address.unwrap_or(MAINNET_DEPOSIT_CONTRACT),
            gas_limit: genesis.gas_limit,
            coinbase: genesis.coinbase,
            dev: extension.dev,
            code_bytes_max: extension.code_size_limit,
            tx_gas_unbounded: !extension.tx_gas_limit.unwrap_or(!extension.dev),
            shared_seconds: extension.shared_seconds,
            foreign: extension.foreign,
            fees: extension.fees.fees(genesis.gas_limit)?,
            deployers: extension.deployers.is_some(),
        })
    }

    /// The spec of this chain, read once by an instance: nothing changes it after genesis. A chain without one is a broken store:
    /// this traps.
    pub fn load() -> &'static Self {
        static LOADED: OnceLock<Spec> = OnceLock::new();
        let read = || -> Self {
            let row = host::get(Table::State, SPEC_KEY).unwrap_or_else(|| panic!("the chain has no spec row"));
            serde_json::from_slice(&row).unwrap_or_else(|error| panic!("malformed spec row: {error}"))
        };
        // Tests have a chain each.
        if cfg!(test) { Box::leak(Box::new(read())) } else { LOADED.get_or_init(read) }
    }

    pub fn to_row(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_else(|error| panic!("spec does not serialize: {error}"))
    }

    /// The earliest time of a block whose parent has this one.
    pub fn earliest_after(&self, parent: u64) -> u64 {
        parent.saturating_add(u64::from(!self.shared_seconds))
    }

    pub fn fork(&self, timestamp: u64) -> Fork {
        self.forks.iter().take_while(|(_, time)| *time <= timestamp).last().map_or(Fork::Paris, |(fork, _)| *fork)
    }

    /// The blob parameters at a time, from Cancun on.
    pub fn blob_params(&self, timestamp: u64) -> Option<BlobParams> {
        let limits = self.blobs.iter().take_while(|(time, _)| *time <= timestamp).last()?;
        Some(limits.1.params(self.fork(timestamp)))
    }

    /// Most bytes of a creation's init code. EIP-3860: two times those of the code.
    pub fn initcode_bytes_max(&self) -> usize {
        2 * self.code_bytes_max.unwrap_or(CODE_BYTES)
    }

    /// Most bytes of a transaction in the pool: the largest init code fits, with room for all else.
    pub fn pooled_bytes_max(&self) -> usize {
        POOLED_BYTES + self.initcode_bytes_max().saturating_sub(2 * CODE_BYTES)
    }

    /// Most gas that a transaction may ask for: EIP-7825's, and where gas costs nothing, what one sender may have of a block.
    pub fn tx_gas_max(&self, fork: Fork) -> u64 {
        let cap = if fork >= Fork::Osaka && !self.tx_gas_unbounded { TX_GAS } else { u64::MAX };
        self.fees.quota().map_or(cap, |quota| cap.min(quota.gas))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(config: serde_json::Value) -> Result<Spec, String> {
        let genesis = serde_json::json!({ "config": config, "alloc": {}, "gasLimit": "0x1c9c380", "difficulty": "0x0" });
        Spec::from_genesis(&serde_json::from_value(genesis).expect("a genesis file"))
    }

    #[test]
    fn limits_are_ethereums_unless_a_file_says_otherwise() {
        let plain = spec(serde_json::json!({ "chainId": 7 })).expect("a spec");
        assert_eq!((plain.initcode_bytes_max(), plain.pooled_bytes_max()), (49_152, 131_072));
        assert_eq!((plain.tx_gas_max(Fork::Prague), plain.tx_gas_max(Fork::Osaka)), (u64::MAX, 1 << 24));
        let large = spec(serde_json::json!({ "chainId": 7, "subnode": { "codeSizeLimit": 100_000 } })).expect("a spec");
        assert_eq!((large.initcode_bytes_max(), large.pooled_bytes_max()), (200_000, 131_072 + 200_000 - 49_152));
        let small = spec(serde_json::json!({ "chainId": 7, "subnode": { "codeSizeLimit": 1 } })).expect("a spec");
        assert_eq!((small.initcode_bytes_max(), small.pooled_bytes_max()), (2, 131_072));
        for limit in [0, 2_097_153] {
            let error = spec(serde_json::json!({ "chainId": 7, "subnode": { "codeSizeLimit": limit } })).err();
            assert!(error.is_some_and(|error| error.contains("use 1 to 2097152")), "{limit}");
        }
    }

    #[test]
    fn a_developers_chain_has_no_cap_on_a_transactions_gas_unless_it_asks() {
        let gas_max = |subnode| spec(serde_json::json!({ "chainId": 7, "subnode": subnode })).expect("a spec").tx_gas_max(Fork::Osaka);
        assert_eq!(gas_max(serde_json::json!({ "dev": true })), u64::MAX);
        assert_eq!(gas_max(serde_json::json!({ "dev": true, "txGasLimit": true })), 1 << 24);
        assert_eq!(gas_max(serde_json::json!({ "txGasLimit": false })), u64::MAX);
    }

    #[test]
    fn a_chain_that_says_nothing_of_fees_and_deployers_has_nothing_of_them_in_its_row() {
        let row = |subnode| {
            let spec = spec(serde_json::json!({ "chainId": 7, "subnode": subnode })).expect("a spec");
            let row: serde_json::Value = serde_json::from_slice(&spec.to_row()).expect("JSON");
            (row.get("fees").is_some(), row.get("deployers").is_some())
        };
        assert_eq!(row(serde_json::json!({})), (false, false));
        assert_eq!(row(serde_json::json!({ "fees": "eip1559" })), (false, false));
        let owner = Address::repeat_byte(1);
        assert_eq!(row(serde_json::json!({ "fees": "zero", "deployers": { "owner": owner, "allowed": [] } })), (true, true));
        for fees in [serde_json::json!("zero"), serde_json::json!({ "fixed": 9 })] {
            let spec = spec(serde_json::json!({ "chainId": 7, "subnode": { "fees": fees } })).expect("a spec");
            let again: Spec = serde_json::from_slice(&spec.to_row()).expect("a row");
            assert_eq!(again.fees, spec.fees);
        }
    }

    #[test]
    fn what_is_wrong_is_named_by_its_path() {
        for (subnode, texts) in [
            (serde_json::json!({ "fees": "free" }), ["config.subnode.fees: \"free\"", "\"zero\""]),
            (serde_json::json!({ "codeSizeLimit": -1 }), ["config.subnode.codeSizeLimit: ", "`-1`"]),
            (
                serde_json::json!({ "deployers": { "owner": "me", "allowed": [] } }),
                ["config.subnode.deployers.owner: \"me\"", "use an address"],
            ),
            (serde_json::json!({ "free": true }), ["config.subnode", "unknown field `free`"]),
            (serde_json::json!("zero"), ["config.subnode: ", "expected struct"]),
        ] {
            let error = spec(serde_json::json!({ "chainId": 7, "subnode": subnode })).expect_err("refused");
            assert!(texts.iter().all(|text| error.contains(text)), "{subnode}: {error}");
        }
    }

    #[test]
    fn where_gas_costs_nothing_a_senders_share_bounds_each_transaction() {
        let gas_max = |quota: serde_json::Value, fork| {
            let fees = serde_json::json!({ "zero": quota });
            spec(serde_json::json!({ "chainId": 7, "subnode": { "fees": fees } })).expect("a spec").tx_gas_max(fork)
        };
        assert_eq!(gas_max(serde_json::json!({}), Fork::Prague), 15_000_000);
        assert_eq!(gas_max(serde_json::json!({ "senderGas": 20_000_000 }), Fork::Osaka), 1 << 24, "EIP-7825's is less");
    }

    #[test]
    fn a_spec_row_without_limits_is_read_as_ethereums() {
        let mut row: serde_json::Value =
            serde_json::from_slice(&spec(serde_json::json!({ "chainId": 7 })).expect("a spec").to_row()).expect("JSON");
        let fields = row.as_object_mut().expect("an object");
        assert!(fields.remove("code_bytes_max").is_some() && fields.remove("tx_gas_unbounded").is_some());
        let old: Spec = serde_json::from_value(row).expect("a row of an earlier release");
        assert_eq!((old.initcode_bytes_max(), old.tx_gas_max(Fork::Osaka)), (49_152, 1 << 24));
    }
}
