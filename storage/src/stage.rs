//! State from elsewhere, gathered beside a chain until all of it is there. Only then does it take the chain's place, in one instant: until
//! then the chain is what it was, however damaged, and what was gathered survives a restart.

use std::sync::Arc;

use crate::{
    StoreError, Table, key,
    rows::{Op, Rows},
    stream,
};

/// State that is being gathered.
pub struct Stage {
    pub(crate) rows: Arc<dyn Rows>,
    of: [u8; 32],
    progress: Progress,
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

impl Stage {
    /// Begins to gather the state that `of` stands for, or goes on with it. Any other that was begun is dropped, and rows of which nothing says whose
    /// they are: of a process that died before its first piece was noted, or before a whole state took the chain's place.
    pub(crate) fn open(chain: &dyn Rows, of: [u8; 32]) -> Result<Self, StoreError> {
        let rows = chain.beside()?;
        let known = rows.get(&key::PROGRESS)?;
        if let Some(progress) = known.and_then(|row| Progress::decode(&row, &of)) {
            return Ok(Self { rows, of, progress });
        }
        let mut empty = true;
        rows.scan(&[], &[u8::MAX], &mut |_, _| {
            empty = false;
            false
        })?;
        if empty {
            return Ok(Self { rows, of, progress: Progress::default() });
        }
        chain.drop_beside()?;
        Ok(Self { rows: chain.beside()?, of, progress: Progress::default() })
    }

    /// What is being gathered beside a chain.
    pub(crate) fn begun(chain: &dyn Rows) -> Result<Option<[u8; 32]>, StoreError> {
        let Some(beside) = chain.known_beside() else { return Ok(None) };
        Ok(beside.get(&key::PROGRESS)?.and_then(|row| row.first_chunk().copied()))
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
    /// Where they are no rows, or the store fails: they are wanted again then.
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
        // Rows that are there without it are written again, to the same.
        self.rows.append(rows).await?;
        self.rows.write(vec![(key::PROGRESS.to_vec(), Some(progress.encode(&self.of)))]).await?;
        self.progress = progress;
        Ok(())
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
mod tests {
    use super::*;
    use crate::{MemoryStore, Retention, Store};

    #[test]
    fn rows_that_nothing_says_whose_they_are_go_before_others_are_gathered() {
        let name = "a".parse().expect("a name");
        let store = MemoryStore::default();
        store.register(&name, b"").expect("free");
        let chain = store.open(&name, Retention::Archive).expect("opens");
        let rows = chain.rows();
        let left = key::latest(Table::State, b"left");
        let append = rows.beside().expect("a place").append(vec![(left.clone(), b"behind".to_vec())]);
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(append).expect("appends");
        let stage = Stage::open(rows, [1; 32]).expect("begins");
        assert_eq!(stage.rows.get(&left).expect("reads"), None);
    }
}
