//! Keys of a genesis file that say nothing to this runtime. geth ignores them, and so does this runtime, but for a key that is nearly a known one:
//! a mistyped fork would be a chain of other rules than its author wants.

use std::collections::BTreeMap;

use serde_json::Value;

/// Keys of the file.
const FILE: [&str; 24] = [
    "alloc",
    "baseFeePerGas",
    "blobGasUsed",
    "bloom",
    "coinbase",
    "config",
    "difficulty",
    "excessBlobGas",
    "extraData",
    "gasLimit",
    "gasUsed",
    "hash",
    "mixHash",
    "nonce",
    "number",
    "parentBeaconBlockRoot",
    "parentHash",
    "receiptTrie",
    "requestsHash",
    "stateRoot",
    "timestamp",
    "transactionsTrie",
    "uncleHash",
    "withdrawalsRoot",
];
/// Keys of `config`: what geth has and what [`crate::spec`] reads.
const CONFIG: [&str; 36] = [
    "amsterdamTime",
    "arrowGlacierBlock",
    "berlinBlock",
    "blobSchedule",
    "bogotaTime",
    "bpo1Time",
    "bpo2Time",
    "bpo3Time",
    "bpo4Time",
    "bpo5Time",
    "byzantiumBlock",
    "cancunTime",
    "chainId",
    "clique",
    "constantinopleBlock",
    "daoForkBlock",
    "daoForkSupport",
    "depositContractAddress",
    "eip150Block",
    "eip150Hash",
    "eip155Block",
    "eip158Block",
    "ethash",
    "grayGlacierBlock",
    "homesteadBlock",
    "istanbulBlock",
    "londonBlock",
    "mergeNetsplitBlock",
    "muirGlacierBlock",
    "osakaTime",
    "petersburgBlock",
    "pragueTime",
    "shanghaiTime",
    "subnode",
    "terminalTotalDifficulty",
    "terminalTotalDifficultyPassed",
];
/// Letters that a misspelling has wrong at most.
const TYPOS_MAX: usize = 2;

/// Refuses keys that are nearly known ones. Those of `config` that are unknown.
pub fn check(file: &serde_json::Map<String, Value>) -> Result<Vec<String>, String> {
    for key in file.keys() {
        not_misspelt("", key, &FILE)?;
    }
    let config: BTreeMap<_, _> = file["config"].as_object().into_iter().flatten().collect();
    let mut unknown = Vec::new();
    for key in config.into_keys() {
        not_misspelt("config.", key, &CONFIG)?;
        if !CONFIG.contains(&key.as_str()) {
            unknown.push(format!("config.{key}"));
        }
    }
    Ok(unknown)
}

fn not_misspelt(within: &str, key: &str, known: &[&str]) -> Result<(), String> {
    if known.contains(&key) {
        return Ok(());
    }
    match known.iter().find(|known| is_nearly(key, known)) {
        Some(near) => Err(format!("{within}{key}: unknown; did you mean {within}{near}?")),
        None => Ok(()),
    }
}

/// Whether a key is another one with some letters wrong. Digits count for more: `eip160Block` of another client is not `eip150Block`.
fn is_nearly(key: &str, known: &str) -> bool {
    let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
    // A third of a short key may be another word.
    let typos_max = TYPOS_MAX.min(known.len() / 4);
    key.len().abs_diff(known.len()) <= TYPOS_MAX
        && digits(key) == digits(known)
        && strsim::damerau_levenshtein(&key.to_ascii_lowercase(), &known.to_ascii_lowercase()) <= typos_max
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(file: Value) -> Result<Vec<String>, String> {
        check(file.as_object().expect("an object"))
    }

    #[test]
    fn a_misspelt_key_is_refused_and_named_with_the_right_one() {
        for (key, right) in [
            ("pragueTimee", "pragueTime"),
            ("berlinblock", "berlinBlock"),
            ("shangaiTime", "shanghaiTime"),
            ("bpo1time", "bpo1Time"),
            ("chainID", "chainId"),
            ("subnod", "subnode"),
        ] {
            let error = checked(serde_json::json!({ "config": { key: 0 } })).expect_err(key);
            assert_eq!(error, format!("config.{key}: unknown; did you mean config.{right}?"));
        }
        for (key, right) in [("timestmap", "timestamp"), ("basefeePerGas", "baseFeePerGas"), ("gaslimit", "gasLimit")] {
            let error = checked(serde_json::json!({ "config": {}, key: 0 })).expect_err(key);
            assert_eq!(error, format!("{key}: unknown; did you mean {right}?"));
        }
    }

    #[test]
    fn keys_of_other_clients_are_unknown_and_no_error() {
        let others = serde_json::json!({ "config": { "eip160Block": 0, "qbft": {}, "contractSizeLimit": 1, "zeroBaseFee": true, "bpo6Time": 0 },
            "comment": "a note", "slotNumber": 0 });
        let unknown = ["config.bpo6Time", "config.contractSizeLimit", "config.eip160Block", "config.qbft", "config.zeroBaseFee"];
        assert_eq!(checked(others), Ok(unknown.map(str::to_owned).to_vec()));
        let known: serde_json::Map<_, _> = CONFIG.map(|key| (key.to_owned(), Value::Null)).into_iter().collect();
        assert_eq!(checked(serde_json::json!({ "config": known })), Ok(Vec::new()));
    }
}
