//! The network between simulated nodes: it delays, loses, reorders and cuts.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use subnode_peers::{Inbox, Incoming, Joined, Network, Peers, Received, Request, Traffic};
use subnode_scheduler::Bandwidth;
use subnode_types::{Boxed, NodeId, Purpose};
use tokio::{sync::mpsc, time::Instant};

use crate::{Tamper, members::Half};

/// How long an answer is waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// Between two nodes, at least and at most: frames overtake each other.
    pub latency_ms: (u64, u64),
    /// Of a thousand frames, so many are lost.
    pub lost: u32,
    /// And so many arrive twice.
    pub doubled: u32,
}

/// Where a node is reached. One that runs twice has two sides, each for half of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Address {
    pub(crate) node: NodeId,
    pub(crate) twin: bool,
}

/// A member that breaks the rules.
struct BadMember {
    node: NodeId,
    tamper: Box<dyn Tamper>,
}

/// Where what is sent to a node goes: its consensus, and all else.
struct Doors {
    consensus: mpsc::UnboundedSender<Incoming>,
    others: mpsc::UnboundedSender<Incoming>,
}

/// All links.
#[derive(Clone)]
pub(crate) struct Links(Arc<Mutex<State>>);

struct State {
    random: StdRng,
    weather: Weather,
    nodes: BTreeMap<Address, Doors>,
    cut: BTreeSet<(NodeId, NodeId)>,
    bad: Option<BadMember>,
    /// What the network knows the chain by.
    chain: [u8; 32],
    /// The node that runs twice.
    twins: Option<NodeId>,
    started: Instant,
    trace: DefaultHasher,
    /// Consensus frames carried, and their bytes.
    frames: (u64, u64),
}

impl Links {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: StdRng::seed_from_u64(seed ^ 0x11_4b),
            weather,
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            bad: None,
            chain: [0; 32],
            twins: None,
            started: Instant::now(),
            trace: DefaultHasher::new(),
            frames: (0, 0),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// Has a member break the rules from now on.
    pub(crate) fn set_bad(&self, node: NodeId, tamper: Box<dyn Tamper>) {
        self.state().bad = Some(BadMember { node, tamper });
    }

    /// What the network knows the chain by, once a node has joined it.
    pub(crate) fn chain(&self) -> [u8; 32] {
        self.state().chain
    }

    /// Has a node run twice.
    pub(crate) fn set_twins(&self, node: NodeId) {
        self.state().twins = Some(node);
    }

    pub(crate) fn frames(&self) -> (u64, u64) {
        self.state().frames
    }

    /// Cuts the links between two groups.
    pub(crate) fn part(&self, one: &[NodeId], other: &[NodeId]) {
        let mut state = self.state();
        for a in one {
            for b in other {
                state.cut.insert((*a.min(b), *a.max(b)));
            }
        }
    }

    pub(crate) fn heal(&self) {
        self.state().cut.clear();
    }

    /// Forgets a node that is gone.
    pub(crate) fn leave(&self, address: Address) {
        self.state().nodes.remove(&address);
    }

    /// Notes that something happened.
    pub(crate) fn note(&self, what: impl Hash + std::fmt::Debug) {
        if std::env::var_os("SUBNODE_SIM_TRACE").is_some() {
            eprintln!("{:?} {what:?}", self.state().started.elapsed());
        }
        let mut state = self.state();
        let now = state.started.elapsed();
        (now, what).hash(&mut state.trace);
    }

    /// What happened so far, as a number.
    pub(crate) fn trace(&self) -> u64 {
        self.state().trace.finish()
    }

    /// The network as a node has it.
    pub(crate) fn port(&self, address: Address) -> Arc<dyn Network> {
        Arc::new(Port { links: self.clone(), address })
    }

    /// When a frame arrives, once for each of its copies.
    fn fates(&self, from: NodeId, to: NodeId) -> Vec<Duration> {
        let mut state = self.state();
        if state.cut.contains(&(from.min(to), from.max(to))) {
            return Vec::new();
        }
        let Weather { latency_ms: (least, most), lost, doubled } = state.weather;
        if state.random.random_ratio(lost, 1_000) {
            return Vec::new();
        }
        let copies = if state.random.random_ratio(doubled, 1_000) { 2 } else { 1 };
        (0..copies).map(|_| Duration::from_micros(state.random.random_range(least * 1_000..=most * 1_000))).collect()
    }

