//! How a node takes part in a network.

use std::sync::Arc;

use subnode_network::Overlay;

/// See the module.
#[derive(Clone)]
pub struct Peering {
    /// The network.
    pub network: Arc<Overlay>,
    /// The secret of the node's key, which votes for it.
    pub secret: [u8; 32],
    /// The secret of the key with which it attests blocks to outsiders.
    pub attest_secret: Option<[u8; 32]>,
}
