//! Takes what other nodes send to where it belongs.

use std::sync::Arc;

use bytes::Bytes;
use subnode_chain_core::wire::{self, Notice};
use subnode_types::{NodeId, Purpose};
use tokio::sync::mpsc;

use crate::{
    mempool::{Origin, Submission},
    parts::Parts,
    peers::{Inbox, PeerEvent},
    serve::Questions,
};

/// Takes what other nodes send, until the chain has left the network.
pub(crate) async fn run(
    parts: Arc<Parts>,
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
                Some(transactions) => {
                    transactions
                        .into_iter()
                        .take_while(|data| parts.mempool.offer(Submission { data: data.clone(), origin: Origin::Peer }))
                        .count();
                }
                None => tracing::debug!(chain = %parts.name, peer = %from, "transactions that do not decode"),
            },
            PeerEvent::Frame { from, purpose: Purpose::Blocks, frame } => match wire::decode(&frame) {
                Some(notice) => drop(notices.try_send((from, notice))),
                None => tracing::debug!(chain = %parts.name, peer = %from, "a notice that does not decode"),
            },
            PeerEvent::Frame { from, purpose: Purpose::Snapshot, .. } => {
                tracing::debug!(chain = %parts.name, peer = %from, "snapshots are not sent unasked");
            }
            PeerEvent::Question { from, frame, answer } => match wire::decode(&frame) {
                Some(question) => questions.ask(from, question, answer),
                None => tracing::debug!(chain = %parts.name, peer = %from, "a question that does not decode"),
            },
        }
    }
}
