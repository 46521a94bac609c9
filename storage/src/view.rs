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

/// Rows that a scan found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scan {
    /// In key order.
    pub entries: Vec<Entry>,
    /// Where to go on; none at the end of the range.
    pub next: Option<Vec<u8>>,
    /// Rows that were read besides: old values.
    pub passed: usize,
}

/// Bytes of rows after which a scan stops for its caller to look around: some 50 us. A single row may be longer.
const SCAN_BYTES: usize = 64 << 10;
/// Old values after which it does: some 100 us.
const PASSED_MAX: usize = 256;
/// Old values of one key in a row that say nothing of this version, after which the rest is skipped: as long as finding the next row anew takes.
const SKIPPED_FROM: usize = 16;

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

/// The first key after one.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
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
        let mut from = Some(start.to_vec());
        while let Some(start) = from.filter(|_| entries.len() < limit) {
            let some = self.scan_some(table, &start, end, limit - entries.len())?;
            entries.extend(some.entries);
            from = some.next;
        }
        Ok(entries)
    }

    /// The same up to where it took long: fewer rows than `limit`, even none, are not the end. Each call gets further.
    ///
    /// It reads `limit` rows of the latest, 64 KiB of them, and 256 old values at most, but for single rows that are longer.
    ///
    /// # Errors
    /// As [`Self::get`].
    pub fn scan_some(&self, table: Table, start: &[u8], end: Option<&[u8]>, limit: usize) -> Result<Scan, StoreError> {
        let first = key::latest(table, start);
        let last = end.map_or_else(|| table.end(), |end| key::latest(table, end));
        let mut scan = Scan::default();
        let mut bytes = 0;
        self.store.rows().scan(&first, &last, &mut |row, value| {
            let table_key = row[1..].to_vec();
            if scan.entries.len() >= limit || bytes >= SCAN_BYTES {
                scan.next = Some(table_key);
                return false;
            }
            bytes += table_key.len() + value.len();
            scan.entries.push(Entry { key: table_key, value: value.to_vec() });
            true
        })?;
        if table != Table::State {
            return self.check_epoch().map(|()| scan);
        }
        // As in `read`: latest first, and of history the first version after this view's has the last word.
        if self.store.begun() != self.version {
            scan = self.undo(scan, start, end, limit)?;
        }
        self.check_kept().map(|()| scan)
    }

    /// What a scan of the latest rows would have found at this version.
    fn undo(&self, latest: Scan, start: &[u8], end: Option<&[u8]>, limit: usize) -> Result<Scan, StoreError> {
        let Scan { entries, mut next, .. } = latest;
        let mut rows: BTreeMap<Vec<u8>, Option<Vec<u8>>> = entries.into_iter().map(|entry| (entry.key, Some(entry.value))).collect();
        let history_end = next.as_deref().or(end).map_or_else(key::history_end, key::history_start);
        let mut from = key::history_start(start);
        let mut settled: Option<Vec<u8>> = None;
        let (mut passed, mut bytes, mut broken) = (0, 0, Ok(()));
        loop {
            let (mut in_vain, mut skip_to) = (0, None);
            self.store.rows().scan(&from, &history_end, &mut |row, before| {
                passed += 1;
                let Some((table_key, version)) = key::parse_history(row) else { return true };
                let is_settled = settled.as_ref() == Some(&table_key);
                if passed > PASSED_MAX || bytes >= SCAN_BYTES {
                    // What is before this key is as it was.
                    next = Some(if is_settled { after(&table_key) } else { table_key });
                    return false;
                }
                if is_settled || version <= self.version {
                    in_vain += 1;
                    if in_vain < SKIPPED_FROM {
                        return true;
                    }
                    let behind = || key::history_start(&after(&table_key));
                    skip_to = Some(if is_settled { behind() } else { key::history(&table_key, self.version + 1) });
                    return false;
                }
                in_vain = 0;
                bytes += before.len();
                match Undo::decode_value(before) {
                    Ok(before) => drop(rows.insert(table_key.clone(), before)),
                    Err(error) => broken = Err(error),
                }
                settled = Some(table_key);
                broken.is_ok()
            })?;
            match skip_to {
                Some(row) => from = row,
                None => break,
            }
        }
        broken?;
        if let Some(next) = &next {
            drop(rows.split_off(next));
        }
        let mut entries: Vec<Entry> = rows.into_iter().filter_map(|(key, value)| Some(Entry { key, value: value? })).collect();
        if entries.len() > limit {
            next = entries.get(limit).map(|entry| entry.key.clone());
            entries.truncate(limit);
        }
        Ok(Scan { entries, next, passed })
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
