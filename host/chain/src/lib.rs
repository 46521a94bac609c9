//! One chain's life: takes transactions, makes blocks, answers queries.
//!
//! A [`Chain`] is a handle to its tasks. The *actor* drives the consensus module and commits blocks, *admission* checks
//! transactions in batches, and the *notifier* tells subscribers. Queries run beside the tasks, on instances of their
//! own, and never wait for a block.
//!
//! A chain with a network ([`subnode_peers::Network`]) has three more tasks. The *inbox* takes what other nodes send,
//! except for consensus frames, which go to the actor directly. One task answers the questions of other nodes. One task
//! *follows* the other nodes and fetches the blocks that this node lacks.
//!
//! ```text
//! client ─ query ─▶ instance ─ answer ─▶ client
//!             └ action ─▶ admission ─▶ pool ─ ready ─▶ actor ◀─ effects ─ consensus module
//!                                        └── draw ──▶ build ─▶ commit ─▶ notifier ─▶ subscribers
//!
//! node ─ consensus ───────────▶ actor ─ obtain ─▶ fetch ─ block ─▶ execute ─ judged ─▶ consensus module
//! node ─ frame ─▶ inbox ─ height ─▶ follow ─ fetch ─▶ block, certificate ─▶ actor ─▶ check, execute, commit
//! ```
//!
//! | from other nodes | bound |
//! |---|---|
//! | consensus frames that wait | 512 KiB of each member, members served in turn; then that member waits |
//! | transactions that wait to be checked | 2 MiB of each node, 16 MiB of all nodes outside the committee, charged to the memory slice; the rest is dropped |
//! | questions that wait | 64 of each node, nodes served in turn; further ones are refused, and are asked again |
//! | notices that wait | the last one of each node; it replaces the one before |
//! | blocks fetched or held at once | 64, none unasked, and 8 decided ones; each is charged to the memory slice |
//! | how far ahead of this host's clock a proposed block may be | 15 s, or a second after its parent |
//! | statements | 64 KiB of each member, charged to the memory slice; further ones are refused |
//! | signatures of attestations | of 16 blocks, one of each member; 4 frames of each member of blocks that come next; charged to the memory slice |
//! | a module's log between two blocks | 64 MiB |
//! | pieces of a checkpoint fetched at once | 16, of 512 KiB |
//!
//! Not here: JSON and sockets (`rpc`, `network`), other chains (`node`), how tables are kept (`storage`).

mod actor;
mod admission;
mod attestations;
mod authors;
mod chain;
mod counters;
mod error;
mod exchange;
mod feed;
mod gossip;
mod guests;
mod inbox;
mod ledger;
mod mailbox;
mod mempool;
mod notifier;
mod open;
mod options;
mod parts;
mod presence;
mod query;
mod reader;
mod serve;
mod spec;
mod standing;
mod statements;
mod stats;
mod sync;
mod time;
mod traffic;
mod upgrades;
mod waiting;

pub use chain::{Chain, LAST_MAX};
pub use error::{OpenError, RpcError};
pub use feed::Notification;
pub use ledger::bury;
pub use options::{ChainOptions, ChainParts, Ended, FUTURE_MS_MAX, PATIENCE};
pub use presence::MemberStats;
pub use query::{Begun, Reply, Session};
pub use reader::ViewReader;
pub use spec::{Spec, SpecReader};
pub use stats::ChainStats;
pub use subnode_attestation::{DoubleAttestation, Signed};
pub use subnode_chain_core::{CHECKPOINT_EVERY, PoolLimits, Role, Upgrade};
pub use subnode_chain_core::{presence::Patience, statement::Kind};
pub use subnode_sandbox::charged;
pub use time::TimeSource;
pub use traffic::ClientTraffic;
