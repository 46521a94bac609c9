//! The accounts of a genesis file that does not fit into memory: read once, sorted by the host, and made into rows in the order of their hashes.
//!
//! | key of a sorted entry | value |
//! |---|---|
//! | `a`, hash of the address, place in the file from its end (4 bytes), `0` | address, account as in its row |
//! | `a`, the same, `1`, hash of the slot | slot, word without leading zeros |
//! | `c`, hash of the code | code |
//!
//! Of an address that is there twice the later account holds, as in any JSON object that is read into a map; it comes first here. In memory are
//! one account, the way to it in the tries, and code longer than [`CODE_SORTED_MAX`].

use std::io::{self, Read};

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256, keccak256};
use alloy_trie::EMPTY_ROOT_HASH;

use crate::{
    bindings::subnode::chain::{genesis_stream, types::Change},
    genesis_file::Sink,
    host::{PackedChanges, split_rows},
    state::{Account, account_key, code_key, leaf, slot_key},
    trie::Sorted,
};

/// Bytes of the spec that are read at once: the contract's bound.
const READ_BYTES: usize = 256 << 10;
/// Bytes of rows after which they are handed over.
const HANDED_BYTES: usize = 128 << 10;
/// Code that is longer is a row of the outcome: the contract bounds what is handed over at once.
const CODE_SORTED_MAX: usize = 512 << 10;

const ACCOUNT: u8 = b'a';
const CODE: u8 = b'c';
/// What of an account an entry has.
const WHOLE: u8 = 0;
const SLOT: u8 = 1;

/// Whether the spec is read in parts.
pub fn is_given() -> bool {
    genesis_stream::spec_size() > 0
}

/// Reads the spec once.
#[derive(Default)]
pub struct SpecReader {
    part: Vec<u8>,
    at: usize,
}

impl Read for SpecReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.at == self.part.len() {
            self.part = genesis_stream::read_spec(READ_BYTES as u32);
            self.at = 0;
        }
        let rest = &self.part[self.at..];
        let taken = rest.len().min(buffer.len());
        match (rest, &mut *buffer) {
            // How JSON is read.
            ([first, ..], [byte]) => *byte = *first,
            _ => buffer[..taken].copy_from_slice(&rest[..taken]),
        }
        self.at += taken;
        Ok(taken)
    }
}

/// Rows on their way to the host.
struct Handed {
    packed: PackedChanges,
    hand_over: fn(&[u8]),
}

impl Handed {
    fn new(hand_over: fn(&[u8])) -> Self {
        Self { packed: PackedChanges::default(), hand_over }
    }

    fn put(&mut self, key: &[&[u8]], value: &[&[u8]]) {
        self.packed.put(key, value);
        if self.packed.bytes().len() >= HANDED_BYTES {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.packed.bytes().is_empty() {
            (self.hand_over)(self.packed.bytes());
            self.packed.clear();
        }
    }
}

/// Takes accounts in the file's order.
pub struct Accounts {
    sorted: Handed,
    /// Accounts so far.
    place: u32,
    /// Rows that are not handed over.
    changes: Vec<Change>,
}

impl Accounts {
    pub fn new() -> Self {
        Self { sorted: Handed::new(genesis_stream::sort), place: 0, changes: Vec::new() }
    }

    fn key(&self, hash: B256) -> [u8; 37] {
        let mut key = [ACCOUNT; 37];
        key[1..33].copy_from_slice(hash.as_slice());
        key[33..].copy_from_slice(&(u32::MAX - self.place).to_be_bytes());
        key
    }
}

impl Sink for Accounts {
    fn code(&mut self, code: &Bytes) -> B256 {
        if code.is_empty() {
            return KECCAK256_EMPTY;
        }
        let hash = keccak256(code);
        if code.len() <= CODE_SORTED_MAX {
            self.sorted.flush();
            self.sorted.put(&[&[CODE], hash.as_slice()], &[code]);
        } else {
            self.changes.push(Change { key: code_key(hash), value: Some(code.to_vec()) });
        }
        hash
    }

    fn slot(&mut self, address: Address, slot: U256, word: U256) {
        let key = self.key(keccak256(address));
        let slot = slot.to_be_bytes::<32>();
        self.sorted.put(&[&key, &[SLOT], keccak256(slot).as_slice()], &[&slot, &word.to_be_bytes_trimmed_vec()]);
    }

