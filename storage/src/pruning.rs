//! Drops what a chain does not keep of its past ([`crate::past`] says what that is).

use std::sync::{PoisonError, atomic::Ordering};

use crate::{
    ChainStore, StoreError, Table,
    changes::Changes,
    history::{Before, Undo, take_key},
    key,
    past::{Kept, Retention, VERSIONS_MIN},
    position::{HEAD_KEY, OLD_BYTES_KEY, Position, decode_number},
    rows::Purpose,
};

/// How many more it drops at most for a limit in bytes: a large block may take the place of many small ones.
const DROPPED_PER_COMMIT: u64 = 256;

impl ChainStore {
    /// How much of the past of the state is kept.
    pub fn retention(&self) -> Retention {
        *self.past.retention.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes how much of the past of the state is kept. Commits catch up with it, and [`Self::prune`] at once.
    pub fn set_retention(&self, retention: Retention) {
        *self.past.retention.write().unwrap_or_else(PoisonError::into_inner) = retention;
    }

    /// Holds this version and all after it, whatever retention and limit say, or nothing any more.
    pub fn hold(&self, version: Option<u64>) {
        self.past.held.store(version.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Bytes of memory that blocks, look-ups and old values of the state may take; commits drop the oldest for it. To be set before the first
    /// commit: of what was written earlier no block is dropped.
    pub fn set_past_limit(&self, bytes: u64) {
        self.past.limit_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Bytes of memory that they take, of what was written since this was opened.
    pub fn past_bytes(&self) -> u64 {
        self.past.bytes()
    }

    /// The oldest version to keep at `version`, at most `step` after the oldest there is.
    fn oldest_to_keep(&self, version: u64, oldest: u64, step: u64) -> u64 {
        let oldest = oldest.max(1);
        match self.retention() {
            Retention::Archive | Retention::Within { .. } => oldest,
            Retention::Last(kept) => {
                let held = self.past.held.load(Ordering::Relaxed);
                oldest.max(version.saturating_sub(kept).min(held).min(oldest + step))
            }
        }
    }

    /// Drops what is not to be kept at `version`: at most `step` versions of the state for the retention, and some of everything for the limit.
    pub(crate) fn prune_into(&self, changes: &mut Changes, version: u64, before: u64, step: u64) -> Result<Kept, StoreError> {
        let first = self.past.first.load(Ordering::Relaxed);
        let mut kept = Kept { oldest: self.oldest_to_keep(version, before, step), first, old_bytes: None };
        // Version v is readable as long as the undo records after it are there.
        for pruned in before + 1..=kept.oldest {
            self.prune_version(pruned, changes)?;
        }
        let newest = version.saturating_sub(VERSIONS_MIN).min(self.past.held.load(Ordering::Relaxed));
        for _ in 0..DROPPED_PER_COMMIT {
            if changes.past_after(self.past.bytes()) <= self.past.limit_bytes() {
                break;
            } else if kept.first < kept.oldest {
                self.drop_block(kept.first, changes)?;
                kept.first += 1;
            } else if kept.oldest < newest {
                kept.oldest += 1;
                self.prune_version(kept.oldest, changes)?;
            } else {
                break;
            }
        }
        kept.old_bytes = match self.retention() {
            Retention::Within { .. } => {
                let old_bytes = self.count_old()?;
                for _ in 0..DROPPED_PER_COMMIT {
                    if !self.is_too_old(kept.oldest, version, changes.old_after(old_bytes)) {
                        break;
                    }
                    kept.oldest = kept.oldest.max(1) + 1;
                    self.prune_version(kept.oldest, changes)?;
                }
                Some(changes.old_after(old_bytes))
            }
            Retention::Archive | Retention::Last(_) => None,
        };
        self.note_old(changes, kept.old_bytes);
        Ok(kept)
    }

    /// Whether the oldest version is to go for a retention by bytes, where old values take so many of them.
    fn is_too_old(&self, oldest: u64, version: u64, old_bytes: u64) -> bool {
        let Retention::Within { bytes, versions_min } = self.retention() else { return false };
        let newest = version.saturating_sub(versions_min).min(self.past.held.load(Ordering::Relaxed));
        old_bytes > bytes && oldest.max(1) < newest
    }

    /// Bytes of old values and of what it takes to undo versions. Where they are not counted yet, all of them are read.
    fn count_old(&self) -> Result<u64, StoreError> {
        if let Some(known) = self.past.old_bytes() {
            return Ok(known);
        }
        let (mut bytes, [start, end]) = (0, key::old_rows());
        self.rows.scan(&start, &end, &mut |row, value| {
            bytes += (row.len() + value.len()) as u64;
            true
        })?;
        Ok(bytes)
    }

    /// Writes down how many bytes old values take, or that they are not counted any more: a number that no commit keeps right would be read later.
    pub(crate) fn note_old(&self, changes: &mut Changes, old_bytes: Option<u64>) {
        let row = key::latest(Table::Meta, OLD_BYTES_KEY);
        let before = self.past.old_bytes().map(|_| size_of::<u64>());
        match old_bytes {
            Some(bytes) => changes.put(row, bytes.to_be_bytes().to_vec(), before),
            None if before.is_some() => changes.delete(row, before),
            None => {}
        }
    }

    /// Drops what it takes to undo a version, and the values of the state that it replaced.
    fn prune_version(&self, version: u64, changes: &mut Changes) -> Result<(), StoreError> {
        let row = key::undo(version);
        let Some(record) = self.rows.get(&row)? else { return Ok(()) };
        Undo::for_each(&record, |_, table_key, before| {
            if let Before::History(bytes) = before {
                changes.delete(key::history(table_key, version), Some(bytes));
            }
        })?;
        changes.delete(row, Some(record.len()));
        Ok(())
    }

    /// Drops the block of a version that cannot be undone any more, with the look-ups it wrote. A row that was written again later goes with it.
    fn drop_block(&self, version: u64, changes: &mut Changes) -> Result<(), StoreError> {
        let row = key::written(version);
        let Some(record) = self.rows.get(&row)? else { return Ok(()) };
        let corrupt = || StoreError::Corrupt(format!("the list of rows of version {version} does not decode"));
        let mut rest = record.as_slice();
        while !rest.is_empty() {
            let (table, table_key) = take_key(&mut rest).ok_or_else(corrupt)?;
            let dropped = key::latest(table, table_key);
            let mut found = None;
            self.rows.read(&dropped, &mut |value| {
                // A height is of the last version that it had.
                let stays = table == Table::Meta && decode_number(value).is_ok_and(|last| last != version);
                found = (!stays).then_some(value.len());
            })?;
            if found.is_some() {
                changes.delete(dropped, found);
            }
        }
        changes.delete(row, Some(record.len()));
        Ok(())
    }

    /// Drops up to `versions` of the past that the retention does not keep. Whether there is more to drop.
    ///
    /// # Errors
    /// Where disk or database fail: nothing was dropped.
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Self::commit`].
    pub async fn prune(&self, versions: u64) -> Result<bool, StoreError> {
        let before = self.position();
        if before.head.is_none() {
            return Ok(false);
        }
        let mut changes = Changes::default();
        let kept = self.prune_into(&mut changes, before.version, before.oldest, versions)?;
        if kept.oldest == before.oldest && kept.first == self.past.first.load(Ordering::Relaxed) {
            return Ok(false);
        }
        let past_bytes = changes.past_after(self.past.bytes());
        let after = Position { oldest: kept.oldest, live_bytes: changes.live_after(before.live_bytes), ..before.clone() };
        let mut ops = changes.into_ops();
        ops.push((key::latest(Table::Meta, HEAD_KEY), Some(after.encode())));
        self.keep_from(after.oldest);
        if let Err(error) = self.rows.write(ops, Purpose::Release).await {
            self.keep_from(before.oldest);
            return Err(error);
        }
        self.wanted_bytes.store(0, Ordering::Relaxed);
        self.past.move_to(kept, past_bytes);
        let more = self.oldest_to_keep(after.version, kept.oldest, 1) > kept.oldest
            || kept.old_bytes.is_some_and(|old_bytes| self.is_too_old(kept.oldest, after.version, old_bytes));
        *self.position.write().unwrap_or_else(PoisonError::into_inner) = after;
        Ok(more)
    }
}
