//! What the end-to-end tests share.

/// A contract that counts and says so, compiled by hand.
pub mod counter;
