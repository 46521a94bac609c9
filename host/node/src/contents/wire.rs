//! What nodes ask and answer about a content. Which one it is, the stream says.

use serde::{Deserialize, Serialize};

use crate::modules::MODULE_BYTES_MAX;

/// Bytes of a part, but for the last.
pub(crate) const PART_BYTES: usize = 128 << 10;

/// Asks for the part that begins at an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Asked {
    pub(crate) offset: u64,
}

/// A part.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Part<'a> {
    /// Bytes of the content.
    pub(crate) size: u64,
    /// [`PART_BYTES`] from the offset on, or what there is.
    pub(crate) bytes: &'a [u8],
}

impl Part<'_> {
    /// Whether this can be the part that was asked for, of a content whose size the same node said before.
    pub(crate) fn answers(&self, asked: Asked, said: Option<u64>) -> bool {
        let left = self.size.saturating_sub(asked.offset);
        let length = usize::try_from(left).map_or(PART_BYTES, |left| left.min(PART_BYTES));
        (1..=MODULE_BYTES_MAX).contains(&self.size) && said.is_none_or(|said| said == self.size) && self.bytes.len() == length
    }
}

/// Writes one of these.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Into memory, plain values cannot fail to be written.
    postcard::to_stdvec(value).unwrap_or_default()
}

/// Reads one; none where the bytes are none, or more follow.
pub(crate) fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Option<T> {
    postcard::take_from_bytes(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_as_long_as_it_has_to_be_and_its_size_stays() {
        let bytes = vec![7; PART_BYTES];
        let size = PART_BYTES as u64 + 5;
        let part = |size, length| Part { size, bytes: &bytes[..length] };
        let (first, last, behind) = (Asked { offset: 0 }, Asked { offset: PART_BYTES as u64 }, Asked { offset: size });
        assert!(part(size, PART_BYTES).answers(first, None) && part(size, 5).answers(last, Some(size)));
        assert!(part(size, 0).answers(behind, Some(size)));
        assert!(!part(size, 5).answers(last, Some(size + 1)), "another size than before");
        assert!(!part(size, 4).answers(last, None) && !part(size, 6).answers(last, None) && !part(size, 1).answers(behind, None));
        assert!(!part(0, 0).answers(first, None) && !part(MODULE_BYTES_MAX + 1, PART_BYTES).answers(first, None));
        let whole = encode(&part(size, 5));
        assert_eq!(decode(&whole), Some(part(size, 5)));
        assert_eq!(decode::<Part<'_>>(&whole[..whole.len() - 1]), None);
        assert_eq!(decode::<Asked>(&[encode(&first), vec![0]].concat()), None);
    }
}
