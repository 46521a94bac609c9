use crate::{Head, Table};

/// One write of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// The table written to.
    pub table: Table,
    /// 1 to [`crate::KEY_BYTES_MAX`] bytes.
    pub key: Vec<u8>,
    /// None deletes the key.
    pub value: Option<Vec<u8>>,
}

/// Everything one version changes, written as a whole or not at all. Of two writes to one key the later holds.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The head from then on. Its height is that of the head before, or the next.
    pub head: Head,
    /// The writes.
    pub writes: Vec<Write>,
}
