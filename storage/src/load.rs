//! A chain's first version in parts: rows that are too many for one batch, and a sorter for whoever makes them.
//!
//! Rows go into the chain's own keyspace as they come, under a mark ([`key::PROGRESS`]). The chain has no head until
//! [`ChainStore::finish_load`] writes it and removes the mark, in one write. A process that dies before leaves the mark: the next
//! [`ChainStore::begin_load`] drops all rows and begins anew.
//!
//! Entries to be sorted go into the chain's staging keyspace, which is dropped at the end. Both kinds count against the chain's slice of
//! storage before they are kept. Memory: [`Load::MEMORY_BYTES`], whatever comes.

use std::{mem, sync::Arc, time::Duration};

use tokio::sync::OwnedSemaphorePermit;

use crate::{
    Batch, ChainStore, Entry, KEY_BYTES_MAX, StoreError, Table, Write,
    chain_store::{first_version, head_op},
    changes::Changes,
    key,
    rows::{Purpose, Row, Rows},
};

/// Bytes of rows, with what each takes in memory, that are written at once: a synced file each.
const PART_BYTES: usize = 8 << 20;
/// What a row takes in memory besides its bytes: two vectors and their allocations.
const ROW_BYTES: usize = 2 * (size_of::<Vec<u8>>() + 32);
/// What the mark of an unfinished load says.
const MARK: &[u8] = b"load";

/// Rows that wait to be written.
#[derive(Default)]
struct Pending {
    /// Bound: [`PART_BYTES`] bytes and the row that passes them.
    rows: Vec<Row>,
    bytes: usize,
}

impl Pending {
    fn push(&mut self, row: Row) {
        self.bytes += row.0.len() + row.1.len() + ROW_BYTES;
        self.rows.push(row);
    }

    /// Appends them to a keyspace, sorted. Of two with one key the later holds.
    async fn write(&mut self, to: &Arc<dyn Rows>, permit: &LoadPermit) -> Result<(), StoreError> {
        let Self { mut rows, .. } = mem::take(self);
        let to = to.clone();
        let append = move || {
            // Stable, and so the later of two is the last.
            rows.sort_by(|(one, _), (other, _)| one.cmp(other));
            rows.reverse();
            rows.dedup_by(|(one, _), (kept, _)| one == kept);
            rows.reverse();
            to.append(rows)
        };
        through(permit, async move { tokio::task::spawn_blocking(append).await.map_err(|_| StoreError::Closed)?.await }).await
    }
}

/// The right to load a chain, which one load has at a time.
type LoadPermit = Arc<OwnedSemaphorePermit>;

/// Does a write to its end, even where nobody waits for it any more: no other load begins before.
async fn through(permit: &LoadPermit, write: impl Future<Output = Result<(), StoreError>> + Send + 'static) -> Result<(), StoreError> {
    let permit = permit.clone();
    let written = tokio::spawn(async move {
        let done = write.await;
        drop(permit);
        done
    });
    written.await.map_err(|_| StoreError::Closed)?
}

/// The same for work that waits for the disk: it is done where it holds up no other chain.
async fn blocking<T: Send + 'static>(
    permit: &LoadPermit,
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    let permit = permit.clone();
    let done = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(permit);
        done
    });
    done.await.map_err(|_| StoreError::Closed)?
}

/// A first version that is handed over in parts.
pub struct Load {
    store: Arc<ChainStore>,
    permit: LoadPermit,
    /// Whether the mark is written.
    begun: bool,
    pending: Pending,
    live_bytes: u64,
    sorter: Option<Sorter>,
    /// Whether entries were asked for: no more may be added then.
    sorted: bool,
}

struct Sorter {
    rows: Arc<dyn Rows>,
    pending: Pending,
    bytes: u64,
    /// The first key that was not returned, once one was.
    next: Option<Vec<u8>>,
}

impl Load {
    /// Memory that a load takes: a part of rows and one of entries.
    pub const MEMORY_BYTES: u64 = 2 * PART_BYTES as u64;

