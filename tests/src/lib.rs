//! What the end-to-end tests share.

/// A contract that counts and says so, compiled by hand.
pub mod counter;
/// Real `subnode` processes.
pub mod process;
/// A runtime guest without a chain around it.
pub mod replay;
