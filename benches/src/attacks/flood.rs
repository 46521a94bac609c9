//! Members and strangers that speak the protocol well, and far too much.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use subnode_chain_core::wire::{self, Asked, Notice, Question};
use subnode_network::{ChainKey, Inboxes, Membership, Network, NetworkOptions, NodeKey, frame_bytes_max};
use subnode_scheduler::Bandwidth;
use subnode_types::{NodeId, Purpose};
use tokio::task::JoinSet;

use crate::attacks::member::NETWORK;

/// Questions that one asks another at once.
const QUESTIONS: usize = 64;
/// Waits of one that has nothing to do, or whose frames are not taken.
const PAUSE: Duration = Duration::from_millis(1);

/// What somebody says too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flood {
    /// The longest frames of nonsense there may be, of every purpose.
    Frames,
    /// Transactions that are none.
    Transactions,
    /// Questions about blocks and states that there are, and that there are not.
    Questions,
    /// All of them.
    All,
}

fn bytes(random: &mut StdRng, length: usize) -> Vec<u8> {
    let mut filled = vec![0; length];
    random.fill_bytes(&mut filled);
    filled
}

/// What is sent too much of, made once: all senders share the bytes.
struct Frames {
    /// As long as may be, of each purpose that has frames.
    nonsense: Vec<(Purpose, Bytes)>,
    /// Lists that decode, of transactions that do not.
    transactions: Vec<(Purpose, Bytes)>,
}

fn frames() -> &'static Frames {
    static FRAMES: OnceLock<Frames> = OnceLock::new();
    FRAMES.get_or_init(|| {
        let mut random = StdRng::seed_from_u64(1);
        let purposes = [Purpose::Consensus, Purpose::Transactions, Purpose::Blocks];
        let nonsense = purposes.map(|purpose| (purpose, bytes(&mut random, frame_bytes_max(purpose)).into())).into();
        let mut list = || (0..1_000).map(|_| bytes(&mut random, 200)).collect::<Vec<_>>();
        let transactions = (0..4).map(|_| (Purpose::Transactions, wire::encode(&list()).into())).collect();
        Frames { nonsense, transactions }
    })
}

fn question(random: &mut StdRng) -> (Purpose, Question) {
    let height = random.random_range(0..200);
    match random.random_range(0..6) {
        0 => (Purpose::Blocks, Question::Block(Asked::Decided(height))),
        1 => (Purpose::Blocks, Question::Part(Asked::Decided(height), 0)),
        2 => (Purpose::Blocks, Question::Block(Asked::Candidate(random.random()))),
        3 => (Purpose::Snapshot, Question::Links(0)),
        4 => (Purpose::Snapshot, Question::Outline(height)),
        _ => (Purpose::Snapshot, Question::Piece(height, 0)),
    }
}

async fn ask(membership: &Membership, to: NodeId, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed);
    loop {
        let (purpose, question) = question(&mut random);
        if membership.request(to, purpose, wire::encode(&question).into()).await.is_err() {
            tokio::time::sleep(PAUSE).await;
        }
    }
}

/// Sends these to a node as fast as it takes them.
async fn say(membership: &Membership, to: NodeId, frames: Vec<(Purpose, Bytes)>) {
    loop {
        for (purpose, frame) in &frames {
            while membership.send(to, *purpose, frame.clone()).is_err() {
                tokio::time::sleep(PAUSE).await;
            }
        }
        tokio::task::yield_now().await;
    }
}

/// Says too much to a node, until it is dropped.
pub(crate) async fn flood(flood: Flood, membership: Arc<Membership>, to: NodeId, seed: u64) {
    let mut tasks = JoinSet::new();
    let mut lanes: Vec<Vec<(Purpose, Bytes)>> = Vec::new();
    if matches!(flood, Flood::Frames | Flood::All) {
        lanes.extend(frames().nonsense.iter().map(|frame| vec![frame.clone()]));
        lanes.push(vec![(Purpose::Blocks, wire::encode(&Notice::Head(u64::MAX)).into())]);
    }
    if matches!(flood, Flood::Transactions | Flood::All) {
        lanes.push(frames().transactions.clone());
    }
    for frames in lanes {
        let membership = membership.clone();
        tasks.spawn(async move { say(&membership, to, frames).await });
    }
    if matches!(flood, Flood::Questions | Flood::All) {
        for question in 0..QUESTIONS as u64 {
            let membership = membership.clone();
            tasks.spawn(async move { ask(&membership, to, seed * 1_000 + question).await });
        }
    }
    while tasks.join_next().await.is_some() {}
}

/// Says to all others, without end, what `frames` makes for them while it makes any.
pub(crate) async fn repeat(membership: Arc<Membership>, mut frames: impl FnMut() -> Vec<Bytes>) {
    loop {
        for frame in frames() {
            for to in membership.connected() {
                // One that takes no more yet gets the next.
                membership.send(to, Purpose::Consensus, frame.clone()).unwrap_or_default();
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// A node that belongs to no committee.
pub(crate) struct Stranger {
    network: Network,
    membership: Arc<Membership>,
    _inbox: Inboxes,
}

impl Stranger {
    /// Calls the members of a chain.
    pub(crate) fn new(chain: ChainKey, members: &BTreeMap<NodeId, SocketAddr>) -> anyhow::Result<Self> {
        let listen = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let options = NetworkOptions { listen, network: NETWORK.into(), strangers_max: 1 };
        let network = Network::open(NodeKey::from_secret(NodeKey::new_secret()?)?, options)?;
        let members = members.iter().map(|(node, address)| (*node, Some(*address))).collect();
        let (membership, inbox) = network.join(chain, members, Arc::new(Bandwidth::new(u64::MAX)))?;
        Ok(Self { network, membership: Arc::new(membership), _inbox: inbox })
    }

    /// Floods all of them, until it is dropped.
    pub(crate) async fn flood(&self, members: &BTreeMap<NodeId, SocketAddr>, seed: u64) {
        let mut tasks = JoinSet::new();
        for (to, seed) in members.keys().zip(seed * 10..) {
            tasks.spawn(flood(Flood::All, self.membership.clone(), *to, seed));
        }
        while tasks.join_next().await.is_some() {}
    }

    /// Leaves.
    pub(crate) async fn close(self) {
        drop(self.membership);
        self.network.close().await;
    }
}
