//! The state at one version as a stream of bytes, cut into pieces of one size: what nodes give each other.
//!
//! The stream is the rows of [`Table::State`] in key order, each as key length, value length (4 bytes each, big-endian), key, value. The same
//! state is the same stream everywhere. A piece may begin and end within a row.

use std::collections::VecDeque;

use crate::{
    KEY_BYTES_MAX, StoreError, Table, View,
    rows::{self, Row},
};

/// Most rows read at once.
const ROWS_MAX: usize = 1024;
/// What a row has, before any is known.
const ROW_BYTES: usize = 64 << 10;

/// Where a piece begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Key of the row it begins in; empty at the stream's first byte.
    pub key: Vec<u8>,
    /// Bytes of that row that belong to the piece before.
    pub offset: u64,
}

/// Reads the stream.
pub struct StateStream {
    view: View,
    /// The first key that is not read yet; none at the end.
    next: Option<Vec<u8>>,
    /// What is read and not given out. It begins in the first of `rows`.
    buffer: Vec<u8>,
    /// Keys of the rows in the buffer, with where each begins, counted from the buffer's start: before it for a row that is cut.
    /// Bound: [`ROWS_MAX`] keys and those of one piece, of [`KEY_BYTES_MAX`] bytes.
    rows: VecDeque<(Vec<u8>, i64)>,
    /// Bytes to leave out of what is read first.
    skip: usize,
    /// What the rows have that were read last, on average: no more of them are read than a piece needs.
    row_bytes: usize,
}

impl StateStream {
    /// Of the state as the view sees it, from a place on.
    #[must_use]
    pub fn new(view: View, from: Place) -> Self {
        let skip = usize::try_from(from.offset).unwrap_or(usize::MAX);
        Self { view, next: Some(from.key), buffer: Vec::new(), rows: VecDeque::new(), skip, row_bytes: ROW_BYTES }
    }

    /// The next piece, and where it begins: of so many bytes, the last one of fewer. None at the end.
    ///
    /// # Errors
    /// Where the state cannot be read.
    pub fn next_piece(&mut self, bytes: usize) -> Result<Option<(Place, Vec<u8>)>, StoreError> {
        while self.buffer.len() < bytes && self.next.is_some() {
            self.read(bytes - self.buffer.len())?;
        }
        let Some((key, begins)) = self.rows.front().cloned() else { return Ok(None) };
        let place = Place { key, offset: begins.unsigned_abs() };
        let rest = self.buffer.split_off(bytes.min(self.buffer.len()));
        let piece = std::mem::replace(&mut self.buffer, rest);
        let taken = i64::try_from(piece.len()).unwrap_or(i64::MAX);
        self.rows.iter_mut().for_each(|(_, begins)| *begins -= taken);
        // The row that is cut stays first; those that are given out whole go.
        while self.rows.get(1).map_or(self.buffer.is_empty() && !self.rows.is_empty(), |(_, begins)| *begins <= 0) {
            self.rows.pop_front();
        }
        Ok(Some((place, piece)))
    }

    fn read(&mut self, bytes: usize) -> Result<(), StoreError> {
        let Some(start) = self.next.take() else { return Ok(()) };
        let limit = (bytes / self.row_bytes + 1).min(ROWS_MAX);
        let rows = self.view.scan(Table::State, &start, None, limit)?;
        if rows.len() == limit {
            self.next = rows.last().map(|row| [row.key.as_slice(), &[0]].concat());
            self.row_bytes = rows.iter().map(|row| row.key.len() + row.value.len()).sum::<usize>() / limit + 1;
        }
        for row in rows {
            let begins = i64::try_from(self.buffer.len()).unwrap_or(i64::MAX);
            rows::put_row(&mut self.buffer, &row.key, &row.value);
            self.rows.push_back((row.key, begins));
        }
        if self.skip > 0 && !self.rows.is_empty() {
            let skip = std::mem::take(&mut self.skip).min(self.buffer.len());
            self.buffer.drain(..skip);
            self.rows.iter_mut().for_each(|(_, begins)| *begins -= i64::try_from(skip).unwrap_or(i64::MAX));
        }
        Ok(())
    }
}

/// Takes whole rows off the front of a stream, and leaves the rest.
pub(crate) fn take_rows(stream: &mut Vec<u8>) -> Result<Vec<Row>, StoreError> {
    let mut taken = Vec::new();
    let mut rest = stream.as_slice();
    while let Some((key, value, behind)) = rows::split_row(rest)? {
        if !(1..=KEY_BYTES_MAX).contains(&key.len()) {
            return Err(StoreError::Corrupt(format!("a key of {} bytes in a stream of state", key.len())));
        }
        taken.push((key.to_vec(), value.to_vec()));
        rest = behind;
    }
    *stream = rest.to_vec();
    Ok(taken)
}
