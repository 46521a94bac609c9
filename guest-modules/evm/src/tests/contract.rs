//! A contract of genesis by itself, in revm.

use alloy_primitives::{Address, Bytes, Log, TxKind, U256, keccak256};
use revm::{
    Context, ExecuteCommitEvm, MainBuilder, MainContext,
    context::{
        TxEnv,
        result::{ExecutionResult, Output},
    },
    database::InMemoryDB,
    state::{AccountInfo, Bytecode},
};

/// A contract with its owner in slot 0.
pub struct Owned {
    database: InMemoryDB,
    address: Address,
}

impl Owned {
    pub fn new(address: Address, code: Bytes, owner: Address) -> Self {
        let mut database = InMemoryDB::default();
        database.insert_account_info(address, AccountInfo::default().with_code(Bytecode::new_raw(code)));
        database.insert_account_storage(address, U256::ZERO, owner.into_word().into()).expect("in memory");
        Self { database, address }
    }

    /// What a call by this account comes to: none where it reverts.
    pub fn call(&mut self, caller: Address, data: Bytes, value: u64) -> Option<(Bytes, Vec<Log>)> {
        let mut evm = Context::mainnet().with_db(&mut self.database).modify_cfg_chained(|config| {
            config.disable_nonce_check = true;
            config.disable_balance_check = true;
        });
        evm.block.basefee = 0;
        let call = TxEnv { caller, kind: TxKind::Call(self.address), data, value: U256::from(value), ..TxEnv::default() };
        match evm.build_mainnet().transact_commit(call).expect("runs") {
            ExecutionResult::Success { output: Output::Call(output), logs, .. } => Some((output, logs)),
            ExecutionResult::Revert { output, .. } if output.is_empty() => None,
            other => panic!("{other:?}"),
        }
    }
}

/// The input of a call with arguments of a word each.
pub fn calldata(signature: &str, arguments: &[U256]) -> Bytes {
    [&keccak256(signature)[..4], arguments.iter().flat_map(U256::to_be_bytes::<32>).collect::<Vec<_>>().as_slice()].concat().into()
}
