//! Contents that nodes give each other by their hash: modules.
//!
//! A content has a key in the network, as a chain has, and a node that has the content takes part under it. So a node that lacks a content finds
//! those that have it among the nodes it is connected with, and learns of nothing whose hash it does not know. The nodes that the configuration
//! names are called and asked; none is believed.
//!
//! | from outside | bound |
//! |---|---|
//! | what a node gives | modules of chains that it runs, at most [`PART_BYTES`] for a question; a chain that uses the module pays |
//! | questions of a node | `network`'s, as for a chain: 8 answers at once to a stranger, nodes in turn |
//! | what a node is given | [`PARTS_AT_ONCE`] parts at once, of one node; in all a module's most bytes, paid by the chain that waits for it |
//! | a node that gives what is wrong | costs one module's most bytes, and is asked for nothing for ten minutes |

mod claims;
mod fetch;
mod give;
mod sources;
mod wire;

pub(crate) use claims::Claims;
pub(crate) use fetch::{Fetch, FetchError, Here};
pub(crate) use give::Given;

use sha2::{Digest, Sha256};
use subnode_network::ChainKey;
use subnode_sandbox::ModuleHash;

/// Of the keys of contents: no chain's id is the hash of such a text.
const KEY_DOMAIN: &[u8] = b"subnode content 1";

/// What nodes know a content by.
fn key(content: ModuleHash) -> ChainKey {
    ChainKey(Sha256::new().chain_update(KEY_DOMAIN).chain_update(content.as_bytes()).finalize().into())
}
