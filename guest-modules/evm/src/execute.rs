//! Runs the transactions and the system calls of one block on one state.

use alloy_consensus::{Eip658Value, Header, Receipt, ReceiptWithBloom, Transaction as _, Typed2718};
use alloy_eips::{
    eip2935::HISTORY_STORAGE_ADDRESS, eip4788::BEACON_ROOTS_ADDRESS, eip4895::Withdrawal, eip7002::WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS,
    eip7251::CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS, eip7685::Requests,
};
use alloy_primitives::{Address, B256, Bloom, BloomInput, Bytes, Log, U256, keccak256, map::HashMap};
use alloy_rlp::{Encodable, Header as RlpHeader};
use revm::{
    context::{
        BlockEnv, CfgEnv,
        result::{EVMError, ExecutionResult, HaltReason, InvalidTransaction, ResultAndState},
    },
    context_interface::block::BlobExcessGasAndPrice,
    database_interface::DatabaseCommit,
};

use crate::{
    bindings::exports::Invalid,
    deposit,
    fees::Quota,
    host,
    index::ReceiptRow,
    list_root::list_root,
    machine::{Machine, Surroundings},
    notes::Notes,
    spec::{Fork, Spec},
    state::State,
    transaction::{Transaction, to_env},
    transfer,
};

/// EIP-4844: gas of one blob.
pub const GAS_PER_BLOB: u64 = 1 << 17;

/// revm on `state` in the block that `header` describes, of which only what transactions can see matters.
pub fn evm(spec: &Spec, header: &Header, state: State) -> Machine {
    let fork = spec.fork(header.timestamp);
    let mut config = CfgEnv::new_with_spec(fork.revm()).with_chain_id(spec.chain_id);
    // EIP-3607 bars senders with code; a developer may impersonate a contract.
    config.disable_eip3607 = spec.dev;
    config.limit_contract_code_size = spec.code_bytes_max;
    config.tx_gas_limit_cap = Some(spec.tx_gas_max(fork));
    let blob_params = spec.blob_params(header.timestamp);
    let mut blob_excess_gas_and_price = None;
    if let Some(params) = &blob_params {
        config.max_blobs_per_tx = Some(params.max_blobs_per_tx);
        let fraction = u64::try_from(params.update_fraction).unwrap_or(u64::MAX);
        config.blob_base_fee_update_fraction = Some(fraction);
        blob_excess_gas_and_price = Some(BlobExcessGasAndPrice::new(header.excess_blob_gas.unwrap_or_default(), fraction));
    }
    let block = BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        difficulty: U256::ZERO,
        prevrandao: Some(header.mix_hash),
        blob_excess_gas_and_price,
        ..BlockEnv::default()
    };
    Machine::new(Surroundings::new(state, fork.revm()).with_block(block).with_cfg(config)).with_listed_create(spec.deployers)
}

/// A block being executed.
pub struct Execution<'a> {
    spec: &'a Spec,
    fork: Fork,
    evm: Machine,
    header: &'a Header,
    blob_gas_max: u64,
    pub gas_used: u64,
    pub blob_gas_used: u64,
    pub receipts: Vec<ReceiptRow>,
    kinds: Vec<u8>,
    log_count: u64,
}

/// What came of a call by the system. Whether the block holds is for the caller to say.
enum SystemCall {
    NoCode,
    Failed,
    Returned(Bytes),
}

/// What a whole block did.
pub struct Executed {
    pub state: State,
    pub gas_used: u64,
    pub blob_gas_used: u64,
    pub receipts: Vec<ReceiptRow>,
    pub receipts_root: B256,
    pub logs_bloom: Bloom,
    pub requests: Option<Requests>,
}

impl<'a> Execution<'a> {
    /// Starts the block: the system calls that come before its transactions. A block is valid whatever becomes of them: the execution
    /// specification leaves EIP-4788's and EIP-2935's unchecked.
    pub fn start(spec: &'a Spec, header: &'a Header, state: State) -> Self {
        crate::crypto::install();
        let fork = spec.fork(header.timestamp);
        let mut execution = Self {
            spec,
            fork,
            evm: evm(spec, header, state),
            header,
            blob_gas_max: spec.blob_params(header.timestamp).map_or(0, |params| params.max_blob_count * GAS_PER_BLOB),
            gas_used: 0,
            blob_gas_used: 0,
            receipts: Vec::new(),
            kinds: Vec::new(),
            log_count: 0,
        };
        if fork >= Fork::Cancun
            && let Some(root) = header.parent_beacon_block_root
        {
            execution.system_call(BEACON_ROOTS_ADDRESS, root.0.into());
        }
        if fork >= Fork::Prague {
            execution.system_call(HISTORY_STORAGE_ADDRESS, header.parent_hash.0.into());
        }
        execution
    }

