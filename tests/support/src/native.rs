//! Ethereum executed by revm itself, without a guest: what tests compare with and benches measure against.

use alloy::{
    consensus::{Transaction as _, TxEnvelope, Typed2718},
    primitives::{Address, Bytes},
};
use anyhow::Context as _;
use revm::{
    Context, ExecuteCommitEvm, MainBuilder, MainContext,
    context::{TxEnv, result::ExecutionResult},
    database::{CacheDB, EmptyDB},
    primitives::TxKind,
    state::{AccountInfo, Bytecode},
};

/// A transaction from before blobs and authorizations, for revm.
#[must_use]
pub fn environment(transaction: &TxEnvelope, caller: Address) -> TxEnv {
    TxEnv {
        tx_type: transaction.ty(),
        caller,
        gas_limit: transaction.gas_limit(),
        gas_price: transaction.max_fee_per_gas(),
        kind: transaction.kind(),
        value: transaction.value(),
        data: transaction.input().clone(),
        nonce: transaction.nonce(),
        chain_id: transaction.chain_id(),
        access_list: transaction.access_list().cloned().unwrap_or_default(),
        gas_priority_fee: transaction.max_priority_fee_per_gas(),
        ..TxEnv::default()
    }
}

/// Gas of a call at most: the most that a transaction may have (EIP-7825).
const CALL_GAS_MAX: u64 = 1 << 24;

/// Contracts without a chain: calls cost nothing, and what they write stays.
#[derive(Default)]
pub struct Contracts {
    state: CacheDB<EmptyDB>,
}

/// What became of a call.
#[derive(Debug)]
pub struct Called {
    /// What it returned, or what it reverted with; nothing where it used all gas.
    pub output: Result<Bytes, Bytes>,
    /// What it cost beyond its transaction: without the 21,000 gas and the calldata of that.
    pub gas: u64,
    /// What its calldata costs in the transaction.
    pub calldata_gas: u64,
}

impl Contracts {
    /// Puts code at an address.
    pub fn place(&mut self, address: Address, code: Bytes) {
        self.state.insert_account_info(address, AccountInfo::from_bytecode(Bytecode::new_legacy(code)));
    }

    /// A transaction to a contract.
    ///
    /// # Errors
    /// Where it cannot begin.
    pub fn call(&mut self, to: Address, data: Vec<u8>) -> anyhow::Result<Called> {
        // Gas of calldata before EIP-7623's floor, which no call here comes near.
        let calldata_gas = data.iter().map(|byte| if *byte == 0 { 4 } else { 16 }).sum();
        let mut evm =
            Context::mainnet().with_db(&mut self.state).modify_cfg_chained(|config| config.disable_nonce_check = true).build_mainnet();
        let transaction = TxEnv { kind: TxKind::Call(to), data: data.into(), gas_limit: CALL_GAS_MAX, ..TxEnv::default() };
        let result = evm.transact_commit(transaction)?;
        let spent = result.gas().total_gas_spent();
        let gas = spent.checked_sub(21_000 + calldata_gas).context("a call costs more than its calldata")?;
        let output = match result {
            ExecutionResult::Success { output, .. } => Ok(output.into_data()),
            ExecutionResult::Revert { output, .. } => Err(output),
            ExecutionResult::Halt { .. } => Err(Bytes::new()),
        };
        Ok(Called { output, gas, calldata_gas })
    }
}
