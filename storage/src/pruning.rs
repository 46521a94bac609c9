//! Drops what a chain does not keep of its past ([`crate::past`] says what that is).

use std::sync::{PoisonError, atomic::Ordering};

use crate::{
    ChainStore, StoreError, Table,
    changes::Changes,
    history::{Before, Undo, take_key},
    key,
    past::{Kept, Retention},
    position::{HEAD_KEY, Position, decode_number},
    rows::Purpose,
};

/// How many more it drops at most for the limit in bytes: a large block may take the place of many small ones.
const DROPPED_PER_COMMIT: u64 = 256;
/// Versions that are kept whatever they take: what was just committed can be asked about and undone.
const KEPT_MIN: u64 = 64;

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
            Retention::Archive => oldest,
            Retention::Last(kept) => {
                let held = self.past.held.load(Ordering::Relaxed);
                oldest.max(version.saturating_sub(kept).min(held).min(oldest + step))
            }
        }
    }

    /// Drops what is not to be kept at `version`: at most `step` versions of the state for the retention, and some of everything for the limit.
    pub(crate) fn prune_into(&self, changes: &mut Changes, version: u64, before: u64, step: u64) -> Result<Kept, StoreError> {
        let mut kept = Kept { oldest: self.oldest_to_keep(version, before, step), first: self.past.first.load(Ordering::Relaxed) };
        // Version v is readable as long as the undo records after it are there.
        for pruned in before + 1..=kept.oldest {
            self.prune_version(pruned, changes)?;
        }
        let newest = version.saturating_sub(KEPT_MIN).min(self.past.held.load(Ordering::Relaxed));
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
        Ok(kept)
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
        let more = self.oldest_to_keep(after.version, kept.oldest, 1) > kept.oldest;
        *self.position.write().unwrap_or_else(PoisonError::into_inner) = after;
        Ok(more)
    }
}
