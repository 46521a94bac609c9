//! The pure core of a chain: the pool, the chain's clock and consensus timers, committees by height, the candidates of
//! the next height, what a block's id commits to, what members state, and the messages between nodes about blocks and states.
//!
//! Everything takes time and input as arguments. This crate names no async runtime, no clock and no randomness;
//! `clippy.toml` enforces it.
//!
//! Not here: calling modules, committing, answering clients (`chain`).

mod amount;
mod author;
mod board;
mod candidates;
pub mod checkpoint;
mod clock;
mod committee;
mod manifest;
mod pool;
pub mod presence;
pub mod statement;
mod summary;
mod timers;
mod upgrade;
pub mod wire;

pub use amount::Amount;
pub use author::Author;
pub use board::{Board, Refused};
pub use candidates::{CANDIDATES_MAX, Candidates, Obtain, WANTED_PER_MEMBER};
pub use checkpoint::{CHECKPOINT_EVERY, Checkpoints};
pub use clock::ChainClock;
pub use committee::{CommitteeError, Committees};
pub use manifest::{BLOCK_BYTES_MAX, BlockTooLong, Manifest, PART_BYTES};
pub use pool::{Draw, OVERHEAD_BYTES, Pool, PoolCopy, PoolError, PoolLimits, Transaction};
pub use summary::{Link, Summary, Turn};
pub use timers::Timers;
pub use upgrade::{Role, Upgrade};
