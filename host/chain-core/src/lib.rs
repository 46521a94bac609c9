//! The pure core of a chain: the pool, the chain's clock, its timers.
//!
//! Everything takes time and input as arguments; this crate names no runtime, no clock and no randomness (clippy.toml sees to it).
//!
//! Not here: calling modules, committing, answering clients (`chain`).

mod clock;
mod pool;
mod timers;

pub use clock::ChainClock;
pub use pool::{Draw, OVERHEAD_BYTES, Pool, PoolError, PoolLimits, Transaction};
pub use timers::Timers;
