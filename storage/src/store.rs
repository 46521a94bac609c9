use std::sync::Arc;

use subnode_types::ChainName;

use crate::{ChainStore, Frame, Import, Retention, StoreError};

/// Where chains live.
///
/// Beside its tables a chain has a *record*, bytes of its owner's that say how it is run. It is written in the same instant as
/// the chain comes to be.
pub trait Store: Send + Sync + 'static {
    /// Makes a chain of this name if there is none, or of its finished import, and keeps this record with it.
    ///
    /// # Errors
    /// Where the disk refuses.
    fn register(&self, name: &ChainName, record: &[u8]) -> Result<(), StoreError>;

    /// The record of this chain, or none where there is no such chain.
    ///
    /// # Errors
    /// Where it cannot be read.
    fn record(&self, name: &ChainName) -> Result<Option<Vec<u8>>, StoreError>;

    /// Opens the chain of this name; it is made, with an empty record, if there is none.
    ///
    /// # Errors
    /// Where its head cannot be read.
    fn open(&self, name: &ChainName, retention: Retention) -> Result<Arc<ChainStore>, StoreError>;

    /// Forgets the chain of this name, or its unfinished import; nothing happens if there is none. Its open [`ChainStore`]s
    /// answer errors from then on.
    ///
    /// # Errors
    /// Where the disk refuses.
    fn delete(&self, name: &ChainName) -> Result<(), StoreError>;

    /// The same for a chain of which something must be known after it is gone: [`ChainStore::tombstone`] of any chain has it from then on.
    /// Both are written in one instant. An earlier tombstone under this key is replaced.
    ///
    /// # Errors
    /// Where the disk refuses.
    fn bury(&self, name: &ChainName, key: &[u8; 32], tombstone: &[u8]) -> Result<(), StoreError>;

    /// The chains there are, by name. Of those that are damaged none is among them.
    fn names(&self) -> Vec<ChainName>;

    /// Starts filling a chain from an archive with this header, or goes on with it; none where another archive was begun under
    /// this name, or the chain exists. Rows of which nothing says from which archive they are go first.
    ///
    /// # Errors
    /// Where the disk refuses.
    fn import(&self, name: &ChainName, header: &Frame) -> Result<Option<Import>, StoreError>;

    /// Names of imports that are not finished.
    fn unfinished(&self) -> Vec<ChainName>;

    /// Chains that do not open because what the store knows of them is damaged, and what is. Their names are taken until they are deleted.
    fn damaged(&self) -> Vec<(ChainName, String)>;

    /// What the store uses of the machine.
    fn usage(&self) -> StoreUsage;
}

/// What a store uses of the machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Bytes of its files; 0 in memory.
    pub disk_bytes: u64,
    /// Bytes that the disk has left; none in memory.
    pub disk_free_bytes: Option<u64>,
    /// Memory of caches and of writes that are not flushed.
    pub memory_bytes: u64,
    /// Synced writes so far.
    pub synced_writes: u64,
    /// Batches that were in them.
    pub batches: u64,
    /// Column families, with those kept ready.
    pub families: u64,
}
