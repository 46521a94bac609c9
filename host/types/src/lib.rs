//! Values that Subnode's crates exchange: parse, print, nothing else.
//!
//! Not here: behaviour, serialization, anything of one chain's meaning.

mod chain_name;
mod head;
mod sealing;
mod slice;

pub use chain_name::{ChainName, ChainNameError};
pub use head::BlockRef;
pub use sealing::Sealing;
pub use slice::{PARTS_OF_A_NODE, Parts, PartsError, Slice};
