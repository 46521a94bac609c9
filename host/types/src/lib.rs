//! Values that Subnode's crates exchange. They parse and print, and do nothing else.
//!
//! Not here: behaviour, serialization, anything that only one chain knows the meaning of.

use std::pin::Pin;

mod byte_size;
mod chain_name;
mod committee;
mod head;
mod hex;
mod purpose;
mod sealing;
mod slice;

/// A future of a trait's method or of a public function. An `async fn` is compiled by whoever awaits it, with all that it awaits in turn: for
/// functions that much hangs on, boxing has it compiled once.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A future in a box.
pub fn boxed<'a, T>(future: impl Future<Output = T> + Send + 'a) -> Boxed<'a, T> {
    Box::pin(future)
}

pub use byte_size::{ByteSize, ByteSizeError};
pub use chain_name::{ChainName, ChainNameError};
pub use committee::{NodeId, NotANodeId, Position, Validator};
pub use head::BlockRef;
pub use hex::Hex;
pub use purpose::Purpose;
pub use sealing::{Sealing, SealingError};
pub use slice::{PARTS_OF_A_NODE, Parts, PartsError, Slice};