    /// Whether nothing was put.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.live_bytes == 0
    }

    /// Adds rows of [`Table::State`].
    ///
    /// # Errors
    /// [`StoreError::SliceFull`] where they pass the chain's slice of storage; else where disk or database fail.
    ///
    /// # Panics
    /// Where a key is too long: a bug of the caller.
    ///
    /// # Cancel safety
    /// Not cancel safe: drop the load then.
    pub async fn put(&mut self, rows: Vec<Entry>) -> Result<(), StoreError> {
        for Entry { key, value } in rows {
            let row = state_row(&key);
            self.live_bytes += self.charge(&row, &value)?;
            self.pending.push((row, value));
            if self.pending.bytes >= PART_BYTES {
                self.flush().await?;
            }
        }
        Ok(())
    }

    /// Adds entries that [`Self::next_sorted`] returns in key order.
    ///
    /// # Errors
    /// As [`Self::put`].
    ///
    /// # Panics
    /// Where a key is too long, or entries were returned already: a bug of the caller.
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Self::put`].
    pub async fn sort(&mut self, entries: Vec<Entry>) -> Result<(), StoreError> {
        self.mark().await?;
        assert!(!self.sorted, "an entry behind the sorted ones");
        if self.sorter.is_none() {
            let store = self.store.clone();
            let rows = blocking(&self.permit, move || store.rows.staging()).await?;
            self.sorter = Some(Sorter { rows, pending: Pending::default(), bytes: 0, next: None });
        }
        for Entry { key, value } in entries {
            let row = state_row(&key);
            let bytes = self.charge(&row, &value)?;
            let Some(sorter) = &mut self.sorter else { return Err(StoreError::Closed) };
            sorter.bytes += bytes;
            sorter.pending.push((row, value));
            if sorter.pending.bytes >= PART_BYTES {
                sorter.pending.write(&sorter.rows, &self.permit).await?;
            }
        }
        Ok(())
    }

    /// The next entries in key order: one, and further ones as far as they fit into `bytes`. None at the end.
    ///
    /// # Errors
    /// Where disk or database fail.
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Self::put`].
    pub async fn next_sorted(&mut self, bytes: usize) -> Result<Vec<Entry>, StoreError> {
        self.sorted = true;
        let Some(sorter) = &mut self.sorter else { return Ok(Vec::new()) };
        if !sorter.pending.rows.is_empty() {
            sorter.pending.write(&sorter.rows, &self.permit).await?;
        }
        let start = sorter.next.take().unwrap_or_else(|| key::latest(Table::State, b""));
        let (mut entries, mut taken, mut next) = (Vec::new(), 0, None);
        sorter.rows.scan(&start, &Table::State.end(), &mut |row, value| {
            taken += row.len() + value.len();
            if !entries.is_empty() && taken > bytes {
                next = Some(row.to_vec());
                return false;
            }
            entries.push(Entry { key: row.get(1..).unwrap_or_default().to_vec(), value: value.to_vec() });
            true
        })?;
        sorter.next = Some(next.unwrap_or_else(|| Table::State.end()));
        Ok(entries)
    }

    /// Whether entries were asked for: no more may be added then.
    #[must_use]
    pub fn is_sorted(&self) -> bool {
        self.sorted
    }

    /// What a row counts, if there is room for it.
    fn charge(&self, row: &[u8], value: &[u8]) -> Result<u64, StoreError> {
        let bytes = (row.len() + value.len()) as u64;
        let live = self.live_bytes + self.sorter.as_ref().map_or(0, |sorter| sorter.bytes);
        self.store.check_room(live, live + bytes)?;
        Ok(bytes)
    }

    /// Says that rows follow which are no chain yet.
    async fn mark(&mut self) -> Result<(), StoreError> {
        if !self.begun {
            let mark = self.store.rows.write_within(vec![(key::PROGRESS.to_vec(), Some(MARK.to_vec()))], Purpose::Data, Duration::ZERO);
            through(&self.permit, mark).await?;
            self.begun = true;
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), StoreError> {
        self.mark().await?;
        self.pending.write(&self.store.rows, &self.permit).await
    }

    /// Drops all that was handed over: the chain is as new.
    ///
    /// # Errors
    /// Where disk or database fail: the next [`ChainStore::begin_load`] does it then.
    ///
    /// # Cancel safety
    /// Cancel safe: it is done to its end.
    pub async fn discard(self) -> Result<(), StoreError> {
        if self.begun { self.store.drop_rows(&self.permit).await } else { Ok(()) }
    }

    /// What was put, as writes of one batch, and drops the load. For one that is known to be small.
    ///
    /// # Errors
    /// Where disk or database fail.
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Self::put`].
    pub async fn into_writes(mut self) -> Result<Vec<Write>, StoreError> {
        self.flush().await?;
        let mut writes = Vec::new();
        self.store.rows.scan(&key::latest(Table::State, b""), &Table::State.end(), &mut |row, value| {
            let key = row.get(1..).unwrap_or_default().to_vec();
            writes.push(Write { table: Table::State, key, value: Some(value.to_vec()) });
            true
        })?;
        self.discard().await?;
        Ok(writes)
    }
}

fn state_row(state_key: &[u8]) -> Vec<u8> {
    assert!((1..=KEY_BYTES_MAX).contains(&state_key.len()), "key of {} bytes", state_key.len());
    key::latest(Table::State, state_key)
}

impl ChainStore {
    /// Begins the first version of a new chain in parts, once an earlier load is over. What that left unfinished is dropped.
    ///
    /// # Errors
    /// Where disk or database fail.
    ///
    /// # Panics
    /// Where the chain has a head: a bug of the caller.
    pub async fn begin_load(self: &Arc<Self>) -> Result<Load, StoreError> {
        let permit = Arc::new(self.rows.loading().acquire_owned().await.map_err(|_| StoreError::Closed)?);
        assert!(self.head().is_none(), "a first version on {:?}", self.head());
        // The mark alone does not tell: a process that died while it dropped rows may have dropped the mark first.
        if !self.rows.is_empty()? {
            self.drop_rows(&permit).await?;
        }
        let store = self.clone();
        Ok(Load { store, permit, begun: false, pending: Pending::default(), live_bytes: 0, sorter: None, sorted: false })
    }

    /// Ends a load with the rest of the first version. When it resolves, all of it is durable and visible; before, nothing is.
    ///
    /// # Errors
    /// Where the version passes the chain's slice, or disk or database fail: the load is dropped, and the chain as new.
    ///
    /// # Panics
    /// As [`Self::commit`].
    ///
    /// # Cancel safety
    /// Where it is given up, it is done to its end all the same, and no other load begins before.
    pub async fn finish_load(self: &Arc<Self>, load: Load, rest: Batch) -> Result<(), StoreError> {
        let (store, permit) = (self.clone(), load.permit.clone());
        through(&permit.clone(), async move {
            if load.is_empty() && !load.begun {
                return store.commit(rest).await;
            }
            let done = store.write_rest(load, rest).await;
            if done.is_err() {
                store.drop_rows(&permit).await?;
            }
            done
        })
        .await
    }

    async fn drop_rows(self: &Arc<Self>, permit: &LoadPermit) -> Result<(), StoreError> {
        let store = self.clone();
        blocking(permit, move || {
            store.rows.drop_staging()?;
            store.rows.clear()
        })
        .await
    }

    async fn write_rest(self: &Arc<Self>, mut load: Load, rest: Batch) -> Result<(), StoreError> {
        load.flush().await?;
        let store = self.clone();
        blocking(&load.permit, move || store.rows.drop_staging()).await?;
        // Nothing is before the first version: it is not undone, and no old values are kept.
        let mut changes = Changes::default();
        let before = |row: &[u8]| Ok(self.rows.get(row)?.map(|before| before.len()));
        let after = first_version(&mut changes, load.live_bytes, rest, before)?;
        self.check_room(load.live_bytes, after.live_bytes)?;
        let past_bytes = changes.past_after(0);
        let mut ops = changes.into_ops();
        ops.push(head_op(&after));
        ops.push((key::PROGRESS.to_vec(), None));
        self.go_back(ops, Purpose::Data, after).await?;
        self.past.begin(past_bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
