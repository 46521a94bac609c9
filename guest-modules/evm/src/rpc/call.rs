//! Execution that leaves no trace: calls, gas estimates, access lists.

use alloy_consensus::Header;
use alloy_eips::{
    BlockId, BlockNumberOrTag,
    eip2930::{AccessList, AccessListItem},
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_rpc_types_eth::{AccessListResult, BlockOverrides, TransactionRequest, state::StateOverride};
use revm::{
    context::{
        TxEnv,
        either::Either,
        result::{EVMError, ExecutionResult, HaltReason},
    },
    state::EvmState,
};

use super::{
    Call, Result, error, json,
    reason::{self, Refused},
    seek,
};
use crate::{
    bindings::{
        exports::RpcError,
        subnode::chain::{host, pool},
    },
    block::pending_header,
    crypto, execute, index,
    machine::Machine,
    spec::Spec,
    state::{Account, State},
    transaction,
};

/// Most gas a call may use (geth's default).
const GAS_MAX: u64 = 50_000_000;
/// geth stops an estimate's search when it is this close.
const ESTIMATE_TOLERANCE: f64 = 0.015;
const TRANSFER_GAS: u64 = 21_000;
const CALL_STIPEND: u64 = 2_300;

/// A state and a block to run a request in.
struct Stage {
    evm: Machine,
    header: Header,
}

/// The state after a block, changed as the client asks, in that block's surroundings.
fn stage(call: &Call<'_>, block: BlockId, overrides: Option<StateOverride>, block_overrides: Option<BlockOverrides>) -> Result<Stage> {
    crypto::install();
    let spec = Spec::load();
    let header = if block == BlockId::Number(BlockNumberOrTag::Pending) {
        let (hash, head) = index::expect_header(call.head.height);
        pending_header(spec, hash, &head, host::status().now_ms / 1000)
    } else {
        seek(call.head, block)?.1
    };
    let mut state = State::default();
    apply(&mut state, overrides.unwrap_or_default())?;
    let block_overrides = block_overrides.unwrap_or_default();
    for (number, hash) in block_overrides.block_hash.into_iter().flatten() {
        state.block_hashes.insert(number, hash);
    }
    let mut evm = execute::evm(spec, &header, state);
    let env = &mut evm.surroundings().block;
    env.number = block_overrides.number.unwrap_or(env.number);
    env.timestamp = block_overrides.time.map_or(env.timestamp, U256::from);
    env.gas_limit = block_overrides.gas_limit.unwrap_or(env.gas_limit);
    env.beneficiary = block_overrides.coinbase.unwrap_or(env.beneficiary);
    env.prevrandao = block_overrides.random.or(env.prevrandao);
    env.basefee = block_overrides.base_fee.map_or(env.basefee, |fee| u64::try_from(fee).unwrap_or(u64::MAX));
    let config = &mut evm.surroundings().cfg;
    config.disable_nonce_check = true;
    config.disable_eip3607 = true;
    config.disable_block_gas_limit = true;
    config.tx_gas_limit_cap = Some(u64::MAX);
    Ok(Stage { evm, header })
}

fn apply(state: &mut State, overrides: StateOverride) -> Result<()> {
    for (address, wanted) in overrides {
        if wanted.state.is_some() && wanted.state_diff.is_some() {
            return Err(error::invalid_params(format!("account {address} has both 'state' and 'stateDiff'")));
        }
        if wanted.move_precompile_to.is_some() {
            return Err(error::rejected("movePrecompileToAddress is not supported"));
        }
        let account = state.account(address).unwrap_or_default();
        state.set_account(
            address,
            Account { balance: wanted.balance.unwrap_or(account.balance), nonce: wanted.nonce.unwrap_or(account.nonce), ..account },
        );
        if let Some(code) = wanted.code {
            state.set_code(address, code);
        }
        if wanted.state.is_some() {
            state.wipe_storage(address);
        }
        for (slot, value) in wanted.state.into_iter().chain(wanted.state_diff).flatten() {
            state.set_storage(address, slot.into(), value.into());
        }
    }
    Ok(())
}

/// The request for revm. Without a price nothing is paid, and the base fee does not matter (geth's rule).
fn environment(stage: &mut Stage, request: &TransactionRequest, gas: u64) -> Result<TxEnv> {
    if request.gas_price.is_some() && (request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some()) {
        return Err(error::invalid_params("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified"));
    }
    if let (Some(input), Some(data)) = (&request.input.input, &request.input.data)
        && input != data
    {
        return Err(error::invalid_params(
            "both \"data\" and \"input\" are set and not equal. Please use \"input\" to pass transaction call data",
        ));
    }
    let kind = request.to.unwrap_or(TxKind::Create);
    let data = request.input.input().cloned().unwrap_or_default();
    if kind == TxKind::Create
        && request.authorization_list.is_none()
        && data.is_empty()
        && request.to.is_none()
        && request.value.is_some_and(|value| !value.is_zero())
    {
        return Err(error::invalid_params("contract creation without any data provided"));
    }
    let caller = request.from.unwrap_or_default();
    let price = request.gas_price.or(request.max_fee_per_gas).unwrap_or_default();
    if price == 0 {
        stage.evm.surroundings().cfg.disable_base_fee = true;
    }
    let chain_id = stage.evm.surroundings().cfg.chain_id;
    let database = stage.evm.state();
    let nonce = request.nonce.unwrap_or_else(|| database.account(caller).unwrap_or_default().nonce);
    let mut env = TxEnv {
        caller,
        gas_limit: gas,
        gas_price: price,
        gas_priority_fee: request.max_priority_fee_per_gas.or(request.max_fee_per_gas.map(|_| 0)),
        kind,
        value: request.value.unwrap_or_default(),
        data,
        nonce,
        chain_id: Some(request.chain_id.unwrap_or(chain_id)),
        access_list: request.access_list.clone().unwrap_or_default(),
        blob_hashes: request.blob_versioned_hashes.clone().unwrap_or_default(),
        max_fee_per_blob_gas: request.max_fee_per_blob_gas.unwrap_or_default(),
        authorization_list: request
            .authorization_list
            .iter()
            .flatten()
            .map(|signed| Either::Right(transaction::recover_authorization(signed)))
            .collect(),
        ..TxEnv::default()
    };
    env.derive_tx_type().map_err(|reason| error::invalid_params(format!("{reason:?}")))?;
    Ok(env)
}

/// Runs a transaction and forgets what it changed; answers its result, and what it touched. `refused` words the error of one that
/// cannot run at all.
fn run(stage: &mut Stage, env: TxEnv, refused: impl FnOnce(String) -> String) -> Result<(ExecutionResult, EvmState)> {
    let base_fee = stage.evm.surroundings().block.basefee;
    let transaction = Refused::new(&env, base_fee, Spec::load().initcode_bytes_max());
    let result = stage.evm.transact(env);
    let touched = stage.evm.finalize();
    match result {
        Ok(result) => Ok((result, touched)),
        Err(EVMError::Transaction(invalid)) => Err(error::rejected(&refused(transaction.message(&invalid)))),
        Err(EVMError::Header(invalid)) => Err(error::rejected(&invalid.to_string())),
        Err(EVMError::Database(never)) => match never {},
        Err(other) => Err(error::rejected(&other.to_string())),
    }
}

/// How geth words a call that cannot run.
fn supplied(gas: u64) -> impl FnOnce(String) -> String {
    move |reason| format!("err: {reason} (supplied gas {gas})")
}

fn output(result: ExecutionResult) -> Result<Bytes> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(error::reverted(&output)),
        ExecutionResult::Halt { reason, .. } => Err(error::rejected(&reason::halted(&reason))),
    }
}

