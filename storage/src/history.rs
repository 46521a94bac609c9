//! What it takes to undo a version.

use crate::{StoreError, Table};

/// The rows a version changed: of the state table the key and the size of its history row, which has the old value; of others
/// key and value.
#[derive(Default)]
pub(crate) struct Undo {
    record: Vec<u8>,
}

/// What was under a key before a version.
pub(crate) enum Before<'a> {
    /// A history row has it, of so many value bytes.
    History(usize),
    /// This value, or none.
    Value(Option<&'a [u8]>),
}

/// Marks a value that was not there; [`PRESENT`] comes before one that was.
const ABSENT: u8 = 0;
const PRESENT: u8 = 1;

impl Undo {
    pub(crate) fn push_state(&mut self, key: &[u8], history_bytes: usize) {
        push_key(&mut self.record, Table::State, key);
        push_len(&mut self.record, history_bytes);
    }

    pub(crate) fn push(&mut self, table: Table, key: &[u8], before: Option<&[u8]>) {
        push_key(&mut self.record, table, key);
        push_bytes(&mut self.record, &Self::encode_value(before));
    }

    pub(crate) fn finish(self) -> Vec<u8> {
        self.record
    }

    pub(crate) fn encode_value(before: Option<&[u8]>) -> Vec<u8> {
        match before {
            None => vec![ABSENT],
            Some(value) => [&[PRESENT], value].concat(),
        }
    }

    pub(crate) fn decode_value(row: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        value_of(row).map(|value| value.map(<[u8]>::to_vec)).ok_or_else(corrupt)
    }

    /// Calls `row` with each table and key, and what was there.
    pub(crate) fn for_each(mut record: &[u8], mut row: impl FnMut(Table, &[u8], Before<'_>)) -> Result<(), StoreError> {
        while !record.is_empty() {
            let (table, key) = take_key(&mut record).ok_or_else(corrupt)?;
            let before = match table {
                Table::State => Before::History(take_len(&mut record).ok_or_else(corrupt)?),
                Table::Log => return Err(corrupt()),
                Table::Index | Table::Block | Table::Meta => Before::Value(take_bytes(&mut record).and_then(value_of).ok_or_else(corrupt)?),
            };
            row(table, key, before);
        }
        Ok(())
    }
}

fn value_of(row: &[u8]) -> Option<Option<&[u8]>> {
    match row.split_first()? {
        (&ABSENT, []) => Some(None),
        (&PRESENT, value) => Some(Some(value)),
        _ => None,
    }
}

/// Appends a table and a key of it to a record.
pub(crate) fn push_key(record: &mut Vec<u8>, table: Table, key: &[u8]) {
    record.push(table as u8);
    push_bytes(record, key);
}

/// Appends bytes behind their length (4 bytes, big-endian).
fn push_bytes(record: &mut Vec<u8>, bytes: &[u8]) {
    push_len(record, bytes.len());
    record.extend_from_slice(bytes);
}

fn push_len(record: &mut Vec<u8>, len: usize) {
    record.extend_from_slice(&u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes());
}

/// Takes a table and a key of it off the front of a record.
pub(crate) fn take_key<'a>(record: &mut &'a [u8]) -> Option<(Table, &'a [u8])> {
    let (table, rest) = record.split_first()?;
    *record = rest;
    Some((Table::from_byte(*table)?, take_bytes(record)?))
}

fn take_len(record: &mut &[u8]) -> Option<usize> {
    let (len, rest) = record.split_first_chunk::<4>()?;
    *record = rest;
    Some(u32::from_be_bytes(*len) as usize)
}

fn take_bytes<'a>(record: &mut &'a [u8]) -> Option<&'a [u8]> {
    let len = take_len(record)?;
    let (bytes, rest) = record.split_at_checked(len)?;
    *record = rest;
    Some(bytes)
}

fn corrupt() -> StoreError {
    StoreError::Corrupt("history row does not decode".into())
}
