//! `trace_`: OpenEthereum's traces of calls, changes of the state, and opcodes.

use alloy_eips::BlockId;
use alloy_primitives::{B256, Bytes, map::HashSet};
use alloy_rpc_types_eth::{BlockOverrides, TransactionRequest, state::StateOverride};
use alloy_rpc_types_trace::{
    filter::TraceFilter,
    parity::{LocalizedTransactionTrace, TraceResults, TraceResultsWithTransactionHash, TraceType},
};
use alloy_trie::EMPTY_ROOT_HASH;
use revm::{
    context::{TxEnv, result::ResultAndState},
    database_interface::DatabaseCommit,
};
use revm_inspectors::tracing::{TraceLimitBehavior, TraceLimits, TracingInspector, TracingInspectorConfig};
use serde::Serialize;

use super::{
    super::{
        Call, Result,
        call::{self, At},
        error, json, number_of,
        reason::Refused,
    },
    budget::{self, Bounded, Budget, VM_STEP_BYTES},
    geth::{executed, placed, request_env},
    replay::Replay,
};
use crate::{
    headers,
    index::Place,
    inspect::{self, Before},
    machine::Machine,
    spec::Spec,
    transaction::{self, to_env},
};

/// Blocks that one `trace_filter` executes where others share the chain. The query's fuel bounds the rest.
const BLOCKS_MAX: u64 = 100;
/// Calls that one `trace_callMany` makes.
const CALLS_MAX: usize = 1024;

/// What of a transaction a client wants to see.
struct Wanted(HashSet<TraceType>);

impl Wanted {
    fn read(call: &mut Call<'_>) -> Result<Self> {
        call.params.required().map(Self)
    }

    /// Executes a transaction on a machine whose journal is empty.
    fn trace(&self, machine: &mut Machine, env: TxEnv, budget: &mut Budget) -> Result<(TraceResults, ResultAndState)> {
        let refused = Refused::new(&env, machine.surroundings().block.basefee, Spec::load().initcode_bytes_max());
        let caller = env.caller;
        let step_bytes = if self.0.contains(&TraceType::VmTrace) { VM_STEP_BYTES } else { 0 };
        // What steps write to memory: of each byte two digits.
        let limits = TraceLimits::default().set_max_recorded_bytes(Some(budget.left() / 2)).set_behavior(TraceLimitBehavior::Halt);
        let tracer = TracingInspector::new(TracingInspectorConfig::from_parity_config(&self.0)).with_limits(limits);
        let mut tracer = Bounded::new(tracer, *budget, step_bytes);
        let result = inspect::transact(machine, env, &mut tracer);
        *budget = tracer.budget;
        let mut tracer = tracer.tracer;
        if tracer.limit_exceeded() || step_bytes > 0 && !budget.take(2 * tracer.recorded_bytes()) {
            return Err(budget::too_long());
        }
        let outcome = executed(result, *budget, &refused)?;
        tracer.set_transaction_caller(caller);
        let before = Before::new(machine.state());
        let Ok(results) = tracer.into_parity_builder().into_trace_results_with_state(&outcome, &self.0, before);
        if results.state_diff.is_some() && !budget.take(json_len(&results.state_diff)) {
            return Err(budget::too_long());
        }
        Ok((results, outcome))
    }
}

fn json_len<T: Serialize>(value: &T) -> usize {
    super::super::to_json(value).len()
}

/// The traces of some of a block's transactions.
fn localized(replay: &Replay, positions: core::ops::Range<usize>, budget: &mut Budget) -> Result<Vec<LocalizedTransactionTrace>> {
    let mut all = Vec::new();
    replay.trace(positions, |execution, turn| {
        let env = to_env(turn.transaction, turn.sender);
        let refused = Refused::new(&env, 0, Spec::load().initcode_bytes_max());
        let tracer = TracingInspector::new(TracingInspectorConfig::default_parity());
        let mut tracer = Bounded::new(tracer, *budget, 0);
        let result = inspect::transact(execution.machine(), env, &mut tracer);
        *budget = tracer.budget;
        let outcome = executed(result, *budget, &refused)?;
        all.extend(tracer.tracer.into_parity_builder().into_localized_transaction_traces_iter(turn.info));
        Ok(outcome)
    })?;
    Ok(all)
}

/// The traces of a mined transaction; none where there is no such transaction.
fn traces_of(hash: B256) -> Result<Option<Vec<LocalizedTransactionTrace>>> {
    let Some(place) = Place::load(hash) else { return Ok(None) };
    let replay = Replay::of(place.number)?;
    let position = place.index as usize;
    localized(&replay, position..position + 1, &mut Budget::default()).map(Some)
}