    fn deliver(&self, from: NodeId, to: NodeId, event: Incoming) {
        if let Incoming::Frame(Received { purpose, frame, .. }) = &event {
            self.note((from, to, *purpose as u8, frame));
            if *purpose == Purpose::Consensus {
                let frames = &mut self.state().frames;
                *frames = (frames.0 + 1, frames.1 + frame.len() as u64);
            }
        }
        let state = self.state();
        let twin = state.twins == Some(to) && from.is_even();
        if let Some(node) = state.nodes.get(&Address { node: to, twin }) {
            let door = match &event {
                Incoming::Frame(Received { purpose: Purpose::Consensus, .. }) => &node.consensus,
                Incoming::Frame(_) | Incoming::Request(_) => &node.others,
            };
            // A node that has just gone gets nothing.
            drop(door.send(event));
        }
    }

    fn send(&self, from: NodeId, to: NodeId, purpose: Purpose, frame: &Bytes) {
        let said = match &mut self.state().bad {
            Some(bad) if bad.node == from => bad.tamper.say(to, purpose, frame),
            _ => vec![(purpose, frame.clone())],
        };
        said.into_iter().for_each(|(purpose, frame)| self.carry(from, to, purpose, &frame));
    }

    fn carry(&self, from: NodeId, to: NodeId, purpose: Purpose, frame: &Bytes) {
        for late in self.fates(from, to) {
            let (links, frame) = (self.clone(), frame.clone());
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                links.deliver(from, to, Incoming::Frame(Received { from, purpose, frame }));
            });
        }
    }
}

struct Port {
    links: Links,
    address: Address,
}

impl Network for Port {
    fn join(&self, chain: [u8; 32], _members: &[NodeId], _bandwidth: Arc<Bandwidth>) -> Result<Joined, String> {
        let ((consensus, voted), (others, received)) = (mpsc::unbounded_channel(), mpsc::unbounded_channel());
        let mut state = self.links.state();
        state.nodes.insert(self.address, Doors { consensus, others });
        state.chain = chain;
        if let Some(bad) = &mut state.bad {
            bad.tamper.joined(chain);
        }
        drop(state);
        let peers = Arc::new(Port { links: self.links.clone(), address: self.address });
        Ok(Joined { peers, consensus: Box::new(Mailbox(voted)), inbox: Box::new(Mailbox(received)) })
    }
}

impl Peers for Port {
    fn set_members(&self, _members: &[NodeId]) {}

    fn connected(&self) -> Vec<NodeId> {
        let state = self.links.state();
        let Address { node: own, twin } = self.address;
        let reaches = |node: &NodeId| {
            let side = state.twins != Some(own) || twin == node.is_even();
            *node != own && side && !state.cut.contains(&(*node.min(&own), *node.max(&own)))
        };
        let nodes: BTreeSet<_> = state.nodes.keys().map(|address| address.node).filter(reaches).collect();
        nodes.into_iter().collect()
    }

    fn broadcast(&self, purpose: Purpose, frame: Bytes) {
        for to in self.connected() {
            self.links.send(self.address.node, to, purpose, &frame);
        }
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }

    fn fault(&self, _node: NodeId, _what: &str) {}

    fn ask(&self, to: NodeId, purpose: Purpose, question: Bytes) -> Boxed<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let own = self.address.node;
            let asked = async {
                let way = *self.links.fates(own, to).first()?;
                tokio::time::sleep(way).await;
                let bad = match &mut self.links.state().bad {
                    Some(bad) if bad.node == to => bad.tamper.answer(&question),
                    _ => None,
                };
                if let Some(answer) = bad {
                    return answer;
                }
                let (request, answered) = Request::new(own, purpose, question);
                // Whoever asked may be gone.
                self.links.deliver(own, to, Incoming::Request(request));
                let answer = answered.await.ok()?;
                if let Some(bad) = &mut self.links.state().bad {
                    bad.tamper.overhear(&answer);
                }
                tokio::time::sleep(*self.links.fates(to, own).first()?).await;
                Some(answer)
            };
            match tokio::time::timeout(ANSWERED_WITHIN, asked).await {
                Ok(Some(answer)) => Ok(answer),
                Ok(None) | Err(_) => Err("no answer".into()),
            }
        })
    }
}

struct Mailbox(mpsc::UnboundedReceiver<Incoming>);

impl Inbox for Mailbox {
    fn next(&mut self) -> Boxed<'_, Option<Incoming>> {
        Box::pin(self.0.recv())
    }
}
