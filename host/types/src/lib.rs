//! Values that Subnode's crates exchange. They parse and print, and do nothing else.
//!
//! Not here: behaviour, serialization, anything that only one chain knows the meaning of.

mod byte_size;
mod chain_name;
mod committee;
mod head;
mod hex;
mod purpose;
mod sealing;
mod slice;

pub use byte_size::{ByteSize, ByteSizeError};
pub use chain_name::{ChainName, ChainNameError};
pub use committee::{NodeId, NotANodeId, Position, Validator};
pub use head::BlockRef;
pub use hex::Hex;
pub use purpose::Purpose;
pub use sealing::{Sealing, SealingError};
pub use slice::{PARTS_OF_A_NODE, Parts, PartsError, Slice};
