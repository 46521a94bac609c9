//! One chain's life: transactions in, blocks out, questions answered.
//!
//! A [`Chain`] is a handle to three tasks: the *actor* drives the consensus module and commits blocks, *admission* checks
//! transactions in batches, and the *notifier* tells subscribers. Queries run beside them, on instances of their own, and
//! never wait for a block.
//!
//! ```text
//! client ─ query ─▶ instance ─ answer ─▶ client
//!             └ action ─▶ admission ─▶ pool ─ ready ─▶ actor ◀─ effects ─ consensus module
//!                                        └── draw ──▶ build ─▶ commit ─▶ notifier ─▶ subscribers
//! ```
//!
//! Not here: JSON and sockets (`rpc`), other chains (`node`), how tables are kept (`storage`).

mod actor;
mod admission;
mod agreement;
mod bandwidth;
mod blocks;
mod chain;
mod controls;
mod cursor;
mod error;
mod fetch;
mod follow;
mod lend;
mod message;
mod notifier;
mod peers;
mod post;
mod produce;
mod query;
mod shared;
mod stats;
mod subscription;
mod time;

pub use bandwidth::Bandwidth;
pub use chain::{Chain, ChainOptions, ChainParts};
pub use error::{OpenError, RpcError};
pub use peers::{Boxed, Inbox, Joined, Network, PeerEvent, Peers};
pub use query::{Begun, Reply, Session};
pub use stats::ChainStats;
pub use subnode_chain_core::PoolLimits;
pub use subnode_sandbox::charged;
pub use subscription::Notification;
pub use time::TimeSource;
