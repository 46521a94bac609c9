//! What gas costs, now and lately.

use alloy_consensus::Transaction as _;
use alloy_eips::BlockId;
use alloy_primitives::U256;
use alloy_rpc_types_eth::FeeHistory;

use super::{Call, Result, error, json, number_of};
use crate::{
    dev::Overrides,
    fees::Fees,
    header_rules::next_base_fee,
    headers,
    index::{self, ReceiptRow},
    spec::Spec,
};

/// Blocks one fee history may cover (geth's bound), and percentiles.
const HISTORY_MAX: u64 = 1024;
const PERCENTILES_MAX: usize = 100;
/// What is suggested where nothing is known: 1 gwei, as anvil and geth's dev mode do.
const SUGGESTED_TIP: u64 = 1_000_000_000;

/// The base fee of the next block.
pub(super) fn pending_base_fee(call: &Call<'_>) -> u64 {
    let (_, head) = headers::expect_header(call.head.height);
    let overridden = if Spec::load().dev { Overrides::load().next_base_fee } else { None };
    overridden.unwrap_or_else(|| next_base_fee(Spec::load(), &head))
}

/// The tip that is suggested: none where the price is the chain's to say.
fn suggested_tip() -> u64 {
    if Spec::load().fees == Fees::Eip1559 { SUGGESTED_TIP } else { 0 }
}

pub(super) fn gas_price(call: &mut Call<'_>) -> Result {
    json(&format!("{:#x}", pending_base_fee(call).saturating_add(suggested_tip())))
}

pub(super) fn max_priority_fee() -> Result {
    json(&format!("{:#x}", suggested_tip()))
}

/// What `eth_sendTransaction` fills in: a tip, and a cap that holds while the base fee doubles, where it moves at all. `given` is the client's tip.
pub(super) fn suggested(call: &Call<'_>, given: Option<u128>) -> (u128, u128) {
    let (tip, base_fee) = (u128::from(suggested_tip()), u128::from(pending_base_fee(call)));
    match Spec::load().fees {
        Fees::Eip1559 => (tip, base_fee * 2 + tip),
        Fees::Zero(_) | Fees::Fixed(_) => (tip, base_fee.saturating_add(given.unwrap_or(tip))),
    }
}

pub(super) fn base_fee(call: &mut Call<'_>) -> Result {
    json(&format!("{:#x}", pending_base_fee(call)))
}

pub(super) fn blob_base_fee(call: &mut Call<'_>) -> Result {
    let (_, head) = headers::expect_header(call.head.height);
    let fee = Spec::load().blob_params(head.timestamp).map_or(1, |params| {
        params.calc_blob_fee(params.next_block_excess_blob_gas_osaka(
            head.excess_blob_gas.unwrap_or_default(),
            head.blob_gas_used.unwrap_or_default(),
            head.base_fee_per_gas.unwrap_or_default(),
        ))
    });
    json(&U256::from(fee))
}

pub(super) fn history(call: &mut Call<'_>) -> Result {
    let count = call.params.number()?.min(HISTORY_MAX);
    let newest = call.params.block_number()?;
    let percentiles: Vec<f64> = call.params.optional()?.unwrap_or_default();
    if percentiles.len() > PERCENTILES_MAX {
        return Err(error::invalid_params(format!("over the query limit {PERCENTILES_MAX} of percentiles")));
    }
    if let Some(bad) = percentiles.iter().find(|percentile| !(0.0..=100.0).contains(*percentile)) {
        return Err(error::invalid_params(format!("invalid reward percentile: {bad}")));
    }
    if let Some(pair) = percentiles.windows(2).find(|pair| pair[0] >= pair[1]) {
        return Err(error::invalid_params(format!("invalid reward percentile: {} is followed by {}", pair[0], pair[1])));
    }
    let last = number_of(call.head, BlockId::Number(newest))
        .ok_or_else(|| error::rejected(&format!("request beyond head block: requested {newest}, head {}", call.head.height)))?;
    let spec = Spec::load();
    let first = (last + 1).saturating_sub(count).max(spec.genesis_number);
    let mut history = FeeHistory { oldest_block: first, ..FeeHistory::default() };
    if count == 0 {
        return json(&FeeHistory { oldest_block: 0, ..history });
    }
    let mut rewards = Vec::new();
    for number in first..=last {
        let (_, header) = headers::header(number).ok_or_else(error::unknown_block)?;
        let blob_params = spec.blob_params(header.timestamp);
        history.base_fee_per_gas.push(header.base_fee_per_gas.unwrap_or_default().into());
        history.gas_used_ratio.push(header.gas_used as f64 / header.gas_limit as f64);
        history
            .base_fee_per_blob_gas
            .push(blob_params.map_or(0, |params| params.calc_blob_fee(header.excess_blob_gas.unwrap_or_default())));
        history.blob_gas_used_ratio.push(
            blob_params.map_or(0.0, |params| header.blob_gas_used.unwrap_or_default() as f64 / params.max_blob_gas_per_block() as f64),
        );
        if !percentiles.is_empty() {
            rewards.push(rewards_of(number, header.base_fee_per_gas.unwrap_or_default(), header.gas_used, &percentiles));
        }
        if number == last {
            history.base_fee_per_gas.push(next_base_fee(Spec::load(), &header).into());
            history.base_fee_per_blob_gas.push(blob_params.map_or(0, |params| {
                params.calc_blob_fee(params.next_block_excess_blob_gas_osaka(
                    header.excess_blob_gas.unwrap_or_default(),
                    header.blob_gas_used.unwrap_or_default(),
                    header.base_fee_per_gas.unwrap_or_default(),
                ))
            }));
        }
    }
    history.reward = (!percentiles.is_empty()).then_some(rewards);
    json(&history)
}

/// The tips at these percentiles of a block's gas, cheapest first.
fn rewards_of(number: u64, base_fee: u64, gas_used: u64, percentiles: &[f64]) -> Vec<u128> {
    let transactions = index::decoded_block(number).map(|block| block.body.transactions).unwrap_or_default();
    let mut tips: Vec<(u128, u64)> = transactions
        .iter()
        .zip(ReceiptRow::load_block(number))
        .map(|(transaction, row)| (transaction.effective_tip_per_gas(base_fee).unwrap_or_default(), row.gas_used))
        .collect();
    tips.sort_unstable();
    percentiles
        .iter()
        .map(|percentile| {
            let threshold = (gas_used as f64 * percentile / 100.0) as u64;
            let mut sum = 0;
            let found = tips.iter().find(|(_, gas)| {
                sum += gas;
                sum >= threshold
            });
            found.or(tips.last()).map_or(0, |(tip, _)| *tip)
        })
        .collect()
}
