//! One port for all chains: JSON-RPC 2.0 over HTTP and WebSocket.
//!
//! `/` is the first chain, and `/chain/NAME` is any chain. Methods belong to the runtimes. This crate knows framing,
//! batches, limits and how a reply becomes JSON, and knows no method by name.
//!
//! Operators have a Unix socket of their own: see [`Admin`], and the table of its methods in `admin.rs`.
//!
//! Not here: what a method means (modules), which chains run (`node`).

mod admin;
mod body;
mod connection;
mod describe;
mod framing;
mod held;
mod limits;
mod metrics;
mod request;
mod server;
mod websocket;

pub use admin::{Admin, bind_admin, serve_admin};
pub use framing::answer;
pub use limits::RpcLimits;
pub use metrics::serve_metrics;
pub use server::{ServeError, serve};
