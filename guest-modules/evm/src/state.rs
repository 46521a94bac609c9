//! Ethereum's state as rows of the state table, and as revm's database.
//!
//! | key | value |
//! |---|---|
//! | `G` | the chain's spec |
//! | `D` | a developer's overrides |
//! | `A` address | account |
//! | `S` address slot | storage word, without leading zeros |
//! | `C` hash | code |
//! | `T` path | node of the account trie |
//! | `U` address path | node of an account's storage trie |

use core::convert::Infallible;
use std::collections::BTreeMap;

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256, map::HashMap};
use alloy_rlp::Encodable;
use alloy_trie::{EMPTY_ROOT_HASH, TrieAccount};
use revm::{
    bytecode::Bytecode,
    database_interface::{Database, DatabaseCommit},
    primitives::AddressMap,
    state::{Account as EvmAccount, AccountInfo},
};

use crate::{
    bindings::subnode::chain::types::Change,
    headers,
    host::{self, Table},
    trie::Trie,
};

/// An account's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Account {
    pub nonce: u64,
    pub balance: U256,
    pub code_hash: B256,
    pub storage_root: B256,
}

impl Default for Account {
    fn default() -> Self {
        Self { nonce: 0, balance: U256::ZERO, code_hash: KECCAK256_EMPTY, storage_root: EMPTY_ROOT_HASH }
    }
}

impl Account {
    /// `len(nonce) nonce len(balance) balance [code hash storage root]`: the hashes only for a contract.
    pub fn to_row(self) -> Vec<u8> {
        let nonce = self.nonce.to_be_bytes();
        let nonce = &nonce[self.nonce.leading_zeros() as usize / 8..];
        let balance = self.balance.to_be_bytes_trimmed_vec();
        let mut row = Vec::with_capacity(2 + nonce.len() + balance.len() + 64);
        row.push(nonce.len() as u8);
        row.extend_from_slice(nonce);
        row.push(balance.len() as u8);
        row.extend_from_slice(&balance);
        if self.code_hash != KECCAK256_EMPTY || self.storage_root != EMPTY_ROOT_HASH {
            row.extend_from_slice(self.code_hash.as_slice());
            row.extend_from_slice(self.storage_root.as_slice());
        }
        row
    }

    pub fn from_row(row: &[u8]) -> Option<Self> {
        let (nonce_len, rest) = row.split_first()?;
        let (nonce, rest) = rest.split_at_checked(usize::from(*nonce_len))?;
        let (balance_len, rest) = rest.split_first()?;
        let (balance, rest) = rest.split_at_checked(usize::from(*balance_len))?;
        let nonce = nonce.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        let account = Self { nonce, balance: U256::try_from_be_slice(balance)?, ..Self::default() };
        match rest.len() {
            0 => Some(account),
            64 => Some(Self { code_hash: B256::from_slice(&rest[..32]), storage_root: B256::from_slice(&rest[32..]), ..account }),
            _ => None,
        }
    }
}

/// An account with its code, where that is new, and with its storage.
pub struct WholeAccount {
    pub address: Address,
    pub account: Account,
    pub code: Option<Bytes>,
    pub storage: Vec<(U256, U256)>,
}

/// The state a block starts from, what has been read of it, and what has changed since.
#[derive(Clone, Default)]
pub struct State {
    accounts: HashMap<Address, Cached>,
    codes: HashMap<B256, Bytecode>,
    /// Code that this block added.
    new_codes: BTreeMap<B256, Bytes>,
    /// Block hashes that a caller overrides.
    pub block_hashes: BTreeMap<u64, B256>,
    /// Whether hashes of blocks come from the index as well, which only queries can read: a call in the surroundings of a mined block may ask for
    /// one more than the state has.
    pub knows_all_blocks: bool,
}

#[derive(Clone, Default)]
struct Cached {
    account: Option<Account>,
    changed: bool,
    /// The storage rows of the parent state are void: the account was created or destroyed in this block.
    wiped: bool,
    /// Whether the parent state has storage rows of this account.
    has_rows: bool,
    storage: HashMap<U256, Slot>,
}

#[derive(Clone, Copy)]
struct Slot {
    value: U256,
    changed: bool,
}

impl Cached {
    fn new(account: Option<Account>) -> Self {
        let has_rows = account.is_some_and(|account| account.storage_root != EMPTY_ROOT_HASH);
        Self { account, has_rows, ..Self::default() }
    }
}

