//! What is written between two blocks: what the consensus module logs, and blocks that its votes may be about.
//!
//! Writing is in two steps. [`ConsensusLog::take_writes`] says what to write; whoever could not write it loads the log anew.

use std::{collections::BTreeSet, sync::Arc};

use subnode_chain_core::CANDIDATES_MAX;
use subnode_storage::{ChainStore, StoreError, Table, Write};

use super::{
    candidate::{BlockId, block_id},
    rows::log_write,
};

/// How the keys of rows begin: entries by number, candidates by id.
const ENTRY_PREFIX: u8 = b'e';
const KEPT_PREFIX: u8 = b'k';
/// Of one entry, and of all since the last block.
const ENTRY_BYTES_MAX: usize = 256 << 10;
/// What an entry takes beside its bytes.
const ENTRY_BYTES: usize = 64;
const LOG_BYTES_MAX: usize = 64 << 20;
/// Bytes of entries that wait to be written.
const PENDING_BYTES_MAX: usize = 256 << 10;
/// Entries that have room there.
const ENTRIES_MAX: usize = LOG_BYTES_MAX / ENTRY_BYTES;

/// See the module.
#[derive(Default)]
pub(crate) struct ConsensusLog {
    entries: u64,
    bytes: usize,
    /// Bound: 32 bytes for each candidate that was here since the last block and that the module shared.
    kept: BTreeSet<BlockId>,
    /// Candidates to write before anything about them leaves.
    /// Bound: 256 ids of 32 bytes, which one call of the module shares at most.
    unwritten: BTreeSet<BlockId>,
    /// Entries to write before anything leaves that may follow from them, and their bytes.
    pending: Vec<Write>,
    pending_bytes: usize,
}

/// What a log has of the time before a restart.
pub(crate) struct Logged {
    /// Entries, in their order.
    pub(crate) entries: Vec<Vec<u8>>,
    /// Candidates that were kept.
    pub(crate) kept: Vec<(BlockId, Vec<u8>)>,
}

fn entry_key(number: u64) -> Vec<u8> {
    [&[ENTRY_PREFIX], number.to_be_bytes().as_slice()].concat()
}

fn kept_key(id: &BlockId) -> Vec<u8> {
    [&[KEPT_PREFIX], id.as_slice()].concat()
}

impl ConsensusLog {
    /// The log since the head.
    pub(crate) fn load(store: &Arc<ChainStore>) -> Result<(Self, Logged), StoreError> {
        let view = store.view();
        let entries = view.scan(Table::Log, &[ENTRY_PREFIX], Some(&[ENTRY_PREFIX + 1]), ENTRIES_MAX)?;
        let kept = view.scan(Table::Log, &[KEPT_PREFIX], Some(&[KEPT_PREFIX + 1]), CANDIDATES_MAX)?;
        let kept: Vec<_> = kept.into_iter().filter_map(|row| Some((block_id(row.key.get(1..)?)?, row.value))).collect();
        let log = Self {
            entries: entries.len() as u64,
            bytes: entries.iter().map(|row| row.value.len() + ENTRY_BYTES).sum(),
            kept: kept.iter().map(|(id, _)| *id).collect(),
            ..Self::default()
        };
        Ok((log, Logged { entries: entries.into_iter().map(|row| row.value).collect(), kept }))
    }

    /// Takes an entry, to be written with whatever leaves next.
    ///
    /// # Errors
    /// Where the module logs more than a chain has room for.
    pub(crate) fn append(&mut self, entry: Vec<u8>) -> Result<(), String> {
        self.bytes = self.bytes.saturating_add(entry.len() + ENTRY_BYTES);
        if entry.len() > ENTRY_BYTES_MAX || self.bytes > LOG_BYTES_MAX {
            return Err(format!("the consensus module logs {} bytes, {} since the last block", entry.len(), self.bytes));
        }
        self.pending_bytes += entry.len();
        self.pending.push(log_write(entry_key(self.entries), Some(entry)));
        self.entries += 1;
        Ok(())
    }

    /// Has a candidate kept through a restart, before anything about it leaves.
    pub(crate) fn keep(&mut self, id: BlockId) {
        if !self.kept.contains(&id) {
            self.unwritten.insert(id);
        }
    }

    /// Whether so many bytes wait that they are written though nothing leaves.
    pub(crate) fn is_full(&self) -> bool {
        self.pending_bytes > PENDING_BYTES_MAX
    }

    /// What has to be written before anything leaves. Blocks are asked for by their ids.
    pub(crate) fn take_writes(&mut self, block: impl Fn(&BlockId) -> Option<Vec<u8>>) -> Vec<Write> {
        let mut writes = std::mem::take(&mut self.pending);
        self.pending_bytes = 0;
        for id in std::mem::take(&mut self.unwritten) {
            if let Some(block) = block(&id) {
                writes.push(log_write(kept_key(&id), Some(block)));
                self.kept.insert(id);
            }
        }
        writes
    }

    /// What takes all of it out, with the block that is committed. Once it is, the log is another.
    pub(crate) fn cleared(&self) -> Vec<Write> {
        let entries = (0..self.entries).map(|number| log_write(entry_key(number), None));
        entries.chain(self.kept.iter().map(|id| log_write(kept_key(id), None))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_logged_has_bounds_in_bytes_and_waits_until_something_leaves() {
        let mut log = ConsensusLog::default();
        assert!(log.append(vec![0; ENTRY_BYTES_MAX + 1]).is_err());
        let mut log = ConsensusLog { bytes: 0, ..log };
        let appended = (0..).take_while(|_| log.append(vec![0; ENTRY_BYTES_MAX - ENTRY_BYTES]).is_ok()).count();
        assert_eq!(appended, LOG_BYTES_MAX / ENTRY_BYTES_MAX);
        assert!(log.is_full());
        log.keep([1; 32]);
        log.keep([2; 32]);
        let writes = log.take_writes(|id| (id[0] == 1).then(|| vec![7]));
        assert_eq!(writes.len(), appended + 1);
        assert!(!log.is_full() && log.take_writes(|_| Some(Vec::new())).is_empty());
        assert_eq!(log.cleared().len(), appended + 1);
    }

    #[test]
    fn entries_without_bytes_have_a_bound_too() {
        let mut log = ConsensusLog::default();
        let appended = (0..).take_while(|_| log.append(Vec::new()).is_ok()).count();
        assert_eq!(appended, ENTRIES_MAX);
    }
}
