//! One QUIC endpoint, on one UDP port, for all chains of a node.
//!
//! A node is known by its ed25519 key, and both ends of a connection prove their keys. A chain [joins](Network::join)
//! with its members, and the endpoint calls these members until they answer. The chain gets a [`Membership`] to send
//! with and [`Inboxes`] to receive from. Each chain has streams of its own for each [`Purpose`]. Consensus frames go
//! first, then transactions, then blocks and pieces of checkpoints. No chain waits for another chain's lost packets. A
//! content that nodes [share](Network::share) has a key as a chain has. Nodes ask for its parts, after all else.
//!
//! | from outside | bound |
//! |---|---|
//! | connections being greeted | 128, and 64 of members' hosts; of one address 32, and 32 a second; 5 s and 192 KiB each, and a stream |
//! | streams of a peer | one for each shared chain and purpose, and 64 questions |
//! | a frame | 256 KiB of consensus and of a content, 1 MiB else, 4 KiB of a question; charged and given room before it is read, within 10 s |
//! | frames of a peer that their chain has not taken | 512 KiB of consensus for each chain, 4 MiB of all else; then the peer waits |
//! | frames that wait to be sent to a peer | 16 to 256 by purpose, 2 to 4 MiB; further ones are dropped and counted |
//! | answers to a peer at once | 32 of 1 MiB to a member, 8 to a stranger, 16 for each chain and purpose |
//! | bytes of a chain | its slice, received and sent; members keep a quarter; consensus is charged up to a half and does not wait |
//! | consensus of one peer and chain | 1 MiB/s, where each frame counts 256 bytes besides its own |
//! | turns among peers | one frame or question each, in a chain's mailbox |
//! | broken rules of a peer | 8; then the peer is disconnected and shunned for a minute |
//! | strangers: nodes in no committee of this node's chains | as many as the caller says; their consensus streams are refused |
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
mod tasks;

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
