use crate::{key, rows::Op};

/// What a row of the past takes in memory beside its bytes: the map's entry and two allocations.
const ROW_OVERHEAD_BYTES: u64 = 96;

/// Rows to write as one, and by how much they change what is live.
#[derive(Default)]
pub(crate) struct Changes {
    ops: Vec<Op>,
    added: u64,
    removed: u64,
    past_added: u64,
    past_removed: u64,
    old_added: u64,
    old_removed: u64,
}

fn bytes(row: &[u8], value_bytes: usize) -> u64 {
    (row.len() + value_bytes) as u64
}

impl Changes {
    /// Writes a row, of which `before` value bytes were there, if it was.
    pub(crate) fn put(&mut self, row: Vec<u8>, value: Vec<u8>, before: Option<usize>) {
        self.count(&row, Some(value.len()), before);
        self.ops.push((row, Some(value)));
    }

    /// Deletes a row of which `before` value bytes were there, if it was.
    pub(crate) fn delete(&mut self, row: Vec<u8>, before: Option<usize>) {
        self.count(&row, None, before);
        self.ops.push((row, None));
    }

    fn count(&mut self, row: &[u8], after: Option<usize>, before: Option<usize>) {
        let [added, removed] = [after, before].map(|value_bytes| value_bytes.map(|value_bytes| bytes(row, value_bytes)));
        self.added += added.unwrap_or_default();
        self.removed += removed.unwrap_or_default();
        if key::is_past(row) {
            self.past_added += added.map_or(0, |added| added + ROW_OVERHEAD_BYTES);
            self.past_removed += removed.map_or(0, |removed| removed + ROW_OVERHEAD_BYTES);
        }
        if key::is_old(row) {
            self.old_added += added.unwrap_or_default();
            self.old_removed += removed.unwrap_or_default();
        }
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

    /// What blocks, look-ups and old values take in memory after them, where it was `past` bytes.
    pub(crate) fn past_after(&self, past: u64) -> u64 {
        past.saturating_add(self.past_added).saturating_sub(self.past_removed)
    }

    /// Bytes of old values of the state, and of what it takes to undo versions, after them, where they were `old`.
    pub(crate) fn old_after(&self, old: u64) -> u64 {
        old.saturating_add(self.old_added).saturating_sub(self.old_removed)
    }

    pub(crate) fn into_ops(self) -> Vec<Op> {
        self.ops
    }
}
