//! Takes what other nodes send to where it belongs, and sends them this node's transactions.

use std::sync::Arc;

use bytes::Bytes;
use subnode_chain_core::wire::{self, Notice};
use subnode_types::{NodeId, Purpose};
use tokio::sync::mpsc;

use crate::{
    admission::{Origin, Submission},
    peers::{Inbox, PeerEvent},
    serve::Questions,
    shared::Shared,
};

/// Bytes of transactions sent in one frame, but for a single longer one.
const GOSSIP_BYTES: usize = 256 << 10;

/// Takes what other nodes send, until the chain has left the network.
pub(crate) async fn run(
    shared: Arc<Shared>,
    mut inbox: Box<dyn Inbox>,
    frames: mpsc::Sender<Bytes>,
    notices: mpsc::Sender<(NodeId, Notice)>,
    questions: Arc<Questions>,
) {
    while let Some(event) = inbox.next().await {
        match event {
            // The sender waits while the module is busy: nobody else's frames do.
            PeerEvent::Frame { purpose: Purpose::Consensus, frame, .. } => {
                if frames.send(frame).await.is_err() {
                    return;
                }
            }
            PeerEvent::Frame { from, purpose: Purpose::Transactions, frame } => match wire::decode::<Vec<Vec<u8>>>(&frame) {
                // What does not fit is lost: its sender still has it.
                Some(transactions) => drop(
                    transactions.into_iter().try_for_each(|data| shared.submissions.try_send(Submission { data, origin: Origin::Peer })),
                ),
                None => tracing::debug!(chain = %shared.name, peer = %from, "transactions that do not decode"),
            },
            PeerEvent::Frame { from, purpose: Purpose::Blocks, frame } => match wire::decode(&frame) {
                Some(notice) => drop(notices.try_send((from, notice))),
                None => tracing::debug!(chain = %shared.name, peer = %from, "a notice that does not decode"),
            },
            PeerEvent::Frame { from, purpose: Purpose::Snapshot, .. } => {
                tracing::debug!(chain = %shared.name, peer = %from, "snapshots are not sent unasked");
            }
            PeerEvent::Question { from, frame, answer } => match wire::decode(&frame) {
                Some(question) => questions.ask(from, question, answer),
                None => tracing::debug!(chain = %shared.name, peer = %from, "a question that does not decode"),
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
