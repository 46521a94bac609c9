use std::path::PathBuf;

/// Why a store cannot be opened. Each says what a person can do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Another process has it.
    #[error("data directory {0:?} is in use by another process; stop it, or choose another directory")]
    InUse(PathBuf),
    /// Written by a release that was never published.
    #[error("data directory {path:?} has format {found}, which this release no longer reads; start with a new directory")]
    OlderFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Written by a later release.
    #[error("data directory {path:?} has format {found}, and this release knows formats up to {known}; use a newer release")]
    NewerFormat {
        /// The directory.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this release reads.
        known: u32,
    },
    /// The directory cannot be made or written.
    #[error("data directory {path:?} cannot be used: {reason}; choose one that this user can write")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// What the system says.
        reason: std::io::Error,
    },
    /// RocksDB finds something wrong.
    #[error("data directory {path:?} is damaged: {reason}; restore it from a backup")]
    Corrupt {
        /// The directory.
        path: PathBuf,
        /// RocksDB's words.
        reason: String,
    },
    /// Anything else RocksDB says on opening.
    #[error("data directory {path:?} does not open: {reason}")]
    Other {
        /// The directory.
        path: PathBuf,
        /// RocksDB's words.
        reason: String,
    },
}

/// A read or write that failed on this host. Never the fault of a block or a module.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// The disk is full. Nothing of the batch was written.
    #[error("disk full: {0}; free space and retry")]
    Full(String),
    /// The chain's slice of storage is used up. Nothing of the batch was written.
    #[error("storage slice full: {live} of {limit} bytes in use, {wanted} needed; resize the chain, or keep less history")]
    SliceFull {
        /// In use.
        live: u64,
        /// Needed.
        wanted: u64,
        /// The slice.
        limit: u64,
    },
    /// Any other failure of disk or database.
    #[error("storage failed: {0}")]
    Io(String),
    /// A row that must be there is not, or does not decode.
    #[error("storage is damaged: {0}; restore it from a backup")]
    Corrupt(String),
    /// The version asked for is pruned, reverted or not there yet.
    #[error("state of version {version} is not kept: versions {oldest} to {newest} are")]
    Unavailable {
        /// Asked for.
        version: u64,
        /// Oldest kept.
        oldest: u64,
        /// Newest.
        newest: u64,
    },
    /// The chain was reverted while this view was open.
    #[error("the chain was reverted under this read; retry")]
    Reverted,
    /// The chain was deleted, or its store closed.
    #[error("the chain's store is closed")]
    Closed,
}
