//! The chain of the public JSON-RPC cases. It begins with blocks of proof of work, which the guest does not know: revm executes them here, and
//! the guest's chain begins with the last of them. Each later block is one that the guest verifies, its state root above all.

use std::{fs, path::Path};

use alloy_consensus::{Block, Header};
use alloy_genesis::Genesis;
use alloy_primitives::{Address, B256, KECCAK256_EMPTY, U256};
use alloy_rlp::Decodable;
use revm::{
    Context, ExecuteCommitEvm, MainBuilder,
    bytecode::Bytecode,
    context::{BlockEnv, CfgEnv, Journal, TxEnv},
    database::{AccountState, CacheDB, EmptyDB},
    primitives::hardfork::SpecId,
    state::AccountInfo,
};
use serde_json::{Value, json};

use super::imports;
use crate::{
    bindings::subnode::chain::types::BlockRef,
    block, genesis,
    host::{Recovery, recover},
    transaction::{Transaction, to_env},
};

/// The blocks before the guest's, executed.
struct Before {
    accounts: CacheDB<EmptyDB>,
}

/// Wei of a block's reward before Byzantium, from Byzantium on, and from Constantinople on.
const REWARDS: [u64; 3] = [5_000_000_000_000_000_000, 3_000_000_000_000_000_000, 2_000_000_000_000_000_000];

impl Before {
    fn genesis(genesis: &Genesis) -> Self {
        let mut accounts = CacheDB::new(EmptyDB::default());
        for (address, account) in &genesis.alloc {
            let code = account.code.clone().map(Bytecode::new_raw);
            let code_hash = code.as_ref().map_or(KECCAK256_EMPTY, Bytecode::hash_slow);
            let nonce = account.nonce.unwrap_or_default();
            accounts
                .insert_account_info(*address, AccountInfo { balance: account.balance, nonce, code_hash, code, ..AccountInfo::default() });
            for (slot, value) in account.storage.iter().flatten() {
                let Ok(()) = accounts.insert_account_storage(*address, (*slot).into(), (*value).into());
            }
        }
        Self { accounts }
    }

    fn execute(&mut self, config: &Value, block: &Block<Transaction>) {
        let header = &block.header;
        let begun = |fork: &str| config[fork].as_u64().is_some_and(|first| first <= header.number);
        let spec = [
            ("londonBlock", SpecId::LONDON),
            ("berlinBlock", SpecId::BERLIN),
            ("istanbulBlock", SpecId::ISTANBUL),
            ("petersburgBlock", SpecId::PETERSBURG),
            ("byzantiumBlock", SpecId::BYZANTIUM),
            ("eip158Block", SpecId::SPURIOUS_DRAGON),
            ("eip150Block", SpecId::TANGERINE),
        ]
        .into_iter()
        .find(|(fork, _)| begun(fork))
        .map_or(SpecId::HOMESTEAD, |(_, spec)| spec);
        let surroundings = BlockEnv {
            number: U256::from(header.number),
            beneficiary: header.beneficiary,
            timestamp: U256::from(header.timestamp),
            gas_limit: header.gas_limit,
            basefee: header.base_fee_per_gas.unwrap_or_default(),
            difficulty: header.difficulty,
            prevrandao: None,
            blob_excess_gas_and_price: None,
            ..BlockEnv::default()
        };
        self.accounts.cache.block_hashes.insert(U256::from(header.number - 1), header.parent_hash);
        let cfg = CfgEnv::new_with_spec(spec).with_chain_id(config["chainId"].as_u64().expect("a chain id"));
        let mut evm = Context::<BlockEnv, TxEnv, CfgEnv, _, Journal<_>, ()>::new(&mut self.accounts, spec)
            .with_block(surroundings)
            .with_cfg(cfg)
            .build_mainnet();
        for transaction in &block.body.transactions {
            evm.transact_commit(to_env(transaction, sender(transaction))).expect("a transaction that executes");
        }
        let rises = usize::from(begun("byzantiumBlock")) + usize::from(begun("constantinopleBlock"));
        let reward = U256::from(REWARDS[rises]);
        let ommers = &block.body.ommers;
        self.pay(header.beneficiary, reward + reward / U256::from(32) * U256::from(ommers.len()));
        for ommer in ommers {
            self.pay(ommer.beneficiary, reward * U256::from(ommer.number + 8 - header.number) / U256::from(8));
        }
    }

    fn pay(&mut self, address: Address, amount: U256) {
        let Ok(account) = self.accounts.load_account(address);
        account.info.balance += amount;
        if account.account_state == AccountState::NotExisting {
            account.account_state = AccountState::StorageCleared;
        }
    }

