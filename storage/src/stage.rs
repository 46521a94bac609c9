//! State from elsewhere, gathered beside a chain until all of it is there. Only then does it take the chain's place, in one instant: until
//! then the chain is what it was, however damaged, and what was gathered survives a restart.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    Batch, ChainStore, Head, StoreError, Table, Write,
    chain_store::{first_version, head_op},
    changes::Changes,
    key,
    rows::{Op, Purpose, Rows, Written},
    stream,
};

/// State that is being gathered.
pub struct Stage {
    pub(crate) rows: Arc<dyn Rows>,
    of: [u8; 32],
    progress: Progress,
    /// Whether the keyspace says which state it is for.
    noted: bool,
    /// The chain's slice.
    limit_bytes: Arc<AtomicU64>,
}

#[derive(Clone, Default)]
struct Progress {
    pieces: u64,
    live_bytes: u64,
    /// The start of a row whose rest is in the next piece.
    cut: Vec<u8>,
}

impl Progress {
    fn encode(&self, of: &[u8; 32]) -> Vec<u8> {
        [of.as_slice(), &self.pieces.to_be_bytes(), &self.live_bytes.to_be_bytes(), &self.cut].concat()
    }

    fn decode<'a>(row: &'a [u8], of: &[u8; 32]) -> Option<Self> {
        let rest: &'a [u8] = row.strip_prefix(of)?;
        let (pieces, rest) = rest.split_first_chunk()?;
        let (live_bytes, cut) = rest.split_first_chunk()?;
        Some(Self { pieces: u64::from_be_bytes(*pieces), live_bytes: u64::from_be_bytes(*live_bytes), cut: cut.to_vec() })
    }
}

impl ChainStore {
    /// Begins to gather the state that `of` stands for, to take this chain's place, or goes on with it. The chain goes on meanwhile.
    ///
    /// # Errors
    /// Where disk or database fail.
    pub fn stage(&self, of: [u8; 32]) -> Result<Stage, StoreError> {
        Stage::open(self.rows(), of, self.limit())
    }

    /// What the state stands for that is being gathered, if one is.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn staged(&self) -> Result<Option<[u8; 32]>, StoreError> {
        Stage::begun(self.rows())
    }

    /// Has a gathered state take this chain's place, as of a head, with these rows beside it. All that the chain had is gone, its log and its
    /// past too, and this store with it: open it anew.
    ///
    /// # Errors
    /// Where the state is incomplete or passes the chain's slice, or disk or database fail: nothing has changed then.
    ///
    /// # Panics
    /// Where a write is to the state, or its key is too long: a bug of the caller.
    ///
    /// # Cancel safety
    /// Not cancel safe, as [`Self::commit`].
    pub async fn adopt(&self, stage: Stage, head: Head, writes: Vec<Write>) -> Result<(), StoreError> {
        assert!(writes.iter().all(|write| write.table != Table::State), "a row of the state beside a gathered one");
        let mut changes = Changes::default();
        let after = first_version(&mut changes, stage.live_bytes(), Batch { head, writes }, |_| Ok(None))?;
        self.check_room(self.live_bytes(), after.live_bytes)?;
        let mut ops = changes.into_ops();
        ops.push(head_op(&after));
        ops.push(stage.completion()?);
        stage.rows.write(ops, Purpose::Release).await?;
        self.void_views();
        self.rows.swap_in_staging()
    }
}

impl Stage {
    /// Begins to gather the state that `of` stands for, or goes on with it. Any other that was begun is dropped, and rows of which nothing says whose
    /// they are: of a process that died before a whole state took the chain's place.
    pub(crate) fn open(chain: &dyn Rows, of: [u8; 32], limit_bytes: Arc<AtomicU64>) -> Result<Self, StoreError> {
        let rows = chain.staging()?;
        let known = rows.get(&key::PROGRESS)?;
        if let Some(progress) = known.and_then(|row| Progress::decode(&row, &of)) {
            return Ok(Self { rows, of, progress, noted: true, limit_bytes });
        }
        let rows = if rows.is_empty()? {
            rows
        } else {
            chain.drop_staging()?;
            chain.staging()?
        };
        Ok(Self { rows, of, progress: Progress::default(), noted: false, limit_bytes })
    }

    /// What is being gathered beside a chain.
    pub(crate) fn begun(chain: &dyn Rows) -> Result<Option<[u8; 32]>, StoreError> {
        let Some(staging) = chain.existing_staging() else { return Ok(None) };
        Ok(staging.get(&key::PROGRESS)?.and_then(|row| row.first_chunk().copied()))
    }

    /// The piece that is wanted next.
    #[must_use]
    pub fn next_piece(&self) -> u64 {
        self.progress.pieces
    }

    /// Bytes of the rows that are here.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        self.progress.live_bytes
    }

    /// Appends the next pieces of the stream; durable when it resolves.
    ///
    /// # Errors
    /// Where they are no rows, do not fit into the chain's slice, or the store fails: they are wanted again then.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped midway, the pieces may be written without this stage knowing. Open it anew then.
    pub async fn append(&mut self, pieces: &[impl AsRef<[u8]>]) -> Result<(), StoreError> {
        let mut progress = self.progress.clone();
        progress.pieces += pieces.len() as u64;
        pieces.iter().for_each(|piece| progress.cut.extend_from_slice(piece.as_ref()));
        let mut rows = stream::take_rows(&mut progress.cut)?;
        for (row, value) in &mut rows {
            *row = key::latest(Table::State, row);
            progress.live_bytes += (row.len() + value.len()) as u64;
        }
        // Whoever vouches for a state may vouch for one of any size.
        let limit = self.limit_bytes.load(Ordering::Relaxed);
        if progress.live_bytes > limit {
            return Err(StoreError::SliceFull { live: self.progress.live_bytes, wanted: progress.live_bytes, limit });
        }
        if !self.noted {
            // Before any row: an append runs on when whoever awaits it is gone, and its rows must not be taken for another state's.
            self.note(&self.progress).await?;
            self.noted = true;
        }
        // If this ends before the progress is written, the same pieces are appended again: to the same rows, as the state is the same.
        self.rows.append(rows).await?;
        self.note(&progress).await?;
        self.progress = progress;
        Ok(())
    }

    fn note(&self, progress: &Progress) -> Written {
        self.rows.write(vec![(key::PROGRESS.to_vec(), Some(progress.encode(&self.of)))], Purpose::Data)
    }

    /// What turns it into a chain: rows to write beside it.
    pub(crate) fn completion(&self) -> Result<Op, StoreError> {
        if self.progress.cut.is_empty() {
            Ok((key::PROGRESS.to_vec(), None))
        } else {
            Err(StoreError::Corrupt("a stream of state ends within a row".into()))
        }
    }
}

#[cfg(test)]
mod tests;