impl State {
    fn cached(&mut self, address: Address) -> &mut Cached {
        self.accounts.entry(address).or_insert_with(|| Cached::new(Rows::default().account(address)))
    }

    /// The account at this moment of the block.
    pub fn account(&mut self, address: Address) -> Option<Account> {
        self.cached(address).account
    }

    /// Whether there is code at an address.
    pub fn has_code(&mut self, address: Address) -> bool {
        self.account(address).is_some_and(|account| account.code_hash != KECCAK256_EMPTY)
    }

    /// Whether an account has storage, but neither code nor a nonce.
    pub fn has_only_storage(&mut self, address: Address) -> bool {
        let cached = self.cached(address);
        !cached.wiped && cached.has_rows && cached.account.is_some_and(|account| account.nonce == 0 && account.code_hash == KECCAK256_EMPTY)
    }

    /// Reads many accounts in one call to the host.
    pub fn prefetch(&mut self, addresses: impl Iterator<Item = Address>) {
        let mut missing: Vec<Address> = addresses.filter(|address| !self.accounts.contains_key(address)).collect();
        missing.sort_unstable();
        missing.dedup();
        let keys: Vec<_> = missing.iter().map(|address| account_key(*address)).collect();
        for (address, row) in missing.into_iter().zip(host::get_many(Table::State, &keys)) {
            self.accounts.insert(address, Cached::new(read_account(address, row)));
        }
    }

    pub fn set_account(&mut self, address: Address, account: Account) {
        let cached = self.cached(address);
        cached.account = Some(account);
        cached.changed = true;
    }

    pub fn set_code(&mut self, address: Address, code: Bytes) {
        let hash = if code.is_empty() { KECCAK256_EMPTY } else { keccak256(&code) };
        let account = self.account(address).unwrap_or_default();
        self.set_account(address, Account { code_hash: hash, ..account });
        if !code.is_empty() {
            self.codes.insert(hash, Bytecode::new_raw(code.clone()));
            self.new_codes.insert(hash, code);
        }
    }

    pub fn set_storage(&mut self, address: Address, slot: U256, value: U256) {
        let cached = self.cached(address);
        cached.storage.insert(slot, Slot { value, changed: true });
        cached.changed = true;
        cached.account.get_or_insert_default();
    }

    /// Makes an account's storage empty (a state override).
    pub fn wipe_storage(&mut self, address: Address) {
        let cached = self.cached(address);
        cached.wiped = true;
        cached.changed = true;
        cached.storage.clear();
    }

    pub fn increase_balance(&mut self, address: Address, amount: U256) {
        let account = self.account(address).unwrap_or_default();
        self.set_account(address, Account { balance: account.balance.saturating_add(amount), ..account });
    }

    pub fn code(&mut self, hash: B256) -> Bytecode {
        if hash == KECCAK256_EMPTY {
            return Bytecode::default();
        }
        self.codes
            .entry(hash)
            .or_insert_with(|| {
                let code = host::get(Table::State, &code_key(hash)).unwrap_or_else(|| panic!("code {hash} is missing"));
                Bytecode::new_raw(code.into())
            })
            .clone()
    }

    fn storage_word(&mut self, address: Address, slot: U256) -> U256 {
        let cached = self.cached(address);
        if let Some(slot) = cached.storage.get(&slot) {
            return slot.value;
        }
        let empty = cached.wiped || cached.account.is_none_or(|account| account.storage_root == EMPTY_ROOT_HASH);
        let value = if empty { U256::ZERO } else { Rows::default().word(address, slot) };
        cached.storage.insert(slot, Slot { value, changed: false });
        value
    }

    /// The accounts that have changed.
    pub fn into_accounts(self) -> Vec<WholeAccount> {
        let mut accounts: Vec<_> = self.accounts.into_iter().filter(|(_, cached)| cached.changed).collect();
        accounts.sort_unstable_by_key(|(address, _)| *address);
        let codes = self.new_codes;
        let whole = |(address, cached): (Address, Cached)| {
            let account = cached.account?;
            let storage = cached.storage.into_iter().map(|(slot, word)| (slot, word.value)).collect();
            Some(WholeAccount { address, account, code: codes.get(&account.code_hash).cloned(), storage })
        };
        accounts.into_iter().filter_map(whole).collect()
    }

