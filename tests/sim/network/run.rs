//! One run: members, attackers, and the properties that must hold throughout.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};
use tokio::{task::JoinSet, time::Instant};

use super::{
    datagrams::Internet,
    members::{Committee, Node, address, chain_key, secret},
    memory::{self, Owner, owned},
    plan::Plan,
    records::Records,
    strangers::{Attacker, Attempts},
};

/// From the start until all members are connected; and again after the network was cut, where a call that was begun
/// before may have to end first.
const CONNECTED_WITHIN: Duration = Duration::from_secs(8);
const HEALED_WITHIN: Duration = Duration::from_secs(20);
/// A call has succeeded or failed by then: 5 s to connect, 5 s to greet.
const CALLED_WITHIN: Duration = Duration::from_secs(11);
/// How long connections take to end that nobody ends, and nodes that are of no use to be dropped.
const FORGOTTEN_WITHIN: Duration = Duration::from_secs(45);
/// How long members may take over what strangers sent before: a chain takes 2 ms over each of a hundred thousand empty frames.
const TAKEN_WITHIN: Duration = Duration::from_secs(200);
/// How soon a member that leaves has left.
const CLOSED_WITHIN: Duration = Duration::from_secs(10);
/// What a frame of consensus takes at most, beside its way, twice as it may be sent again, and a round trip until the
/// connection's window has room: its turn among the frames of all others; and what loss makes of it. Packets of simulated networks overtake each other, which
/// QUIC takes for loss (RFC 9002, section 6.1.1), so that windows are small without any.
const DELAYED_MAX: Duration = Duration::from_millis(250);
const DELAYED_BY_LOSS_MAX: Duration = Duration::from_secs(3);
/// An answer to a member: the half of the time after which it is given up.
const ANSWERED_WITHIN: Duration = Duration::from_secs(5);

/// Bytes that a stranger may have a member hold, as host/network/src/limits.rs has them: windows of 4 and 8 MiB, frames
/// of 4 MiB, 8 answers of 1 MiB.
const STRANGER_BYTES: usize = 24 << 20;
/// The same of a member that breaks the rules: windows of 32 and 32 MiB, frames of 4 MiB, 32 answers; and for each of 3
/// chains 0.5 MiB of consensus, and queues of 2 and 3 times 4 MiB.
const MEMBER_BYTES: usize = (32 + 32 + 4 + 32 + 3 * 15) << 20;
/// A connection that is being greeted.
const GREETED_BYTES: usize = 448 << 10;
/// For so long it may be held, and there are so many at most.
const GREETED_FOR: Duration = Duration::from_secs(11);
const GREETED_MAX: usize = 128 + 64;
/// What a member holds beside that: its endpoint's buffer of 2 MiB, and some for each connection.
const NODE_BYTES: usize = 4 << 20;
const CONNECTION_BYTES: usize = 256 << 10;
/// What may stay for good after an attack, of a member: queues and maps that grew.
const LEFT_BYTES: usize = 1 << 20;

/// How often the endpoint and the connections of a member may be busy in a simulated second, at most: each datagram
/// polls them a few times.
const POLLS_PER_SECOND_MAX: u64 = 60_000;

/// What a run came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Report {
    /// Frames of honest members that arrived, and of all others.
    pub frames: (u64, u64),
    /// Datagrams that were sent.
    pub datagrams: u64,
    /// Most that all members held, of what they may.
    pub held: (usize, usize),
    /// The longest way of a frame of consensus, and the longest that an answer took.
    pub slowest: (Duration, Duration),
    /// How often the tasks of a member went on in a simulated second, at most.
    pub polls: u64,
    /// How long members took to connect, and to do so again once the network was whole.
    pub connected: (Duration, Duration),
}

struct World {
    plan: Arc<Plan>,
    seed: u64,
    /// Members that keep the rules: the first are attacked, and cut off.
    order: Vec<usize>,
    internet: Internet,
    records: Records,
    committee: Arc<Committee>,
    nodes: Vec<Arc<Node>>,
    attempts: Attempts,
    report: Report,
    /// How often the tasks of each member went on, when that was looked at last.
    polls: (Instant, Vec<u64>),
    /// Connections of honest members that must stay.
    connections: Vec<BTreeMap<usize, Instant>>,
}

/// Runs a plan; the error is what did not hold.
pub(crate) fn run(seed: u64, plan: Plan) -> Result<Report, String> {
    memory::reset();
    let _scope = memory::Scope::of(Owner::Members);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let ended = runtime.block_on(owned(Owner::Simulation, async { World::open(seed, plan).run().await }));
    drop(runtime);
    ended
}

