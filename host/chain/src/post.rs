//! Takes what other nodes send, answers what they ask, and sends them this node's transactions.

use std::sync::Arc;

use bytes::Bytes;
use subnode_chain_core::{
    PART_BYTES,
    wire::{self, Asked, Notice, Question, Whole},
};
use subnode_storage::StoreError;
use subnode_types::{NodeId, Purpose};
use tokio::sync::mpsc;

use crate::{
    admission::{Origin, Submission},
    blocks::{self, Offered},
    checkpoints,
    peers::{Inbox, PeerEvent},
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
            PeerEvent::Question { frame, answer } => {
                if let Some(found) = wire::decode(&frame).and_then(|question| answer_to(&shared, question)) {
                    answer(found);
                }
            }
        }
    }
}

fn answer_to(shared: &Shared, question: Question) -> Option<Bytes> {
    let answer = find(shared, question);
    answer.inspect_err(|error| tracing::warn!(chain = %shared.name, %error, ?question, "another node asks for what cannot be read")).ok()?
}

fn find(shared: &Shared, question: Question) -> Result<Option<Bytes>, StoreError> {
    let store = &shared.store;
    Ok(match question {
        Question::Block(asked) => block(shared, asked)?.map(|(offered, certificate)| {
            let first = offered.block.chunks(PART_BYTES).next().unwrap_or_default().to_vec();
            wire::encode(&Whole { manifest: offered.manifest.clone(), certificate, first }).into()
        }),
        Question::Part(asked, index) => block(shared, asked)?
            .and_then(|(offered, _)| offered.block.chunks(PART_BYTES).nth(usize::try_from(index).ok()?).map(Bytes::copy_from_slice)),
        Question::Links(after) => match shared.rule {
            Some(rule) => Some(wire::encode(&checkpoints::links(store, rule, after)?).into()),
            None => None,
        },
        Question::Outline(height) => checkpoints::outline(store, height)?.map(|outline| wire::encode(&outline).into()),
        Question::Group(height, index) => checkpoints::group(store, height, index)?.map(Bytes::from),
        Question::Piece(height, index) => checkpoints::piece(store, height, index)?.map(Bytes::from),
    })
}

/// A block, and what shows that it was decided, if it was.
type Shown = (Arc<Offered>, Vec<u8>);

fn block(shared: &Shared, asked: Asked) -> Result<Option<Shown>, StoreError> {
    Ok(match asked {
        Asked::Candidate(id) => shared.offered(&id).map(|offered| (offered, Vec::new())),
        Asked::Decided(height) => blocks::decided(&shared.store, height)?.map(|(offered, certificate)| (Arc::new(offered), certificate)),
    })
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
