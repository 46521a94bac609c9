//! What the network knows of a chain: who belongs to it, where its frames go, what it may still send. A content that nodes give each other is known in
//! the same way: it has a key, nodes that have it, and a chain that pays.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use subnode_peers::{Incoming, Traffic};
use subnode_scheduler::{Bandwidth, Payer, TokenBucket};
use subnode_types::{NodeId, Purpose};
use tokio::{sync::Mutex as AsyncMutex, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    frame::{ChainKey, QUESTION_BYTES_MAX},
    limits::{CONSENSUS_BYTES_PER_SECOND, LANE_ANSWERS, lane_room, lock, price},
    mailbox::{Inboxes, Mailbox, Part},
};

/// What one peer may have in the mailbox for all but consensus: as much as its lanes have room for, and a question for each answer they look for.
/// Each of these bounds is kept before a frame is read; this one is met by a peer alone that connects anew before the chain took what it sent before.
const OTHERS_BYTES: usize =
    3 * lane_room(Purpose::Blocks) + lane_room(Purpose::Statements) + Purpose::ALL.len() * LANE_ANSWERS * price(QUESTION_BYTES_MAX);

/// What nodes have in common under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A chain.
    Chain,
    /// A content, of which parts are asked for and nothing is sent unasked.
    Content,
}

pub(crate) struct Chain {
    pub(crate) key: ChainKey,
    pub(crate) kind: Kind,
    /// Bound: the members that the chain names, 64 committees of 128 at most, of 64 bytes each: 512 KiB.
    members: Mutex<BTreeMap<NodeId, Option<SocketAddr>>>,
    /// What each member may still send of consensus. A member has one pace, however often it connects.
    /// Bound: one of 64 bytes for each of `members`.
    paces: Mutex<BTreeMap<NodeId, TokenBucket>>,
    since: Instant,
    consensus: Arc<Mailbox>,
    others: Arc<Mailbox>,
    /// Of the chain itself, or of one that uses the content.
    bandwidth: Mutex<Arc<Bandwidth>>,
    /// Held by whoever waits for bandwidth and is next: of many that wait, one sees that the debt is paid.
    members_turn: AsyncMutex<()>,
    others_turn: AsyncMutex<()>,
    /// Cancelled once the chain has left.
    left: CancellationToken,
    sent_bytes: AtomicU64,
    received_bytes: AtomicU64,
    dropped_frames: AtomicU64,
}

impl Chain {
    pub(crate) fn new(
        key: ChainKey,
        kind: Kind,
        members: BTreeMap<NodeId, Option<SocketAddr>>,
        bandwidth: Arc<Bandwidth>,
    ) -> (Self, Inboxes) {
        let (consensus, others) = (Mailbox::new(lane_room(Purpose::Consensus)), Mailbox::new(OTHERS_BYTES));
        let inbox = Inboxes { consensus: Part(consensus.clone()), others: Part(others.clone()) };
        let chain = Self {
            key,
            kind,
            members: Mutex::new(members),
            paces: Mutex::default(),
            since: Instant::now(),
            consensus,
            others,
            bandwidth: Mutex::new(bandwidth),
            members_turn: AsyncMutex::default(),
            others_turn: AsyncMutex::default(),
            left: CancellationToken::new(),
            sent_bytes: AtomicU64::new(0),
            received_bytes: AtomicU64::new(0),
            dropped_frames: AtomicU64::new(0),
        };
        (chain, inbox)
    }

    pub(crate) fn members(&self) -> BTreeMap<NodeId, Option<SocketAddr>> {
        lock(&self.members).clone()
    }

    pub(crate) fn set_members(&self, members: BTreeMap<NodeId, Option<SocketAddr>>) {
        lock(&self.paces).retain(|node, _| members.contains_key(node));
        *lock(&self.members) = members;
    }

    pub(crate) fn is_member(&self, node: NodeId) -> bool {
        lock(&self.members).contains_key(&node)
    }

    pub(crate) fn address_of(&self, node: NodeId) -> Option<SocketAddr> {
        lock(&self.members).get(&node).copied().flatten()
    }

