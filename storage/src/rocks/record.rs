//! Rows of the default family: which column family a chain has, and its record.

use std::{collections::BTreeMap, sync::Arc};

use rocksdb::WriteOptions;
use subnode_types::ChainName;
use tokio::sync::Semaphore;

use super::{Db, alive::Alive, store_error};
use crate::StoreError;

/// Before a chain's name in the default family.
pub(super) const ROW_PREFIX: &[u8] = b"chain/";
/// Before the name of a chain, where a state is gathered to take its place.
pub(super) const STAGE_PREFIX: &[u8] = b"stage/";
/// Before the key of what outlives a deleted chain.
const TOMBSTONE_PREFIX: &[u8] = b"tombstone/";
/// Whether a row is of a chain, or of one that is being imported.
const WHOLE: u8 = 0;
const PARTIAL: u8 = 1;

/// Which family a chain has.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) family: u64,
    pub(super) partial: bool,
    pub(super) alive: Arc<Alive>,
    /// For whoever writes the chain's first version in parts.
    pub(super) loading: Arc<Semaphore>,
}

impl Entry {
    pub(super) fn new(family: u64, partial: bool) -> Self {
        Self { family, partial, alive: Arc::new(Alive::new()), loading: Arc::new(Semaphore::new(1)) }
    }

    pub(super) fn encode(&self, record: &[u8]) -> Vec<u8> {
        [&self.family.to_be_bytes()[..], &[if self.partial { PARTIAL } else { WHOLE }], record].concat()
    }
}

pub(super) fn row_key(name: &ChainName) -> Vec<u8> {
    [ROW_PREFIX, name.as_str().as_bytes()].concat()
}

pub(super) fn stage_key(name: &ChainName) -> Vec<u8> {
    [STAGE_PREFIX, name.as_str().as_bytes()].concat()
}

pub(super) fn tombstone_key(key: &[u8; 32]) -> Vec<u8> {
    [TOMBSTONE_PREFIX, key].concat()
}

pub(super) fn decode(row: &[u8]) -> Option<(Entry, &[u8])> {
    let (family, rest) = row.split_first_chunk::<8>()?;
    let (kind, record) = rest.split_first()?;
    let partial = match *kind {
        WHOLE => false,
        PARTIAL => true,
        _ => return None,
    };
    Some((Entry::new(u64::from_be_bytes(*family), partial), record))
}

/// The rows of a prefix.
#[derive(Default)]
pub(super) struct Loaded {
    /// Bound: the chains that the operator has, with some 200 bytes each.
    pub(super) entries: BTreeMap<ChainName, Entry>,
    /// Keys of the rows that do not decode: which family they name is not known.
    pub(super) unread: Vec<Vec<u8>>,
}

/// What follows a prefix in a row's key, where it is a chain's name.
pub(super) fn name_in(key: &[u8], prefix: &[u8]) -> Option<ChainName> {
    std::str::from_utf8(key.strip_prefix(prefix)?).ok()?.parse().ok()
}

/// Reads the rows of a prefix, by chain.
pub(super) fn load(db: &Db, prefix: &[u8]) -> Result<Loaded, StoreError> {
    let mut loaded = Loaded::default();
    let mut rows = db.raw_iterator();
    rows.seek(prefix);
    while let Some((key, value)) = rows.item().filter(|(key, _)| key.starts_with(prefix)) {
        match (name_in(key, prefix), decode(value)) {
            (Some(name), Some((entry, _))) => drop(loaded.entries.insert(name, entry)),
            _ => loaded.unread.push(key.to_vec()),
        }
        rows.next();
    }
    rows.status().map_err(store_error)?;
    Ok(loaded)
}

pub(super) fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}