impl World {
    fn open(seed: u64, plan: Plan) -> Self {
        let internet = Internet::new(seed, plan.weather);
        drop(tokio::spawn(owned(Owner::Simulation, internet.clone().carry())));
        let (plan, records) = (Arc::new(plan), Records::new());
        let committee = Committee::new(seed, plan.clone());
        let nodes: Vec<_> = (0..plan.honest()).map(|member| Node::open(seed, member, &committee, &internet, &records)).collect();
        let mut order: Vec<_> = (0..plan.honest()).collect();
        order.shuffle(&mut StdRng::seed_from_u64(seed ^ 0x3e1d));
        let polls = (Instant::now(), vec![0; nodes.len()]);
        let (attempts, report, connections) = (Attempts::default(), Report::default(), Vec::new());
        Self { plan, seed, order, internet, records, committee, nodes, attempts, report, polls, connections }
    }

    /// A moment passes.
    async fn pass(&mut self) -> Result<(), String> {
        tokio::time::sleep(Duration::from_millis(100)).await;
        let held = usize::try_from(memory::held(Owner::Members)).unwrap_or(0);
        let allowed = self.allowed();
        if held > self.report.held.0 {
            self.report.held = (held, allowed);
        }
        if held > allowed {
            return Err(format!("members hold {} MiB, at most {}", held >> 20, allowed >> 20));
        }
        if let Some((member, (other, kept))) = self.nodes.iter().find_map(|node| Some((node.member, node.kept_too_many()?))) {
            return Err(format!("member {member} keeps {kept} frames of a chain for {other}, which reads nothing"));
        }
        if self.polls.0.elapsed() >= Duration::from_secs(1) {
            let seconds = self.polls.0.elapsed().as_secs().max(1);
            let now: Vec<_> = self.nodes.iter().map(|node| node.polls()).collect();
            let most = now.iter().zip(&self.polls.1).map(|(now, before)| (now - before) / seconds).max().unwrap_or(0);
            self.report.polls = self.report.polls.max(most);
            self.polls = (Instant::now(), now);
            if most > POLLS_PER_SECOND_MAX {
                return Err(format!("a member's tasks go on {most} times in a second, at most {POLLS_PER_SECOND_MAX}"));
            }
        }
        Ok(())
    }

    /// What all members may hold now.
    fn allowed(&self) -> usize {
        let greeted = self.attempts.within(GREETED_FOR).min(GREETED_MAX * self.nodes.len());
        let strangers: usize = self.nodes.iter().map(|node| node.strangers()).sum();
        let members = self.plan.misdeeds.len() * self.nodes.len();
        let honest = self.nodes.len() * (NODE_BYTES + self.plan.members * CONNECTION_BYTES);
        honest + greeted * GREETED_BYTES + strangers * STRANGER_BYTES + members * MEMBER_BYTES
    }

    fn missing(&self) -> Vec<(usize, Vec<usize>)> {
        self.nodes.iter().map(|node| (node.member, node.missing())).filter(|(_, missing)| !missing.is_empty()).collect()
    }

    /// Until all honest members of a chain are connected with each other; how long that took.
    async fn connect(&mut self, within: Duration) -> Result<Duration, String> {
        let began = Instant::now();
        while !self.missing().is_empty() {
            if began.elapsed() > within {
                return Err(format!("members are not connected within {within:?}: {:?}", self.missing()));
            }
            self.pass().await?;
        }
        Ok(began.elapsed())
    }

    fn attack(&mut self) -> JoinSet<()> {
        let mut attackers = JoinSet::new();
        let victims: Vec<_> = self.order.iter().take(self.plan.victims).map(|member| self.committee.victim(*member)).collect();
        let attacker = |seed: u64, host, victims, chains: Vec<usize>| {
            let chains = chains.into_iter().map(chain_key).collect();
            Attacker::new(seed, self.internet.clone(), host, victims, chains, self.attempts.clone())
        };
        for (index, attack) in self.plan.strangers.iter().enumerate() {
            let host = [10, 1, 0, u8::try_from(index + 1).unwrap()].into();
            self.internet.connect(host, self.plan.stranger_link);
            let chains = (0..self.plan.chains.len()).collect();
            let attacker = attacker(self.seed.wrapping_add(index as u64 + 1) << 20, host, victims.clone(), chains);
            attackers.spawn(owned(Owner::Strangers, attack.run(attacker)));
        }
        for (index, misdeed) in self.plan.misdeeds.iter().enumerate() {
            let member = self.plan.honest() + index;
            let here = address(member);
            self.internet.connect(here.ip(), self.plan.member_link / 10);
            let chains = (0..self.plan.chains.len()).filter(|chain| self.plan.chains[*chain].contains(&member)).collect();
            let attacker = attacker(self.seed ^ (index as u64 + 1) << 50, here.ip(), victims.clone(), chains);
            let attacker = attacker.of_member(secret(self.seed, member));
            attackers.spawn(owned(Owner::Strangers, misdeed.run(attacker, here)));
        }
        attackers
    }

