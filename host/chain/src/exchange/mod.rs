//! What other nodes have, and what they can get here.

mod ahead;
mod fetch;
mod sources;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use subnode_chain_core::wire::{self, Notice};
use subnode_peers::{Peers, Traffic};
use subnode_types::{NodeId, Purpose};

pub(crate) use self::{
    ahead::{Ahead, agreed, believed, having},
    fetch::{Fetched, fetch, persistently},
    sources::Sources,
};
use crate::ledger::{BlockId, Offered};

/// Bytes of transactions sent in one frame, but for a single longer one.
const GOSSIP_BYTES: usize = 256 << 10;

/// A chain's part in the network, where it has one.
pub(crate) struct Exchange {
    peers: Option<Arc<dyn Peers>>,
    /// Candidates of the next height that others can get.
    /// Bound: 64 candidates, of whose bytes none is here twice: the memory slice is charged for each.
    offered: Mutex<BTreeMap<BlockId, Arc<Offered>>>,
}

impl Exchange {
    pub(crate) fn new(peers: Option<Arc<dyn Peers>>) -> Self {
        Self { peers, offered: Mutex::default() }
    }

    pub(crate) fn peers(&self) -> Option<&Arc<dyn Peers>> {
        self.peers.as_ref()
    }

    /// Nodes that are connected and have the chain.
    pub(crate) fn connected(&self) -> usize {
        self.peers.as_ref().map_or(0, |peers| peers.connected().len())
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.peers.as_ref().map(|peers| peers.traffic()).unwrap_or_default()
    }

    fn offers(&self) -> MutexGuard<'_, BTreeMap<BlockId, Arc<Offered>>> {
        self.offered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Lets other nodes have a candidate, until the next block.
    pub(crate) fn offer(&self, id: BlockId, offered: Arc<Offered>) {
        self.offers().insert(id, offered);
    }

    pub(crate) fn offered(&self, id: &BlockId) -> Option<Arc<Offered>> {
        self.offers().get(id).cloned()
    }

    /// The head has moved: candidates are those of another height, and there may be other members.
    pub(crate) fn moved(&self, members: Option<&[NodeId]>) {
        self.offers().clear();
        if let (Some(peers), Some(members)) = (&self.peers, members) {
            peers.set_members(members);
        }
    }

    /// Tells other nodes how far this one is.
    pub(crate) fn announce(&self, height: u64) {
        if let Some(peers) = &self.peers {
            peers.broadcast(Purpose::Blocks, wire::encode(&Notice::Head(height)).into());
        }
    }

    /// Sends a message of the consensus module.
    pub(crate) fn broadcast(&self, message: Vec<u8>) {
        if let Some(peers) = &self.peers {
            peers.broadcast(Purpose::Consensus, message.into());
        }
    }

    /// Sends a statement of this host.
    pub(crate) fn state(&self, frame: Bytes) {
        if let Some(peers) = &self.peers {
            peers.broadcast(Purpose::Statements, frame);
        }
    }

    /// Sends transactions to all other nodes.
    pub(crate) fn gossip(&self, transactions: Vec<Vec<u8>>) {
        let Some(peers) = &self.peers else { return };
        let mut frame: Vec<Vec<u8>> = Vec::new();
        let mut bytes = 0;
        for transaction in transactions {
            if bytes + transaction.len() > GOSSIP_BYTES && !frame.is_empty() {
                peers.broadcast(Purpose::Transactions, wire::encode(&std::mem::take(&mut frame)).into());
                bytes = 0;
            }
            bytes += transaction.len();
            frame.push(transaction);
        }
        if !frame.is_empty() {
            peers.broadcast(Purpose::Transactions, wire::encode(&frame).into());
        }
    }
}
