//! Values that Subnode's crates exchange: parse, print, nothing else.
//!
//! Not here: behaviour, serialization, anything of one chain's meaning.

mod chain_name;
mod head;
mod sealing;

pub use chain_name::{ChainName, ChainNameError};
pub use head::BlockRef;
pub use sealing::Sealing;
