//! A chain's tables, their past, and the promise that what was committed stays.
//!
//! # Layout
//!
//! Each chain has a keyspace of its own: a column family of the one RocksDB, or an ordered map in memory. Within a
//! keyspace:
//!
//! | first byte | rest of the key | value |
//! |---|---|---|
//! | `0x10 + table` | key | the latest value |
//! | `0x20` | escaped key of `Table::State`, version | the value before that version |
//! | `0x30` | version | what to put back to undo that version |
//! | `0x40` | version | keys of the rows that are dropped with that version's block |
//!
//! Every commit is one *version*: usually a block, sometimes an amendment of the head by a developer. A height maps to
//! the version that ended it. A read at a past version returns the latest value, unless the history has a value from
//! after that version.
//!
//! `Table::Log` holds what is written between commits: [`ChainStore::log`]. It has no versions, and a revert leaves it
//! as it is.
//!
//! # Durability
//!
//! [`ChainStore::commit`] resolves once the batch is on disk (synced) and visible to readers. Batches of chains that
//! commit at the same moment share one synced write. A kill at any instant leaves whole batches only. The memory
//! backend keeps nothing.
//!
//! # A first version in parts
//!
//! [`Load`] writes the rows of a chain that has no head yet as they come, and sorts entries for the runtime that makes
//! the rows. [`ChainStore::finish_load`] makes the rows the chain's first version.
//!
//! # Checkpoints
//!
//! [`StateStream`] reads the state at a version as a stream of bytes. [`Stage`] gathers such a stream beside a chain's
//! tables. [`ChainStore::adopt`] replaces the chain's tables by the stage, in one write.
//!
//! Not here: what a block is, what keys mean, when to prune. Invariant: this crate never interprets a value that it was
//! given.

mod archive;
mod batch;
mod chain_store;
mod changes;
#[cfg(test)]
mod dying;
mod error;
mod history;
mod key;
mod load;
mod memory;
mod past;
mod position;
mod pruning;
mod rocks;
mod rows;
mod stage;
mod store;
mod stream;
mod view;

pub use archive::{ArchiveError, ArchiveReader, Export, Frame, FrameKind, Import};
pub use batch::{Batch, Write};
pub use chain_store::ChainStore;
pub use error::{OpenError, StoreError};
pub use key::{KEY_BYTES_MAX, Table};
pub use load::Load;
pub use memory::MemoryStore;
pub use past::Retention;
pub use position::Head;
pub use rocks::{RocksOptions, RocksStore};
pub use stage::Stage;
pub use store::{Store, StoreUsage};
pub use stream::{Place, StateStream};
pub use view::{Entry, Scan, View};
