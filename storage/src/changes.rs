use crate::rows::Op;

/// Rows to write as one, and by how much they change what is live.
#[derive(Default)]
pub(crate) struct Changes {
    ops: Vec<Op>,
    added: u64,
    removed: u64,
}

fn bytes(row: &[u8], value_bytes: usize) -> u64 {
    (row.len() + value_bytes) as u64
}

impl Changes {
    /// Writes a row, of which `before` value bytes were there, if it was.
    pub(crate) fn put(&mut self, row: Vec<u8>, value: Vec<u8>, before: Option<usize>) {
        self.added += bytes(&row, value.len());
        self.removed += before.map_or(0, |before| bytes(&row, before));
        self.ops.push((row, Some(value)));
    }

    /// Deletes a row of which `before` value bytes were there, if it was.
    pub(crate) fn delete(&mut self, row: Vec<u8>, before: Option<usize>) {
        self.removed += before.map_or(0, |before| bytes(&row, before));
        self.ops.push((row, None));
    }

    /// Writes or deletes.
    pub(crate) fn set(&mut self, row: Vec<u8>, value: Option<Vec<u8>>, before: Option<usize>) {
        match value {
            Some(value) => self.put(row, value, before),
            None => self.delete(row, before),
        }
    }

    /// What is live after them, where `live` bytes were.
    pub(crate) fn live_after(&self, live: u64) -> u64 {
        live.saturating_add(self.added).saturating_sub(self.removed)
    }

    pub(crate) fn into_ops(self) -> Vec<Op> {
        self.ops
    }
}