    fn account(&mut self, address: Address, account: Account) {
        let key = self.key(keccak256(address));
        self.sorted.put(&[&key, &[WHOLE]], &[address.as_slice(), &account.to_row()]);
        self.place = self.place.checked_add(1).unwrap_or_else(|| panic!("more accounts than an address has room for"));
    }
}

/// An account whose storage is being read.
struct Current {
    hash: B256,
    place: [u8; 4],
    address: Address,
    account: Account,
}

impl Accounts {
    /// Hands the rows of the accounts over; the state root, and rows for the outcome.
    pub fn into_rows(mut self) -> (B256, Vec<Change>) {
        self.sorted.flush();
        let rows = core::cell::RefCell::new(Handed::new(genesis_stream::put_rows));
        let node = |prefix: &[&[u8]], path: &[u8], rlp: &[u8]| {
            let [first, second] = [prefix.first(), prefix.get(1)].map(|part| part.copied().unwrap_or_default());
            rows.borrow_mut().put(&[first, second, path], &[rlp]);
            keccak256(rlp)
        };
        let mut accounts = Sorted::new(|path: &[u8], rlp: &[u8]| node(&[b"T"], path, rlp));
        let mut sorted = sorted_entries().peekable();
        while let Some((key, value)) = sorted.next() {
            if let Some(hash) = key.strip_prefix(&[CODE]) {
                rows.borrow_mut().put(&[b"C", hash], &[&value]);
                continue;
            }
            let mut current = Current::of(&key, &value).unwrap_or_else(|| panic!("an entry was not sorted as it was given"));
            let address = current.address;
            let mut storage = Sorted::new(|path: &[u8], rlp: &[u8]| node(&[b"U", address.as_slice()], path, rlp));
            // Those of the same address that are before it in the file are passed over.
            while let Some((key, value)) = sorted.next_if(|(key, _)| current.is_of(key)) {
                let Some((hash, slot, word)) = current.slot(&key, &value).filter(|(_, _, word)| !word.is_zero()) else { continue };
                let row = word.to_be_bytes_trimmed_vec();
                rows.borrow_mut().put(&[&slot_key(address, slot)], &[&row]);
                storage.push(hash, alloy_rlp::encode(word));
            }
            current.account.storage_root = storage.finish().unwrap_or(EMPTY_ROOT_HASH);
            rows.borrow_mut().put(&[&account_key(address)], &[&current.account.to_row()]);
            accounts.push(current.hash, leaf(current.account));
        }
        let root = accounts.finish().unwrap_or(EMPTY_ROOT_HASH);
        rows.borrow_mut().flush();
        (root, self.changes)
    }
}

impl Current {
    fn of(key: &[u8], value: &[u8]) -> Option<Self> {
        let (hash, rest) = key.strip_prefix(&[ACCOUNT])?.split_first_chunk::<32>()?;
        let (place, rest) = rest.split_first_chunk()?;
        let (address, row) = value.split_first_chunk::<20>()?;
        (*rest == [WHOLE]).then_some(())?;
        Some(Self { hash: hash.into(), place: *place, address: address.into(), account: Account::from_row(row)? })
    }

    /// Whether an entry is of this address.
    fn is_of(&self, key: &[u8]) -> bool {
        key.strip_prefix(&[ACCOUNT]).is_some_and(|rest| rest.starts_with(self.hash.as_slice()))
    }

    /// A slot of this account: its hash, itself, its word.
    fn slot(&self, key: &[u8], value: &[u8]) -> Option<(B256, U256, U256)> {
        let rest = key.get(33..)?.strip_prefix(&self.place)?;
        let hash = B256::try_from(rest.strip_prefix(&[SLOT])?).ok()?;
        let (slot, word) = value.split_first_chunk::<32>()?;
        Some((hash, U256::from_be_bytes(*slot), U256::try_from_be_slice(word)?))
    }
}

/// What was sorted, entry by entry.
fn sorted_entries() -> impl Iterator<Item = (Vec<u8>, Vec<u8>)> {
    let parts = core::iter::from_fn(|| Some(genesis_stream::next_sorted()).filter(|part| !part.is_empty()));
    parts.flat_map(|part| split_rows(&part).map(|(key, value)| (key.to_vec(), value.to_vec())).collect::<Vec<_>>())
}
