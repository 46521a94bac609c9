use std::num::NonZeroU64;

/// How a single sequencer seals blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sealing {
    /// As soon as a transaction is ready.
    Instant,
    /// Every so many milliseconds, with or without transactions.
    Interval(NonZeroU64),
    /// When asked.
    Manual,
}
