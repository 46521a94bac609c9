//! Runs the chains a node should run: one sandbox, one store, many chains.
//!
//! Not here: what one chain does (`chain`), who may ask it (`rpc`), where the list of chains comes from (`cli`, `devnet`).

mod node;

pub use node::{ChainSetup, Node, NodeError};
