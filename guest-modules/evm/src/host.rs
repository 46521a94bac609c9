//! What the host lends, in the types of this crate.

use alloy_primitives::{Address, B256, U256};

pub use crate::bindings::subnode::chain::types::Table;
use crate::bindings::subnode::chain::{
    crypto, pool, state,
    types::{Change, Word256},
};

/// At most this many keys go into one `get-many`.
const KEYS_MAX: usize = 4096;

pub fn to_word(bytes: B256) -> Word256 {
    let word = |i: usize| u64::from_le_bytes(bytes[i * 8..i * 8 + 8].try_into().unwrap_or_default());
    Word256 { a: word(0), b: word(1), c: word(2), d: word(3) }
}

pub fn from_word(word: Word256) -> B256 {
    let mut bytes = [0; 32];
    for (chunk, part) in bytes.chunks_exact_mut(8).zip([word.a, word.b, word.c, word.d]) {
        chunk.copy_from_slice(&part.to_le_bytes());
    }
    B256::new(bytes)
}

pub fn get(table: Table, key: &[u8]) -> Option<Vec<u8>> {
    state::get(table, key)
}

pub fn get_many(table: Table, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
    keys.chunks(KEYS_MAX).flat_map(|chunk| state::get_many(table, chunk)).collect()
}

/// All rows whose key starts with `prefix`.
pub fn scan_prefix(table: Table, prefix: &[u8], mut row: impl FnMut(&[u8], Vec<u8>)) {
    let mut start = prefix.to_vec();
    let end = prefix_end(prefix);
    loop {
        let rows = state::scan(table, &start, end.as_deref(), 1024);
        let Some(last) = rows.last() else { return };
        start.clear();
        start.extend_from_slice(&last.key);
        start.push(0);
        let full = rows.len() == 1024;
        for entry in rows {
            row(&entry.key, entry.value);
        }
        if !full {
            return;
        }
    }
}

/// The first key after all keys that start with `prefix`.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < u8::MAX {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

/// A transaction that the pool offers.
pub struct Pooled<'a> {
    pub id: &'a [u8],
    pub sender: &'a [u8],
    pub data: &'a [u8],
}

/// The next transactions to try, at most so many, in the host's buffer.
pub struct Batch(Vec<u8>);

impl Batch {
    pub fn next(limit: u32) -> Self {
        Self(pool::next_packed(limit))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = Pooled<'_>> {
        let mut rest = self.0.as_slice();
        core::iter::from_fn(move || {
            let (pooled, others) = split_pooled(rest)?;
            rest = others;
            Some(pooled)
        })
    }
}

/// wit/pool.wit: the lengths of three parts, the sequence, and the parts.
fn split_pooled(packed: &[u8]) -> Option<(Pooled<'_>, &[u8])> {
    let (lengths, rest) = packed.split_first_chunk::<12>()?;
    let (_sequence, rest) = rest.split_first_chunk::<8>()?;
    let len = |part: usize| u32::from_le_bytes(core::array::from_fn(|byte| lengths[part * 4 + byte])) as usize;
    let (id, rest) = rest.split_at_checked(len(0))?;
    let (sender, rest) = rest.split_at_checked(len(1))?;
    let (data, rest) = rest.split_at_checked(len(2))?;
    Some((Pooled { id, sender, data }, rest))
}

/// Changes in one buffer (wit/types.wit).
#[derive(Default)]
pub struct PackedChanges(Vec<u8>);

impl PackedChanges {
    /// With room for so many changes of so many bytes each.
    pub fn with_capacity(changes: usize, bytes: usize) -> Self {
        Self(Vec::with_capacity(changes * (8 + bytes)))
    }

    /// Appends a change, its key and value in parts.
    pub fn put(&mut self, key: &[&[u8]], value: &[&[u8]]) {
        for parts in [key, value] {
            let len: usize = parts.iter().map(|part| part.len()).sum();
            self.0.extend_from_slice(&(len as u32).to_le_bytes());
        }
        for part in key.iter().chain(value) {
            self.0.extend_from_slice(part);
        }
    }

