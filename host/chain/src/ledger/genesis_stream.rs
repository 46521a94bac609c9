//! What a runtime reads and hands over while it makes genesis in parts.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use subnode_sandbox::{Entry, GenesisStream, HostFault, Step};
use subnode_storage::{self as storage, Load, StoreError};

use crate::spec::SpecReader;

pub(super) fn unreadable_spec(error: &io::Error) -> StoreError {
    StoreError::Io(format!("the chain's spec cannot be read: {error}"))
}

/// What a genesis in parts works on.
pub(super) struct Streamed {
    pub(super) spec: SpecReader,
    pub(super) size: u64,
    pub(super) load: Load,
    /// Of the rows in the order they came.
    pub(super) rows: Sha256,
    /// Why this host could not go on.
    pub(super) error: Option<StoreError>,
}

impl Streamed {
    fn noted<T>(&mut self, result: Result<T, StoreError>) -> Result<T, HostFault> {
        result.map_err(|error| {
            let fault = HostFault::Storage(error.to_string());
            self.error = Some(error);
            fault
        })
    }
}

/// Lent to the call; gives back what it has when the call is over.
pub(super) struct Lending {
    /// Set until it is dropped.
    pub(super) streamed: Option<Streamed>,
    pub(super) back: Arc<Mutex<Option<Streamed>>>,
}

impl Lending {
    fn streamed(&mut self) -> Result<&mut Streamed, HostFault> {
        self.streamed.as_mut().ok_or(HostFault::Stopping)
    }
}

impl Drop for Lending {
    fn drop(&mut self) {
        *self.back.lock().unwrap_or_else(PoisonError::into_inner) = self.streamed.take();
    }
}

fn stored(entries: Vec<Entry>) -> Vec<storage::Entry> {
    entries.into_iter().map(|Entry { key, value }| storage::Entry { key, value }).collect()
}

impl GenesisStream for Lending {
    fn spec_size(&self) -> u64 {
        self.streamed.as_ref().map_or(0, |streamed| streamed.size)
    }

    fn read_spec(&mut self, len: usize) -> Result<Vec<u8>, HostFault> {
        let streamed = self.streamed()?;
        let read = streamed.spec.read(len).map_err(|error| unreadable_spec(&error));
        streamed.noted(read)
    }

    fn put_rows(&mut self, rows: Vec<Entry>) -> Step<'_, ()> {
        Box::pin(async move {
            let streamed = self.streamed()?;
            for part in rows.iter().flat_map(|row| [&row.key, &row.value]) {
                streamed.rows.update((part.len() as u64).to_be_bytes());
                streamed.rows.update(part);
            }
            let put = streamed.load.put(stored(rows)).await;
            streamed.noted(put)
        })
    }

    fn sort(&mut self, entries: Vec<Entry>) -> Step<'_, ()> {
        Box::pin(async move {
            let streamed = self.streamed()?;
            let sorted = streamed.load.sort(stored(entries)).await;
            streamed.noted(sorted)
        })
    }

    fn is_sorted(&self) -> bool {
        self.streamed.as_ref().is_some_and(|streamed| streamed.load.is_sorted())
    }

    fn next_sorted(&mut self, bytes: usize) -> Step<'_, Vec<Entry>> {
        Box::pin(async move {
            let streamed = self.streamed()?;
            let next = streamed.load.next_sorted(bytes).await;
            let next = streamed.noted(next)?;
            Ok(next.into_iter().map(|storage::Entry { key, value }| Entry { key, value }).collect())
        })
    }
}
