//! One port for all chains: JSON-RPC 2.0 over HTTP and WebSocket.
//!
//! `/` is the first chain and `/chain/NAME` any. Methods are the runtimes' own: this crate knows framing, batches, limits and
//! how a reply becomes JSON, and no method by name.
//!
//! Not here: what a method means (modules), which chains run (`node`).

mod connection;
mod framing;
mod limits;
mod server;
mod websocket;

pub use framing::answer;
pub use limits::RpcLimits;
pub use server::{ServeError, serve};
