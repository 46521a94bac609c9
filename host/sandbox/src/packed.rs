//! Lists in one buffer: what crosses the border often and in great numbers. wit/pool.wit and wit/types.wit define them.

use crate::{Built, Change, Entry, Outcome, Ready, fault::BoundBroken, turns::pause};

/// Longest key of a table.
const KEY_BYTES_MAX: usize = 256;
/// In place of a value's length: there is none.
const DELETED: u32 = u32::MAX;

/// What a [`Change`] takes besides the bytes of its key and value: itself, and the two allocations that hold them.
pub const CHANGE_BYTES: usize = size_of::<Change>() + 64;
/// Changes that are unpacked before the turn may end.
const CHANGES_AT_ONCE: usize = 512;

/// Appends a transaction of the pool. None is as long as 4 GiB.
pub(crate) fn push_ready(packed: &mut Vec<u8>, ready: Ready<'_>) {
    let parts = [ready.id, ready.sender, ready.data];
    packed.reserve(20 + parts.iter().map(|part| part.len()).sum::<usize>());
    for part in parts {
        packed.extend_from_slice(&u32::try_from(part.len()).expect("the pool holds less than 4 GiB").to_le_bytes());
    }
    packed.extend_from_slice(&ready.sequence.to_le_bytes());
    for part in parts {
        packed.extend_from_slice(part);
    }
}

/// A block whose changes are listed one by one, which take `bytes_max` at most.
pub(crate) async fn unpacked_block(built: Built, bytes_max: usize) -> wasmtime::Result<Built> {
    Ok(Built { outcome: unpacked(built.outcome, bytes_max).await?, ..built })
}

/// An outcome whose changes are listed one by one, which take `bytes_max` at most.
pub(crate) async fn unpacked(outcome: Outcome, bytes_max: usize) -> wasmtime::Result<Outcome> {
    Ok(Outcome { state: unpack(outcome.state, bytes_max).await?, index: unpack(outcome.index, bytes_max).await?, ..outcome })
}

async fn unpack(changes: Vec<Change>, bytes_max: usize) -> wasmtime::Result<Vec<Change>> {
    if !changes.iter().any(|change| change.key.is_empty()) {
        return Ok(changes);
    }
    let mut bytes_left = bytes_max;
    let mut all = Vec::with_capacity(changes.len());
    for change in changes {
        match change {
            Change { key, value: Some(packed) } if key.is_empty() => unpack_into(&packed, &mut all, &mut bytes_left).await?,
            change => all.push(change),
        }
    }
    Ok(all)
}

async fn unpack_into(mut packed: &[u8], all: &mut Vec<Change>, bytes_left: &mut usize) -> Result<(), BoundBroken> {
    while !packed.is_empty() {
        let (change, rest) = split_change(packed).ok_or_else(|| BoundBroken("packed changes do not decode".into()))?;
        let bytes = CHANGE_BYTES + packed.len() - rest.len();
        *bytes_left =
            bytes_left.checked_sub(bytes).ok_or_else(|| BoundBroken("packed changes take more than a call may hand over".into()))?;
        all.push(change);
        if all.len().is_multiple_of(CHANGES_AT_ONCE) {
            pause().await;
        }
        packed = rest;
    }
    Ok(())
}

fn split_change(packed: &[u8]) -> Option<(Change, &[u8])> {
    let (key_len, rest) = packed.split_first_chunk()?;
    let (value_len, rest) = rest.split_first_chunk()?;
    let (key_len, value_len) = (u32::from_le_bytes(*key_len), u32::from_le_bytes(*value_len));
    let (key, rest) = rest.split_at_checked(key_len as usize).filter(|(key, _)| !key.is_empty())?;
    if value_len == DELETED {
        return Some((Change { key: key.to_vec(), value: None }, rest));
    }
    let (value, rest) = rest.split_at_checked(value_len as usize)?;
    Some((Change { key: key.to_vec(), value: Some(value.to_vec()) }, rest))
}

