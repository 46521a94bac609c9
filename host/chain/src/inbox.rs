//! Takes what other nodes send to where it belongs.

use std::sync::Arc;

use subnode_chain_core::wire;
use subnode_peers::{Inbox, Incoming, Peers, Received};
use subnode_sandbox::charged;
use subnode_types::Purpose;

use crate::{attestations::ATTESTATION, gossip, parts::Parts, presence::PRESENCES, serve::Questions, sync::Notices};

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
            Incoming::Frame(Received { from, purpose: Purpose::Transactions, frame }) => {
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
            Incoming::Frame(Received { from, purpose: Purpose::Blocks, frame }) => match wire::decode(&frame) {
                Some(notice) => notices.push(from, notice),
                None => peers.fault(from, "a notice that does not decode"),
            },
            Incoming::Frame(Received { from, purpose: Purpose::Snapshot, .. }) => peers.fault(from, "a snapshot that nobody asked for"),
            Incoming::Frame(Received { from, purpose: Purpose::Statements, frame }) => {
                let height = parts.ledger.head().height;
                parts.presences.heard(from, height);
                // Signatures may be checked: the chain pays for that.
                let taken = charged(&parts.tenant, async {
                    match frame.first() {
                        Some(&PRESENCES) => {
                            parts.presences.take(&parts.voter, height, &frame).map(|()| false).map_err(|reason| Some(reason.to_owned()))
                        }
                        Some(&ATTESTATION) => gossip::hear_attestation(&parts, from, &frame).map(|()| false).map_err(Some),
                        _ => parts.statements.take(from, height, &frame),
                    }
                });
                match taken.await {
                    Ok(true) => parts.mempool.tell_ready(),
                    Ok(false) | Err(None) => {}
                    Err(Some(reason)) => peers.fault(from, &reason),
                }
            }
            // Consensus has an inbox of its own; contents are no chain's.
            Incoming::Frame(Received { purpose: Purpose::Consensus | Purpose::Content, .. }) => {}
            Incoming::Request(mut request) => match wire::decode(&std::mem::take(&mut request.frame)) {
                Some(question) => questions.ask(parts.ledger.is_member(request.from), question, request),
                None => peers.fault(request.from, "a question that does not decode"),
            },
        }
    }
}
