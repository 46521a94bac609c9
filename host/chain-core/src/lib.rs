//! The pure core of a chain: the pool, the chain's clock and timers, its committees, what its nodes tell each other about blocks.
//!
//! Everything takes time and input as arguments; this crate names no runtime, no clock and no randomness (clippy.toml sees to it).
//!
//! Not here: calling modules, committing, answering clients (`chain`).

mod clock;
mod committee;
mod manifest;
mod pool;
mod timers;
pub mod wire;

pub use clock::ChainClock;
pub use committee::{CommitteeError, Committees};
pub use manifest::{BLOCK_BYTES_MAX, BlockTooLong, Manifest, PART_BYTES};
pub use pool::{Draw, OVERHEAD_BYTES, Pool, PoolError, PoolLimits, Transaction};
pub use timers::Timers;
