//! One chain's tables: commits and reverts.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    Batch, Export, Head, StoreError, Table, Write,
    changes::Changes,
    history::{Before, Undo},
    key::{self, KEY_BYTES_MAX},
    past::{PRUNED_PER_COMMIT, Past, Retention},
    position::{HEAD_KEY, Position, decode_number, height_key},
    rows::{Op, Purpose, Rows},
};

/// One chain's tables. Reads at any version that is kept; one writer.
pub struct ChainStore {
    pub(crate) rows: Arc<dyn Rows>,
    pub(crate) past: Past,
    /// Live bytes that no commit may pass.
    limit_bytes: Arc<AtomicU64>,
    /// What would have been live after the last commit that was refused for it.
    pub(crate) wanted_bytes: AtomicU64,
    pub(crate) position: RwLock<Position>,
    /// The newest version whose write has begun: nothing newer can be visible.
    begun: AtomicU64,
    /// The oldest version that no write which has begun makes unreadable.
    kept: AtomicU64,
    /// Counts reverts, after which open views are void.
    epoch: AtomicU64,
}

impl ChainStore {
    pub(crate) fn open(rows: Arc<dyn Rows>, retention: Retention) -> Result<Arc<Self>, StoreError> {
        let position = match rows.get(&key::latest(Table::Meta, HEAD_KEY))? {
            None => Position::default(),
            Some(row) => Position::decode(&row).ok_or_else(|| StoreError::Corrupt("head row does not decode".into()))?,
        };
        Ok(Arc::new(Self {
            begun: AtomicU64::new(position.version),
            kept: AtomicU64::new(position.oldest),
            epoch: AtomicU64::new(0),
            position: RwLock::new(position),
            past: Past::open(retention, &*rows)?,
            rows,
            limit_bytes: Arc::new(AtomicU64::new(u64::MAX)),
            wanted_bytes: AtomicU64::new(0),
        }))
    }