    fn root(&self) -> B256 {
        let there = self.accounts.cache.accounts.iter().filter(|(_, account)| account.account_state != AccountState::NotExisting);
        alloy_trie::root::state_root_unhashed(there.map(|(address, account)| {
            let storage = account.storage.iter().filter(|(_, value)| !value.is_zero()).map(|(slot, value)| (B256::from(*slot), *value));
            let storage_root = alloy_trie::root::storage_root_unhashed(storage);
            let info = &account.info;
            (*address, alloy_trie::TrieAccount { nonce: info.nonce, balance: info.balance, storage_root, code_hash: info.code_hash })
        }))
    }

    /// The accounts as a genesis file has them.
    fn alloc(&self) -> Value {
        let there = self.accounts.cache.accounts.iter().filter(|(_, account)| account.account_state != AccountState::NotExisting);
        let account = |(address, account): (&Address, &revm::database::DbAccount)| {
            let info = &account.info;
            let code = self.accounts.cache.contracts.get(&info.code_hash).map(Bytecode::original_bytes).unwrap_or_default();
            let storage = account.storage.iter().filter(|(_, value)| !value.is_zero());
            let storage: Value = storage.map(|(slot, value)| (B256::from(*slot).to_string(), json!(B256::from(*value)))).collect();
            let nonce = format!("{:#x}", info.nonce);
            (address.to_string(), json!({ "balance": info.balance, "nonce": nonce, "code": code, "storage": storage }))
        };
        there.map(account).collect()
    }
}

fn sender(transaction: &Transaction) -> Address {
    let signature = transaction.signature();
    let item = Recovery { digest: transaction.signature_hash(), r: signature.r(), s: signature.s(), odd: signature.v() };
    recover(&item).expect("a signature")
}

/// A genesis file that begins where a chain is.
fn spec(genesis: &Value, header: &Header, alloc: Value) -> Value {
    let mut config = genesis["config"].clone();
    config["terminalTotalDifficulty"] = json!(0);
    config["subnode"] = json!({ "foreign": true });
    config.as_object_mut().expect("an object").remove("ethash");
    let number = |number: u64| format!("{number:#x}");
    json!({
        "config": config,
        "alloc": alloc,
        "parentHash": header.parent_hash,
        "uncleHash": header.ommers_hash,
        "coinbase": header.beneficiary,
        "transactionsTrie": header.transactions_root,
        "receiptTrie": header.receipts_root,
        "bloom": header.logs_bloom,
        "difficulty": header.difficulty,
        "number": number(header.number),
        "gasLimit": number(header.gas_limit),
        "gasUsed": number(header.gas_used),
        "timestamp": number(header.timestamp),
        "extraData": header.extra_data,
        "mixHash": header.mix_hash,
        "nonce": header.nonce,
        "baseFeePerGas": header.base_fee_per_gas.map(number),
    })
}

/// Begins a chain in this thread's host.
pub fn begin(spec: &Value) -> BlockRef {
    let text = spec.to_string();
    let built = genesis::genesis(text.as_bytes()).expect("a genesis");
    imports::with(|tables| *tables = imports::Tables::default());
    commit(&built.block, built.outcome)
}

/// Has a block committed in this thread's host.
pub fn commit(bytes: &[u8], outcome: crate::bindings::exports::Outcome) -> BlockRef {
    let head = outcome.block;
    imports::with(|tables| tables.commit(head.height, bytes, &head.id, outcome.state, outcome.index));
    head
}

/// Imports the chain of a folder into this thread's host, and answers its head.
pub fn import(folder: &Path) -> BlockRef {
    let genesis: Value = serde_json::from_slice(&fs::read(folder.join("genesis.json")).expect("genesis.json")).expect("JSON");
    let mut before = Before::genesis(&serde_json::from_value(genesis.clone()).expect("a genesis file"));
    let chain = fs::read(folder.join("chain.rlp")).expect("chain.rlp");
    let (mut rest, mut last) = (chain.as_slice(), None);
    let mut head: Option<BlockRef> = None;
    while !rest.is_empty() {
        let start = rest;
        let block = Block::<Transaction>::decode(&mut rest).expect("a block");
        if !block.header.difficulty.is_zero() {
            before.execute(&genesis["config"], &block);
            assert_eq!(before.root(), block.header.state_root, "the state after block {}", block.header.number);
            last = Some(block.header);
            continue;
        }
        let parent = head.unwrap_or_else(|| {
            let header = last.take().expect("a block before");
            begin(&spec(&genesis, &header, before.alloc()))
        });
        let bytes = &start[..start.len() - rest.len()];
        let outcome = block::execute(&parent, bytes).unwrap_or_else(|invalid| panic!("block {}: {}", block.header.number, invalid.reason));
        head = Some(commit(bytes, outcome));
    }
    head.expect("blocks")
}
