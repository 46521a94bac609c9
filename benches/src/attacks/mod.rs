//! A committee of four whose fourth member, or sixty-four strangers, do what they should not: how many blocks the others make, and how much
//! memory they take, against the same in quiet, in turns.
//!
//! Three members are processes of their own. The fourth is in this process, honest in quiet turns. What it floods the others with is made at the
//! lowest priority of the scheduler, so that what is measured is what the attack costs its victims and not what it costs whoever makes it on the
//! same cores.

mod flood;
mod member;
mod net;
mod port;
mod raw;

use std::{
    num::NonZeroU64,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use rustix::process::setpriority_process;
use subnode_network::NodeKey;
use subnode_sandbox::{Module, Sandbox, SandboxOptions};
use subnode_simulator::{LyingSyncPeer, Tamper, Withholder};
use subnode_tests::bad_member::{Actor, Kind};
use subnode_types::Sealing;
use tokio::{
    runtime::{Handle, Runtime},
    task::JoinSet,
};

use self::{
    flood::{Flood, Stranger, flood, repeat},
    member::{BadMember, Identity},
    net::{NODES, Net, Turn},
    raw::Raw,
};
use crate::{
    options::Length,
    ratio::{Pairs, quantile},
    report::{Cell, Report},
};

/// The one that breaks the rules.
const BAD: usize = NODES - 1;
const STRANGERS: u64 = 64;
/// Of the scheduler, as low as it goes.
const NICE: i32 = 19;
/// Before the committee is whole again: a member that was shunned for a minute calls again after half a minute at most.
const WHOLE_WITHIN: Duration = Duration::from_secs(150);
/// After which an attack is at its height, and the committee is at its pace again.
const SETTLES: Duration = Duration::from_secs(2);
/// Frames that are made at once.
const FRAMES: usize = 64;
const COLUMNS: &[&str] = &[
    "attack",
    "blocks/s, quiet",
    "beside it",
    "ratio",
    "least",
    "resident, quiet",
    "beside it, more",
    "answer p99, quiet",
    "beside it, ms",
];

/// What is done to a committee.
#[derive(Clone, Copy, Debug)]
enum Attack {
    /// Nothing: how much two quiet turns differ.
    Nothing,
    /// A member's words are changed.
    Tampers(&'static str, fn(subnode_simulator::Member) -> Box<dyn Tamper>),
    /// A member says nothing at all.
    Silence,
    /// A member votes for a block of its own each time, as often as it is heard.
    Votes,
    /// A member proposes blocks that there are not, as often as it is heard.
    Proposals,
    /// A member says too much of something.
    Flood(Flood),
    /// An endpoint with a member's key, in the member's place.
    Raw(Raw),
    /// Nodes of no committee that say too much of everything.
    Strangers,
    /// The same, which ask and read nothing.
    SilentStrangers,
}

/// Says nothing.
struct Silent;

impl Tamper for Silent {
    fn say(
        &mut self,
        _: subnode_types::NodeId,
        _: subnode_types::Purpose,
        _: &bytes::Bytes,
    ) -> Vec<(subnode_types::Purpose, bytes::Bytes)> {
        Vec::new()
    }

    fn answer(&mut self, _: &bytes::Bytes) -> Option<Option<bytes::Bytes>> {
        Some(None)
    }
}

const ATTACKS: [Attack; 21] = [
    Attack::Nothing,
    Attack::Silence,
    Attack::Tampers("votes, and proposes nothing", |member| Box::new(Actor::new(Kind::NoProposer, member))),
    Attack::Tampers("votes late, and proposes nothing", |member| Box::new(Actor::new(Kind::LateVoter, member))),
    Attack::Tampers("says two things", |member| Box::new(Actor::new(Kind::Equivocator, member))),
    Attack::Tampers("proposes what is no block", |member| Box::new(Actor::new(Kind::InvalidProposer, member))),
    Attack::Tampers("gives nobody a block", |_| Box::new(Withholder)),
    Attack::Tampers("forges certificates", |member| Box::new(Actor::new(Kind::ForgedCertificates, member))),
    Attack::Tampers("lies about blocks and states", |member| Box::new(LyingSyncPeer::new(member))),
    Attack::Votes,
    Attack::Proposals,
    Attack::Tampers("proposes in rounds to come", |member| Box::new(Actor::new(Kind::EarlyProposer, member))),
    Attack::Flood(Flood::Questions),
    Attack::Flood(Flood::Transactions),
    Attack::Flood(Flood::Frames),
    Attack::Raw(Raw::Lengths),
    Attack::Raw(Raw::HalfFrames),
    Attack::Raw(Raw::NeverReads),
    Attack::Raw(Raw::Reconnects),
    Attack::Strangers,
    Attack::SilentStrangers,
];

impl Attack {
    fn name(self) -> String {
        match self {
            Self::Nothing => "nothing".to_owned(),
            Self::Silence => "says nothing".to_owned(),
            Self::Tampers(name, _) => name.to_owned(),
            Self::Votes => "votes without end".to_owned(),
            Self::Proposals => "proposes without end".to_owned(),
            Self::Flood(Flood::Questions) => "asks without end".to_owned(),
            Self::Flood(Flood::Transactions) => "sends transactions that are none".to_owned(),
            Self::Flood(Flood::Frames | Flood::All) => "sends the longest frames of nonsense".to_owned(),
            Self::Raw(Raw::Lengths) => "says that longer frames come than may".to_owned(),
            Self::Raw(Raw::HalfFrames) => "does not end its frames".to_owned(),
            Self::Raw(Raw::NeverReads) => "asks and never reads".to_owned(),
            Self::Raw(Raw::Reconnects) => "connects without end".to_owned(),
            Self::Strangers => format!("{STRANGERS} strangers that flood"),
            Self::SilentStrangers => format!("{STRANGERS} strangers that never read"),
        }
    }

    fn tamper(self, identity: &Identity) -> anyhow::Result<Option<Box<dyn Tamper>>> {
        Ok(match self {
            Self::Tampers(_, tamper) => Some(tamper(identity.as_member()?)),
            Self::Silence => Some(Box::new(Silent)),
            _ => None,
        })
    }
}

/// A runtime for what attacks, of the lowest priority.
fn runtime() -> anyhow::Result<Runtime> {
    let lowest = || {
        if let Err(error) = setpriority_process(None, NICE) {
            eprintln!("the attacker keeps its priority: {error}");
        }
    };
    Ok(tokio::runtime::Builder::new_multi_thread().on_thread_start(lowest).enable_all().build()?)
}

/// The fourth member, and what is done in its name.
struct Attacker {
    attack: Attack,
    identity: Identity,
    /// None while an endpoint has its place.
    member: Option<BadMember>,
    strangers: Vec<Arc<Stranger>>,
    doing: JoinSet<()>,
    /// Where what attacks runs; the member itself is as quick as the others, or it would miss its turns for lack of a core.
    lowest: Handle,
}

impl Attacker {
    async fn open(attack: Attack, identity: Identity, lowest: Handle) -> anyhow::Result<Self> {
        let member = Some(BadMember::open(&identity, attack.tamper(&identity)?).await?);
        Ok(Self { attack, identity, member, strangers: Vec::new(), doing: JoinSet::new(), lowest })
    }

    /// Whether it is an honest member that all others hear.
    fn is_whole(&self) -> anyhow::Result<bool> {
        match &self.member {
            Some(member) => Ok(!member.is_attacking() && member.joined()?.1.connected().len() == BAD),
            None => Ok(false),
        }
    }

    async fn begin(&mut self) -> anyhow::Result<()> {
        let member = self.member.as_ref().context("it is honest in between")?;
        let ((chain, membership), others) = (member.joined()?, self.identity.others().clone());
        member.attack(true);
        match self.attack {
            Attack::Nothing | Attack::Tampers(..) | Attack::Silence => {}
            Attack::Votes | Attack::Proposals => {
                let (mut actor, attack) = (Actor::new(Kind::Flooder, self.identity.as_member()?), self.attack);
                actor.joined(chain.0);
                let height = member.heights();
                let votes = repeat(membership, move || {
                    let next = height() + 1;
                    if matches!(attack, Attack::Votes) { actor.votes(next, FRAMES) } else { actor.proposals(next, FRAMES) }
                });
                self.doing.spawn_on(votes, &self.lowest);
            }
            Attack::Flood(what) => {
                for (to, seed) in others.into_keys().zip(1..) {
                    self.doing.spawn_on(flood(what, membership.clone(), to, seed), &self.lowest);
                }
            }
            Attack::Raw(raw) => {
                drop(membership);
                self.member.take().context("it is honest in between")?.close().await;
                for (to, address) in others {
                    self.doing.spawn_on(raw::attack(raw, self.identity.key()?, chain, to, address), &self.lowest);
                }
            }
            Attack::Strangers => {
                for seed in 0..STRANGERS {
                    let opened = {
                        // An endpoint's own tasks are where it is opened.
                        let _lowest = self.lowest.enter();
                        Stranger::new(chain, &others)?
                    };
                    let (stranger, others) = (Arc::new(opened), others.clone());
                    self.strangers.push(stranger.clone());
                    self.doing.spawn_on(async move { stranger.flood(&others, seed).await }, &self.lowest);
                }
            }
            Attack::SilentStrangers => {
                for _ in 0..STRANGERS {
                    let key = NodeKey::from_secret(NodeKey::new_secret()?)?;
                    for (to, address) in &others {
                        self.doing.spawn_on(raw::attack(Raw::NeverReads, key.clone(), chain, *to, *address), &self.lowest);
                    }
                }
            }
        }
        Ok(())
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        self.doing.shutdown().await;
        for stranger in std::mem::take(&mut self.strangers) {
            if let Some(stranger) = Arc::into_inner(stranger) {
                stranger.close().await;
            }
        }
        match &self.member {
            Some(member) => member.attack(false),
            None => self.member = Some(BadMember::open(&self.identity, None).await?),
        }
        Ok(())
    }
}

/// What was seen in quiet and beside an attack, turn by turn.
#[derive(Default)]
struct Seen {
    rates: Pairs,
    turns: Vec<[Turn; 2]>,
}

impl Seen {
    fn push(&mut self, quiet: Turn, loud: Turn) {
        self.rates.push_figures(loud.blocks_per_second, quiet.blocks_per_second);
        self.turns.push([quiet, loud]);
    }

    /// The row of an attack.
    fn cells(&self, name: &str) -> Vec<Cell> {
        let ((loud, quiet), (ratio, least, _)) = (self.rates.medians(), self.rates.ratio());
        // Against the first quiet turn: what an attack leaves behind would count as quiet in the next one.
        let first = self.turns.first().map(|[quiet, _]| quiet.resident_mib.clone()).unwrap_or_default();
        let most = |turn: &Turn| turn.resident_mib.iter().zip(&first).map(|(now, first)| now - first).fold(f64::NEG_INFINITY, f64::max);
        let more = self.turns.iter().map(|[_, loud]| most(loud)).fold(f64::NEG_INFINITY, f64::max);
        let answers = |which: usize| self.turns.iter().flat_map(|turns| turns[which].answers_ms.clone()).collect::<Vec<_>>();
        vec![
            name.into(),
            Cell::Figure(quiet, 2, ""),
            Cell::Figure(loud, 2, ""),
            Cell::Result(ratio, 2, ""),
            Cell::Figure(least, 2, ""),
            Cell::Figure(quantile(&first, 1.0), 0, "MiB"),
            Cell::Result(more, 0, "MiB"),
            Cell::Figure(quantile(&answers(0), 0.99), 1, "ms"),
            Cell::Figure(quantile(&answers(1), 0.99), 1, "ms"),
        ]
    }
}

fn beside(attack: Attack, sealing: Sealing, modules: &[Module; 2], length: Length) -> anyhow::Result<Seen> {
    let (rounds, time) = (length.of(1, 3, 5), Duration::from_secs(length.of(5, 10, 20)));
    let (own, lowest) = (Handle::current(), runtime()?);
    let mut net = Net::start(BAD, sealing)?;
    let identity = Identity::of(&net.files, BAD, NODES, sealing, modules)?;
    let mut attacker = own.block_on(Attacker::open(attack, identity, lowest.handle().clone()))?;
    net.begin()?;
    let mut seen = Seen::default();
    for _ in 0..rounds {
        let waiting = Instant::now();
        while !attacker.is_whole()? {
            ensure!(waiting.elapsed() < WHOLE_WITHIN, "the fourth member is not connected again within {WHOLE_WITHIN:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
        std::thread::sleep(SETTLES);
        let quiet = net.watch(time, || true)?;
        own.block_on(attacker.begin())?;
        std::thread::sleep(SETTLES);
        let loud = net.watch(time, || true)?;
        own.block_on(attacker.end())?;
        seen.push(quiet, loud);
    }
    own.block_on(async move {
        if let Some(member) = attacker.member.take() {
            member.close().await;
        }
    });
    Ok(seen)
}

/// How often blocks come: slow enough that a committee on two cores has time left.
fn sealing() -> Sealing {
    Sealing::Interval(NonZeroU64::new(500).unwrap_or(NonZeroU64::MIN))
}

/// Prints the tables; `only` is a part of an attack's name.
pub(crate) fn run(length: Length, only: Option<&str>) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(&SandboxOptions { instances: 64, cache_dir: subnode_devnet::module_cache_dir() })?;
    let load = |name| anyhow::Ok(sandbox.load(subnode_modules::by_name(name).context("embedded")?)?);
    let modules = [load("evm")?, load("bft")?];
    let mut report = Report::new("A committee of four, of which one attacks, and strangers", COLUMNS);
    for attack in ATTACKS.into_iter().filter(|attack| only.is_none_or(|only| attack.name().contains(only))) {
        report.row(&beside(attack, sealing(), &modules, length)?.cells(&attack.name()));
    }
    report.finish();
    Ok(())
}

/// Prints the table of clients of the port.
pub(crate) fn run_port(length: Length) -> anyhow::Result<()> {
    port::run(length)
}
