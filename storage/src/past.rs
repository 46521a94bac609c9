//! How much of the past a chain keeps.
//!
//! Old values of the state go by count or by their bytes: [`Retention`]. Blocks and look-ups stay for good, unless the past has a limit in bytes
//! ([`crate::ChainStore::set_past_limit`]): then the oldest blocks go first, with the rows of the index that they wrote, and old values of the state once no
//! block is older. The first version stays. What is held ([`crate::ChainStore::hold`]) is never dropped, and neither are the last versions.
//!
//! The limit is of bytes in memory that were written since the store was opened: it is for chains that live no longer than the process.

use std::sync::{
    Mutex, PoisonError, RwLock,
    atomic::{AtomicU64, Ordering},
};

use crate::{
    StoreError, Table,
    changes::Changes,
    history::push_key,
    key,
    position::{OLD_BYTES_KEY, decode_number, is_height_key},
    rows::Rows,
};

/// How many versions one commit prunes at most: two, so that a shortened retention catches up and a commit stays small.
pub(crate) const PRUNED_PER_COMMIT: u64 = 2;
/// Versions that are kept whatever they take.
pub(crate) const VERSIONS_MIN: u64 = 64;
/// The first version whose block may be dropped: the one before is genesis.
const FIRST_DROPPED: u64 = 2;

/// How much of the past of the state a chain keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retention {
    /// State at every height.
    Archive,
    /// State at this many versions before the head.
    Last(u64),
    /// State at as many versions before the head as these bytes hold. They count old values and what it takes to undo versions, keys and values.
    Within {
        /// The bytes.
        bytes: u64,
        /// So many versions are kept whatever they take.
        versions_min: u64,
    },
}

impl Retention {
    /// As many versions as these bytes hold, and the last 64 whatever they take: what was just committed can be asked about and undone.
    #[must_use]
    pub fn within(bytes: u64) -> Self {
        Self::Within { bytes, versions_min: VERSIONS_MIN }
    }
}

/// What is kept, and how much it is.
pub(crate) struct Past {
    pub(crate) retention: RwLock<Retention>,
    /// The oldest version that somebody wants to return to.
    pub(crate) held: AtomicU64,
    pub(crate) limit_bytes: AtomicU64,
    bytes: AtomicU64,
    /// Bytes of old values: known from the first commit on that a retention by bytes had, and as long as each commit counts them.
    old_bytes: Mutex<Option<u64>>,
    /// The oldest version whose block can still be dropped.
    pub(crate) first: AtomicU64,
}

/// From where on the past is kept.
#[derive(Clone, Copy)]
pub(crate) struct Kept {
    /// The oldest version whose state can be read.
    pub(crate) oldest: u64,
    /// The oldest version whose block can still be dropped.
    pub(crate) first: u64,
    /// Bytes of old values, where a retention asks.
    pub(crate) old_bytes: Option<u64>,
}

impl Past {
    pub(crate) fn open(retention: Retention, rows: &dyn Rows) -> Result<Self, StoreError> {
        let mut first = FIRST_DROPPED;
        rows.scan(&key::written(FIRST_DROPPED), &key::written(u64::MAX), &mut |row, _| {
            first = key::parse_written(row).unwrap_or(first);
            false
        })?;
        let counted = rows.get(&key::latest(Table::Meta, OLD_BYTES_KEY))?.map(|row| decode_number(&row)).transpose()?;
        Ok(Self {
            old_bytes: Mutex::new(counted),
            retention: RwLock::new(retention),
            held: AtomicU64::new(u64::MAX),
            limit_bytes: AtomicU64::new(u64::MAX),
            bytes: AtomicU64::new(0),
            first: AtomicU64::new(first),
        })
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn set_bytes(&self, bytes: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
    }

    pub(crate) fn move_to(&self, kept: Kept, bytes: u64) {
        self.first.store(kept.first, Ordering::Relaxed);
        self.set_bytes(bytes);
        self.set_old_bytes(kept.old_bytes);
    }

    /// Bytes of old values, where they are counted: the row that says so is there.
    pub(crate) fn old_bytes(&self) -> Option<u64> {
        *self.old_bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_old_bytes(&self, bytes: Option<u64>) {
        *self.old_bytes.lock().unwrap_or_else(PoisonError::into_inner) = bytes;
    }

    /// Of a chain that has one version.
    pub(crate) fn begin(&self, bytes: u64) {
        self.move_to(Kept { oldest: FIRST_DROPPED - 1, first: FIRST_DROPPED, old_bytes: None }, bytes);
    }

    pub(crate) fn limit_bytes(&self) -> u64 {
        self.limit_bytes.load(Ordering::Relaxed)
    }

    /// For the rows of a commit.
    pub(crate) fn written(&self) -> Written {
        Written((self.limit_bytes() < u64::MAX).then(Vec::new))
    }
}

/// Keys of the rows that are dropped with a version's block; none where no block is.
pub(crate) struct Written(Option<Vec<u8>>);

impl Written {
    pub(crate) fn push(&mut self, table: Table, table_key: &[u8]) {
        let goes = match table {
            Table::Index | Table::Block => true,
            Table::Meta => is_height_key(table_key),
            Table::State | Table::Log => false,
        };
        if let Some(record) = self.0.as_mut().filter(|_| goes) {
            push_key(record, table, table_key);
        }
    }

    pub(crate) fn finish(self, version: u64, changes: &mut Changes) {
        if let Some(record) = self.0 {
            changes.put(key::written(version), record, None);
        }
    }
}
