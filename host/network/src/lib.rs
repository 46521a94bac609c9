//! One QUIC endpoint, on one UDP port, for all chains of a node.
//!
//! A node is known by an ed25519 key; both ends of a connection prove theirs. A chain [joins](Network::join) with its members, which are called
//! until they answer, and gets a [`Membership`] to send with and an [`Inbox`]. Each chain has streams of its own for each [`Purpose`]:
//! consensus goes before transactions, those before blocks and snapshots, and no chain waits for another's lost packets.
//!
//! | from outside | bound |
//! |---|---|
//! | a frame | 256 KiB of consensus, 1 MiB else, checked before it is allocated |
//! | frames that wait for their chain | 64 to 1024 by purpose; then that stream waits |
//! | frames that wait for a peer | 16 to 256 by purpose; then they are dropped and counted |
//! | bytes of a chain | its slice, received and sent; consensus is charged and does not wait |
//! | consensus of one peer and chain | 4 MiB/s |
//! | broken rules of a peer | 8; then it is dropped and shunned for a minute |
//! | nodes that belong to no chain here | a number; they may not speak of consensus |
//!
//! Not here: what frames mean, who belongs to a chain, keys on disk.

mod chain;
mod dial;
mod frame;
mod greet;
mod handshake;
mod identity;
mod limits;
mod membership;
mod network;
mod peer;
mod registry;
mod streams;

pub use chain::{Inbox, Incoming, Received, Request, Traffic};
pub use frame::{ChainKey, frame_bytes_max};
pub use identity::{KeyError, NodeKey};
pub use membership::Membership;
pub use network::{Network, NetworkError, NetworkOptions, PeerInfo};
pub use peer::{RequestError, SendError};
pub use subnode_types::{NodeId, Purpose};
