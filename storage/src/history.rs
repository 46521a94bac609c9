//! What it takes to undo a version.

use crate::{StoreError, Table};

/// The rows a version changed: of the state table the keys only (their old values are history rows), of others key and value.
#[derive(Default)]
pub(crate) struct Undo {
    record: Vec<u8>,
}

/// Marks a value that was not there; [`PRESENT`] comes before one that was.
const ABSENT: u8 = 0;
const PRESENT: u8 = 1;

impl Undo {
    pub(crate) fn push_state(&mut self, key: &[u8]) {
        self.push_key(Table::State, key);
    }

    pub(crate) fn push(&mut self, table: Table, key: &[u8], before: Option<&[u8]>) {
        self.push_key(table, key);
        let value = Self::encode_value(before);
        self.push_bytes(&value);
    }

    fn push_key(&mut self, table: Table, key: &[u8]) {
        self.record.push(table as u8);
        self.push_bytes(key);
    }

    fn push_bytes(&mut self, bytes: &[u8]) {
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.record.extend_from_slice(&len.to_be_bytes());
        self.record.extend_from_slice(bytes);
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

    /// Calls `row` with each table, key and, outside the state table, value before.
    pub(crate) fn for_each(mut record: &[u8], mut row: impl FnMut(Table, &[u8], Option<&[u8]>)) -> Result<(), StoreError> {
        while let Some((table, rest)) = record.split_first() {
            let table = Table::from_byte(*table).ok_or_else(corrupt)?;
            record = rest;
            let key = take_bytes(&mut record).ok_or_else(corrupt)?;
            let value = match table {
                Table::State => None,
                Table::Index | Table::Block | Table::Meta => take_bytes(&mut record).and_then(value_of).ok_or_else(corrupt)?,
            };
            row(table, key, value);
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

fn take_bytes<'a>(record: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = record.split_first_chunk::<4>()?;
    let (bytes, rest) = rest.split_at_checked(u32::from_be_bytes(*len) as usize)?;
    *record = rest;
    Some(bytes)
}

fn corrupt() -> StoreError {
    StoreError::Corrupt("history row does not decode".into())
}
