//! One QUIC endpoint, on one UDP port, for all chains of a node.
//!
//! A node is known by an ed25519 key; both ends of a connection prove theirs. A chain [joins](Network::join) with its members, which are called
//! until they answer, and gets a [`Membership`] to send with and [`Inboxes`]. Each chain has streams of its own for each [`Purpose`]:
//! consensus goes before transactions, those before blocks and snapshots, and no chain waits for another's lost packets.
//!
//! | from outside | bound |
//! |---|---|
//! | connections being greeted | 128, and 64 of members' hosts; of one address 32 and 32 a second; 5 s and 192 KiB each, and a stream |
//! | streams of a peer | one for each chain in common and purpose, and 64 questions |
//! | a frame | 256 KiB of consensus, 1 MiB else, 4 KiB of a question; paid and given room before it is read, in 10 s at most |
//! | frames of a peer that their chain has not dealt with | 512 KiB of consensus for each chain, 4 MiB of all else; then the peer waits |
//! | frames that wait for a peer | 16 to 256 by purpose, 2 to 4 MiB; then they are dropped and counted |
//! | answers to a peer at once | 32 of 1 MiB to a member, 8 to a stranger, 16 for each chain and purpose |
//! | bytes of a chain | its slice, received and sent; members keep a quarter; consensus is charged up to a half and does not wait |
//! | consensus of one peer and chain | 1 MiB/s, 256 bytes for each frame beside its own |
//! | turns among peers | one frame or question each, in a chain's mailbox |
//! | broken rules of a peer | 8; then it is dropped and shunned for a minute |
//! | nodes that belong to no chain here | a number; they may not speak of consensus |
//!
//! Not here: what frames mean, who belongs to a chain, keys on disk.

mod chain;
mod dial;
mod environment;
mod frame;
mod greet;
mod handshake;
mod identity;
mod lane;
mod limits;
mod mailbox;
mod membership;
mod network;
mod overlay;
mod peer;
mod registry;
mod streams;

pub use environment::Environment;
pub use frame::{ChainKey, QUESTION_BYTES_MAX, frame_bytes_max};
pub use identity::{KeyError, NodeKey};
pub use mailbox::{Inboxes, Part};
pub use membership::Membership;
pub use network::{Network, NetworkError, NetworkOptions, PeerInfo};
pub use overlay::Overlay;
pub use peer::{RequestError, SendError};
pub use subnode_peers::{Incoming, Received, Request, Traffic};
pub use subnode_types::{NodeId, Purpose};