    /// The new state root, and the rows to write.
    pub fn into_changes(self) -> (B256, Vec<Change>) {
        let mut changes = Vec::with_capacity(self.accounts.len() * 4);
        for (hash, code) in self.new_codes {
            changes.push(Change { key: code_key(hash), value: Some(code.into()) });
        }
        let mut changed: Vec<_> = self.accounts.into_iter().filter(|(_, cached)| cached.changed).collect();
        changed.sort_unstable_by_key(|(address, _)| *address);
        let mut accounts = Trie::new(Rows::default().root(), |path| host::get(Table::State, &[b"T", path].concat()));
        let addresses: Vec<Vec<u8>> = changed.iter().map(|(address, _)| address.to_vec()).collect();
        for ((address, cached), key) in changed.into_iter().zip(host::keccak256_many(&addresses)) {
            if cached.wiped && cached.has_rows {
                delete_storage(address, &mut changes);
            }
            let row = cached.account.map(|mut account| {
                let root = if cached.wiped { EMPTY_ROOT_HASH } else { account.storage_root };
                account.storage_root = write_storage(address, root, &cached.storage, &mut changes);
                account
            });
            accounts.update(key, row.map(leaf));
            changes.push(Change { key: account_key(address), value: row.map(Account::to_row) });
        }
        let (root, nodes) = accounts.commit(host::keccak256_many);
        changes.extend(nodes.into_iter().map(|(path, value)| Change { key: [b"T", path.as_slice()].concat(), value }));
        (root, changes)
    }
}

impl Database for State {
    type Error = Infallible;

    fn basic(&mut self, address: Address) -> Result<Option<AccountInfo>, Infallible> {
        Ok(self.account(address).map(|account| AccountInfo {
            balance: account.balance,
            nonce: account.nonce,
            code_hash: account.code_hash,
            code: None,
            ..AccountInfo::default()
        }))
    }

    fn code_by_hash(&mut self, hash: B256) -> Result<Bytecode, Infallible> {
        Ok(self.code(hash))
    }

    fn storage(&mut self, address: Address, slot: U256) -> Result<U256, Infallible> {
        Ok(self.storage_word(address, slot))
    }

    fn block_hash(&mut self, number: u64) -> Result<B256, Infallible> {
        if let Some(hash) = self.block_hashes.get(&number) {
            return Ok(*hash);
        }
        let older = || self.knows_all_blocks.then(|| headers::block_hash(number)).flatten();
        Ok(headers::recent_hash(number).or_else(older).unwrap_or_default())
    }
}

impl DatabaseCommit for State {
    fn commit(&mut self, changes: AddressMap<EvmAccount>) {
        for (address, account) in changes {
            if !account.is_touched() {
                continue;
            }
            let cached = self.accounts.entry(address).or_default();
            if account.is_selfdestructed() || account.is_empty() {
                // EIP-161: a touched account that is empty is deleted. One that was not there stays so.
                if cached.account.is_some() || cached.wiped {
                    *cached = Cached { changed: true, wiped: true, has_rows: cached.has_rows, ..Cached::default() };
                }
                continue;
            }
            let is_created = account.is_created();
            if is_created {
                cached.wiped = true;
                cached.storage.clear();
            }
            let info = &account.info;
            if info.code_hash != KECCAK256_EMPTY
                && let Some(code) = &info.code
                && cached.account.is_none_or(|old| old.code_hash != info.code_hash)
            {
                self.new_codes.insert(info.code_hash, code.original_bytes());
                self.codes.insert(info.code_hash, code.clone());
            }
            let storage_root = cached.account.filter(|_| !is_created).map_or(EMPTY_ROOT_HASH, |old| old.storage_root);
            let new = Account { nonce: info.nonce, balance: info.balance, code_hash: info.code_hash, storage_root };
            cached.changed |= cached.account != Some(new);
            cached.account = Some(new);
            for (key, slot) in account.storage {
                // Against what is known here: the journal's original value is that of the slot's last transaction.
                let before = cached.storage.get(&key).map_or(U256::ZERO, |slot| slot.value);
                if slot.present_value != before {
                    cached.storage.insert(key, Slot { value: slot.present_value, changed: true });
                    cached.changed = true;
                }
            }
        }
    }
}