    /// Waits until a member may send so much more consensus, and counts it. Each member has a limit of its own, as consensus does not wait for the
    /// chain's slice. False where the node is a member no longer.
    pub(crate) async fn pace(&self, member: NodeId, bytes: usize) -> bool {
        while self.is_member(member) {
            let debt = {
                let (mut paces, now) = (lock(&self.paces), self.since.elapsed());
                let pace = paces.entry(member).or_insert_with(|| TokenBucket::new(CONSENSUS_BYTES_PER_SECOND, now));
                let debt = pace.debt(now);
                if debt.is_zero() {
                    pace.spend(bytes as u64, now);
                    return true;
                }
                debt
            };
            tokio::time::sleep(debt).await;
        }
        false
    }

    /// Ends what is done for the chain, and its mailbox.
    pub(crate) fn leave(&self) {
        self.left.cancel();
        self.consensus.close();
        self.others.close();
    }

    pub(crate) fn has_left(&self) -> bool {
        self.left.is_cancelled()
    }

    pub(crate) async fn left(&self) {
        self.left.cancelled().await;
    }

    /// Has another chain pay for the content from now on.
    pub(crate) fn set_bandwidth(&self, bandwidth: Arc<Bandwidth>) {
        *lock(&self.bandwidth) = bandwidth;
    }

    fn bandwidth(&self) -> Arc<Bandwidth> {
        lock(&self.bandwidth).clone()
    }

    /// Whether a node may speak for a purpose here.
    pub(crate) fn hears(&self, node: NodeId, purpose: Purpose) -> bool {
        match self.kind {
            Kind::Chain => purpose != Purpose::Content && (!purpose.is_of_members() || self.is_member(node)),
            Kind::Content => purpose == Purpose::Content,
        }
    }

    /// Who pays for what goes to and comes from a node.
    pub(crate) fn payer(&self, purpose: Purpose, node: NodeId) -> Payer {
        if purpose == Purpose::Consensus {
            return Payer::Consensus;
        }
        if self.is_member(node) { Payer::Members } else { Payer::Others }
    }

    /// Waits until the chain may send or receive more, and pays for it. Those that wait are let through in the order they came. Consensus does not
    /// wait.
    pub(crate) async fn pass(&self, payer: Payer, bytes: usize) {
        let turn = match payer {
            Payer::Consensus => return self.bandwidth().spend(payer, bytes),
            Payer::Members => &self.members_turn,
            Payer::Others => &self.others_turn,
        };
        let _turn = turn.lock().await;
        loop {
            let debt = self.bandwidth().debt(payer);
            if debt.is_zero() {
                break;
            }
            tokio::time::sleep(debt).await;
        }
        self.bandwidth().spend(payer, bytes);
    }

    /// Pays for what this node asked for: the next waits for it.
    pub(crate) fn pay(&self, payer: Payer, bytes: usize) {
        self.bandwidth().spend(payer, bytes);
    }

    /// Counts bytes.
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts bytes.
    pub(crate) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn dropped(&self) {
        self.dropped_frames.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn traffic(&self) -> Traffic {
        Traffic {
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            dropped_frames: self.dropped_frames.load(Ordering::Relaxed),
        }
    }

    /// A node is gone. What a member sent stays, and is bounded, as there are few members. What a stranger sent goes with the stranger: one that connects
    /// under n keys, one after the other, would hold n times `OTHERS_BYTES`.
    pub(crate) fn gone(&self, node: &NodeId) {
        if !self.is_member(*node) {
            self.others.forget(node);
        }
    }

    /// Hands what a peer sent to the chain. False where the chain has left.
    pub(crate) fn deliver(&self, incoming: Incoming) -> bool {
        let (from, bytes, mailbox) = match &incoming {
            Incoming::Frame(received) if received.purpose == Purpose::Consensus => (received.from, received.frame.len(), &self.consensus),
            Incoming::Frame(received) => (received.from, received.frame.len(), &self.others),
            Incoming::Request(request) => (request.from, request.frame.len(), &self.others),
        };
        mailbox.push(from, price(bytes), incoming)
    }
}