    pub fn into_change(self) -> Change {
        Change { key: Vec::new(), value: Some(self.0) }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Empties the buffer, and keeps its room.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// The rows of such a buffer, key and value.
pub fn split_rows(packed: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let mut rest = packed;
    core::iter::from_fn(move || {
        let (key_len, behind) = rest.split_first_chunk()?;
        let (value_len, behind) = behind.split_first_chunk()?;
        let (key, behind) = behind.split_at_checked(u32::from_le_bytes(*key_len) as usize)?;
        let (value, behind) = behind.split_at_checked(u32::from_le_bytes(*value_len) as usize)?;
        rest = behind;
        Some((key, value))
    })
}

/// What it takes to find out who signed.
pub struct Recovery {
    pub digest: B256,
    pub r: U256,
    pub s: U256,
    pub odd: bool,
}

impl Recovery {
    fn lower(&self) -> crypto::Recovery {
        crypto::Recovery { digest: to_word(self.digest), r: to_word(self.r.into()), s: to_word(self.s.into()), odd: self.odd }
    }
}

fn address_of(point: crypto::Point) -> Address {
    let mut key = [0; 64];
    key[..32].copy_from_slice(from_word(point.x).as_slice());
    key[32..].copy_from_slice(from_word(point.y).as_slice());
    Address::from_raw_public_key(&key)
}

pub fn recover(item: &Recovery) -> Option<Address> {
    crypto::recover(item.lower()).map(address_of)
}

pub fn recover_many(items: &[Recovery]) -> Vec<Option<Address>> {
    let lowered: Vec<_> = items.iter().map(Recovery::lower).collect();
    crypto::recover_many(&lowered).into_iter().map(|point| point.map(address_of)).collect()
}

/// The hash of 32 bytes, in and out as four little-endian numbers.
#[inline(always)]
pub fn keccak256_word([a, b, c, d]: [u64; 4]) -> [u64; 4] {
    let hash = crypto::keccak256_word(Word256 { a, b, c, d });
    [hash.a, hash.b, hash.c, hash.d]
}

/// The same of 64 bytes.
#[inline(always)]
pub fn keccak256_pair(first: [u64; 4], second: [u64; 4]) -> [u64; 4] {
    let [first, second] = [first, second].map(|[a, b, c, d]| Word256 { a, b, c, d });
    let hash = crypto::keccak256_pair(first, second);
    [hash.a, hash.b, hash.c, hash.d]
}

/// At most this many texts go into one `keccak256-many`.
const TEXTS_MAX: usize = 65_536;

pub fn keccak256_many(texts: &[Vec<u8>]) -> Vec<B256> {
    texts.chunks(TEXTS_MAX).flat_map(|chunk| crypto::keccak256_many(chunk).into_iter().map(from_word)).collect()
}

/// The hash function of alloy and revm in this module (../keccak calls it).
///
/// # Safety
/// `bytes` points to `len` readable bytes and `output` to 32 writable ones.
#[cfg(target_arch = "wasm32")]
#[unsafe(no_mangle)]
unsafe extern "C" fn subnode_keccak256(bytes: *const u8, len: usize, output: *mut u8) {
    // SAFETY: the caller's promise, and `word` is 32 bytes in the order `Word256` fixes.
    unsafe {
        let word = |index: usize| {
            let [a, b, c, d] = bytes.cast::<[u64; 4]>().add(index).read_unaligned();
            Word256 { a, b, c, d }
        };
        let word = match len {
            32 => crypto::keccak256_word(word(0)),
            64 => crypto::keccak256_pair(word(0), word(1)),
            _ => crypto::keccak256(core::slice::from_raw_parts(bytes, len)),
        };
        output.cast::<[u64; 4]>().write_unaligned([word.a, word.b, word.c, word.d]);
    }
}
