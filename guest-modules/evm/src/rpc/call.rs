//! Execution that leaves no trace: calls, gas estimates, access lists.

use alloy_consensus::Header;
use alloy_eips::{
    BlockId,
    eip2930::{AccessList, AccessListItem},
};
use alloy_primitives::{Address, B256, Bytes, TxKind, U256};
use alloy_rpc_types_eth::{AccessListResult, BlockOverrides, TransactionRequest, state::StateOverride};
use revm::{
    context::{
        TxEnv,
        either::Either,
        result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction},
    },
    context_interface::block::BlobExcessGasAndPrice,
    state::EvmState,
};

use super::{
    Call, Result, error, json,
    reason::{self, Refused},
    seek,
};
use crate::{
    bindings::subnode::chain::pool,
    console, crypto, execute,
    machine::Machine,
    pending,
    precompiled::Precompiled,
    spec::{Fork, Spec},
    state::{Account, Rows, State},
    transaction,
    transfer::GAS as TRANSFER_GAS,
};

/// Most gas a call may use (geth's default).
pub(super) const GAS_MAX: u64 = 50_000_000;
/// geth stops an estimate's search when it is this close.
const ESTIMATE_TOLERANCE: f64 = 0.015;
const CALL_STIPEND: u64 = 2_300;

/// A state and a block to run a request in.
pub(super) struct Stage {
    pub(super) evm: Machine,
    pub(super) header: Header,
}

/// Where a request runs.
pub(super) enum At {
    /// After this block and in its surroundings; those of the next block where it is `pending`, after what the pool has ready.
    Block(BlockId),
    /// In the surroundings of the next block, as a transaction that is sent now will. A developer's chain runs what the pool has ready first;
    /// elsewhere anyone can fill the pool, and nobody has the pool run for each estimate.
    Next,
}

impl At {
    pub(super) fn stand(self, call: &Call<'_>) -> Result<(State, Header)> {
        let block = match self {
            Self::Next if !Spec::load().dev => return Ok((State::default(), pending::header(call.head))),
            Self::Next => BlockId::pending(),
            Self::Block(block) => block,
        };
        if block.is_pending() {
            return Ok(pending::state(call.head));
        }
        let (_, header) = seek(call.head, block)?;
        Ok((State::default(), header))
    }
}

/// A state, changed as the client asks, and its surroundings.
pub(super) fn stage(call: &Call<'_>, at: At, overrides: Option<StateOverride>, block_overrides: Option<BlockOverrides>) -> Result<Stage> {
    let (state, header) = at.stand(call)?;
    stage_on(state, header, overrides, block_overrides)
}

/// The same on a state at a moment of the block that a header describes.
pub(super) fn stage_on(
    mut state: State,
    header: Header,
    overrides: Option<StateOverride>,
    block_overrides: Option<BlockOverrides>,
) -> Result<Stage> {
    crypto::install();
    let spec = Spec::load();
    state.knows_all_blocks = true;
    let precompiles = apply(&mut state, spec.fork(header.timestamp), overrides.unwrap_or_default())?;
    let mut evm = execute::evm(spec, &header, state);
    evm.set_precompiles(precompiles);
    if spec.dev {
        evm.hear_console();
    }
    let config = &mut evm.surroundings().cfg;
    config.disable_nonce_check = true;
    config.disable_eip3607 = true;
    config.disable_block_gas_limit = true;
    config.tx_gas_limit_cap = Some(u64::MAX);
    let mut stage = Stage { evm, header };
    stage.change_block(block_overrides.unwrap_or_default());
    Ok(stage)
}

impl Stage {
    /// Has transactions see another block.
    pub(super) fn change_block(&mut self, overrides: BlockOverrides) {
        self.evm.state().block_hashes.extend(overrides.block_hash.into_iter().flatten());
        let env = &mut self.evm.surroundings().block;
        env.number = overrides.number.unwrap_or(env.number);
        env.timestamp = overrides.time.map_or(env.timestamp, U256::from);
        env.gas_limit = overrides.gas_limit.unwrap_or(env.gas_limit);
        env.beneficiary = overrides.coinbase.unwrap_or(env.beneficiary);
        env.prevrandao = overrides.random.or(env.prevrandao);
        env.basefee = overrides.base_fee.map_or(env.basefee, |fee| u64::try_from(fee).unwrap_or(u64::MAX));
        if let Some(fee) = overrides.blob_base_fee {
            let excess_blob_gas = self.header.excess_blob_gas.unwrap_or_default();
            let blob_gasprice = u128::try_from(fee).unwrap_or(u128::MAX);
            env.blob_excess_gas_and_price = Some(BlobExcessGasAndPrice { excess_blob_gas, blob_gasprice });
        }
    }
}

