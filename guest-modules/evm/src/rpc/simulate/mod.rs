//! `eth_simulateV1`: blocks of calls on a block of the chain, as execution-apis has it and geth fills in what that leaves open.

mod filled;
mod logs;
mod plan;

use core::cmp::Ordering;

use alloy_consensus::{Header, Transaction as _, proofs, transaction::Recovered};
use alloy_eips::eip4895::Withdrawals;
use alloy_primitives::{B256, Bytes, U256};
use alloy_rlp::{Encodable, Header as RlpHeader};
use alloy_rpc_types_eth::{
    Block, BlockTransactions, Log as RpcLog, Transaction as RpcTransaction,
    simulate::{SimCallResult, SimulateError},
};
use revm::{
    context::{
        TxEnv,
        result::{EVMError, ExecutionResult, InvalidTransaction, ResultAndState},
    },
    context_interface::block::BlobExcessGasAndPrice,
};
use serde::Serialize;
use serde_json::{Value, value::to_value};

use self::{
    filled::{Defaults, Filled},
    logs::Logs,
    plan::{Payload, Planned, plan},
};
use super::{
    Call, Result,
    call::{At, GAS_MAX, apply},
    error, json,
    reason::{self, Refused},
    trace::budget::{self, Budget},
};
use crate::{
    block,
    body::Body,
    crypto,
    execute::{Executed, Execution},
    header_rules::{excess_blob_gas, next_base_fee},
    inspect,
    spec::{Fork, Spec},
    state::State,
    transaction::{Transaction, to_env},
};

/// A block that was simulated.
#[derive(Serialize)]
struct Simulated {
    #[serde(flatten)]
    block: Value,
    calls: Vec<SimCallResult>,
}

/// Of a log in JSON, without its data.
const LOG_BYTES: usize = 512;

/// What the calls that follow may still use.
struct Left {
    gas: u64,
    bytes: Budget,
}

/// What one call asks for of all its blocks.
struct Mode {
    with_transfers: bool,
    validates: bool,
    with_transactions: bool,
}

pub(super) fn simulate(call: &mut Call<'_>) -> Result {
    let payload: Payload = call.params.required()?;
    let block = call.params.block()?;
    crypto::install();
    let (mut state, base) = At::Block(block).stand(call)?;
    state.knows_all_blocks = true;
    let mode = Mode {
        with_transfers: payload.trace_transfers,
        validates: payload.validation,
        with_transactions: payload.return_full_transactions,
    };
    let mut left = Left { gas: GAS_MAX, bytes: Budget::default() };
    let mut parent = base;
    let mut blocks = Vec::new();
    for planned in plan(&parent, payload.block_state_calls)? {
        let (block, header, after) = mode.simulate(planned, &parent, state, &mut left)?;
        blocks.push(block);
        (parent, state) = (header, after);
    }
    json(&blocks)
}

