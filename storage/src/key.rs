//! Bytes of a key within a chain's keyspace.

/// Longest key of a table.
pub const KEY_BYTES_MAX: usize = 256;

/// The tables of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Table {
    /// Versioned: readable at past heights.
    State = 0,
    /// Derived look-ups.
    Index = 1,
    /// Blocks.
    Block = 2,
    /// This crate's own: head, and versions by height.
    Meta = 3,
    /// What [`crate::ChainStore::log`] writes between commits. It is never undone.
    Log = 4,
}

/// Where a keyspace that is being filled keeps how far that is. Not of a chain's rows: it goes with the last of them.
pub(crate) const PROGRESS: [u8; 1] = [0x01];
/// Longest key of a row: escaped, a table's key is at most twice as long, between its prefix and its version.
pub(crate) const ROW_KEY_BYTES_MAX: usize = KEY_BYTES_MAX * 2 + 16;

const LATEST: u8 = 0x10;
const HISTORY: u8 = 0x20;
const UNDO: u8 = 0x30;
const WRITTEN: u8 = 0x40;

impl Table {
    pub(crate) fn from_byte(byte: u8) -> Option<Self> {
        [Self::State, Self::Index, Self::Block, Self::Meta, Self::Log].into_iter().find(|table| *table as u8 == byte)
    }

    /// The first key after all of this table's.
    pub(crate) fn end(self) -> Vec<u8> {
        vec![LATEST + self as u8 + 1]
    }
}

/// Whether a row of this key can be in a chain's keyspace.
pub(crate) fn is_row(row: &[u8]) -> bool {
    let tables = LATEST..=LATEST + Table::Log as u8;
    row.len() <= ROW_KEY_BYTES_MAX && row.first().is_some_and(|first| tables.contains(first) || [HISTORY, UNDO, WRITTEN].contains(first))
}

/// Whether a row is of the past: a block, a look-up, an old value, or what it takes to undo and to drop them.
pub(crate) fn is_past(row: &[u8]) -> bool {
    let tables = [Table::Index, Table::Block].map(|table| LATEST + table as u8);
    row.first().is_some_and(|first| tables.contains(first) || [HISTORY, UNDO, WRITTEN].contains(first))
}

/// Whether a row of the past is an old value of the state, or what it takes to undo a version.
pub(crate) fn is_old(row: &[u8]) -> bool {
    row.first().is_some_and(|first| [HISTORY, UNDO].contains(first))
}

/// The first key of such rows, and the first one after all of them.
pub(crate) fn old_rows() -> [Vec<u8>; 2] {
    [vec![HISTORY], vec![UNDO + 1]]
}

/// Where the latest value of a key is.
pub(crate) fn latest(table: Table, key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(key.len() + 1);
    row.push(LATEST + table as u8);
    row.extend_from_slice(key);
    row
}

/// Where the values of a state key are that later versions replaced. Keeps the order of keys: a zero byte becomes
/// `00 ff`, and `00 00` ends the key.
pub(crate) fn history_prefix(key: &[u8]) -> Vec<u8> {
    let mut row = history_start(key);
    row.extend_from_slice(&[0, 0]);
    row
}

/// The first history row of keys that are `key` or after it.
pub(crate) fn history_start(key: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(key.len() + 11);
    row.push(HISTORY);
    for byte in key {
        row.push(*byte);
        if *byte == 0 {
            row.push(0xff);
        }
    }
    row
}

/// The first key after all history rows.
pub(crate) fn history_end() -> Vec<u8> {
    vec![HISTORY + 1]
}

/// Where the value of a state key is that `version` replaced.
pub(crate) fn history(key: &[u8], version: u64) -> Vec<u8> {
    let mut row = history_prefix(key);
    row.extend_from_slice(&version.to_be_bytes());
    row
}

/// The key and version of a history row.
pub(crate) fn parse_history(row: &[u8]) -> Option<(Vec<u8>, u64)> {
    let (escaped, version) = row.strip_prefix(&[HISTORY])?.split_last_chunk::<8>()?;
    let mut key = Vec::with_capacity(escaped.len());
    let mut bytes = escaped.strip_suffix(&[0, 0])?.iter();
    while let Some(byte) = bytes.next() {
        key.push(*byte);
        if *byte == 0 && bytes.next() != Some(&0xff) {
            return None;
        }
    }
    Some((key, u64::from_be_bytes(*version)))
}

/// Where the undo record of a version is.
pub(crate) fn undo(version: u64) -> Vec<u8> {
    let mut row = vec![UNDO];
    row.extend_from_slice(&version.to_be_bytes());
    row
}

/// Where the keys of the rows are that go with a version's block.
pub(crate) fn written(version: u64) -> Vec<u8> {
    let mut row = vec![WRITTEN];
    row.extend_from_slice(&version.to_be_bytes());
    row
}

/// The version of such a row.
pub(crate) fn parse_written(row: &[u8]) -> Option<u64> {
    row.strip_prefix(&[WRITTEN])?.try_into().ok().map(u64::from_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn history_rows_round_trip_and_keep_order(
            a in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..12),
            b in prop::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 0..12),
            x: u64, y: u64,
        ) {
            prop_assert_eq!(parse_history(&history(&a, x)), Some((a.clone(), x)));
            prop_assert_eq!(history(&a, x).cmp(&history(&b, y)), (&a, x).cmp(&(&b, y)));
        }
    }
}
