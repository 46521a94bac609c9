//! Members that keep the rules: real endpoints, and what a chain does with them. Each sends consensus to all, blocks
//! and questions to some, and takes its time over what it is sent.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use quinn::TokioRuntime;
use rand::{Rng, SeedableRng, rngs::StdRng};
use subnode_network::{
    ChainKey, Environment, Inboxes, Incoming, Membership, Network, NetworkOptions, NodeId, NodeKey, Part, Purpose, Received,
};
use subnode_scheduler::Bandwidth;
use tokio::{task::JoinSet, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{
    datagrams::{Clock, Internet},
    memory::{Owner, Scope, owned},
    plan::Plan,
    records::{HEAD, Records, Way},
    strangers::{NETWORK, Victim},
};

/// Strangers that a member serves at once.
pub(super) const SERVED_MAX: usize = 8;
/// What a chain takes over a frame of consensus, and over anything else.
const CONSENSUS_WORK: Duration = Duration::from_millis(1);
const WORK: Duration = Duration::from_millis(2);
/// A block, and an answer.
const BLOCK_BYTES: usize = 3_000;
const ANSWER_BYTES: usize = 6_000;
/// Frames of a state that a member has for members that break the rules, each time it speaks: as many as a queue takes. All
/// together are longer than the window of one that reads nothing.
const PIECES: usize = 16;
const PIECE_BYTES: usize = 200;
/// Frames that a member may keep for a chain and a peer that reads nothing: those that a queue takes (`queue_max`), one
/// that is being written, and of the connections before those that end.
const KEPT_MAX: usize = PIECES + 8;
/// How often a member speaks on each chain.
const SPEAKS_MS: std::ops::Range<u64> = 350..650;

/// Where members are, by their number.
pub(super) fn address(member: usize) -> SocketAddr {
    ([10, 0, 0, u8::try_from(member + 1).unwrap()], 4_000).into()
}

/// The secret of a member's key.
pub(super) fn secret(seed: u64, member: usize) -> [u8; 32] {
    let mut secret = [0; 32];
    secret[..8].copy_from_slice(&seed.to_be_bytes());
    secret[8] = u8::try_from(member + 1).unwrap();
    secret
}

pub(super) fn chain_key(chain: usize) -> ChainKey {
    ChainKey([u8::try_from(chain + 1).unwrap(); 32])
}

/// All members of a run, those that break the rules too.
pub(super) struct Committee {
    ids: Vec<NodeId>,
    plan: Arc<Plan>,
}

impl Committee {
    pub(super) fn new(seed: u64, plan: Arc<Plan>) -> Arc<Self> {
        let ids = (0..plan.members).map(|member| NodeKey::from_secret(secret(seed, member)).unwrap().id()).collect();
        Arc::new(Self { ids, plan })
    }

    pub(super) fn victim(&self, member: usize) -> Victim {
        Victim { id: self.ids[member], address: address(member) }
    }

    /// A member that keeps the rules, by its id.
    fn honest(&self, id: NodeId) -> Option<usize> {
        let member = self.ids.iter().position(|known| *known == id)?;
        (member < self.plan.honest()).then_some(member)
    }

    /// The other members of a chain that keep the rules.
    fn others(&self, chain: usize, member: usize) -> impl Iterator<Item = usize> {
        let others = self.plan.chains[chain].iter().copied();
        others.filter(move |other| *other != member && *other < self.plan.honest())
    }
}

/// A member.
pub(super) struct Node {
    pub member: usize,
    pub network: Network,
    clock: Clock,
    committee: Arc<Committee>,
    records: Records,
    chains: BTreeMap<usize, Arc<Membership>>,
    /// What frames for members that break the rules are of, by chain and member: each that is kept holds one.
    pieces: BTreeMap<(usize, usize), Arc<[u8]>>,
    /// Ends what it says.
    silent: CancellationToken,
    tasks: Mutex<JoinSet<()>>,
}

impl Node {
    /// Opens the endpoint, joins its chains, and begins.
    pub(super) fn open(seed: u64, member: usize, committee: &Arc<Committee>, internet: &Internet, records: &Records) -> Arc<Self> {
        let plan = &committee.plan;
        let mut random = StdRng::seed_from_u64(seed.wrapping_mul(1_000).wrapping_add(member as u64));
        let here = address(member);
        internet.connect(here.ip(), plan.member_link);
        let clock = Clock::new(Owner::Members, random.random());
        let port = internet.port(here);
        let theirs = Scope::of(Owner::Members);
        let environment = Environment { socket: port, runtime: Arc::new(clock.clone()), seed: Some(random.random()) };
        let options = NetworkOptions { listen: here, network: NETWORK.into(), strangers_max: SERVED_MAX };
        let network = Network::open_in(environment, NodeKey::from_secret(secret(seed, member)).unwrap(), options).unwrap();
        let joined: Vec<_> = (0..plan.chains.len())
            .filter(|chain| plan.chains[*chain].contains(&member))
            .map(|chain| {
                let all = plan.chains[chain].iter().map(|other| (committee.ids[*other], Some(address(*other)))).collect();
                let bandwidth = Arc::new(Bandwidth::timed(plan.slice, || quinn::Runtime::now(&TokioRuntime)));
                (chain, network.join(chain_key(chain), all, bandwidth).unwrap())
            })
            .collect();
        drop(theirs);
        let mut inboxes = Vec::new();
        let mut chains = BTreeMap::new();
        for (chain, (membership, inbox)) in joined {
            chains.insert(chain, Arc::new(membership));
            inboxes.push((chain, inbox));
        }
        let bad = |chain: &usize| plan.chains[*chain].iter().copied().filter(|other| *other >= plan.honest());
        let pieces = chains.keys().flat_map(|chain| bad(chain).map(|other| ((*chain, other), Arc::from([5; PIECE_BYTES])))).collect();
        let node = Arc::new(Self {
            member,
            network,
            clock,
            committee: committee.clone(),
            records: records.clone(),
            chains,
            pieces,
            silent: CancellationToken::new(),
            tasks: Mutex::default(),
        });
        for (chain, inbox) in inboxes {
            node.begin(chain, inbox, &mut random);
        }
        node
    }

    fn begin(self: &Arc<Self>, chain: usize, inbox: Inboxes, random: &mut StdRng) {
        let Inboxes { consensus, others } = inbox;
        let mut tasks = self.tasks.lock().unwrap();
        tasks.spawn(owned(Owner::Simulation, self.clone().take(chain, consensus, CONSENSUS_WORK)));
        tasks.spawn(owned(Owner::Simulation, self.clone().take(chain, others, WORK)));
        tasks.spawn(owned(Owner::Simulation, self.clone().speak(chain, StdRng::from_rng(random))));
    }

    /// Says nothing from now on.
    pub(super) fn fall_silent(&self) {
        self.silent.cancel();
    }

    /// Leaves the network.
    pub(super) async fn close(&self) {
        self.tasks.lock().unwrap().abort_all();
        self.network.close().await;
    }

    /// When the connection to another member began.
    pub(super) fn since(&self, other: usize) -> Option<Instant> {
        let id = self.committee.ids[other];
        self.network.peers().into_iter().find(|peer| peer.id == id).map(|peer| Instant::now() - peer.connected)
    }

    /// Connections to members that keep the rules, and when they began.
    pub(super) fn connections(&self) -> BTreeMap<usize, Instant> {
        let peers = self.network.peers().into_iter();
        peers.filter_map(|peer| Some((self.committee.honest(peer.id)?, Instant::now() - peer.connected))).collect()
    }

    /// How many peers are no members.
    pub(super) fn strangers(&self) -> usize {
        self.network.peers().iter().filter(|peer| !self.committee.ids.contains(&peer.id)).count()
    }

    /// Other members of its chains that keep the rules and that it has no connection to.
    pub(super) fn missing(&self) -> Vec<usize> {
        let connected: BTreeMap<_, _> = self.chains.iter().map(|(chain, membership)| (*chain, membership.connected())).collect();
        let wanted = self.chains.keys().flat_map(|chain| self.committee.others(*chain, self.member).map(move |other| (*chain, other)));
        let mut missing: Vec<_> =
            wanted.filter(|(chain, other)| !connected[chain].contains(&self.committee.ids[*other])).map(|(_, other)| other).collect();
        missing.dedup();
        missing
    }

    /// A member that reads nothing and for which this one keeps more frames of a chain than may wait, and how many.
    pub(super) fn kept_too_many(&self) -> Option<(usize, usize)> {
        let plan = &self.committee.plan;
        let kept = self.pieces.iter().filter(|((_, other), _)| plan.misdeeds[other - plan.honest()].is_deaf());
        kept.map(|((_, other), pieces)| (*other, Arc::strong_count(pieces) - 1)).find(|(_, kept)| *kept > KEPT_MAX)
    }

    /// How often its tasks went on.
    pub(super) fn polls(&self) -> u64 {
        self.clock.polls()
    }

    async fn take(self: Arc<Self>, chain: usize, mut inbox: Part, work: Duration) {
        while let Some(incoming) = inbox.next().await {
            tokio::time::sleep(work).await;
            match incoming {
                Incoming::Frame(Received { from, purpose, frame }) => match self.committee.honest(from) {
                    Some(from) => self.records.arrived(Way { from, to: self.member, chain, purpose }, &frame),
                    None => self.records.arrived_from_stranger(),
                },
                Incoming::Request(request) => request.answer(vec![9; ANSWER_BYTES].into()),
            }
        }
    }

    async fn speak(self: Arc<Self>, chain: usize, mut random: StdRng) {
        let speaking = async {
            loop {
                tokio::time::sleep(Duration::from_millis(random.random_range(SPEAKS_MS))).await;
                let others: Vec<_> = self.committee.others(chain, self.member).collect();
                self.send_pieces(chain);
                if others.is_empty() {
                    return;
                }
                let connections = self.connections();
                for to in &others {
                    let bytes = random.random_range(HEAD..400);
                    self.say(&connections, Way { from: self.member, to: *to, chain, purpose: Purpose::Consensus }, bytes);
                }
                let to = others[random.random_range(0..others.len())];
                let purpose = Purpose::ALL[random.random_range(1..4)];
                self.say(&connections, Way { from: self.member, to, chain, purpose }, random.random_range(HEAD..BLOCK_BYTES));
                let to = others[random.random_range(0..others.len())];
                if random.random_bool(0.3) && connections.contains_key(&to) {
                    self.tasks.lock().unwrap().spawn(owned(Owner::Simulation, self.clone().ask(chain, to)));
                }
            }
        };
        self.silent.run_until_cancelled(speaking).await;
    }

    /// Sends to the members that break the rules.
    fn send_pieces(&self, chain: usize) {
        for ((_, other), pieces) in self.pieces.iter().filter(|((of, _), _)| *of == chain) {
            for _ in 0..PIECES {
                let piece = Bytes::from_owner(pieces.clone());
                if self.chains[&chain].send(self.committee.ids[*other], Purpose::Snapshot, piece).is_err() {
                    break;
                }
            }
        }
    }

    fn say(&self, connections: &BTreeMap<usize, Instant>, way: Way, bytes: usize) {
        let Some(since) = connections.get(&way.to) else { return };
        let frame = Bytes::from(self.records.frame(way, bytes));
        if self.chains[&way.chain].send(self.committee.ids[way.to], way.purpose, frame).is_ok() {
            self.records.sent(way, *since);
        }
    }

    async fn ask(self: Arc<Self>, chain: usize, to: usize) {
        let (began, since) = (Instant::now(), self.since(to));
        let asked = self.chains[&chain].request(self.committee.ids[to], Purpose::Blocks, Bytes::from_static(&[1; 32])).await;
        // Whoever was connected anew, or has not the chain yet, may refuse.
        if self.since(to) == since && self.network_settled(to) {
            let way = Way { from: self.member, to, chain, purpose: Purpose::Blocks };
            self.records.answered(way, began, asked.map(drop).map_err(|error| error.to_string()));
        }
    }

    fn network_settled(&self, other: usize) -> bool {
        !self.missing().contains(&other)
    }
}
