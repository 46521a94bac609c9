use std::{future::Future, pin::Pin, sync::Arc, time::Duration};

use tokio::sync::Semaphore;

use crate::{StoreError, key};

/// Resolves once a write is durable and visible.
pub(crate) type Written = Pin<Box<dyn Future<Output = Result<(), StoreError>> + Send>>;

/// One write to a keyspace; none deletes the row.
pub(crate) type Op = (Vec<u8>, Option<Vec<u8>>);

/// What a write is for: a disk that fills up takes the last kinds for longer than the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Blocks, and all else that grows with what clients and other nodes send.
    Data,
    /// What the consensus has to remember between blocks, as what this node signed.
    Log,
    /// What takes more than it adds: pruning, going back, a chain's tables replaced by others.
    Release,
}

/// An ordered keyspace: what the two backends differ in.
pub(crate) trait Rows: Send + Sync {
    /// Calls `found` with the value under `key`, if there is one.
    fn read(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), StoreError>;

    /// Calls `row` with each row of `start <= key < end` in order until it answers false.
    fn scan(&self, start: &[u8], end: &[u8], row: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError>;

    /// Writes all of `ops` or nothing, within `patience` of now. Work begins at once; the future only waits.
    fn write_within(&self, ops: Vec<Op>, purpose: Purpose, patience: Duration) -> Written;

    /// Adds many rows, in the order of their keys, at the cost of writing them once. Durable and visible when it resolves; where it fails none of
    /// them is there.
    fn append(&self, rows: Vec<Row>) -> Written;

    /// What whoever writes a chain's first version in parts acquires: of all handles to one keyspace the same.
    fn loading(&self) -> Arc<Semaphore>;

    /// Drops all rows: durable when it returns.
    fn clear(&self) -> Result<(), StoreError>;

    /// The staging keyspace of the same chain: a new, empty one, or the one that was made before. It survives the process where this one does.
    fn staging(&self) -> Result<Arc<dyn Rows>, StoreError>;

    /// The staging keyspace, where it was made before.
    fn existing_staging(&self) -> Option<Arc<dyn Rows>>;

    /// Forgets the staging keyspace and its rows.
    fn drop_staging(&self) -> Result<(), StoreError>;

    /// Puts the staging keyspace in this one's place, in one durable instant. The rows that this one had are gone.
    fn swap_in_staging(&self) -> Result<(), StoreError>;

    /// What outlives a chain that was deleted from this store.
    fn tombstone(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError>;

    /// All rows as of now.
    fn dump(&self) -> Result<Box<dyn Dump>, StoreError>;
}

impl dyn Rows + '_ {
    /// Writes all of `ops` or nothing, now.
    pub(crate) fn write(&self, ops: Vec<Op>, purpose: Purpose) -> Written {
        self.write_within(ops, purpose, Duration::ZERO)
    }

    /// Whether there is no row at all.
    pub(crate) fn is_empty(&self) -> Result<bool, StoreError> {
        let mut empty = true;
        self.scan(&[], &[u8::MAX], &mut |_, _| {
            empty = false;
            false
        })?;
        Ok(empty)
    }

    pub(crate) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut value = None;
        self.read(key, &mut |bytes| value = Some(bytes.to_vec()))?;
        Ok(value)
    }
}

/// A row: key and value.
pub(crate) type Row = (Vec<u8>, Vec<u8>);

/// Rows as of one moment, in key order.
pub(crate) trait Dump: Send {
    /// The next rows, of `bytes` or a little more; none at the end.
    fn next(&mut self, bytes: usize) -> Result<Vec<Row>, StoreError>;
}

/// Longest value: the largest row there can be, a block, and some.
pub(crate) const VALUE_BYTES_MAX: usize = 80 << 20;

/// Appends a row as it travels: key length, value length (4 bytes each, big-endian), key, value.
pub(crate) fn put_row(bytes: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for part in [key, value] {
        bytes.extend_from_slice(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_be_bytes());
    }
    bytes.extend_from_slice(key);
    bytes.extend_from_slice(value);
}

/// The key and the value that `bytes` begin with, and what is behind them; none where they end within the row.
///
/// # Errors
/// Where no row is as long as this one says it is.
#[expect(clippy::type_complexity, reason = "three slices of one")]
pub(crate) fn split_row(bytes: &[u8]) -> Result<Option<(&[u8], &[u8], &[u8])>, StoreError> {
    let Some(([k0, k1, k2, k3, v0, v1, v2, v3], rest)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
    let (key, value) = (u32::from_be_bytes([*k0, *k1, *k2, *k3]) as usize, u32::from_be_bytes([*v0, *v1, *v2, *v3]) as usize);
    if key > key::ROW_KEY_BYTES_MAX || value > VALUE_BYTES_MAX {
        return Err(StoreError::Corrupt(format!("a row of {key} and {value} bytes")));
    }
    let Some((row, behind)) = rest.split_at_checked(key + value) else { return Ok(None) };
    let (key, value) = row.split_at(key);
    Ok(Some((key, value, behind)))
}