fn write_storage(address: Address, root: B256, storage: &HashMap<U256, Slot>, changes: &mut Vec<Change>) -> B256 {
    let mut changed: Vec<_> = storage.iter().filter(|(_, slot)| slot.changed).collect();
    if changed.is_empty() {
        return root;
    }
    changed.sort_unstable_by_key(|(key, _)| **key);
    let prefix = [b"U", address.as_slice()].concat();
    let mut trie = Trie::new(root, |path| host::get(Table::State, &[&prefix, path].concat()));
    let keys: Vec<Vec<u8>> = changed.iter().map(|(key, _)| key.to_be_bytes_vec()).collect();
    for ((key, slot), hash) in changed.into_iter().zip(host::keccak256_many(&keys)) {
        let value = (!slot.value.is_zero()).then_some(slot.value);
        trie.update(hash, value.map(alloy_rlp::encode));
        changes.push(Change { key: slot_key(address, *key), value: value.map(|value| value.to_be_bytes_trimmed_vec()) });
    }
    let (root, nodes) = trie.commit(host::keccak256_many);
    changes.extend(nodes.into_iter().map(|(path, value)| Change { key: [&prefix, path.as_slice()].concat(), value }));
    root
}

/// Deletes all storage rows and trie nodes that the parent state has of an account.
fn delete_storage(address: Address, changes: &mut Vec<Change>) {
    for table in [b"S", b"U"] {
        host::scan_prefix(Table::State, &[table, address.as_slice()].concat(), |key, _| {
            changes.push(Change { key: key.to_vec(), value: None });
        });
    }
}

pub fn leaf(account: Account) -> Vec<u8> {
    let mut out = Vec::with_capacity(110);
    TrieAccount { nonce: account.nonce, balance: account.balance, storage_root: account.storage_root, code_hash: account.code_hash }
        .encode(&mut out);
    out
}

pub fn account_key(address: Address) -> Vec<u8> {
    [b"A", address.as_slice()].concat()
}

pub fn code_key(hash: B256) -> Vec<u8> {
    [b"C", hash.as_slice()].concat()
}

pub fn slot_key(address: Address, slot: U256) -> Vec<u8> {
    [storage_prefix(address).as_slice(), &slot.to_be_bytes::<32>()].concat()
}

/// What the keys of an account's storage words begin with.
pub fn storage_prefix(address: Address) -> Vec<u8> {
    [b"S", address.as_slice()].concat()
}

fn read_account(address: Address, row: Option<Vec<u8>>) -> Option<Account> {
    row.map(|row| Account::from_row(&row).unwrap_or_else(|| panic!("malformed row of account {address}")))
}

/// The rows of the state as they are committed, or as a block leaves them that is not.
#[derive(Default)]
pub struct Rows {
    changed: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl Rows {
    /// After changes.
    pub fn after(changes: Vec<Change>) -> Self {
        Self { changed: changes.into_iter().map(|change| (change.key, change.value)).collect() }
    }

    fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        match self.changed.get(key) {
            Some(value) => value.clone(),
            None => host::get(Table::State, key),
        }
    }

    /// The root of the account trie.
    fn root(&self) -> B256 {
        self.get(b"T").map_or(EMPTY_ROOT_HASH, keccak256)
    }

    pub fn account(&self, address: Address) -> Option<Account> {
        read_account(address, self.get(&account_key(address)))
    }

    pub fn code(&self, account: &Account) -> Bytes {
        if account.code_hash == KECCAK256_EMPTY {
            return Bytes::new();
        }
        self.get(&code_key(account.code_hash)).unwrap_or_default().into()
    }

    pub fn word(&self, address: Address, slot: U256) -> U256 {
        self.get(&slot_key(address, slot)).map_or(U256::ZERO, |row| U256::from_be_slice(&row))
    }

    /// The nodes of the account trie towards an address.
    pub fn account_proof(&self, address: Address) -> Vec<Bytes> {
        self.proof(self.root(), b"T", keccak256(address))
    }

    /// The nodes of an account's storage trie towards a slot.
    pub fn storage_proof(&self, address: Address, root: B256, slot: B256) -> Vec<Bytes> {
        self.proof(root, &[b"U", address.as_slice()].concat(), keccak256(slot))
    }

    fn proof(&self, root: B256, prefix: &[u8], key: B256) -> Vec<Bytes> {
        let trie = Trie::new(root, |path| self.get(&[prefix, path].concat()));
        trie.proof(key).into_iter().map(Bytes::from).collect()
    }
}
