//! Takes what other nodes send to where it belongs.

use std::sync::Arc;

use subnode_chain_core::wire;
use subnode_types::Purpose;

use crate::{
    parts::Parts,
    peers::{Inbox, PeerEvent, Peers},
    serve::Questions,
    sync::Notices,
};

/// Takes what other nodes send, but for consensus, until the chain has left the network. It never waits for whoever deals with it: each of them has
/// room for each node, and what does not fit is dropped.
pub(crate) async fn run(
    parts: Arc<Parts>,
    peers: Arc<dyn Peers>,
    mut inbox: Box<dyn Inbox>,
    notices: Arc<Notices>,
    questions: Arc<Questions>,
) {
    while let Some(event) = inbox.next().await {
        match event {
            PeerEvent::Frame { from, purpose: Purpose::Transactions, frame } => {
                let member = parts.ledger.is_member(from);
                for transaction in wire::transactions(&frame) {
                    match transaction {
                        // Its sender still has what does not fit, and the rest of the frame will not fit either.
                        Some(data) if !parts.mempool.submissions.offer(from, member, data) => break,
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
                Some(question) => questions.ask(from, parts.ledger.is_member(from), question, answer),
                None => peers.fault(from, "a question that does not decode"),
            },
        }
    }
}
