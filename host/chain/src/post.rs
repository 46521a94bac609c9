//! Takes what other nodes send to where it belongs, and sends them this node's transactions.

use std::sync::Arc;

use subnode_chain_core::wire;
use subnode_types::Purpose;

use crate::{
    notices::Notices,
    peers::{Inbox, PeerEvent, Peers},
    serve::Questions,
    shared::Shared,
};

/// Bytes of transactions sent in one frame, but for a single longer one.
const GOSSIP_BYTES: usize = 256 << 10;

/// Takes what other nodes send, but for consensus, until the chain has left the network. It never waits for whoever deals with it: each of them has
/// room for each node, and what does not fit is dropped.
pub(crate) async fn run(
    shared: Arc<Shared>,
    peers: Arc<dyn Peers>,
    mut inbox: Box<dyn Inbox>,
    notices: Arc<Notices>,
    questions: Arc<Questions>,
) {
    while let Some(event) = inbox.next().await {
        match event {
            PeerEvent::Frame { from, purpose: Purpose::Transactions, frame } => {
                let member = shared.is_member(from);
                for transaction in wire::transactions(&frame) {
                    match transaction {
                        // Its sender still has what does not fit, and the rest of the frame will not fit either.
                        Some(data) if !shared.submissions.from_node(from, member, data) => break,
                        Some(_) => {}
                        None => peers.fault(from, "transactions that do not decode"),
                    }
                }
            }
            PeerEvent::Frame { from, purpose: Purpose::Blocks, frame } => match wire::decode(&frame) {
                Some(notice) => notices.push(from, notice),
                None => peers.fault(from, "a notice that does not decode"),
            },
            PeerEvent::Frame { from, purpose: Purpose::Snapshot, .. } => peers.fault(from, "a snapshot that nobody asked for"),
            // It has an inbox of its own.
            PeerEvent::Frame { purpose: Purpose::Consensus, .. } => {}
            PeerEvent::Question { from, frame, answer } => match wire::decode(&frame) {
                Some(question) => questions.ask(from, shared.is_member(from), question, answer),
                None => peers.fault(from, "a question that does not decode"),
            },
        }
    }
}

/// Sends transactions to all other nodes.
pub(crate) fn gossip(shared: &Shared, transactions: Vec<Vec<u8>>) {
    let Some(peers) = &shared.peers else { return };
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
