//! A chain's tables as guests read them.

use subnode_sandbox::{Entry, HostFault, Scanned, StateReader, Table, Unavailable};
use subnode_storage::{self as storage, Scan, StoreError, View};

/// A view of the store as guests read it.
pub struct ViewReader(pub View);

fn table(table: Table) -> storage::Table {
    match table {
        Table::State => storage::Table::State,
        Table::Index => storage::Table::Index,
        Table::Block => storage::Table::Block,
    }
}

fn fault(error: StoreError) -> HostFault {
    match error {
        // A call that takes so long that its state is dropped under it begins again, on what is kept.
        StoreError::Reverted | StoreError::Unavailable { .. } => HostFault::Reverted,
        other => HostFault::Storage(other.to_string()),
    }
}

impl StateReader for ViewReader {
    fn read(&self, from: Table, key: &[u8], found: &mut dyn FnMut(&[u8])) -> Result<(), HostFault> {
        self.0.read(table(from), key, found).map_err(fault)
    }

    fn scan(&self, from: Table, start: &[u8], end: Option<&[u8]>, limit: usize) -> Result<Scanned, HostFault> {
        let Scan { entries, next, passed } = self.0.scan_some(table(from), start, end, limit).map_err(fault)?;
        let rows = entries.into_iter().map(|row| Entry { key: row.key, value: row.value }).collect();
        Ok(Scanned { rows, next, passed })
    }

    fn seek(&mut self, height: u64) -> Result<Result<(), Unavailable>, HostFault> {
        match self.0.seek(height) {
            Ok(()) => Ok(Ok(())),
            Err(StoreError::Unavailable { .. }) => {
                let (oldest, newest) = self.0.heights().map_err(fault)?;
                Ok(Err(Unavailable { oldest, newest }))
            }
            Err(error) => Err(fault(error)),
        }
    }
}

/// The state before genesis.
pub(crate) struct EmptyState;

impl StateReader for EmptyState {
    fn read(&self, _: Table, _: &[u8], _: &mut dyn FnMut(&[u8])) -> Result<(), HostFault> {
        Ok(())
    }

    fn scan(&self, _: Table, _: &[u8], _: Option<&[u8]>, _: usize) -> Result<Scanned, HostFault> {
        Ok(Scanned::default())
    }

    fn seek(&mut self, _: u64) -> Result<Result<(), Unavailable>, HostFault> {
        Ok(Err(Unavailable { oldest: 0, newest: 0 }))
    }
}