    pub(crate) fn position(&self) -> Position {
        self.position.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The last committed head, or none in a new chain.
    pub fn head(&self) -> Option<Head> {
        self.position().head
    }

    /// The number of commits so far. A version can be passed to [`Self::revert_to`].
    pub fn version(&self) -> u64 {
        self.position().version
    }

    /// Oldest version whose state can be read.
    pub fn oldest_version(&self) -> u64 {
        self.position().oldest
    }

    /// Bytes of all rows, keys and values: what is charged against the chain's slice. The disk holds them compressed, and
    /// those that were deleted lately as well.
    pub fn live_bytes(&self) -> u64 {
        self.position.read().unwrap_or_else(PoisonError::into_inner).live_bytes
    }

    /// Live bytes that no commit may pass.
    pub fn limit_bytes(&self) -> u64 {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// The same, as it is changed.
    pub(crate) fn limit(&self) -> Arc<AtomicU64> {
        self.limit_bytes.clone()
    }

    /// Moves that limit. Below what is live, commits that free more than they add still pass.
    pub fn set_limit_bytes(&self, bytes: u64) {
        self.limit_bytes.store(bytes, Ordering::Relaxed);
    }

    /// What is wanted and the limit, while the last commit was refused for its size and nothing has changed since.
    pub fn full(&self) -> Option<(u64, u64)> {
        let (wanted, limit) = (self.wanted_bytes.load(Ordering::Relaxed), self.limit_bytes());
        (wanted > limit).then_some((wanted, limit))
    }

    /// The version that ended a height.
    ///
    /// # Errors
    /// Where the read fails.
    pub fn version_at(&self, height: u64) -> Result<Option<u64>, StoreError> {
        let row = self.rows.get(&key::latest(Table::Meta, &height_key(height)))?;
        row.map(|row| decode_number(&row)).transpose()
    }

    /// Oldest height whose state can be read.
    ///
    /// # Errors
    /// Where the read fails.
    pub fn oldest_height(&self) -> Result<u64, StoreError> {
        let position = self.position();
        let Some(head) = position.head else { return Ok(0) };
        // Heights and versions differ by the few amendments there were, so the distance bounds the search from below.
        let mut height = head.height.saturating_sub(position.version - position.oldest);
        while height < head.height && self.version_at(height)?.is_none_or(|version| version < position.oldest) {
            height += 1;
        }
        Ok(height)
    }

    /// All rows as of now, to be archived while the chain goes on.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn export(&self) -> Result<Export, StoreError> {
        Ok(Export::new(self.rows.dump()?))
    }

    pub(crate) fn rows(&self) -> &dyn Rows {
        &*self.rows
    }

    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Acquire)
    }

    /// Whether no revert is under way: while one is, views answer [`StoreError::Reverted`].
    pub fn is_settled(&self) -> bool {
        self.epoch().is_multiple_of(2)
    }

    pub(crate) fn kept(&self) -> u64 {
        self.kept.load(Ordering::Acquire)
    }

    /// Says so before versions below are dropped, and takes it back where that fails.
    pub(crate) fn keep_from(&self, oldest: u64) {
        self.kept.store(oldest, Ordering::Release);
    }

    /// Makes all views void: what they read is gone.
    pub(crate) fn void_views(&self) {
        self.epoch.fetch_add(2, Ordering::AcqRel);
    }

    pub(crate) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Writes a batch as the next version. When it resolves, the batch is durable and visible.
    ///
    /// # Errors
    /// Where disk or database fail: nothing was written.
    ///
    /// # Panics
    /// Where the batch breaks this crate's bounds (key length, height): a bug of the caller, stopped before anything is written.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped midway, the write may happen without this store knowing.
    pub async fn commit(&self, batch: Batch) -> Result<(), StoreError> {
        self.commit_within(batch, Duration::ZERO).await
    }

    /// The same for a batch that nobody waits for: where other chains are likely to commit within `patience`, it waits to share
    /// their synced write.
    ///
    /// # Errors
    /// As [`Self::commit`].
    ///
    /// # Panics
    /// As [`Self::commit`].
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Self::commit`].
    pub async fn commit_within(&self, batch: Batch, patience: Duration) -> Result<(), StoreError> {
        let before = self.position();
        let version = before.version + 1;
        let expected = before.head.as_ref().map(|head| head.height);
        assert!(
            expected.is_none_or(|height| batch.head.height == height || batch.head.height == height + 1),
            "batch for height {} on head {expected:?}",
            batch.head.height
        );

        let height = Write { table: Table::Meta, key: height_key(batch.head.height), value: Some(version.to_be_bytes().to_vec()) };
        let mut changes = Changes::default();
        let mut undo = Undo::default();
        let mut written = self.past.written();
        for ((table, table_key), value) in last_writes(batch.writes, height) {
            let row = key::latest(table, &table_key);
            let before = self.rows.get(&row)?;
            if before == value {
                continue;
            }
            if table == Table::Log {
                // A log is not the past of the chain: what was signed stays signed.
            } else if table == Table::State {
                let history = Undo::encode_value(before.as_deref());
                undo.push_state(&table_key, history.len());
                changes.put(key::history(&table_key, version), history, None);
            } else {
                undo.push(table, &table_key, before.as_deref());
                written.push(table, &table_key);
            }
            changes.set(row, value, before.map(|before| before.len()));
        }
        let head_row = key::latest(Table::Meta, HEAD_KEY);
        let head_before = self.rows.get(&head_row)?;
        undo.push(Table::Meta, HEAD_KEY, head_before.as_deref());
        changes.put(key::undo(version), undo.finish(), None);
        written.finish(version, &mut changes);
        let kept = self.prune_into(&mut changes, version, before.oldest, PRUNED_PER_COMMIT)?;
        let mut after = Position { version, oldest: kept.oldest, live_bytes: before.live_bytes, head: Some(batch.head.clone()) };
        // Its size does not depend on the numbers in it.
        changes.put(head_row, after.encode(), head_before.map(|row| row.len()));
        after.live_bytes = changes.live_after(before.live_bytes);
        self.check_room(before.live_bytes, after.live_bytes)?;
        let past_bytes = changes.past_after(self.past.bytes());
        let mut ops = changes.into_ops();
        ops.push(head_op(&after));
        self.begun.store(version, Ordering::Release);
        self.keep_from(after.oldest);
        let done = self.rows.write_within(ops, Purpose::Data, patience).await;
        let mut position = self.position.write().unwrap_or_else(PoisonError::into_inner);
        match &done {
            Ok(()) => {
                *position = after;
                self.past.move_to(kept, past_bytes);
            }
            Err(_) => {
                self.begun.store(before.version, Ordering::Release);
                self.keep_from(before.oldest);
            }
        }
        done
    }

    /// Writes to [`Table::Log`] alone. When it resolves, they are durable and visible.
    ///
    /// # Errors
    /// Where disk or database fail, or the chain's slice is full: nothing was written.
    ///
    /// # Panics
    /// Where a write is to another table, or its key is too long: a bug of the caller.
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Self::commit`].
    pub async fn log(&self, writes: Vec<Write>) -> Result<(), StoreError> {
        let before = self.position();
        let mut changes = Changes::default();
        for Write { table, key: table_key, value } in writes {
            assert!(
                table == Table::Log && (1..=KEY_BYTES_MAX).contains(&table_key.len()),
                "a log row of {table:?}, {} bytes",
                table_key.len()
            );
            let row = key::latest(table, &table_key);
            let length = self.rows.get(&row)?.map(|value| value.len());
            changes.set(row, value, length);
        }
        let after = Position { live_bytes: changes.live_after(before.live_bytes), ..before.clone() };
        self.check_room(before.live_bytes, after.live_bytes)?;
        let mut ops = changes.into_ops();
        if after.head.is_some() {
            ops.push(head_op(&after));
        }
        self.rows.write(ops, Purpose::Log).await?;
        *self.position.write().unwrap_or_else(PoisonError::into_inner) = after;
        Ok(())
    }

    /// Refuses what would pass the limit, unless it frees bytes.
    pub(crate) fn check_room(&self, before: u64, after: u64) -> Result<(), StoreError> {
        let limit = self.limit_bytes();
        let room = after <= limit || after < before;
        self.wanted_bytes.store(if room { 0 } else { after }, Ordering::Relaxed);
        if room { Ok(()) } else { Err(StoreError::SliceFull { live: before, wanted: after, limit }) }
    }

    /// What outlives a chain that was deleted from the same store: [`crate::Store::bury`].
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn tombstone(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.tombstone(key)
    }

    /// Undoes every version after `version`. Views opened before are void. Rows of the state whose keys begin with `outliving` stay as they are.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] where that version is not kept; else where disk or database fail, and nothing was undone.
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Self::commit`].
    pub async fn revert_to(&self, version: u64, outliving: &[u8]) -> Result<(), StoreError> {
        let position = self.position();
        if version < position.oldest || version > position.version {
            return Err(StoreError::Unavailable { version, oldest: position.oldest, newest: position.version });
        }
        let mut restored = BTreeMap::new();
        for undone in (version + 1..=position.version).rev() {
            let row = key::undo(undone);
            let record = self.rows.get(&row)?.ok_or_else(|| StoreError::Corrupt(format!("undo record {undone} is missing")))?;
            let mut states = Vec::new();
            Undo::for_each(&record, |table, table_key, before| match before {
                Before::History(_) => states.push(table_key.to_vec()),
                Before::Value(value) => {
                    restored.insert(key::latest(table, table_key), value.map(<[u8]>::to_vec));
                }
            })?;
            for state_key in states {
                let history = key::history(&state_key, undone);
                let value =
                    self.rows.get(&history)?.ok_or_else(|| StoreError::Corrupt(format!("history of version {undone} is missing")))?;
                if outliving.is_empty() || !state_key.starts_with(outliving) {
                    restored.insert(key::latest(Table::State, &state_key), Undo::decode_value(&value)?);
                }
                restored.insert(history, None);
            }
            restored.insert(row, None);
            restored.insert(key::written(undone), None);
        }
        // What pruning has removed since stays removed, whatever the head row of that version says.
        let head_row = key::latest(Table::Meta, HEAD_KEY);
        let mut after = match restored.get(&head_row) {
            None => position.clone(),
            Some(None) => Position::default(),
            Some(Some(row)) => Position::decode(row).ok_or_else(|| StoreError::Corrupt("undone head does not decode".into()))?,
        };
        after.oldest = position.oldest;
        if after.head.is_some() {
            restored.insert(head_row.clone(), Some(after.encode()));
        }
        let mut changes = Changes::default();
        for (row, value) in restored {
            let before = self.rows.get(&row)?.map(|value| value.len());
            changes.set(row, value, before);
        }
        let old_bytes = self.past.old_bytes().map(|old_bytes| changes.old_after(old_bytes));
        self.note_old(&mut changes, old_bytes);
        after.live_bytes = changes.live_after(position.live_bytes);
        let past_bytes = changes.past_after(self.past.bytes());
        let mut ops = changes.into_ops();
        if after.head.is_some() {
            ops.push(head_op(&after));
        }
        self.go_back(ops, Purpose::Release, after).await?;
        self.past.set_bytes(past_bytes);
        self.past.set_old_bytes(old_bytes);
        Ok(())
    }

    /// Has the chain begin again with a batch as its first version. All that it had is gone, its past too, but not its log. Views opened before
    /// are void. Takes memory for the keys of all rows.
    ///
    /// # Errors
    /// Where the batch passes the chain's slice, or disk or database fail: the chain is what it was.
    ///
    /// # Panics
    /// As [`Self::commit`].
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Self::commit`].
    pub async fn begin_again(&self, first: Batch) -> Result<(), StoreError> {
        let logged = key::latest(Table::Log, b"");
        let mut changes = Changes::default();
        self.rows.scan(&[], &[u8::MAX], &mut |row, value| {
            if !row.starts_with(&logged) {
                changes.delete(row.to_vec(), Some(value.len()));
            }
            true
        })?;
        let after = first_version(&mut changes, self.live_bytes(), first, |_| Ok(None))?;
        self.check_room(self.live_bytes(), after.live_bytes)?;
        let past_bytes = changes.past_after(self.past.bytes());
        let mut ops = changes.into_ops();
        ops.push(head_op(&after));
        self.go_back(ops, Purpose::Release, after).await?;
        self.past.begin(past_bytes);
        Ok(())
    }

    /// Writes what takes the chain back to a position. Views opened before are void.
    pub(crate) async fn go_back(&self, ops: Vec<Op>, purpose: Purpose, to: Position) -> Result<(), StoreError> {
        self.wanted_bytes.store(0, Ordering::Relaxed);
        self.epoch.fetch_add(1, Ordering::AcqRel);
        let written = self.rows.write(ops, purpose).await;
        if written.is_ok() {
            self.begun.store(to.version, Ordering::Release);
            self.keep_from(to.oldest);
            *self.position.write().unwrap_or_else(PoisonError::into_inner) = to;
        }
        self.epoch.fetch_add(1, Ordering::AcqRel);
        written
    }
}

