//! A host in memory, one per thread: in tests it stands where a module's imports are.

use std::{cell::RefCell, collections::BTreeMap};

pub use crate::generated::subnode::chain::*;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

#[derive(Default)]
pub struct Tables {
    /// The state after each block.
    pub states: BTreeMap<u64, Rows>,
    pub index: Rows,
    pub blocks: Rows,
    /// The block whose state reads answer from.
    pub at: u64,
    /// What the pool has for the next block: ids, senders, transactions.
    pub pooled: Vec<[Vec<u8>; 3]>,
    /// Notes that wait for the next block. All hold that decode, and what is noted is not remembered.
    pub notes: Vec<Vec<u8>>,
    /// The modules that blocks declared.
    pub upgrades: Vec<declare::NextModule>,
    /// The seed that a block declared.
    pub seed: Option<Vec<u8>>,
    /// The attest addresses that were declared last.
    pub attesters: Option<Vec<Vec<u8>>>,
}

thread_local! {
    static TABLES: RefCell<Tables> = RefCell::default();
}

/// Reads or changes what this thread's host holds.
pub fn with<T>(work: impl FnOnce(&mut Tables) -> T) -> T {
    TABLES.with_borrow_mut(work)
}

impl Tables {
    fn table(&self, table: types::Table) -> &Rows {
        static NONE: Rows = Rows::new();
        match table {
            types::Table::State => self.states.get(&self.at).unwrap_or(&NONE),
            types::Table::Index => &self.index,
            types::Table::Block => &self.blocks,
        }
    }

    /// Has a block's changes committed, and reads answer from after it.
    pub fn commit(&mut self, height: u64, block: &[u8], id: &[u8], state: Vec<types::Change>, index: Vec<types::Change>) {
        let mut rows = self.states.get(&self.at).cloned().unwrap_or_default();
        apply(&mut rows, state);
        self.states.insert(height, rows);
        apply(&mut self.index, index);
        self.blocks.insert(height.to_be_bytes().to_vec(), block.to_vec());
        self.blocks.insert(id.to_vec(), height.to_be_bytes().to_vec());
        self.at = height;
    }
}

fn apply(rows: &mut Rows, changes: Vec<types::Change>) {
    for types::Change { key, value } in changes {
        match value {
            // Many rows in one change.
            Some(packed) if key.is_empty() => {
                rows.extend(crate::host::split_rows(&packed).map(|(key, value)| (key.to_vec(), value.to_vec())));
            }
            Some(value) => drop(rows.insert(key, value)),
            None => drop(rows.remove(&key)),
        }
    }
}

pub mod state {
    pub use crate::generated::subnode::chain::state::*;

    use super::{types::Entry, with};

    pub fn get(table: Table, key: &[u8]) -> Option<Vec<u8>> {
        with(|tables| tables.table(table).get(key).cloned())
    }

    pub fn get_many(table: Table, keys: &[Vec<u8>]) -> Vec<Option<Vec<u8>>> {
        keys.iter().map(|key| get(table, key)).collect()
    }

    pub fn get_part(table: Table, key: &[u8], offset: u32, len: u32) -> Option<Vec<u8>> {
        let part = |row: Vec<u8>| row.into_iter().skip(offset as usize).take(len as usize).collect();
        get(table, key).map(part)
    }

    pub fn scan(table: Table, start: &[u8], end: Option<&[u8]>, limit: u32) -> Vec<Entry> {
        with(|tables| {
            let rows = tables.table(table).range(start.to_vec()..);
            let rows = rows.take_while(|(key, _)| end.is_none_or(|end| key.as_slice() < end)).take(limit as usize);
            rows.map(|(key, value)| Entry { key: key.clone(), value: value.clone() }).collect()
        })
    }

    pub fn seek(height: u64) -> Result<(), Unavailable> {
        with(|tables| {
            let ends = (tables.states.keys().next().copied(), tables.states.keys().last().copied());
            if tables.states.contains_key(&height) {
                tables.at = height;
                return Ok(());
            }
            Err(Unavailable { oldest: ends.0.unwrap_or_default(), newest: ends.1.unwrap_or_default() })
        })
    }
}

pub mod host {
    pub use crate::generated::subnode::chain::host::*;

