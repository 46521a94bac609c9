//! What a client asks `eth_simulateV1` for, and the blocks that come of it.

use alloy_consensus::{EMPTY_OMMER_ROOT_HASH, Header};
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::U256;
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest, state::StateOverride};
use alloy_serde::null_as_default;
use serde::Deserialize;

use super::super::{Result, error};
use crate::spec::{Fork, Spec};

/// Blocks that one call simulates at most, those between included (execution-apis).
pub const BLOCKS_MAX: u64 = 256;
/// Seconds between blocks whose times a client leaves open (execution-apis).
const SPACING_SECONDS: u64 = 12;

/// What is asked for.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Payload {
    pub block_state_calls: Vec<Wanted>,
    pub trace_transfers: bool,
    pub validation: bool,
    pub return_full_transactions: bool,
}

/// A block that is asked for.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Wanted {
    #[serde(deserialize_with = "null_as_default")]
    pub block_overrides: Overrides,
    pub state_overrides: Option<StateOverride>,
    #[serde(deserialize_with = "null_as_default")]
    pub calls: Vec<TransactionRequest>,
}

/// What a block has that does not follow from its parent's.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Overrides {
    #[serde(flatten)]
    pub block: BlockOverrides,
    pub withdrawals: Option<Withdrawals>,
}

/// A block to simulate, with a number and a time.
pub struct Planned {
    pub wanted: Wanted,
    pub number: u64,
    pub timestamp: u64,
}

/// The blocks in their order, those included that fill the gaps between numbers.
pub fn plan(base: &Header, wanted: Vec<Wanted>) -> Result<Vec<Planned>> {
    if wanted.is_empty() {
        return Err(error::invalid_params("empty input"));
    }
    if wanted.len() as u64 > BLOCKS_MAX {
        return Err(error::too_many_blocks());
    }
    let (mut number, mut timestamp) = (base.number, base.timestamp);
    let mut planned = Vec::new();
    for block in wanted {
        let next = block.block_overrides.block.number.unwrap_or(U256::from(number) + U256::ONE);
        let next = u64::try_from(next).unwrap_or(u64::MAX);
        if next <= number {
            return Err(error::block_numbers_out_of_order(next, number));
        }
        if next - base.number > BLOCKS_MAX {
            return Err(error::too_many_blocks());
        }
        for between in number + 1..next {
            timestamp = timestamp.saturating_add(SPACING_SECONDS);
            planned.push(Planned { wanted: Wanted::default(), number: between, timestamp });
        }
        number = next;
        let at = block.block_overrides.block.time.unwrap_or(timestamp.saturating_add(SPACING_SECONDS));
        if at <= timestamp {
            return Err(error::block_timestamps_out_of_order(at, timestamp));
        }
        timestamp = at;
        planned.push(Planned { wanted: block, number, timestamp });
    }
    Ok(planned)
}

impl Planned {
    /// What is known of the header before the block is executed. The base fee is 0 where nothing says otherwise and nothing is validated.
    pub fn header(&self, spec: &Spec, parent: &Header, base_fee: u64, excess_blob_gas: u64) -> Header {
        let overrides = &self.wanted.block_overrides.block;
        let fork = spec.fork(self.timestamp);
        Header {
            parent_hash: parent.hash_slow(),
            ommers_hash: EMPTY_OMMER_ROOT_HASH,
            beneficiary: overrides.coinbase.unwrap_or(parent.beneficiary),
            difficulty: overrides.difficulty.unwrap_or_default(),
            number: self.number,
            gas_limit: overrides.gas_limit.unwrap_or(parent.gas_limit),
            timestamp: self.timestamp,
            mix_hash: overrides.random.unwrap_or_default(),
            base_fee_per_gas: Some(overrides.base_fee.map_or(base_fee, |fee| u64::try_from(fee).unwrap_or(u64::MAX))),
            blob_gas_used: (fork >= Fork::Cancun).then_some(0),
            excess_blob_gas: (fork >= Fork::Cancun).then_some(excess_blob_gas),
            parent_beacon_block_root: (fork >= Fork::Cancun).then(|| overrides.beacon_root.unwrap_or_default()),
            ..Header::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn planned(blocks: Value) -> core::result::Result<Vec<(u64, u64)>, i32> {
        let payload: Payload = serde_json::from_value(json!({ "blockStateCalls": blocks })).expect("a payload");
        let base = Header { number: 10, timestamp: 100, ..Header::default() };
        match plan(&base, payload.block_state_calls) {
            Ok(blocks) => Ok(blocks.iter().map(|block| (block.number, block.timestamp)).collect()),
            Err(error) => Err(error.code),
        }
    }

    #[test]
    fn blocks_follow_each_other_and_gaps_are_filled() {
        assert_eq!(planned(json!([{}, { "blockOverrides": null, "stateOverrides": null, "calls": null }])), Ok(vec![(11, 112), (12, 124)]));
        let jump = json!([{ "blockOverrides": { "number": "0xd" } }, { "blockOverrides": { "time": "0xc8" } }]);
        assert_eq!(planned(jump), Ok(vec![(11, 112), (12, 124), (13, 136), (14, 200)]));
        let late = json!([{ "blockOverrides": { "number": "0xd", "time": "0x7c" } }]);
        assert_eq!(planned(late), Err(-38021), "the blocks between have taken that time");
    }

    #[test]
    fn numbers_and_counts_are_bounded() {
        assert_eq!(planned(json!([])), Err(-32602));
        assert_eq!(planned(json!([{ "blockOverrides": { "number": "0xa" } }])), Err(-38020));
        assert_eq!(planned(json!([{ "blockOverrides": { "number": "0x10a" } }])).map(|blocks| blocks.len()), Ok(256));
        assert_eq!(planned(json!([{ "blockOverrides": { "number": "0x10b" } }])), Err(-38026));
        assert_eq!(planned(json!([{ "blockOverrides": { "number": "0xffffffffffffffffffffff" } }])), Err(-38026));
        assert_eq!(planned(vec![json!({}); 257].into()), Err(-38026));
    }
}
