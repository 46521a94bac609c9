//! `eth_callMany`: calls one after the other, each on what those before it did (Erigon's method).

use alloy_eips::{BlockId, BlockNumberOrTag};
use alloy_rpc_types_eth::{Bundle, EthCallResponse, StateContext, TransactionIndex, state::StateOverride};
use revm::database_interface::DatabaseCommit;

use super::{
    Call, Result,
    call::{self, At},
    error, json, number_of,
    trace::{
        budget::{self, Budget},
        replay::Replay,
    },
};
use crate::console;

/// Calls that one request makes.
const CALLS_MAX: usize = 1024;

pub(super) fn call_many(call: &mut Call<'_>) -> Result {
    let bundles: Vec<Bundle> = call.params.required()?;
    let context: StateContext = call.params.optional()?.unwrap_or_default();
    let overrides: Option<StateOverride> = call.params.optional()?;
    let calls: usize = bundles.iter().map(|bundle| bundle.transactions.len()).sum();
    if calls > CALLS_MAX {
        return Err(error::invalid_params(format!("too many calls: {calls}, at most {CALLS_MAX}")));
    }
    let block = context.block_number.unwrap_or(BlockId::Number(BlockNumberOrTag::Latest));
    let mut stage = match context.transaction_index {
        None | Some(TransactionIndex::All) => call::stage(call, At::Block(block), overrides, None)?,
        Some(TransactionIndex::Index(position)) => {
            let number = number_of(call.head, block).ok_or_else(error::unknown_block)?;
            let replay = Replay::of(number)?;
            call::stage_on(replay.state_before(position)?, replay.block.header.clone(), overrides, None)?
        }
    };
    let (mut answers, mut budget) = (Vec::new(), Budget::default());
    for bundle in bundles {
        stage.change_block(bundle.block_override.unwrap_or_default());
        let mut values = Vec::new();
        for request in bundle.transactions {
            let base_fee = stage.evm.surroundings().block.basefee;
            let gas = call::call_gas(&stage, &request);
            let env = call::environment(&mut stage, &request, gas)?;
            let ran = call::run(&mut stage, env)?;
            // A call without a price found a base fee of 0: not so the next.
            stage.evm.surroundings().block.basefee = base_fee;
            stage.evm.surroundings().cfg.disable_base_fee = false;
            let called = ran.called_with(gas).and_then(|(result, touched)| {
                stage.evm.state().commit(touched);
                call::output(result)
            });
            let bytes = match &called {
                Ok(value) => 2 * value.len(),
                Err(error) => error.message.len(),
            };
            if !budget.take(bytes) {
                return Err(budget::answers_too_long());
            }
            values.push(match called {
                Ok(value) => EthCallResponse { value: Some(value), error: None },
                Err(error) => EthCallResponse { value: None, error: Some(error.message) },
            });
        }
        answers.push(values);
    }
    console::print(&stage.evm.take_printed());
    json(&answers)
}