    /// Writes what the block notes, before its transactions.
    pub fn note(&mut self, notes: &Notes) -> Result<(), Invalid> {
        if notes.is_empty() {
            return Ok(());
        }
        self.commit();
        let height = self.header.number;
        notes.apply(self.state(), height)
    }

    /// The same for a block of the chain, whose bytes these are, that is executed again.
    pub fn note_again(&mut self, behind_block: &[u8]) {
        let height = self.header.number;
        if !behind_block.is_empty() {
            self.commit();
            Notes::apply_again(behind_block, self.state(), height);
        }
    }

    pub fn gas_left(&self) -> u64 {
        self.header.gas_limit - self.gas_used
    }

    /// What one sender may have of the block, where gas costs nothing.
    pub fn quota(&self) -> Option<Quota> {
        self.spec.fees.quota()
    }

    pub fn base_fee(&self) -> u64 {
        self.header.base_fee_per_gas.unwrap_or_default()
    }

    pub fn state(&mut self) -> &mut State {
        self.evm.state()
    }

    /// The state at this moment of the block, which then goes no further.
    pub fn into_state(mut self) -> State {
        self.commit();
        self.evm.into_state()
    }

    /// What a transaction does at this moment of the block, which then goes no further.
    pub fn result(mut self, transaction: &Transaction, sender: Address) -> Option<ExecutionResult<HaltReason>> {
        self.evm.transact(to_env(transaction, sender)).ok()
    }

    /// The blob gas that is left, in blobs.
    pub fn blobs_left(&self) -> u64 {
        (self.blob_gas_max - self.blob_gas_used) / GAS_PER_BLOB
    }

    /// Runs a transaction and keeps what it did, or says why it cannot be in this block.
    pub fn transact(&mut self, transaction: &Transaction, sender: Address) -> Result<(), InvalidTransaction> {
        if transaction.gas_limit() > self.gas_left() {
            return Err(InvalidTransaction::CallerGasLimitMoreThanBlock);
        }
        let blob_gas = transaction.blob_count().unwrap_or_default() * GAS_PER_BLOB;
        if blob_gas > self.blob_gas_max - self.blob_gas_used {
            return Err(InvalidTransaction::TooManyBlobs {
                max: usize::try_from(self.blobs_left()).unwrap_or(usize::MAX),
                have: usize::try_from(blob_gas / GAS_PER_BLOB).unwrap_or(usize::MAX),
            });
        }
        if !cfg!(feature = "transfers-by-revm") && transfer::transfer(self.evm.surroundings(), transaction, sender) {
            self.keep(transaction.ty(), sender, true, transfer::GAS, Vec::new());
            return Ok(());
        }
        let result = match self.evm.transact(to_env(transaction, sender)) {
            Ok(result) => result,
            Err(EVMError::Transaction(invalid)) => return Err(invalid),
            Err(EVMError::Header(invalid)) => panic!("block environment: {invalid}"),
            Err(EVMError::Database(never)) => match never {},
            Err(error) => panic!("revm: {error}"),
        };
        if self.evm.take_destroyed() {
            // revm keeps an account destroyed until it is committed, and what follows may create it anew.
            self.commit();
        }
        self.blob_gas_used += blob_gas;
        let (success, gas_used) = (result.is_success(), result.tx_gas_used());
        self.keep(transaction.ty(), sender, success, gas_used, result.into_logs());
        Ok(())
    }

    /// Has what contracts print kept.
    pub fn hear_console(&mut self) {
        self.evm.hear_console();
    }

    /// The lines that contracts printed since this was asked last.
    pub fn take_printed(&mut self) -> Vec<String> {
        self.evm.take_printed()
    }

    /// The machine between two transactions: its journal is empty.
    pub fn machine(&mut self) -> &mut Machine {
        self.commit();
        &mut self.evm
    }

    /// Keeps what an inspected transaction did.
    pub fn keep_inspected(&mut self, transaction: &Transaction, sender: Address, outcome: ResultAndState) {
        self.state().commit(outcome.state);
        self.blob_gas_used += transaction.blob_count().unwrap_or_default() * GAS_PER_BLOB;
        let result = outcome.result;
        let (success, gas_used) = (result.is_success(), result.tx_gas_used());
        self.keep(transaction.ty(), sender, success, gas_used, result.into_logs());
    }

    /// Moves what the journal holds to the state. Between transactions it may stay there, where the next finds it at less cost.
    fn commit(&mut self) {
        let changes = self.evm.finalize();
        self.state().commit(changes);
    }

    fn keep(&mut self, kind: u8, sender: Address, success: bool, gas_used: u64, logs: Vec<Log>) {
        self.gas_used += gas_used;
        let first_log = self.log_count;
        self.log_count += logs.len() as u64;
        self.kinds.push(kind);
        self.receipts.push(ReceiptRow { success, cumulative_gas_used: self.gas_used, gas_used, first_log, sender, logs });
    }