/// Changes accounts, and which precompiles are where.
pub(super) fn apply(state: &mut State, fork: Fork, overrides: StateOverride) -> Result<Precompiled> {
    let mut precompiles = Precompiled::new(fork.revm());
    // An account that is changed is no precompile any more, and what is moved is moved from where it was.
    for (address, wanted) in &overrides {
        let Some(to) = wanted.move_precompile_to else { continue };
        if overrides.contains_key(&to) {
            return Err(error::invalid_params(format!("account {to} is already overridden")));
        }
        if !precompiles.move_to(*address, to) {
            return Err(error::invalid_params(format!("account {address} is not a precompile")));
        }
    }
    for address in overrides.keys() {
        precompiles.remove(*address);
    }
    for (address, wanted) in overrides {
        if wanted.state.is_some() && wanted.state_diff.is_some() {
            return Err(error::invalid_params(format!("account {address} has both 'state' and 'stateDiff'")));
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
    Ok(precompiles)
}

/// What a request calls with.
pub(super) fn input_of(request: &TransactionRequest) -> Result<Bytes> {
    if let (Some(input), Some(data)) = (&request.input.input, &request.input.data)
        && input != data
    {
        return Err(error::invalid_params(
            "both \"data\" and \"input\" are set and not equal. Please use \"input\" to pass transaction call data",
        ));
    }
    Ok(request.input.input().cloned().unwrap_or_default())
}

/// The request for revm. Without a price nothing is paid and the base fee is 0, and without a cap for blobs so is theirs (geth's rule).
pub(super) fn environment(stage: &mut Stage, request: &TransactionRequest, gas: u64) -> Result<TxEnv> {
    if request.gas_price.is_some() && (request.max_fee_per_gas.is_some() || request.max_priority_fee_per_gas.is_some()) {
        return Err(error::invalid_params("both gasPrice and (maxFeePerGas or maxPriorityFeePerGas) specified"));
    }
    let kind = request.to.unwrap_or(TxKind::Create);
    let data = input_of(request)?;
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
    let surroundings = stage.evm.surroundings();
    if price == 0 {
        surroundings.cfg.disable_base_fee = true;
        surroundings.block.basefee = 0;
    }
    let blob_cap = request.max_fee_per_blob_gas.unwrap_or_default();
    if blob_cap == 0
        && request.blob_versioned_hashes.is_some()
        && let Some(blob) = &mut surroundings.block.blob_excess_gas_and_price
    {
        blob.blob_gasprice = 0;
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
        max_fee_per_blob_gas: blob_cap,
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

/// What became of a transaction.
pub(super) enum Ran {
    /// Its result, and what it touched.
    Executed(ExecutionResult, EvmState),
    /// It cannot run at all; why, in words.
    Refused(InvalidTransaction, String),
}

impl Ran {
    /// The result of a call, or the error of one that could not run with this gas (as geth words it).
    pub(super) fn called_with(self, gas: u64) -> Result<(ExecutionResult, EvmState)> {
        match self {
            Self::Executed(result, touched) => Ok((result, touched)),
            Self::Refused(_, reason) => Err(error::rejected(&format!("err: {reason} (supplied gas {gas})"))),
        }
    }
}

/// Runs a transaction and forgets what it changed.
pub(super) fn run(stage: &mut Stage, env: TxEnv) -> Result<Ran> {
    let base_fee = stage.evm.surroundings().block.basefee;
    let transaction = Refused::new(&env, base_fee, Spec::load().initcode_bytes_max());
    let result = stage.evm.transact(env);
    let touched = stage.evm.finalize();
    match result {
        Ok(result) => Ok(Ran::Executed(result, touched)),
        Err(EVMError::Transaction(invalid)) => {
            let reason = transaction.message(&invalid);
            Ok(Ran::Refused(invalid, reason))
        }
        Err(EVMError::Header(invalid)) => Err(error::rejected(&invalid.to_string())),
        Err(EVMError::Database(never)) => match never {},
        Err(other) => Err(error::rejected(&other.to_string())),
    }
}

pub(super) fn output(result: ExecutionResult) -> Result<Bytes> {
    match result {
        ExecutionResult::Success { output, .. } => Ok(output.into_data()),
        ExecutionResult::Revert { output, .. } => Err(error::reverted(&output)),
        ExecutionResult::Halt { reason, .. } => Err(error::rejected(&reason::halted(&reason))),
    }
}

/// The gas of a call that may name none.
pub(super) fn call_gas(stage: &Stage, request: &TransactionRequest) -> u64 {
    request.gas.unwrap_or(GAS_MAX).min(GAS_MAX.max(stage.header.gas_limit))
}

pub(super) fn call(call: &mut Call<'_>) -> Result {
    let request: TransactionRequest = call.params.required()?;
    let block = call.params.block()?;
    let (overrides, block_overrides) = (call.params.optional()?, call.params.optional()?);
    let mut stage = stage(call, At::Block(block), overrides, block_overrides)?;
    let gas = call_gas(&stage, &request);
    let env = environment(&mut stage, &request, gas)?;
    let ran = run(&mut stage, env)?;
    console::print(&stage.evm.take_printed());
    json(&output(ran.called_with(gas)?.0)?)
}

pub(super) fn estimate_gas(call: &mut Call<'_>) -> Result {
    let request: TransactionRequest = call.params.required()?;
    let at = call.params.optional_block()?.map_or(At::Next, At::Block);
    let (overrides, block_overrides) = (call.params.optional()?, call.params.optional()?);
    let mut stage = stage(call, at, overrides, block_overrides)?;
    json(&format!("{:#x}", estimate(&mut stage, &request, true)?))
}

/// The gas `eth_sendTransaction` fills in: at the price that will be paid, which code can read, whether or not the sender can pay it. That is
/// admission's to say.
pub(super) fn estimate_to_send(call: &Call<'_>, request: &TransactionRequest) -> Result<u64> {
    let mut stage = stage(call, At::Next, None, None)?;
    stage.evm.surroundings().cfg.disable_balance_check = true;
    // The transaction itself prints what it prints.
    estimate(&mut stage, request, false)
}

/// The most gas that a transaction in the next block may ask for.
pub(super) fn gas_max(call: &Call<'_>) -> u64 {
    let header = pending::header(call.head);
    let spec = Spec::load();
    header.gas_limit.min(spec.tx_gas_max(spec.fork(header.timestamp)))
}

/// Runs a request with this gas; none where that is too little.
fn attempt(stage: &mut Stage, request: &TransactionRequest, gas: u64) -> Result<Option<ExecutionResult>> {
    let env = environment(stage, request, gas)?;
    match run(stage, env)? {
        Ran::Executed(ExecutionResult::Halt { reason: HaltReason::OutOfGas(_), .. }, _) => Ok(None),
        Ran::Executed(result, _) => Ok(Some(result)),
        // Too little for the transaction itself.
        Ran::Refused(InvalidTransaction::CallGasCostMoreThanGasLimit { .. } | InvalidTransaction::GasFloorMoreThanGasLimit { .. }, _) => {
            Ok(None)
        }
        Ran::Refused(_, reason) => Err(error::rejected(&format!("failed with {gas} gas: {reason}"))),
    }
}

fn estimate(stage: &mut Stage, request: &TransactionRequest, prints: bool) -> Result<u64> {
    let spec = Spec::load();
    // A developer's account may be given the funds later.
    let is_free = spec.dev || stage.evm.surroundings().cfg.disable_balance_check;
    stage.evm.surroundings().cfg.disable_balance_check = is_free;
    let block_gas = stage.header.gas_limit.min(spec.tx_gas_max(spec.fork(stage.header.timestamp)));
    let mut high = request.gas.filter(|gas| *gas >= TRANSFER_GAS).unwrap_or(block_gas).min(GAS_MAX.max(block_gas));
    let price = request.gas_price.or(request.max_fee_per_gas).unwrap_or_default();
    if price > 0 && !is_free {
        let from = request.from.unwrap_or_default();
        let balance = stage.evm.state().account(from).unwrap_or_default().balance;
        let value = request.value.unwrap_or_default();
        let available = balance.checked_sub(value).ok_or_else(|| error::rejected("insufficient funds for transfer"))?;
        high = high.min(u64::try_from(available / U256::from(price)).unwrap_or(u64::MAX));
    }
    let first = attempt(stage, request, high);
    if prints {
        console::print(&stage.evm.take_printed());
    }
    let Some(result) = first? else {
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
        if succeeds(attempt(stage, request, optimistic)?) { high = optimistic } else { low = optimistic }
    }
    while low + 1 < high {
        if (high - low) as f64 / (high as f64) < ESTIMATE_TOLERANCE {
            break;
        }
        let middle = (low + (high - low) / 2).min(low.saturating_mul(2));
        if succeeds(attempt(stage, request, middle)?) { high = middle } else { low = middle }
    }
    Ok(high)
}

pub(super) fn create_access_list(call: &mut Call<'_>) -> Result {
    let mut request: TransactionRequest = call.params.required()?;
    let block = call.params.block()?;
    let overrides = call.params.optional()?;
    let mut stage = stage(call, At::Block(block), overrides, None)?;
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
        let precompiles = stage.evm.precompiles().addresses().clone();
        let (result, touched) = run(&mut stage, env)?.called_with(gas)?;
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
    let committed = Rows::default().account(sender).unwrap_or_default().nonce;
    pool::next_sequence(sender.as_slice()).map_or(committed, |pending| pending.max(committed))
}
