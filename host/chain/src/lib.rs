//! One chain's life: transactions in, blocks out, questions answered.
//!
//! A [`Chain`] is a handle to its tasks: the *actor* drives the consensus module and commits blocks, *admission* checks
//! transactions in batches, and the *notifier* tells subscribers. Queries run beside them, on instances of their own, and
//! never wait for a block. Among other nodes ([`subnode_peers::Network`]) there are three more: the *inbox* takes what they send but for consensus, which goes to
//! the actor, one answers what they ask, and one *follows* them, getting the blocks that this node lacks.
//!
//! ```text
//! client ─ query ─▶ instance ─ answer ─▶ client
//!             └ action ─▶ admission ─▶ pool ─ ready ─▶ actor ◀─ effects ─ consensus module
//!                                        └── draw ──▶ build ─▶ commit ─▶ notifier ─▶ subscribers
//!
//! node ─ consensus ────────────────▶ actor ─ obtain ─▶ fetch ─ block ─▶ execute ─ judged ─▶ consensus module
//! node ─ frame ─▶ inbox ─ height ─▶ follow ─ fetch ─▶ block, certificate ─▶ actor ─▶ check, execute, commit
//! ```
//!
//! | from other nodes | bound |
//! |---|---|
//! | consensus messages that wait | 512 KiB of each member, served in turn; then it waits |
//! | transactions that wait to be checked | 2 MiB of each node, 16 MiB of those outside the committee, out of the chain's memory; the rest is dropped |
//! | questions, notices | 64 and the last of each node, served in turn; the rest is dropped, and comes again |
//! | blocks fetched or held at once | 64, none unasked, and 8 decided ones; each takes memory of the chain's |
//! | how far ahead of this host's clock a proposed block may be | 15 s, or a second after its parent |
//! | a module's log between two blocks | 64 MiB |
//! | pieces of a state fetched at once | 16, of 512 KiB |
//!
//! Not here: JSON and sockets (`rpc`, `network`), other chains (`node`), how tables are kept (`storage`).

mod actor;
mod admission;
mod chain;
mod counters;
mod error;
mod exchange;
mod feed;
mod guests;
mod inbox;
mod ledger;
mod mailbox;
mod mempool;
mod notifier;
mod open;
mod options;
mod parts;
mod query;
mod reader;
mod serve;
mod spec;
mod standing;
mod stats;
mod sync;
mod time;
mod traffic;
mod waiting;

pub use chain::Chain;
pub use error::{OpenError, RpcError};
pub use feed::Notification;
pub use ledger::bury;
pub use options::{ChainOptions, ChainParts, Ended, FUTURE_MS_MAX};
pub use query::{Begun, Reply, Session};
pub use reader::ViewReader;
pub use spec::{Spec, SpecReader};
pub use stats::ChainStats;
pub use subnode_chain_core::{CHECKPOINT_EVERY, PoolLimits};
pub use subnode_sandbox::charged;
pub use time::TimeSource;
pub use traffic::ClientTraffic;