    use super::types::Sealing;

    pub fn status() -> ChainStatus {
        ChainStatus { now_ms: 0, clock_offset_ms: 0, sealing: Sealing::Manual, controls: true, version: "test/0".into() }
    }

    pub fn cursor(_id: u64) -> Option<Vec<u8>> {
        None
    }
}

pub mod keys {
    use super::types::Word256;
    pub use crate::generated::subnode::chain::keys::*;

    pub fn accounts() -> Vec<Vec<u8>> {
        Vec::new()
    }

    pub fn sign(_name: &[u8], _digest: Word256) -> Option<Signature> {
        None
    }
}

pub mod declare {
    //! Remembers what is declared.
    pub use crate::generated::subnode::chain::declare::*;

    pub fn attesters(addresses: &[Vec<u8>]) {
        super::with(|tables| tables.attesters = Some(addresses.to_vec()));
    }

    pub fn upgrade(module: &NextModule) {
        super::with(|tables| tables.upgrades.push(module.clone()));
    }

    pub fn seed(seed: &[u8]) {
        super::with(|tables| tables.seed = Some(seed.to_vec()));
    }
}

pub mod notes {
    //! Notes whose signatures nobody checks.
    pub use crate::generated::subnode::chain::notes::*;

    pub fn waiting() -> Vec<Vec<u8>> {
        super::with(|tables| core::mem::take(&mut tables.notes))
    }

    pub fn open(note: &[u8]) -> Option<Statement> {
        let statement = crate::notes::Statement::decode(note)?;
        let crate::notes::Statement { kind, subject, position, value } = statement;
        Some(Statement { kind, subject: subject.to_vec(), position, value })
    }

    pub fn noted(_kind: u16, _subject: &[u8], _position: u64) {}
}

pub mod pool {
    //! A pool that hands out what it has once.
    pub use crate::generated::subnode::chain::pool::*;

    pub fn get(_id: &[u8]) -> Option<Pooled> {
        None
    }

    pub fn next_packed(_limit: u32) -> Vec<u8> {
        let pooled = super::with(|tables| core::mem::take(&mut tables.pooled));
        let packed = |parts: [Vec<u8>; 3]| {
            let lengths = parts.each_ref().map(|part| (part.len() as u32).to_le_bytes());
            [lengths.as_flattened(), &[0; 8], &parts.concat()].concat()
        };
        pooled.into_iter().flat_map(packed).collect()
    }

    pub fn rank(_floor: u64) {}

    pub fn skip_sender(sender: &[u8]) {
        panic!("a transaction of {sender:?} does not fit into its block");
    }

    pub fn discard(_id: &[u8]) {}

    pub fn next_sequence(_sender: &[u8]) -> Option<u64> {
        None
    }
}

pub mod crypto {
    pub use crate::generated::subnode::chain::crypto::*;

    use alloy_primitives::{B256, keccak256 as hashed};
    use k256::ecdsa::{RecoveryId, Signature, VerifyingKey};

    use crate::host::{from_word, to_word};

    pub fn recover(item: Recovery) -> Option<Point> {
        let signature = Signature::from_scalars(from_word(item.r).0, from_word(item.s).0).ok()?;
        let id = RecoveryId::new(item.odd, false);
        let key = VerifyingKey::recover_from_prehash(from_word(item.digest).as_slice(), &signature, id).ok()?;
        let point = key.to_encoded_point(false);
        let part = |range| to_word(B256::from_slice(&point.as_bytes()[range]));
        Some(Point { x: part(1..33), y: part(33..65) })
    }

    pub fn recover_many(items: &[Recovery]) -> Vec<Option<Point>> {
        items.iter().map(|item| recover(*item)).collect()
    }

    pub fn keccak256_many(texts: &[Vec<u8>]) -> Vec<super::types::Word256> {
        texts.iter().map(|text| to_word(hashed(text))).collect()
    }

    pub fn keccak256_word(word: super::types::Word256) -> super::types::Word256 {
        to_word(hashed(from_word(word)))
    }

    pub fn keccak256_pair(first: super::types::Word256, second: super::types::Word256) -> super::types::Word256 {
        to_word(hashed([from_word(first), from_word(second)].concat()))
    }
}