/// Rows of one buffer, so many at most: changes that delete nothing, under keys of a table.
pub(crate) fn split_rows(mut packed: &[u8], rows_max: usize) -> Result<Vec<Entry>, BoundBroken> {
    let mut rows = Vec::new();
    while !packed.is_empty() {
        let (Change { key, value }, rest) = split_change(packed).ok_or_else(|| BoundBroken("packed rows do not decode".into()))?;
        if key.len() > KEY_BYTES_MAX {
            return Err(BoundBroken(format!("key bytes: {}, at most {KEY_BYTES_MAX}", key.len())));
        }
        let value = value.ok_or_else(|| BoundBroken("a deletion among rows".into()))?;
        if rows.len() >= rows_max {
            return Err(BoundBroken(format!("packed rows: more than {rows_max}")));
        }
        rows.push(Entry { key, value });
        packed = rest;
    }
    Ok(rows)
}

/// Appends a row to such a buffer.
pub(crate) fn push_row(packed: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    for part in [key, value] {
        packed.extend_from_slice(&u32::try_from(part.len()).expect("no row has 4 GiB").to_le_bytes());
    }
    packed.extend_from_slice(key);
    packed.extend_from_slice(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(key: &[u8], value: Option<&[u8]>) -> Change {
        Change { key: key.to_vec(), value: value.map(<[u8]>::to_vec) }
    }

    fn packed(changes: &[(&[u8], Option<&[u8]>)]) -> Vec<u8> {
        let len = |bytes: &[u8]| u32::try_from(bytes.len()).expect("short").to_le_bytes();
        let one = |(key, value): &(&[u8], Option<&[u8]>)| {
            [&len(key), &value.map_or(DELETED.to_le_bytes(), len), *key, value.unwrap_or_default()].concat()
        };
        changes.iter().flat_map(one).collect()
    }

    /// Outside a turn nothing pauses twice.
    fn unpack(changes: Vec<Change>, bytes_max: usize) -> wasmtime::Result<Vec<Change>> {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(super::unpack(changes, bytes_max))
    }

    #[test]
    fn packed_changes_stand_where_their_buffer_stood() {
        let buffer = packed(&[(b"b", Some(b"two")), (b"c", None), (b"d", Some(b""))]);
        let listed = vec![change(b"a", Some(b"one")), change(b"", Some(&buffer)), change(b"e", None), change(b"", Some(b""))];
        let all = unpack(listed, 1 << 20).expect("it decodes");
        let expected =
            [change(b"a", Some(b"one")), change(b"b", Some(b"two")), change(b"c", None), change(b"d", Some(b"")), change(b"e", None)];
        assert_eq!(format!("{all:?}"), format!("{expected:?}"));
    }

    #[test]
    fn a_buffer_that_is_cut_or_has_an_empty_key_is_refused() {
        let buffer = packed(&[(b"b", Some(b"two"))]);
        for end in 1..buffer.len() {
            assert!(unpack(vec![change(b"", Some(&buffer[..end]))], 1 << 20).is_err(), "{end} bytes");
        }
        assert!(unpack(vec![change(b"", Some(&packed(&[(b"", Some(b"x"))])))], 1 << 20).is_err());
        // A deletion of an empty key stays what it was: refused by the store.
        assert_eq!(unpack(vec![change(b"", None)], 0).expect("left alone").len(), 1);
    }

    #[test]
    fn rows_are_whole_and_delete_nothing() {
        let mut buffer = Vec::new();
        push_row(&mut buffer, b"a", b"one");
        push_row(&mut buffer, &[7; KEY_BYTES_MAX], b"");
        let rows = split_rows(&buffer, 2).expect("two rows");
        assert_eq!(rows.iter().map(|row| (row.key.len(), row.value.len())).collect::<Vec<_>>(), [(1, 3), (KEY_BYTES_MAX, 0)]);
        assert!(split_rows(&buffer, 1).is_err());
        assert!(split_rows(&buffer[..buffer.len() - 1], 2).is_err());
        assert!(split_rows(&packed(&[(b"a", None)]), 2).is_err());
        assert!(split_rows(&packed(&[(&[7; KEY_BYTES_MAX + 1], Some(b""))]), 2).is_err());
    }

    #[test]
    fn many_small_changes_are_bounded_by_what_they_take() {
        let deletions = packed(&vec![(b"k".as_slice(), None); 1_000]);
        assert_eq!(unpack(vec![change(b"", Some(&deletions))], 1_000 * (CHANGE_BYTES + 9)).expect("they fit").len(), 1_000);
        assert!(unpack(vec![change(b"", Some(&deletions))], 1_000 * (CHANGE_BYTES + 9) - 1).is_err());
    }
}
