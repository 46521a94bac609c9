//! The part of a chain that the guest does not know: blocks of proof of work, from Homestead to Gray Glacier, executed by revm.
//!
//! Not here: whether their headers hold. Their states must: each block's state root is compared.

use std::collections::BTreeMap;

use alloy::{
    consensus::{Block, Header, TxEnvelope, transaction::SignerRecoverable},
    genesis::{ChainConfig, Genesis},
    primitives::{Address, B256, U256},
};
use alloy_trie::{KECCAK_EMPTY, TrieAccount, root};
use anyhow::{Context as _, ensure};
use revm::{
    Context, ExecuteCommitEvm, MainBuilder,
    bytecode::Bytecode,
    context::{BlockEnv, CfgEnv, Journal, TxEnv},
    database::{AccountState, CacheDB, EmptyDB},
    primitives::hardfork::SpecId,
    state::AccountInfo,
};
use serde_json::{Value, json};
use subnode_tests::native::environment;

/// Wei of a block's reward before Byzantium, from Byzantium on (EIP-649), and from Constantinople on (EIP-1234).
const REWARDS: [u64; 3] = [5_000_000_000_000_000_000, 3_000_000_000_000_000_000, 2_000_000_000_000_000_000];

/// The state after some blocks.
pub(crate) struct State {
    accounts: CacheDB<EmptyDB>,
}

impl State {
    pub(crate) fn genesis(genesis: &Genesis) -> Self {
        let mut accounts = CacheDB::new(EmptyDB::default());
        for (address, account) in &genesis.alloc {
            let code = account.code.clone().map(Bytecode::new_raw);
            let info = AccountInfo { nonce: account.nonce.unwrap_or_default(), balance: account.balance, code, ..AccountInfo::default() };
            let code_hash = info.code.as_ref().map_or(KECCAK_EMPTY, Bytecode::hash_slow);
            accounts.insert_account_info(*address, AccountInfo { code_hash, ..info });
            for (slot, value) in account.storage.iter().flatten() {
                let Ok(()) = accounts.insert_account_storage(*address, (*slot).into(), (*value).into());
            }
        }
        Self { accounts }
    }

    /// Executes a block on this state.
    pub(crate) fn execute(&mut self, config: &ChainConfig, block: &Block<TxEnvelope>) -> anyhow::Result<()> {
        let header = &block.header;
        let spec = spec(config, header.number);
        self.accounts.cache.block_hashes.insert(U256::from(header.number - 1), header.parent_hash);
        let cfg = CfgEnv::new_with_spec(spec).with_chain_id(config.chain_id);
        let mut evm = Context::<BlockEnv, TxEnv, CfgEnv, _, Journal<_>, ()>::new(&mut self.accounts, spec)
            .with_block(surroundings(header))
            .with_cfg(cfg)
            .build_mainnet();
        for (position, transaction) in block.body.transactions.iter().enumerate() {
            let executed = evm.transact_commit(environment(transaction, transaction.recover_signer()?));
            executed.map_err(|error| anyhow::anyhow!("block {}, transaction {position}: {error}", header.number))?;
        }
        self.reward(config, block)?;
        let root = self.root();
        ensure!(root == header.state_root, "block {}: state root is {root}, header has {}", header.number, header.state_root);
        Ok(())
    }

    /// Yellow Paper, 11.3: the block's reward, and those of its ommers.
    fn reward(&mut self, config: &ChainConfig, block: &Block<TxEnvelope>) -> anyhow::Result<()> {
        let changes = [config.byzantium_block, config.constantinople_block];
        let changed = changes.iter().filter(|change| change.is_some_and(|change| change <= block.header.number)).count();
        let reward = U256::from(REWARDS[changed]);
        let ommers = &block.body.ommers;
        let mut paid = vec![(block.header.beneficiary, reward + reward / U256::from(32) * U256::from(ommers.len()))];
        for ommer in ommers {
            let age = block.header.number.checked_sub(ommer.number).filter(|age| *age < 8).context("an ommer's age")?;
            paid.push((ommer.beneficiary, reward * U256::from(8 - age) / U256::from(8)));
        }
        for (address, amount) in paid {
            let Ok(account) = self.accounts.load_account(address);
            account.info.balance += amount;
            if account.account_state == AccountState::NotExisting {
                account.account_state = AccountState::StorageCleared;
            }
        }
        Ok(())
    }

    /// Each account that is there, and its storage.
    fn each(&self) -> impl Iterator<Item = (Address, &AccountInfo, BTreeMap<B256, U256>)> {
        let there = self.accounts.cache.accounts.iter().filter(|(_, account)| account.account_state != AccountState::NotExisting);
        there.map(|(address, account)| {
            let storage = account.storage.iter().filter(|(_, value)| !value.is_zero());
            (*address, &account.info, storage.map(|(slot, value)| (B256::from(*slot), *value)).collect())
        })
    }

    fn root(&self) -> B256 {
        root::state_root_unhashed(self.each().map(|(address, info, storage)| {
            let storage_root = root::storage_root_unhashed(storage);
            (address, TrieAccount { nonce: info.nonce, balance: info.balance, storage_root, code_hash: info.code_hash })
        }))
    }

    /// The accounts as a genesis file has them.
    pub(crate) fn alloc(&self) -> Value {
        let account = |(address, info, storage): (Address, &AccountInfo, BTreeMap<B256, U256>)| {
            let code = self.accounts.cache.contracts.get(&info.code_hash).map(Bytecode::original_bytes).unwrap_or_default();
            let storage: BTreeMap<B256, B256> = storage.into_iter().map(|(slot, value)| (slot, value.into())).collect();
            let nonce = format!("{:#x}", info.nonce);
            (address.to_string(), json!({ "balance": info.balance, "nonce": nonce, "code": code, "storage": storage }))
        };
        self.each().map(account).collect()
    }
}

fn spec(config: &ChainConfig, number: u64) -> SpecId {
    let forks = [
        (config.eip150_block, SpecId::TANGERINE),
        (config.eip158_block, SpecId::SPURIOUS_DRAGON),
        (config.byzantium_block, SpecId::BYZANTIUM),
        // Constantinople without Petersburg is a fork that revm does not have: they differ in the price of some writes.
        (config.petersburg_block, SpecId::PETERSBURG),
        (config.istanbul_block, SpecId::ISTANBUL),
        (config.berlin_block, SpecId::BERLIN),
        (config.london_block, SpecId::LONDON),
    ];
    let mut begun = forks.into_iter().filter(|(block, _)| block.is_some_and(|block| block <= number));
    begun.next_back().map_or(SpecId::HOMESTEAD, |(_, spec)| spec)
}

fn surroundings(header: &Header) -> BlockEnv {
    BlockEnv {
        number: U256::from(header.number),
        beneficiary: header.beneficiary,
        timestamp: U256::from(header.timestamp),
        gas_limit: header.gas_limit,
        basefee: header.base_fee_per_gas.unwrap_or_default(),
        difficulty: header.difficulty,
        prevrandao: None,
        blob_excess_gas_and_price: None,
        ..BlockEnv::default()
    }
}
