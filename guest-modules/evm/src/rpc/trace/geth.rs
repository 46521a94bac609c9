//! `debug_`: geth's tracers, of which the client names one.

use alloy_eips::BlockId;
use alloy_primitives::{B256, Bytes};
use alloy_rpc_types_eth::{TransactionInfo, TransactionRequest};
use alloy_rpc_types_trace::geth::{
    GethDebugBuiltInTracerType as BuiltIn, GethDebugTracerType, GethDebugTracingCallOptions, GethDebugTracingOptions, GethTrace,
};
use revm::context::{
    TxEnv,
    result::{EVMError, ResultAndState},
};
use revm_inspectors::tracing::{DebugInspector, TransactionContext};
use serde_json::{Value, json as value};

use super::{
    super::{
        Call, Result,
        call::{self, At, Stage},
        error, number_of,
        reason::Refused,
    },
    budget::{self, Bounded, Budget},
    replay::Replay,
    steps::StepTracer,
};
use crate::{
    bindings::exports::Answer,
    index::Place,
    inspect::{self, Before},
    machine::{Error, Machine},
    spec::Spec,
    state::State,
    transaction::to_env,
};

/// What a client can name.
const TRACERS: &str = "callTracer, prestateTracer, 4byteTracer, flatCallTracer, muxTracer, noopTracer";
/// Longer than any tracer's name.
const NAME_BYTES_MAX: usize = 64;

