//! A process that is killed in the midst of its writes, for tests.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Semaphore;

use crate::{
    StoreError, key,
    rows::{Dump, Op, Purpose, Row, Rows, Written},
};

/// A keyspace that does so many things more, and nothing after them: that of a process which is killed there.
pub(crate) struct Dying {
    rows: Arc<dyn Rows>,
    left: Arc<AtomicU64>,
}

impl Dying {
    /// Over `rows`, which change `left` times more.
    pub(crate) fn new(rows: Arc<dyn Rows>, left: u64) -> Self {
        Self { rows, left: Arc::new(AtomicU64::new(left)) }
    }

    fn step(&self) -> Result<(), StoreError> {
        let step = self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1));
        step.map(drop).map_err(|_| StoreError::Closed)
    }

    fn after(&self, write: impl FnOnce() -> Written) -> Written {
        match self.step() {
            Ok(()) => write(),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

impl Rows for Dying {
    fn read(&self, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), StoreError> {
        self.rows.read(key, found)
    }

    fn scan(&self, start: &[u8], end: &[u8], row: &mut dyn FnMut(&[u8], &[u8]) -> bool) -> Result<(), StoreError> {
        self.rows.scan(start, end, row)
    }

    fn write_within(&self, ops: Vec<Op>, purpose: Purpose, patience: Duration) -> Written {
        self.after(|| self.rows.write_within(ops, purpose, patience))
    }

    fn append(&self, rows: Vec<Row>) -> Written {
        self.after(|| self.rows.append(rows))
    }

    fn loading(&self) -> Arc<Semaphore> {
        self.rows.loading()
    }

    fn clear(&self) -> Result<(), StoreError> {
        self.step()?;
        // Whole files go first: the mark may be in one of them, and other rows not.
        let mark = self.rows.write_within(vec![(key::PROGRESS.to_vec(), None)], Purpose::Release, Duration::ZERO);
        let unmarked = std::thread::spawn(move || tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(mark));
        unmarked.join().expect("a write")?;
        self.step()?;
        self.rows.clear()
    }

    fn staging(&self) -> Result<Arc<dyn Rows>, StoreError> {
        self.step()?;
        Ok(Arc::new(Self { rows: self.rows.staging()?, left: self.left.clone() }))
    }

    fn existing_staging(&self) -> Option<Arc<dyn Rows>> {
        self.rows.existing_staging()
    }

    fn drop_staging(&self) -> Result<(), StoreError> {
        self.step()?;
        self.rows.drop_staging()
    }

    fn swap_in_staging(&self) -> Result<(), StoreError> {
        self.step()?;
        self.rows.swap_in_staging()
    }

    fn tombstone(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, StoreError> {
        self.rows.tombstone(key)
    }

    fn dump(&self) -> Result<Box<dyn Dump>, StoreError> {
        self.rows.dump()
    }
}