impl Mode {
    /// Executes a block: what is answered of it, its header, and the state after it.
    fn simulate(&self, planned: Planned, parent: &Header, mut state: State, left: &mut Left) -> Result<(Simulated, Header, State)> {
        let spec = Spec::load();
        let fork = spec.fork(planned.timestamp);
        let base_fee = if self.validates { next_base_fee(spec, parent) } else { 0 };
        let mut header = planned.header(spec, parent, base_fee, excess_blob_gas(spec, parent, planned.timestamp));
        state.block_hashes.insert(parent.number, header.parent_hash);
        let overrides = planned.wanted.block_overrides;
        state.block_hashes.extend(overrides.block.block_hash.into_iter().flatten());
        // geth answers these as it answers what it cannot execute.
        let precompiles = apply(&mut state, fork, planned.wanted.state_overrides.unwrap_or_default())
            .map_err(|refused| error::rejected(&refused.message))?;

        let before = header.clone();
        let mut execution = Execution::start(spec, &before, state);
        let machine = execution.machine();
        machine.set_precompiles(precompiles);
        let surroundings = machine.surroundings();
        if let Some(fee) = overrides.block.blob_base_fee {
            surroundings.block.blob_excess_gas_and_price = Some(BlobExcessGasAndPrice {
                excess_blob_gas: before.excess_blob_gas.unwrap_or_default(),
                blob_gasprice: u128::try_from(fee).unwrap_or(u128::MAX),
            });
        }
        let config = &mut surroundings.cfg;
        config.disable_nonce_check = !self.validates;
        config.disable_eip3607 = true;
        config.disable_block_gas_limit = true;
        config.tx_gas_limit_cap = Some(u64::MAX);
        let blob_gas_price = surroundings.block.blob_excess_gas_and_price.map_or(0, |blob| blob.blob_gasprice);

        let mut logs = Logs::new(self.with_transfers);
        let (mut body, mut calls, mut transactions) = (Body::default(), Vec::new(), Vec::new());
        for request in planned.wanted.calls {
            let gas = request.gas.unwrap_or_else(|| execution.gas_left());
            if gas > execution.gas_left() {
                return Err(error::block_gas_limit_reached(execution.gas_used, before.gas_limit));
            }
            let nonce = request.nonce;
            let from = request.from.unwrap_or_default();
            let nonce = nonce.unwrap_or_else(|| execution.machine().state().account(from).unwrap_or_default().nonce);
            let defaults = Defaults { nonce, gas: gas.min(left.gas), chain_id: spec.chain_id };
            let filled = Filled::new(request, &defaults)?;
            let outcome = self.run(&mut execution, &filled, blob_gas_price, &mut logs)?;
            left.gas = left.gas.saturating_sub(outcome.result.tx_gas_used());
            let logs = logs.take();
            let returned = outcome.result.output().map_or(0, |output| output.len());
            let logged: usize = logs.iter().map(|(_, log)| LOG_BYTES + 2 * log.data.data.len()).sum();
            if !left.bytes.take(2 * returned + logged) {
                return Err(budget::answers_too_long());
            }
            calls.push(called(&outcome.result, logs));
            execution.keep_inspected(&filled.transaction, filled.sender, outcome);
            body.push(&filled.bytes, filled.hash, nonce);
            transactions.push(filled);
        }

        let withdrawals = overrides.withdrawals.unwrap_or_default();
        let executed = execution.finish(&withdrawals).map_err(|reason| error::rejected(&reason))?;
        header.withdrawals_root = (fork >= Fork::Shanghai).then(|| proofs::calculate_withdrawals_root(&withdrawals));
        let (size, hash, state) = seal(&mut header, body, executed, &withdrawals);
        for (position, (call, filled)) in calls.iter_mut().zip(&transactions).enumerate() {
            for log in &mut call.logs {
                log.block_hash = Some(hash);
                log.block_number = Some(header.number);
                log.block_timestamp = Some(header.timestamp);
                log.transaction_hash = Some(filled.hash);
                log.transaction_index = Some(position as u64);
            }
        }
        let block = self.block(hash, &header, size, transactions, (fork >= Fork::Shanghai).then_some(withdrawals));
        Ok((Simulated { block, calls }, header, state))
    }

    /// Executes a call; an error where it cannot be in a block at all.
    fn run(&self, execution: &mut Execution<'_>, filled: &Filled, blob_gas_price: u128, logs: &mut Logs) -> Result<ResultAndState> {
        let machine = execution.machine();
        let env = TxEnv { chain_id: Some(machine.surroundings().cfg.chain_id), ..to_env(&filled.transaction, filled.sender) };
        let is_free = env.gas_price == 0 && env.gas_priority_fee.unwrap_or_default() == 0;
        let surroundings = machine.surroundings();
        surroundings.cfg.disable_base_fee = is_free && !self.validates;
        if let Some(blob) = &mut surroundings.block.blob_excess_gas_and_price {
            let is_free = env.max_fee_per_blob_gas == 0 && !self.validates;
            blob.blob_gasprice = if is_free { 0 } else { blob_gas_price };
        }
        let refused = Refused::new(&env, surroundings.block.basefee, Spec::load().initcode_bytes_max());
        let gas = env.gas_limit;
        // Of several reasons the nonce is the first.
        let state = machine.state().account(env.caller).unwrap_or_default().nonce;
        let nonce = if self.validates { wrong_nonce(env.nonce, state) } else { None };
        let outcome = nonce.map_or_else(|| inspect::transact(machine, env, logs), |invalid| Err(EVMError::Transaction(invalid)));
        outcome.map_err(|reason| match reason {
            EVMError::Transaction(invalid) => {
                let message = format!("err: {} (supplied gas {gas})", refused.message(&invalid));
                error::simulation(refusal_code(&invalid), message)
            }
            EVMError::Database(never) => match never {},
            other => error::rejected(&other.to_string()),
        })
    }

    fn block(&self, hash: B256, header: &Header, size: usize, transactions: Vec<Filled>, withdrawals: Option<Withdrawals>) -> Value {
        let transactions = if self.with_transactions {
            let all = transactions.into_iter().enumerate();
            BlockTransactions::Full(all.map(|(position, filled)| in_full(filled, position as u64, hash, header)).collect())
        } else {
            BlockTransactions::Hashes(transactions.iter().map(|filled| filled.hash).collect())
        };
        let header = alloy_rpc_types_eth::Header { hash, inner: header.clone(), total_difficulty: None, size: Some(U256::from(size)) };
        to_value(Block { header, uncles: Vec::new(), transactions, withdrawals })
            .unwrap_or_else(|error| panic!("a block does not serialize: {error}"))
    }
}