pub(super) fn call(call: &mut Call<'_>) -> Result {
    let request: TransactionRequest = call.params.required()?;
    let block = call.params.block()?;
    let (overrides, block_overrides) = (call.params.optional()?, call.params.optional()?);
    let mut stage = stage(call, block, overrides, block_overrides)?;
    let gas = request.gas.unwrap_or(GAS_MAX).min(GAS_MAX.max(stage.header.gas_limit));
    let env = environment(&mut stage, &request, gas)?;
    json(&output(run(&mut stage, env, supplied(gas))?.0)?)
}

pub(super) fn estimate_gas(call: &mut Call<'_>) -> Result {
    let request: TransactionRequest = call.params.required()?;
    let block = call.params.block()?;
    let (overrides, block_overrides) = (call.params.optional()?, call.params.optional()?);
    let mut stage = stage(call, block, overrides, block_overrides)?;
    json(&format!("{:#x}", estimate(&mut stage, &request)?))
}

/// The gas `eth_sendTransaction` fills in, on the head.
pub(super) fn estimate_on_head(call: &Call<'_>, request: &TransactionRequest) -> Result<u64> {
    let mut stage = stage(call, BlockId::Number(BlockNumberOrTag::Latest), None, None)?;
    estimate(&mut stage, request)
}

