//! The network between simulated nodes: late, lossy, out of order, cut.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Arc, Mutex, MutexGuard},
    time::Duration,
};

use bytes::Bytes;
use rand::{Rng, SeedableRng, rngs::StdRng};
use subnode_bft::message::Message;
use subnode_chain::{Boxed, Inbox, Joined, Network, PeerEvent, Peers};
use subnode_types::{NodeId, Purpose};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};

use crate::actor::Actor;

/// A frame, as it is noted.
struct Carried<'a> {
    from: NodeId,
    to: NodeId,
    purpose: Purpose,
    frame: &'a Bytes,
    message: Option<Message>,
}

impl Hash for Carried<'_> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.from, self.to, self.purpose as u8, self.frame).hash(state);
    }
}

impl fmt::Debug for Carried<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let short = |node: NodeId| node.to_string().split_off(60);
        write!(f, "{} to {}: {:?} {:?}", short(self.from), short(self.to), self.purpose, self.message)
    }
}

/// How long an answer is waited for.
const ANSWERED_WITHIN: Duration = Duration::from_secs(2);

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Weather {
    /// Between two nodes, at least and at most: frames overtake each other.
    pub latency_ms: (u64, u64),
    /// Of a thousand frames.
    pub lost: u32,
    pub doubled: u32,
}

/// All links.
#[derive(Clone)]
pub(crate) struct Links(Arc<Mutex<State>>);

struct State {
    random: StdRng,
    weather: Weather,
    nodes: BTreeMap<NodeId, mpsc::UnboundedSender<PeerEvent>>,
    cut: BTreeSet<(NodeId, NodeId)>,
    bad: Option<Actor>,
    started: Instant,
    trace: DefaultHasher,
}

impl Links {
    pub(crate) fn new(seed: u64, weather: Weather) -> Self {
        Self(Arc::new(Mutex::new(State {
            random: StdRng::seed_from_u64(seed ^ 0x11_4b),
            weather,
            nodes: BTreeMap::new(),
            cut: BTreeSet::new(),
            bad: None,
            started: Instant::now(),
            trace: DefaultHasher::new(),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    pub(crate) fn set_weather(&self, weather: Weather) {
        self.state().weather = weather;
    }

    /// Has a member break the rules from now on.
    pub(crate) fn set_bad(&self, actor: Actor) {
        self.state().bad = Some(actor);
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
    pub(crate) fn leave(&self, node: NodeId) {
        self.state().nodes.remove(&node);
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
    pub(crate) fn port(&self, node: NodeId) -> Arc<dyn Network> {
        Arc::new(Port { links: self.clone(), node })
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

    fn deliver(&self, to: NodeId, event: PeerEvent) {
        if let PeerEvent::Frame { from, purpose, frame } = &event {
            let message = (*purpose == Purpose::Consensus).then(|| subnode_bft::message::decode::<Message>(frame)).flatten();
            self.note(Carried { from: *from, to, purpose: *purpose, frame, message });
        }
        if let Some(node) = self.state().nodes.get(&to) {
            // A node that has just gone gets nothing.
            drop(node.send(event));
        }
    }

    fn send(&self, from: NodeId, to: NodeId, purpose: Purpose, frame: &Bytes) {
        let said = match &mut self.state().bad {
            Some(bad) if bad.node == from => bad.say(to, purpose, frame),
            _ => vec![(purpose, frame.clone())],
        };
        said.into_iter().for_each(|(purpose, frame)| self.carry(from, to, purpose, &frame));
    }

    fn carry(&self, from: NodeId, to: NodeId, purpose: Purpose, frame: &Bytes) {
        for late in self.fates(from, to) {
            let (links, frame) = (self.clone(), frame.clone());
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                links.deliver(to, PeerEvent::Frame { from, purpose, frame });
            });
        }
    }
}

struct Port {
    links: Links,
    node: NodeId,
}

impl Network for Port {
    fn join(&self, chain: [u8; 32], _members: &[NodeId], _bytes_per_second: u64) -> Result<Joined, String> {
        let (sender, receiver) = mpsc::unbounded_channel();
        let mut state = self.links.state();
        state.nodes.insert(self.node, sender);
        if let Some(bad) = &mut state.bad {
            bad.set_chain(chain);
        }
        drop(state);
        let peers = Arc::new(Port { links: self.links.clone(), node: self.node });
        Ok(Joined { peers, inbox: Box::new(Mailbox(receiver)) })
    }
}

impl Peers for Port {
    fn set_members(&self, _members: &[NodeId]) {}

    fn connected(&self) -> Vec<NodeId> {
        let state = self.links.state();
        let reaches = |node: &NodeId| *node != self.node && !state.cut.contains(&(*node.min(&self.node), *node.max(&self.node)));
        state.nodes.keys().copied().filter(reaches).collect()
    }

    fn broadcast(&self, purpose: Purpose, frame: Bytes) {
        for to in self.connected() {
            self.links.send(self.node, to, purpose, &frame);
        }
    }

    fn ask(&self, to: NodeId, question: Bytes) -> Boxed<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let asked = async {
                let way = *self.links.fates(self.node, to).first()?;
                tokio::time::sleep(way).await;
                let bad = match &mut self.links.state().bad {
                    Some(bad) if bad.node == to => bad.answer(&question),
                    _ => None,
                };
                if let Some(answer) = bad {
                    return answer;
                }
                let (answer, answered) = oneshot::channel();
                // Whoever asked may be gone.
                let answer = Box::new(|frame| drop(answer.send(frame)));
                self.links.deliver(to, PeerEvent::Question { frame: question, answer });
                let answer = answered.await.ok()?;
                if let Some(bad) = &mut self.links.state().bad {
                    bad.overhear(&answer);
                }
                tokio::time::sleep(*self.links.fates(to, self.node).first()?).await;
                Some(answer)
            };
            match tokio::time::timeout(ANSWERED_WITHIN, asked).await {
                Ok(Some(answer)) => Ok(answer),
                Ok(None) | Err(_) => Err("no answer".into()),
            }
        })
    }
}

struct Mailbox(mpsc::UnboundedReceiver<PeerEvent>);

impl Inbox for Mailbox {
    fn next(&mut self) -> Boxed<'_, Option<PeerEvent>> {
        Box::pin(self.0.recv())
    }
}
