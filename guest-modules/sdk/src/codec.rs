//! Messages, log entries and certificates as bytes: postcard, which is small and never ambiguous.

use serde::{Serialize, de::DeserializeOwned};

/// As bytes. The same value is the same bytes everywhere.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    // Into memory, what has no maps of unknown length cannot fail to be written.
    postcard::to_stdvec(value).unwrap_or_default()
}

/// From bytes that anyone may have sent; none where they are no such value, or more follow.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    postcard::take_from_bytes(bytes).ok().filter(|(_, rest)| rest.is_empty()).map(|(value, _)| value)
}