    /// Cuts some members off, and sees that all find each other again.
    async fn cut(&mut self, members: usize, time: Duration) -> Result<(), String> {
        self.records.set_settled(false);
        let island: BTreeSet<_> = self.order.iter().take(members).copied().collect();
        let (island, others): (Vec<_>, Vec<_>) = (0..self.plan.members).partition(|member| island.contains(member));
        self.internet.cut([island, others].map(|side| side.into_iter().map(|member| address(member).ip()).collect()));
        let began = Instant::now();
        while began.elapsed() < time {
            self.pass().await?;
        }
        self.internet.cut(Default::default());
        self.report.connected.1 = self.connect(HEALED_WITHIN).await?;
        // A connection of which one side knows alone that it ended comes to its end.
        self.settle(CALLED_WITHIN).await?;
        self.records.set_settled(true);
        Ok(())
    }

    /// Waits until those that called each other have one connection, which must stay from then on.
    async fn settle(&mut self, time: Duration) -> Result<(), String> {
        let began = Instant::now();
        while began.elapsed() < time {
            self.pass().await?;
        }
        self.connect(CONNECTED_WITHIN).await?;
        self.connections = self.nodes.iter().map(|node| node.connections()).collect();
        Ok(())
    }

    /// Connections of honest members stay.
    fn same_connections(&self) -> Result<(), String> {
        for (node, before) in self.nodes.iter().zip(&self.connections) {
            let now = node.connections();
            for (other, since) in before {
                if now.get(other) != Some(since) {
                    return Err(format!("member {} has lost its connection to {other}", node.member));
                }
            }
        }
        Ok(())
    }

    /// Something happens for a while, through which members stay connected.
    async fn stay(&mut self, time: Duration) -> Result<(), String> {
        let began = Instant::now();
        while began.elapsed() < time {
            self.pass().await?;
            self.same_connections()?;
        }
        Ok(())
    }

    async fn run(mut self) -> Result<Report, String> {
        self.report.connected.0 = self.connect(CONNECTED_WITHIN).await?;
        // Where packets are lost, a call may succeed that was begun before the other side's did.
        self.settle(if self.plan.weather.lost > 0 { CALLED_WITHIN } else { Duration::from_secs(1) }).await?;
        self.records.set_settled(true);
        let before = memory::held(Owner::Members);
        let attackers = self.attack();
        self.stay(self.plan.attacked / 2).await?;
        if let Some((members, time)) = self.plan.island {
            self.cut(members, time).await?;
        }
        self.stay(self.plan.attacked / 2).await?;
        drop(attackers);
        self.stay(Duration::from_secs(1)).await?;
        self.nodes.iter().for_each(|node| node.fall_silent());
        self.stay(Duration::from_secs(5)).await?;
        self.check()?;
        self.forget(before).await?;
        self.close().await?;
        let (arrived, others) = (self.records.frames(), self.records.stranger_frames());
        self.report.frames = (arrived, others);
        self.report.datagrams = self.internet.sent();
        self.report.slowest = self.records.slowest();
        Ok(self.report)
    }

    fn check(&self) -> Result<(), String> {
        let weather = self.plan.weather;
        let (_, most) = weather.latency_ms;
        let delayed = Duration::from_millis(4 * most) + if weather.lost > 0 { DELAYED_BY_LOSS_MAX } else { DELAYED_MAX };
        self.records.check(|from, to| self.nodes[from].since(to), delayed, ANSWERED_WITHIN)?;
        // RFC 9000, section 8.1: three times what came, to an address that has not shown that it is its sender's.
        match self.internet.forged().into_iter().find(|(came, went)| went > &(3 * came)) {
            Some((came, went)) => Err(format!("{went} bytes went to a host that {came} bytes were forged of")),
            None => Ok(()),
        }
    }

    /// All that attackers had members hold is given back.
    async fn forget(&mut self, before: isize) -> Result<(), String> {
        let left = |held: isize, nodes: usize| held - before - isize::try_from(nodes * LEFT_BYTES).unwrap_or(isize::MAX);
        let (ended, mut began, mut taken) = (Instant::now(), Instant::now(), 0);
        while self.nodes.iter().any(|node| node.strangers() > 0) || left(memory::held(Owner::Members), self.nodes.len()) > 0 {
            // What waits to be taken is within its bound, and is taken first.
            let now = self.records.stranger_frames();
            if std::mem::replace(&mut taken, now) != now && ended.elapsed() < TAKEN_WITHIN {
                began = Instant::now();
            }
            if began.elapsed() > FORGOTTEN_WITHIN {
                let strangers: Vec<_> = self.nodes.iter().map(|node| node.strangers()).collect();
                let held = memory::held(Owner::Members);
                return Err(format!(
                    "{FORGOTTEN_WITHIN:?} after the attack members hold {held} bytes, before it {before}; strangers: {strangers:?}"
                ));
            }
            self.pass().await?;
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), String> {
        let mut closing = JoinSet::new();
        for node in self.nodes.clone() {
            closing.spawn(owned(Owner::Simulation, async move { node.close().await }));
        }
        let closed = tokio::time::timeout(CLOSED_WITHIN, closing.join_all()).await;
        closed.map(drop).map_err(|_| format!("members have not left the network within {CLOSED_WITHIN:?}"))
    }
}
