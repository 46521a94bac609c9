//! The rules that a suite names by network, as genesis files.

use alloy::{
    eips::{eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, eip7840::BlobParams},
    primitives::Address,
};
use anyhow::Context;
use serde_json::{Map, Value, json};

/// The forks that the guest knows, in their order, and the key of `config` that says when each begins. Paris has begun always.
const FORKS: [(&str, Option<&str>); 10] = [
    ("Paris", None),
    ("Shanghai", Some("shanghaiTime")),
    ("Cancun", Some("cancunTime")),
    ("Prague", Some("pragueTime")),
    ("Osaka", Some("osakaTime")),
    ("BPO1", Some("bpo1Time")),
    ("BPO2", Some("bpo2Time")),
    ("BPO3", Some("bpo3Time")),
    ("BPO4", Some("bpo4Time")),
    ("BPO5", Some("bpo5Time")),
];

/// What a block of Prague calls at its end, and must find.
pub(crate) const CALLED_LAST: [Address; 2] = [WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS, CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS];

/// Adds what a block calls at its end to the accounts of a genesis, with code that does nothing.
pub(crate) fn add_called_last(accounts: &mut Value) {
    for contract in CALLED_LAST {
        accounts[format!("{contract:#x}")] = json!({ "balance": "0x0", "code": "0x00" });
    }
}

/// The rules of a case.
#[derive(Clone)]
pub(crate) struct Rules {
    config: Value,
    /// The last fork that has begun at time 0: its place among all.
    fork: usize,
}

/// The rules of a network ("Cancun", "PragueToOsakaAtTime15k"); none where the guest does not know one of its forks.
pub(crate) fn named(network: &str) -> Option<Rules> {
    let position = |name: &str| FORKS.iter().position(|(fork, _)| *fork == name);
    let (first, then) = match network.split_once("To") {
        None => (position(network)?, None),
        Some((first, rest)) => {
            let (next, time) = rest.split_once("AtTime")?;
            let time = match time.strip_suffix('k') {
                Some(thousands) => thousands.parse::<u64>().ok()?.checked_mul(1_000)?,
                None => time.parse().ok()?,
            };
            (position(first)?, Some((position(next)?, time)))
        }
    };
    let mut config = json!({ "chainId": 1, "terminalTotalDifficulty": 0, "subnode": { "foreign": true }, "blobSchedule": {
        "cancun": { "target": 3, "max": 6, "baseFeeUpdateFraction": 3_338_477 },
        "prague": { "target": 6, "max": 9, "baseFeeUpdateFraction": 5_007_716 },
        "osaka": { "target": 6, "max": 9, "baseFeeUpdateFraction": 5_007_716 },
        "bpo1": { "target": 10, "max": 15, "baseFeeUpdateFraction": 8_346_193 },
        "bpo2": { "target": 14, "max": 21, "baseFeeUpdateFraction": 11_684_671 },
    } });
    let last = then.map_or(first, |(next, _)| next);
    for (at, (_, key)) in FORKS.iter().enumerate().take(last + 1) {
        let Some(key) = key else { continue };
        config[*key] = json!(then.filter(|_| at > first).map_or(0, |(_, time)| time));
    }
    Some(Rules { config, fork: first })
}

impl Rules {
    /// The same with the chain id and the blob parameters that a case's `config` gives, if any.
    pub(crate) fn with(mut self, given: &Value) -> anyhow::Result<Self> {
        if let Some(id) = given.get("chainid") {
            self.config["chainId"] = json!(quantity(id)?);
        }
        for (fork, given) in given["blobSchedule"].as_object().into_iter().flatten() {
            let mut params = Map::new();
            for (key, value) in given.as_object().with_context(|| format!("blob parameters {given}"))? {
                params.insert(key.clone(), json!(quantity(value)?));
            }
            self.config["blobSchedule"][fork.to_lowercase()] = Value::Object(params);
        }
        Ok(self)
    }

    /// Whether a block at time 0 has what a fork brought.
    pub(crate) fn has(&self, fork: &str) -> bool {
        FORKS.iter().position(|(name, _)| *name == fork).is_some_and(|position| position <= self.fork)
    }

    /// The blob parameters at time 0; those of Cancun before it.
    pub(crate) fn blobs(&self) -> anyhow::Result<BlobParams> {
        let fork = if self.has("Cancun") { FORKS[self.fork].0 } else { "Cancun" };
        let given = serde_json::from_value(self.config["blobSchedule"][fork.to_lowercase()].clone());
        let BlobParams { target_blob_count, max_blob_count, update_fraction, .. } =
            given.with_context(|| format!("blob parameters of {fork}"))?;
        let base = if self.has("Osaka") { BlobParams::osaka() } else { BlobParams::cancun() };
        Ok(BlobParams { target_blob_count, max_blob_count, update_fraction, ..base })
    }

    /// Sets the blob parameters of a fork.
    pub(crate) fn set_blobs(&mut self, fork: &str, target: u64, max: u64) {
        self.config["blobSchedule"][fork.to_lowercase()]["target"] = json!(target);
        self.config["blobSchedule"][fork.to_lowercase()]["max"] = json!(max);
    }

    /// A genesis with these accounts.
    pub(crate) fn genesis(&self, header: &Value, accounts: &Value) -> Value {
        let mut genesis = header.clone();
        genesis["config"] = self.config.clone();
        genesis["alloc"] = accounts.clone();
        genesis
    }
}

/// The header of a genesis for what no suite describes.
pub(crate) fn first_header() -> Value {
    json!({
        "number": "0x0", "timestamp": "0x0", "gasLimit": "0x1c9c380", "gasUsed": "0x0", "difficulty": "0x0", "baseFeePerGas": "0x7",
        "coinbase": Address::ZERO, "extraData": "0x",
    })
}

fn quantity(value: &Value) -> anyhow::Result<u64> {
    let text = value.as_str().with_context(|| format!("quantity {value}"))?;
    let digits = text.strip_prefix("0x").with_context(|| format!("quantity {value}"))?;
    u64::from_str_radix(digits, 16).with_context(|| format!("quantity {value}"))
}

#[test]
fn a_network_names_its_forks_and_their_times() {
    let config = |network| named(network).map(|rules| rules.config);
    assert!(config("London").is_none() && config("LondonToParisAtDiffC0000").is_none() && config("BPO2ToAmsterdamAtTime15k").is_none());
    assert!(config("Paris").is_some_and(|config| config.get("shanghaiTime").is_none()));
    let transition = config("PragueToOsakaAtTime15k").expect("both are known");
    assert_eq!((&transition["pragueTime"], &transition["osakaTime"]), (&json!(0), &json!(15_000)));
    assert!(transition.get("bpo1Time").is_none());
    let steps = config("BPO1ToBPO2AtTime15k").expect("both are known");
    assert_eq!((&steps["osakaTime"], &steps["bpo1Time"], &steps["bpo2Time"]), (&json!(0), &json!(0), &json!(15_000)));
}