fn estimate(stage: &mut Stage, request: &TransactionRequest) -> Result<u64> {
    let spec = Spec::load();
    let block_gas = stage.header.gas_limit.min(spec.tx_gas_max(spec.fork(stage.header.timestamp)));
    let mut high = request.gas.filter(|gas| *gas >= TRANSFER_GAS).unwrap_or(block_gas).min(GAS_MAX.max(block_gas));
    let price = request.gas_price.or(request.max_fee_per_gas).unwrap_or_default();
    if price > 0 {
        let from = request.from.unwrap_or_default();
        let balance = stage.evm.state().account(from).unwrap_or_default().balance;
        let value = request.value.unwrap_or_default();
        let available = balance.checked_sub(value).ok_or_else(|| error::rejected("insufficient funds for transfer"))?;
        high = high.min(u64::try_from(available / U256::from(price)).unwrap_or(u64::MAX));
    }
    let mut attempt = |gas: u64| -> Result<Option<ExecutionResult>> {
        let env = environment(stage, request, gas)?;
        match run(stage, env, |reason| format!("failed with {gas} gas: {reason}")) {
            Ok((ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. }, _)) => Ok(None),
            Ok((result, _)) => Ok(Some(result)),
            // Too little for the transaction itself.
            Err(RpcError { message, .. })
                if message.contains("gas: intrinsic gas too low") || message.contains("gas: insufficient gas for floor") =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    };
    let Some(result) = attempt(high)? else {
        return Err(error::rejected(&format!("gas required exceeds allowance ({high})")));
    };
    let (used, refunded) = (result.tx_gas_used(), result.gas().inner_refunded());
    output(result)?;
    let succeeds = |result: Option<ExecutionResult>| result.is_some_and(|result| result.is_success());

    // What a plain transfer costs.
    if used == TRANSFER_GAS {
        return Ok(used);
    }
    let mut low = used.saturating_sub(1);
    // EIP-150 keeps back one 64th, and a call's stipend is needed though not spent: most searches end here.
    let optimistic = used.saturating_add(refunded).saturating_add(CALL_STIPEND).saturating_mul(64) / 63;
    if optimistic < high {
        if succeeds(attempt(optimistic)?) { high = optimistic } else { low = optimistic }
    }
    while low + 1 < high {
        if (high - low) as f64 / (high as f64) < ESTIMATE_TOLERANCE {
            break;
        }
        let middle = (low + (high - low) / 2).min(low.saturating_mul(2));
        if succeeds(attempt(middle)?) { high = middle } else { low = middle }
    }
    Ok(high)
}

pub(super) fn create_access_list(call: &mut Call<'_>) -> Result {
    let mut request: TransactionRequest = call.params.required()?;
    let block = call.params.block()?;
    let overrides = call.params.optional()?;
    let mut stage = stage(call, block, overrides, None)?;
    let from = request.from.unwrap_or_default();
    let gas = request.gas.unwrap_or(stage.header.gas_limit);
    let nonce = stage.evm.state().account(from).unwrap_or_default().nonce;
    let to = match request.to {
        Some(TxKind::Call(to)) => to,
        Some(TxKind::Create) | None => from.create(nonce),
    };
    // The list itself changes what is reached (gas), so it is run until it stays the same; two rounds are the rule.
    for _ in 0..8 {
        let env = environment(&mut stage, &request, gas)?;
        let precompiles = stage.evm.precompiles().warm_addresses().clone();
        let (result, touched) = run(&mut stage, env, supplied(gas))?;
        let coinbase = stage.header.beneficiary;
        let mut list: Vec<AccessListItem> = touched
            .into_iter()
            .filter(|(address, account)| {
                !account.storage.is_empty() || !([from, to, coinbase].contains(address) || precompiles.contains(address))
            })
            .map(|(address, account)| {
                let mut storage_keys: Vec<B256> = account.storage.keys().map(|key| B256::from(*key)).collect();
                storage_keys.sort_unstable();
                AccessListItem { address, storage_keys }
            })
            .collect();
        list.sort_unstable_by_key(|item| item.address);
        let list = AccessList(list);
        if request.access_list.as_ref() == Some(&list) {
            let error = match &result {
                ExecutionResult::Success { .. } => None,
                ExecutionResult::Revert { .. } => Some("execution reverted".to_owned()),
                ExecutionResult::Halt { reason, .. } => Some(reason::halted(reason)),
            };
            return json(&AccessListResult { access_list: list, gas_used: U256::from(result.tx_gas_used()), error });
        }
        request.access_list = Some(list);
    }
    Err(error::rejected("the access list does not settle"))
}

/// The nonce after everything of this sender that waits.
pub(super) fn next_nonce(sender: Address) -> u64 {
    let committed = crate::state::committed_account(sender).unwrap_or_default().nonce;
    pool::next_sequence(sender.as_slice()).map_or(committed, |pending| pending.max(committed))
}