pub(in super::super) fn transaction(call: &mut Call<'_>) -> Result {
    let hash: B256 = call.params.required()?;
    json(&traces_of(hash)?)
}

pub(in super::super) fn get(call: &mut Call<'_>) -> Result {
    let hash: B256 = call.params.required()?;
    let address: Vec<alloy_primitives::U64> = call.params.required()?;
    let address: Vec<usize> = address.into_iter().map(|index| usize::try_from(index).unwrap_or(usize::MAX)).collect();
    let found = traces_of(hash)?.and_then(|traces| traces.into_iter().find(|trace| trace.trace.trace_address == address));
    json(&found)
}

pub(in super::super) fn block(call: &mut Call<'_>) -> Result {
    let id = call.params.optional_block()?.ok_or_else(|| error::invalid_params("missing value for required argument 0"))?;
    let Some(number) = number_of(call.head, id) else { return json(&()) };
    if number <= Spec::load().genesis_number {
        return json::<[LocalizedTransactionTrace]>(&[]);
    }
    let replay = Replay::of(number)?;
    json(&localized(&replay, 0..replay.block.body.transactions.len(), &mut Budget::default())?)
}

pub(in super::super) fn filter(call: &mut Call<'_>) -> Result {
    let mut asked: serde_json::Value = call.params.required()?;
    // Ends may be named: a number stands in their place.
    for end in ["fromBlock", "toBlock"] {
        let Some(named) = asked.get_mut(end).filter(|named| named.is_string()) else { continue };
        let tag = serde_json::from_value(named.clone()).map_err(|reason| error::invalid_params(format!("{end}: {reason}")))?;
        let number = match tag {
            alloy_eips::BlockNumberOrTag::Number(number) => number,
            tag => number_of(call.head, tag.into()).ok_or_else(error::unknown_block)?,
        };
        *named = format!("{number:#x}").into();
    }
    let filter: TraceFilter =
        serde_json::from_value(asked).map_err(|reason| error::invalid_params(format!("invalid argument 0: {reason}")))?;
    let genesis = Spec::load().genesis_number;
    let first = filter.from_block.unwrap_or(genesis + 1).max(genesis + 1);
    let last = filter.to_block.unwrap_or(call.head.height).min(call.head.height);
    if filter.from_block.is_some_and(|from| filter.to_block.is_some_and(|to| from > to)) {
        return Err(error::invalid_params("invalid block range params"));
    }
    if last.saturating_sub(first) >= BLOCKS_MAX && !Spec::load().dev {
        return Err(error::rejected(&format!("block range of {} blocks is too large, at most {BLOCKS_MAX}", last - first + 1)));
    }
    let (matcher, mut budget) = (filter.matcher(), Budget::default());
    let mut left_out = filter.after.unwrap_or_default();
    let count = filter.count.map_or(usize::MAX, |count| usize::try_from(count).unwrap_or(usize::MAX));
    let mut found = Vec::new();
    for number in first..=last {
        if found.len() >= count {
            break;
        }
        let (_, header) = headers::header(number).ok_or_else(|| error::history_pruned(number))?;
        if header.transactions_root == EMPTY_ROOT_HASH {
            continue;
        }
        let replay = Replay::of(number)?;
        // What does not match is no part of the answer.
        for trace in localized(&replay, 0..replay.block.body.transactions.len(), &mut Budget::default())? {
            if !matcher.matches(&trace.trace) {
                continue;
            }
            if left_out > 0 {
                left_out -= 1;
            } else if found.len() < count {
                if !budget.take(json_len(&trace)) {
                    return Err(budget::too_long());
                }
                found.push(trace);
            }
        }
    }
    json(&found)
}

pub(in super::super) fn replay_transaction(call: &mut Call<'_>) -> Result {
    let hash: B256 = call.params.required()?;
    let wanted = Wanted::read(call)?;
    let place = placed(hash)?;
    let replay = Replay::of(place.number)?;
    let position = place.index as usize;
    json(&replayed(&replay, position..position + 1, &wanted)?.into_iter().next().map(|traced| traced.full_trace))
}

pub(in super::super) fn replay_block(call: &mut Call<'_>) -> Result {
    let id = call.params.optional_block()?.ok_or_else(|| error::invalid_params("missing value for required argument 0"))?;
    let wanted = Wanted::read(call)?;
    let Some(number) = number_of(call.head, id) else { return json(&()) };
    if number <= Spec::load().genesis_number {
        return json::<[TraceResults]>(&[]);
    }
    let replay = Replay::of(number)?;
    json(&replayed(&replay, 0..replay.block.body.transactions.len(), &wanted)?)
}

