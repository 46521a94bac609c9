//! What a client gets.

/// What a client gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// JSON text as it is.
    Json(Vec<u8>),
    /// Bytes.
    Id(Vec<u8>),
    /// A number.
    Number(u64),
    /// Whether it was so.
    Truth(bool),
    /// Done.
    Null,
}
