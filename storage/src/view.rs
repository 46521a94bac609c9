//! Reads at one version.

use std::{collections::BTreeMap, sync::Arc};

use crate::{ChainStore, Head, StoreError, Table, history::Undo, key, position::Position};

/// One row that a scan found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its key.
    pub key: Vec<u8>,
    /// Its value.
    pub value: Vec<u8>,
}

/// A chain's tables at one version. Other tables than the state are always the latest.
///
/// A commit while the view is open does not change what it reads; a revert makes it answer [`StoreError::Reverted`], and one that is opened during a
/// revert answers nothing else. Reads of the state answer [`StoreError::Unavailable`] once the version is not kept any more.
#[derive(Clone)]
pub struct View {
    store: Arc<ChainStore>,
    version: u64,
    epoch: u64,
}

impl ChainStore {
    /// Reads as of the last commit.
    pub fn view(self: &Arc<Self>) -> View {
        self.view_of_head().0
    }

    /// The same, and the head it is of: none before the first commit.
    pub fn view_of_head(self: &Arc<Self>) -> (View, Option<Head>) {
        let epoch = self.epoch();
        let Position { version, head, .. } = self.position();
        (View { store: self.clone(), version, epoch }, head)
    }
}

impl View {
    /// The version it reads at.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Moves the view to the end of a height.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`], in versions, where that height is not kept; else as [`Self::get`].
    pub fn seek(&mut self, height: u64) -> Result<(), StoreError> {
        let (oldest, newest) = (self.store.oldest_version(), self.store.version());
        let found = self.store.version_at(height)?;
        self.check_epoch()?;
        match found {
            Some(version) if version >= oldest => {
                self.version = version;
                Ok(())
            }
            found => Err(StoreError::Unavailable { version: found.unwrap_or_default(), oldest, newest }),
        }
    }

    /// The oldest and the newest height whose state can be read.
    ///
    /// # Errors
    /// Where the read fails.
    pub fn heights(&self) -> Result<(u64, u64), StoreError> {
        let newest = self.store.head().map_or(0, |head| head.height);
        Ok((self.store.oldest_height()?, newest))
    }

    /// The value under a key.
    ///
    /// # Errors
    /// Where the read fails, or the chain was reverted since.
    pub fn get(&self, table: Table, table_key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let mut value = None;
        self.read(table, table_key, &mut |bytes| value = Some(bytes.to_vec()))?;
        Ok(value)
    }

    /// Calls `found` with the value under a key, if there is one. `found` may be called again with a later, better answer.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn read(&self, table: Table, table_key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        let mut value: Option<Vec<u8>> = None;
        if table != Table::State {
            self.store.rows().read(&key::latest(table, table_key), found)?;
            return self.check_epoch();
        }
        // Latest first, history second: a commit between the two leaves a history row, so the order alone makes this exact.
        self.store.rows().read(&key::latest(table, table_key), &mut |bytes| value = Some(bytes.to_vec()))?;
        if self.store.begun() != self.version
            && let Some(before) = self.replaced(table_key)?
        {
            value = before;
        }
        self.check_kept()?;
        if let Some(value) = value {
            found(&value);
        }
        Ok(())
    }

    /// The value that the first version after this view's replaced, if any did.
    fn replaced(&self, table_key: &[u8]) -> Result<Option<Option<Vec<u8>>>, StoreError> {
        let start = key::history(table_key, self.version + 1);
        let end = key::history(table_key, u64::MAX);
        let mut row = None;
        self.store.rows().scan(&start, &end, &mut |_, value| {
            row = Some(value.to_vec());
            false
        })?;
        row.map(|row| Undo::decode_value(&row)).transpose()
    }

    /// At most `limit` rows with `start <= key < end`, in key order.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn scan(&self, table: Table, start: &[u8], end: Option<&[u8]>, limit: usize) -> Result<Vec<Entry>, StoreError> {
        let mut entries = Vec::new();
        let mut start = start.to_vec();
        loop {
            let (chunk, horizon) = self.scan_chunk(table, &start, end, limit)?;
            entries.extend(chunk);
            match horizon {
                // Keys of today that were not there then leave a gap; look on behind them.
                Some(horizon) if entries.len() < limit => {
                    start = horizon;
                    start.push(0);
                }
                _ => break,
            }
        }
        if table == Table::State {
            self.check_kept()?
        } else {
            self.check_epoch()?
        }
        entries.truncate(limit);
        Ok(entries)
    }

    /// The rows of a range up to a horizon: the last key that was looked at, or none where the range was looked at to its end.
    fn scan_chunk(
        &self,
        table: Table,
        start: &[u8],
        end: Option<&[u8]>,
        limit: usize,
    ) -> Result<(Vec<Entry>, Option<Vec<u8>>), StoreError> {
        let first = key::latest(table, start);
        let last = end.map_or_else(|| table.end(), |end| key::latest(table, end));
        let mut latest = Vec::new();
        self.store.rows().scan(&first, &last, &mut |row, value| {
            latest.push(Entry { key: row[1..].to_vec(), value: value.to_vec() });
            latest.len() < limit
        })?;
        let horizon = (latest.len() >= limit).then(|| latest.last().map(|entry| entry.key.clone())).flatten();
        if table != Table::State || self.store.begun() == self.version {
            return Ok((latest, horizon));
        }
        // As in `read`: latest first, and of history the first version after this view's has the last word.
        let mut rows: BTreeMap<Vec<u8>, Option<Vec<u8>>> = latest.into_iter().map(|entry| (entry.key, Some(entry.value))).collect();
        let mut settled: Option<Vec<u8>> = None;
        let mut broken = None;
        let history_end = end.map_or_else(key::history_end, key::history_start);
        self.store.rows().scan(&key::history_start(start), &history_end, &mut |row, before| {
            let Some((table_key, version)) = key::parse_history(row) else { return true };
            if horizon.as_ref().is_some_and(|horizon| table_key > *horizon) {
                return false;
            }
            if version > self.version && settled.as_ref() != Some(&table_key) {
                match Undo::decode_value(before) {
                    Ok(before) => drop(rows.insert(table_key.clone(), before)),
                    Err(error) => broken = Some(error),
                }
                settled = Some(table_key);
            }
            broken.is_none()
        })?;
        broken.map_or(Ok(()), Err)?;
        let entries = rows.into_iter().filter_map(|(key, value)| Some(Entry { key, value: value? })).collect();
        Ok((entries, horizon))
    }

    /// Refuses what was read of the state at a version that is dropped meanwhile: without its history today's values are found.
    fn check_kept(&self) -> Result<(), StoreError> {
        self.check_epoch()?;
        let oldest = self.store.kept();
        if self.version >= oldest {
            return Ok(());
        }
        Err(StoreError::Unavailable { version: self.version, oldest, newest: self.store.version() })
    }

    fn check_epoch(&self) -> Result<(), StoreError> {
        if self.store.is_settled() && self.store.epoch() == self.epoch { Ok(()) } else { Err(StoreError::Reverted) }
    }
}