/// A transaction as blocks list it. Its signature is zeros, of a legacy one as well.
fn in_full(filled: Filled, position: u64, hash: B256, header: &Header) -> Value {
    let is_legacy = filled.transaction.is_legacy();
    let transaction: RpcTransaction<Transaction> = RpcTransaction {
        effective_gas_price: Some(filled.transaction.effective_gas_price(header.base_fee_per_gas)),
        inner: Recovered::new_unchecked(filled.transaction, filled.sender),
        block_hash: Some(hash),
        block_number: Some(header.number),
        transaction_index: Some(position),
        block_timestamp: Some(header.timestamp),
    };
    let mut value = to_value(transaction).unwrap_or_else(|error| panic!("a transaction does not serialize: {error}"));
    if is_legacy && let Some(fields) = value.as_object_mut() {
        fields.insert("v".into(), "0x0".into());
    }
    value
}

/// Completes a header with what execution found: the block's size in bytes, its hash, and the state after it.
fn seal(header: &mut Header, body: Body, executed: Executed, withdrawals: &Withdrawals) -> (usize, B256, State) {
    let state = executed.state.clone();
    block::seal(header, &body, executed);
    let (bytes, _) = body.into_block(header);
    // In the place of the empty list that ends the block's bytes.
    let payload_length = RlpHeader::decode(&mut bytes.as_slice()).map_or(0, |list| list.payload_length);
    let more = if header.withdrawals_root.is_some() { withdrawals.length() - 1 } else { 0 };
    let size = RlpHeader { list: true, payload_length: payload_length + more }.length_with_payload();
    (size, header.hash_slow(), state)
}

/// What a call is answered with. Its logs lack their place in the block.
fn called(result: &ExecutionResult, logs: Vec<(u64, alloy_primitives::Log)>) -> SimCallResult {
    let (return_data, failure) = match result {
        ExecutionResult::Success { output, .. } => (output.data().clone(), None),
        ExecutionResult::Revert { output, .. } => {
            let reverted = error::reverted(output);
            (Bytes::new(), Some(SimulateError { code: reverted.code, message: reverted.message, data: Some(output.clone()) }))
        }
        ExecutionResult::Halt { reason, .. } => {
            let code = SimulateError::VM_EXECUTION_ERROR_CODE;
            (Bytes::new(), Some(SimulateError { code, message: reason::halted(reason), data: None }))
        }
    };
    let gas = result.gas();
    let logs = logs.into_iter().map(|(number, inner)| RpcLog { inner, log_index: Some(number), ..RpcLog::default() });
    SimCallResult {
        return_data,
        logs: logs.collect(),
        gas_used: result.tx_gas_used(),
        max_used_gas: Some(gas.total_gas_spent().max(gas.floor_gas())),
        status: failure.is_none(),
        error: failure,
    }
}

/// Why a nonce is not the sender's next.
fn wrong_nonce(tx: u64, state: u64) -> Option<InvalidTransaction> {
    match tx.cmp(&state) {
        Ordering::Less => Some(InvalidTransaction::NonceTooLow { tx, state }),
        Ordering::Greater => Some(InvalidTransaction::NonceTooHigh { tx, state }),
        Ordering::Equal => (state == u64::MAX).then_some(InvalidTransaction::NonceOverflowInTransaction),
    }
}

/// The code of execution-apis for what keeps a call out of every block.
fn refusal_code(invalid: &InvalidTransaction) -> i32 {
    match invalid {
        InvalidTransaction::NonceTooLow { .. } => -38010,
        InvalidTransaction::NonceTooHigh { .. } => -38011,
        InvalidTransaction::GasPriceLessThanBasefee => -38012,
        InvalidTransaction::CallGasCostMoreThanGasLimit { .. } | InvalidTransaction::GasFloorMoreThanGasLimit { .. } => -38013,
        InvalidTransaction::LackOfFundForMaxFee { .. } | InvalidTransaction::OverflowPaymentInTransaction => -38014,
        InvalidTransaction::RejectCallerWithCode => -38024,
        InvalidTransaction::CreateInitCodeSizeLimit => -38025,
        InvalidTransaction::PriorityFeeGreaterThanMaxFee => error::INVALID_PARAMS,
        _ => -32603,
    }
}