/// Writes the row that tells where the chain is.
pub(crate) fn head_op(position: &Position) -> Op {
    (key::latest(Table::Meta, HEAD_KEY), Some(position.encode()))
}

/// Adds what makes a batch the first version to changes of a chain of which `live` bytes are live; where the chain is then. `before` says how long
/// the value is that a row has already.
pub(crate) fn first_version(
    changes: &mut Changes,
    live: u64,
    first: Batch,
    before: impl Fn(&[u8]) -> Result<Option<usize>, StoreError>,
) -> Result<Position, StoreError> {
    let version = 1_u64;
    let height = Write { table: Table::Meta, key: height_key(first.head.height), value: Some(version.to_be_bytes().to_vec()) };
    for ((table, table_key), value) in last_writes(first.writes, height) {
        let row = key::latest(table, &table_key);
        let before = before(&row)?;
        changes.set(row, value, before);
    }
    let mut after = Position { version, oldest: version, live_bytes: 0, head: Some(first.head) };
    changes.put(key::latest(Table::Meta, HEAD_KEY), after.encode(), None);
    after.live_bytes = changes.live_after(live);
    Ok(after)
}

/// The last write of each key, and one more.
pub(crate) fn last_writes(writes: Vec<Write>, more: Write) -> BTreeMap<(Table, Vec<u8>), Option<Vec<u8>>> {
    let mut last = BTreeMap::new();
    for write in writes.into_iter().chain([more]) {
        assert!((1..=KEY_BYTES_MAX).contains(&write.key.len()), "key of {} bytes", write.key.len());
        last.insert((write.table, write.key), write.value);
    }
    last
}