/// Whether a tracer that is not known is a name. Otherwise it is a script.
fn is_name(text: &str) -> bool {
    text.len() <= NAME_BYTES_MAX && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

/// Which tracer, and what it leaves out.
pub(super) struct Options(GethDebugTracingOptions);

impl Options {
    /// Refuses what is not supported.
    pub(super) fn checked(mut options: GethDebugTracingOptions) -> Result<Self> {
        match &options.tracer {
            Some(GethDebugTracerType::JsTracer(text)) if !text.is_empty() => {
                let what = if is_name(text) { format!("unknown tracer {text}") } else { "JavaScript tracers are not supported".to_owned() };
                return Err(error::rejected(&format!("{what}; known: {TRACERS}, and struct logs where none is named")));
            }
            // It keeps the memory and the stack of each step.
            Some(GethDebugTracerType::BuiltInTracer(BuiltIn::Erc7562Tracer)) => {
                return Err(error::rejected("erc7562Tracer is not supported"));
            }
            Some(GethDebugTracerType::BuiltInTracer(BuiltIn::MuxTracer)) => {
                // A tracer without a configuration has the default one.
                let mut tracers = options.tracer_config.0.take();
                let configurable = ["callTracer", "prestateTracer", "flatCallTracer"];
                for (_, config) in tracers.as_object_mut().into_iter().flatten().filter(|(name, _)| configurable.contains(&name.as_str())) {
                    if config.is_null() {
                        *config = value!({});
                    }
                }
                options.tracer_config.0 = tracers;
            }
            _ => {}
        }
        Ok(Self(options))
    }

    /// Whether a trace has the code of each account that was touched.
    fn shows_code(&self) -> bool {
        let config = &self.0.tracer_config.0;
        let config = match &self.0.tracer {
            Some(GethDebugTracerType::BuiltInTracer(BuiltIn::PreStateTracer)) => config,
            Some(GethDebugTracerType::BuiltInTracer(BuiltIn::MuxTracer)) if !config["prestateTracer"].is_null() => {
                &config["prestateTracer"]
            }
            _ => return false,
        };
        config["diffMode"] != true && config["disableCode"] != true
    }

    /// Executes a transaction on a machine whose journal is empty: its trace in JSON, and what it does.
    pub(super) fn trace(
        &self,
        machine: &mut Machine,
        env: TxEnv,
        info: TransactionInfo,
        budget: &mut Budget,
    ) -> Result<(String, ResultAndState)> {
        let refused = Refused::new(&env, machine.surroundings().block.basefee, Spec::load().initcode_bytes_max());
        let named = self.0.tracer.as_ref().filter(|tracer| !tracer.as_str().is_empty());
        let Some(named) = named else {
            let mut tracer = StepTracer::new(self.0.config, *budget);
            let result = inspect::transact(machine, env, &mut tracer);
            *budget = tracer.budget;
            let outcome = executed(result, *budget, &refused)?;
            let (gas, is_failed) = (outcome.result.tx_gas_used(), !outcome.result.is_success());
            let json = tracer.into_json(gas, is_failed, outcome.result.output().unwrap_or_default());
            return Ok((json, outcome));
        };
        let tracer = DebugInspector::new(self.0.clone()).map_err(|reason| error::invalid_params(reason.to_string()))?;
        let is_flat =
            matches!(named, GethDebugTracerType::BuiltInTracer(BuiltIn::PreStateTracer | BuiltIn::FourByteTracer | BuiltIn::NoopTracer));
        let mut tracer = if is_flat { Bounded::flat(tracer, *budget) } else { Bounded::new(tracer, *budget, 0) };
        let result = inspect::transact(machine, env.clone(), &mut tracer);
        *budget = tracer.budget;
        let outcome = executed(result, *budget, &refused)?;
        if self.shows_code() {
            let mut left = *budget;
            if !charge_code(&outcome, machine.state(), &mut left) {
                return Err(budget::too_long());
            }
            // What is flat is charged as it is written.
            if !is_flat {
                *budget = left;
            }
        }
        let block = machine.surroundings().block.clone();
        let context = TransactionContext::from(info);
        let mut before = Before::new(machine.state());
        let trace = tracer.tracer.get_result(Some(context), &env, &block, &outcome, &mut before);
        let mut trace = trace.map_err(|reason| error::rejected(&reason.to_string()))?;
        if let GethTrace::FlatCallTracer(calls) = &mut trace
            && self.0.tracer_config.0.get("convertParityErrors") != Some(&Value::Bool(true))
        {
            calls.iter_mut().for_each(|call| in_geths_words(&mut call.trace.error));
        }
        let json = in_json(&trace);
        if is_flat && !budget.take(json.len()) {
            return Err(budget::too_long());
        }
        Ok((json, outcome))
    }
}

/// Charges the code of all accounts that a transaction touched, before any of it is written.
fn charge_code(outcome: &ResultAndState, state: &mut State, budget: &mut Budget) -> bool {
    outcome.state.values().all(|account| budget.take(2 * state.code(account.info.code_hash).original_byte_slice().len()))
}

/// An error as geth words it. revm-inspectors has OpenEthereum's words for all flat traces.
fn in_geths_words(error: &mut Option<String>) {
    let Some(words) = error else { return };
    *words = match words.as_str() {
        "Reverted" => "execution reverted".into(),
        "Bad instruction" => "invalid opcode".into(),
        "Out of stack" => "stack limit reached 1024 (1023)".into(),
        "Mutable Call In Static Context" => "write protection".into(),
        "Out of bounds" => "return data out of bounds".into(),
        "Bad jump destination" => "invalid jump destination".into(),
        "Built-in failed" => "precompile failed".into(),
        "Invalid code" => "invalid code: must not begin with 0xef".into(),
        // They differ in their first letter.
        other => other[..1].to_lowercase() + &other[1..],
    };
}

fn in_json(trace: &GethTrace) -> String {
    serde_json::to_string(trace).unwrap_or_else(|error| panic!("a trace does not serialize: {error}"))
}

/// What a traced transaction did; an error where its trace is too long, or where it cannot run at all.
pub(super) fn executed(result: core::result::Result<ResultAndState, Error>, budget: Budget, refused: &Refused) -> Result<ResultAndState> {
    if budget.is_spent() {
        return Err(budget::too_long());
    }
    result.map_err(|reason| match reason {
        EVMError::Transaction(invalid) => error::rejected(&format!("tracing failed: {}", refused.message(&invalid))),
        other => error::rejected(&format!("tracing failed: {other}")),
    })
}

/// The answer that is this JSON.
pub(super) fn answer(json: String) -> Result {
    Ok(Answer { json: Some(json.into_bytes()), action: None })
}

/// Where a transaction is that a client names.
pub(super) fn placed(hash: B256) -> Result<Place> {
    Place::load(hash).ok_or_else(|| error::rejected("transaction not found"))
}

fn options(call: &mut Call<'_>) -> Result<Options> {
    Options::checked(call.params.optional()?.unwrap_or_default())
}

pub(in super::super) fn transaction(call: &mut Call<'_>) -> Result {
    let hash: B256 = call.params.required()?;
    let options = options(call)?;
    let place = placed(hash)?;
    let replay = Replay::of(place.number)?;
    let position = place.index as usize;
    let (mut json, mut budget) = (String::new(), Budget::default());
    replay.trace(position..position + 1, |execution, turn| {
        let (trace, outcome) = options.trace(execution.machine(), to_env(turn.transaction, turn.sender), turn.info, &mut budget)?;
        json = trace;
        Ok(outcome)
    })?;
    answer(json)
}

pub(in super::super) fn block(call: &mut Call<'_>) -> Result {
    let id: BlockId = if call.method == "debug_traceBlockByHash" {
        let hash: B256 = call.params.required()?;
        hash.into()
    } else {
        call.params.block_number()?.into()
    };
    let options = options(call)?;
    if id.is_pending() {
        return Err(error::rejected("tracing on top of pending is not supported"));
    }
    let number = number_of(call.head, id).ok_or_else(|| error::rejected(&format!("block {} not found", named(id))))?;
    replayed(&Replay::of(number)?, &options)
}

pub(in super::super) fn given_block(call: &mut Call<'_>) -> Result {
    let bytes: Bytes = call.params.required()?;
    let options = options(call)?;
    replayed(&Replay::given(&bytes)?, &options)
}

/// The traces of a block's transactions.
fn replayed(replay: &Replay, options: &Options) -> Result {
    let (mut json, mut budget) = (String::from("["), Budget::default());
    replay.trace(0..replay.block.body.transactions.len(), |execution, turn| {
        let (trace, outcome) = options.trace(execution.machine(), to_env(turn.transaction, turn.sender), turn.info, &mut budget)?;
        if json.len() > 1 {
            json.push(',');
        }
        json.push_str(&format!(r#"{{"txHash":"{}","result":{trace}}}"#, turn.transaction.tx_hash()));
        Ok(outcome)
    })?;
    json.push(']');
    answer(json)
}

/// A block's id as geth's errors have it.
fn named(id: BlockId) -> String {
    match id {
        BlockId::Hash(hash) => hash.block_hash.to_string(),
        BlockId::Number(number) => number.as_number().map_or_else(|| number.to_string(), |number| format!("#{number}")),
    }
}

pub(in super::super) fn call(call: &mut Call<'_>) -> Result {
    let request: TransactionRequest = call.params.required()?;
    let block = call.params.block()?;
    let options: GethDebugTracingCallOptions = match call.params.optional::<Value>()? {
        None => GethDebugTracingCallOptions::default(),
        Some(options) => {
            serde_json::from_value(options).map_err(|reason| error::invalid_params(format!("invalid argument 2: {reason}")))?
        }
    };
    let GethDebugTracingCallOptions { tracing_options, state_overrides, block_overrides, tx_index } = options;
    let options = Options::checked(tracing_options)?;
    let mut stage = match tx_index {
        None => call::stage(call, At::Block(block), state_overrides, block_overrides)?,
        Some(position) => {
            let number = number_of(call.head, block).ok_or_else(error::unknown_block)?;
            let replay = Replay::of(number)?;
            let position = usize::try_from(position).unwrap_or(usize::MAX);
            let state = replay.state_before(position)?;
            call::stage_on(state, replay.block.header.clone(), state_overrides, block_overrides)?
        }
    };
    let env = request_env(&mut stage, &request)?;
    let (json, _) = options.trace(&mut stage.evm, env, TransactionInfo::default(), &mut Budget::default())?;
    answer(json)
}

/// A request that is traced, for revm.
pub(super) fn request_env(stage: &mut Stage, request: &TransactionRequest) -> Result<TxEnv> {
    let gas = call::call_gas(stage, request);
    call::environment(stage, request, gas)
}

#[cfg(test)]
mod tests {
    use alloy_primitives::{Address, TxKind, bytes};

    use super::*;
    use crate::{execute, headers, tests::developer};

    /// Traces a call of a contract with this code.
    fn traced(code: Bytes, config: Value, bytes: usize) -> core::result::Result<String, String> {
        let contract = Address::repeat_byte(0xc1);
        developer::begin(&[(contract, code)]);
        let (_, header) = headers::expect_header(0);
        let mut machine = execute::evm(Spec::load(), &header, State::default());
        let env = TxEnv { kind: TxKind::Call(contract), gas_limit: 100_000, caller: developer::SENDER, gas_price: 7, ..TxEnv::default() };
        let env = TxEnv { chain_id: Some(Spec::load().chain_id), ..env };
        let options = Options::checked(serde_json::from_value(config).expect("options")).map_err(|error| error.message)?;
        let traced = options.trace(&mut machine, env, TransactionInfo::default(), &mut Budget::of(bytes));
        traced.map(|(json, _)| json).map_err(|error| error.message)
    }

    #[test]
    fn a_trace_that_is_too_long_is_refused_and_the_error_says_what_is_shorter() {
        // Jumps in circles until its gas is used up: some 23,000 steps of less than 100 bytes.
        let circle = bytes!("5b5f56");
        let all = traced(circle.clone(), value!({}), budget::BYTES_MAX).expect("a trace");
        assert!(all.contains(r#""failed":true"#) && all.contains(r#""error":"out of gas""#));
        assert!((1_000_000..3_000_000).contains(&all.len()), "{}", all.len());
        let cut = traced(circle.clone(), value!({}), 100_000).expect_err("too long");
        assert!(cut.contains("more than 33554432 bytes") && cut.contains("disableStack") && cut.contains("limit"), "{cut}");
        assert!(traced(circle.clone(), value!({ "limit": 100 }), 100_000).is_ok_and(|json| json.len() < 10_000));
        assert!(traced(circle, value!({ "tracer": "callTracer" }), 100_000).is_ok(), "its steps are no part of it");
    }

    #[test]
    fn what_calls_add_to_a_trace_is_bounded() {
        // Calls the identity precompile with 2,048 bytes, again and again: PUSH2 0x0800 is the length.
        let calls = bytes!("5b5f5f6108005f5f60045af1505f56");
        let cut = traced(calls.clone(), value!({ "tracer": "callTracer" }), 50_000).expect_err("too long");
        assert!(cut.contains("onlyTopCall"), "{cut}");
        assert!(traced(calls, value!({ "tracer": "noopTracer" }), 50_000).is_ok());
    }

    #[test]
    fn what_accounts_add_to_a_trace_is_bounded() {
        // Touches nobody else; its own code has 20,000 bytes.
        let code: Bytes = vec![0; 20_000].into();
        assert!(traced(code.clone(), value!({ "tracer": "prestateTracer" }), 50_000).is_ok());
        for config in
            [value!({ "tracer": "prestateTracer" }), value!({ "tracer": "muxTracer", "tracerConfig": { "prestateTracer": null } })]
        {
            let cut = traced(code.clone(), config, 39_000).expect_err("too long");
            assert!(cut.contains("more than"), "{cut}");
        }
        let without = value!({ "tracer": "prestateTracer", "tracerConfig": { "disableCode": true } });
        assert!(traced(code, without, 39_000).is_ok());
    }

    #[test]
    fn other_tracers_are_refused() {
        for (tracer, words) in [
            ("{result: function() {}}", "JavaScript"),
            ("otherTracer", "unknown tracer otherTracer; known: "),
            ("erc7562Tracer", "erc7562Tracer"),
        ] {
            let error = traced(Bytes::new(), value!({ "tracer": tracer }), 1000).expect_err("refused");
            assert!(error.contains(words), "{error}");
        }
    }
}