fn replayed(replay: &Replay, positions: core::ops::Range<usize>, wanted: &Wanted) -> Result<Vec<TraceResultsWithTransactionHash>> {
    let (mut all, mut budget) = (Vec::new(), Budget::default());
    replay.trace(positions, |execution, turn| {
        let (full_trace, outcome) = wanted.trace(execution.machine(), to_env(turn.transaction, turn.sender), &mut budget)?;
        all.push(TraceResultsWithTransactionHash { full_trace, transaction_hash: *turn.transaction.tx_hash() });
        Ok(outcome)
    })?;
    Ok(all)
}

pub(in super::super) fn call(call: &mut Call<'_>) -> Result {
    let request: TransactionRequest = call.params.required()?;
    let wanted = Wanted::read(call)?;
    let block = call.params.block()?;
    let (overrides, block_overrides): (Option<StateOverride>, Option<BlockOverrides>) = (call.params.optional()?, call.params.optional()?);
    let mut stage = call::stage(call, At::Block(block), overrides, block_overrides)?;
    let env = request_env(&mut stage, &request)?;
    json(&wanted.trace(&mut stage.evm, env, &mut Budget::default())?.0)
}

pub(in super::super) fn call_many(call: &mut Call<'_>) -> Result {
    let calls: Vec<(TransactionRequest, HashSet<TraceType>)> = call.params.required()?;
    let block = call.params.block()?;
    if calls.len() > CALLS_MAX {
        return Err(error::invalid_params(format!("too many calls: {}, at most {CALLS_MAX}", calls.len())));
    }
    let mut stage = call::stage(call, At::Block(block), None, None)?;
    let base_fee = stage.evm.surroundings().block.basefee;
    let (mut all, mut budget) = (Vec::new(), Budget::default());
    for (request, wanted) in calls {
        // A call without a price found a base fee of 0: not so the next.
        stage.evm.surroundings().block.basefee = base_fee;
        stage.evm.surroundings().cfg.disable_base_fee = false;
        let env = request_env(&mut stage, &request)?;
        let (results, outcome) = Wanted(wanted).trace(&mut stage.evm, env, &mut budget)?;
        stage.evm.state().commit(outcome.state);
        all.push(results);
    }
    json(&all)
}

pub(in super::super) fn raw_transaction(call: &mut Call<'_>) -> Result {
    let raw: Bytes = call.params.required()?;
    let wanted = Wanted::read(call)?;
    let block = call.params.optional_block()?.unwrap_or(BlockId::pending());
    let transaction = transaction::decode(&raw).map_err(|reason| error::rejected(&reason))?;
    let sender = transaction::senders(Spec::load(), &[&transaction]).into_iter().flatten().next();
    let sender = sender.ok_or_else(|| error::rejected("invalid sender"))?;
    let mut stage = call::stage(call, At::Block(block), None, None)?;
    json(&wanted.trace(&mut stage.evm, to_env(&transaction, sender), &mut Budget::default())?.0)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, TxKind, bytes};

    use super::*;
    use crate::{execute, state::State, tests::developer};

    /// The length of a trace of a call of a contract with this code, in JSON.
    fn traced(code: Bytes, types: &[TraceType], bytes: usize) -> core::result::Result<usize, String> {
        let contract = Address::repeat_byte(0xc1);
        developer::begin(&[(contract, code)]);
        let (_, header) = headers::expect_header(0);
        let mut machine = execute::evm(Spec::load(), &header, State::default());
        let env = TxEnv { kind: TxKind::Call(contract), gas_limit: 100_000, caller: developer::SENDER, gas_price: 7, ..TxEnv::default() };
        let env = TxEnv { chain_id: Some(Spec::load().chain_id), ..env };
        let wanted = Wanted(types.iter().copied().collect());
        let traced = wanted.trace(&mut machine, env, &mut Budget::of(bytes));
        traced.map(|(results, _)| json_len(&results)).map_err(|error| error.message)
    }

    #[test]
    fn opcodes_and_what_they_write_are_bounded() {
        // Jumps in circles.
        let circle = bytes!("5b5f56");
        assert!(traced(circle.clone(), &[TraceType::VmTrace], 50_000_000).is_ok_and(|len| len > 1_000_000));
        assert!(traced(circle.clone(), &[TraceType::VmTrace], 500_000).is_err_and(|error| error.contains("more than")));
        assert!(traced(circle, &[TraceType::Trace, TraceType::StateDiff], 500_000).is_ok());
        // Copies 20,000 bytes of zeros into memory, ten times: each time they are part of the trace.
        let copy = bytes!("614e205f5f37");
        let copies = Bytes::from(copy.repeat(10));
        assert!(traced(copies.clone(), &[TraceType::VmTrace], 1_000_000).is_ok_and(|len| len > 400_000));
        assert!(traced(copies, &[TraceType::VmTrace], 300_000).is_err_and(|error| error.contains("more than")));
    }
}