    fn system_call(&mut self, contract: Address, input: Bytes) -> SystemCall {
        if !self.state().has_code(contract) {
            return SystemCall::NoCode;
        }
        let result = match self.evm.system_call(contract, input) {
            Ok(result) => result,
            Err(EVMError::Database(never)) => match never {},
            Err(error) => panic!("revm: {error}"),
        };
        self.commit();
        if result.is_success() { SystemCall::Returned(result.into_output().unwrap_or_default()) } else { SystemCall::Failed }
    }

    /// Ends the block: withdrawals, and the system calls that come after its transactions.
    pub fn finish(mut self, withdrawals: &[Withdrawal]) -> Result<Executed, String> {
        self.commit();
        for withdrawal in withdrawals {
            // EIP-4895: amounts are in gwei. A withdrawal of nothing creates no account (EIP-161).
            if withdrawal.amount > 0 {
                let amount = U256::from(withdrawal.amount) * U256::from(1_000_000_000);
                self.state().increase_balance(withdrawal.address, amount);
            }
        }
        let mut requests = None;
        if self.fork >= Fork::Prague {
            let mut all = Requests::default();
            let deposits = deposit::requests(self.spec.deposit_contract, self.receipts.iter().flat_map(|receipt| &receipt.logs))?;
            if !deposits.is_empty() {
                all.push_request_with_type(deposit::REQUEST_TYPE, deposits);
            }
            for (kind, contract) in [(1, WITHDRAWAL_REQUEST_PREDEPLOY_ADDRESS), (2, CONSOLIDATION_REQUEST_PREDEPLOY_ADDRESS)] {
                // EIP-7002 and EIP-7251: the block is invalid without the contract, and where the call fails.
                match self.system_call(contract, Bytes::new()) {
                    SystemCall::Returned(output) if output.is_empty() => {}
                    SystemCall::Returned(output) => all.push_request_with_type(kind, output),
                    SystemCall::Failed => return Err(format!("system call to {contract} failed")),
                    // A developer's genesis may lack it.
                    SystemCall::NoCode if self.spec.dev => {}
                    SystemCall::NoCode => return Err(format!("system contract {contract} has no code")),
                }
            }
            requests = Some(all);
        }
        let mut hashes = LogHashes::default();
        let blooms: Vec<Bloom> = self.receipts.iter().map(|receipt| hashes.bloom(&receipt.logs)).collect();
        let receipts_root = receipts_root(&self.receipts, &self.kinds, &blooms);
        let logs_bloom = blooms.iter().fold(Bloom::ZERO, |all, bloom| all | *bloom);
        Ok(Executed {
            gas_used: self.gas_used,
            blob_gas_used: self.blob_gas_used,
            receipts: self.receipts,
            receipts_root,
            logs_bloom,
            requests,
            state: self.evm.into_state(),
        })
    }
}

/// The receipt as the receipts trie and `eth_getTransactionReceipt` have it.
pub fn receipt(row: &ReceiptRow, logs_bloom: Bloom) -> ReceiptWithBloom<Receipt> {
    let receipt =
        Receipt { status: Eip658Value::Eip658(row.success), cumulative_gas_used: row.cumulative_gas_used, logs: row.logs.clone() };
    ReceiptWithBloom { receipt, logs_bloom }
}

fn receipts_root(rows: &[ReceiptRow], kinds: &[u8], blooms: &[Bloom]) -> B256 {
    let items: Vec<_> = rows.iter().zip(kinds).zip(blooms).collect();
    let encode = |((row, kind), bloom): &((&ReceiptRow, &u8), &Bloom), out: &mut Vec<u8>| {
        // EIP-2718: a legacy receipt has no type before it.
        if **kind != 0 {
            out.push(**kind);
        }
        // As `receipt` would be, without a copy of the logs.
        let payload_length = row.success.length() + row.cumulative_gas_used.length() + bloom.length() + row.logs.length();
        RlpHeader { list: true, payload_length }.encode(out);
        row.success.encode(out);
        row.cumulative_gas_used.encode(out);
        bloom.encode(out);
        row.logs.encode(out);
    };
    list_root(&items, encode, host::keccak256_many)
}

/// Hashes of addresses and topics for blooms: the logs of a block have most of them in common.
#[derive(Default)]
struct LogHashes {
    addresses: HashMap<Address, B256>,
    topics: HashMap<B256, B256>,
}

impl LogHashes {
    fn bloom(&mut self, logs: &[Log]) -> Bloom {
        let mut bloom = Bloom::ZERO;
        for log in logs {
            let hash = *self.addresses.entry(log.address).or_insert_with(|| keccak256(log.address));
            bloom.accrue(BloomInput::Hash(hash));
            for topic in log.topics() {
                let hash = *self.topics.entry(*topic).or_insert_with(|| keccak256(topic));
                bloom.accrue(BloomInput::Hash(hash));
            }
        }
        bloom
    }
}
