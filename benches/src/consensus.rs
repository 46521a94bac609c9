//! `bft` in the sandbox against the same code (Malachite's core included) driven natively. The members of a
//! committee are in one process, hear each other at once, and find every block valid. The figures contain nothing
//! but consensus.

use std::{
    collections::VecDeque,
    rc::Rc,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, ensure};
use subnode_bft::Member;
use subnode_sandbox::{self as sandbox, ConsensusGuest, Membership, Sandbox, SandboxOptions, Signer, Tenant};
use subnode_sdk::{
    consensus::{self as sdk, Consensus},
    native,
};
use subnode_signer::{Guard, Voter};
use subnode_types::{BlockRef, NodeId, Position, Sealing, Validator};

use crate::ratio::Pairs;

/// Blocks of a run, and runs of each kind.
const HEIGHTS: u64 = 200;
const ROUNDS: usize = 5;

/// What a member is told.
#[derive(Clone)]
enum Told {
    Timer(u64),
    Built([u8; 32]),
    Judged(Vec<u8>),
    Message(Vec<u8>),
    Committed(BlockRef),
}

/// What a member wants done. All else needs nobody's answer here.
enum Wants {
    Timer(u64, u64),
    Build,
    Decide(Vec<u8>),
    Obtain(Vec<u8>),
    Tell(Vec<u8>),
}

/// One of the two kinds.
enum Kind {
    Guest(Box<ConsensusGuest>),
    Native(Box<Member>, Rc<Keys>),
}

/// What a native member signs with: what the sandbox lends to a guest.
struct Keys(Arc<Voter>);

fn position(at: sdk::Position) -> Position {
    Position { height: at.height, round: at.round, step: at.step }
}

impl native::Host for Keys {
    fn key(&self) -> Option<Vec<u8>> {
        Signer::key(&*self.0).map(|key| key.0.to_vec())
    }

    fn sign(&self, at: sdk::Position, text: &[u8]) -> Option<Vec<u8>> {
        Signer::sign(&*self.0, position(at), text).map(Vec::from)
    }

    fn verify(&self, key: &[u8], at: sdk::Position, text: &[u8], signature: &[u8]) -> bool {
        let (Ok(key), Ok(signature)) = (key.try_into(), signature.try_into()) else { return false };
        self.0.verify(NodeId(key), position(at), text, &signature)
    }
}

fn of_guest(effects: Vec<sandbox::Effect>) -> Vec<Wants> {
    let wants = effects.into_iter().filter_map(|effect| match effect {
        sandbox::Effect::SetTimer((id, ms)) => Some(Wants::Timer(id, ms)),
        sandbox::Effect::Build => Some(Wants::Build),
        sandbox::Effect::Decide(decision) => Some(Wants::Decide(decision.id)),
        sandbox::Effect::Obtain(wanted) => Some(Wants::Obtain(wanted.id)),
        sandbox::Effect::Broadcast(message) => Some(Wants::Tell(message)),
        _ => None,
    });
    wants.collect()
}

fn of_native(effects: Vec<sdk::Effect>) -> Vec<Wants> {
    let wants = effects.into_iter().filter_map(|effect| match effect {
        sdk::Effect::SetTimer((id, ms)) => Some(Wants::Timer(id, ms)),
        sdk::Effect::Build => Some(Wants::Build),
        sdk::Effect::Decide(decision) => Some(Wants::Decide(decision.id)),
        sdk::Effect::Obtain(wanted) => Some(Wants::Obtain(wanted.id)),
        sdk::Effect::Broadcast(message) => Some(Wants::Tell(message)),
        _ => None,
    });
    wants.collect()
}

fn native_members(members: &[Validator]) -> Vec<sdk::Validator> {
    members.iter().map(|member| sdk::Validator { key: member.node.0.to_vec(), power: member.power }).collect()
}

impl Kind {
    async fn tell(&mut self, told: Told, members: &[Validator]) -> anyhow::Result<Vec<Wants>> {
        match self {
            Self::Guest(guest) => {
                let input = match told {
                    Told::Timer(id) => sandbox::Input::Timer(id),
                    Told::Built(id) => sandbox::Input::Built(sandbox::Candidate { id: id.to_vec(), bytes: 1, transactions: 1 }),
                    Told::Judged(id) => sandbox::Input::Judged(sandbox::Judged { id, verdict: sandbox::BlockVerdict::Valid }),
                    Told::Message(message) => sandbox::Input::Message(message),
                    Told::Committed(block) => sandbox::convert::committed(&block, 1, members),
                };
                Ok(of_guest(guest.handle(0, input).await.map_err(|error| anyhow!("{error}"))?))
            }
            Self::Native(member, keys) => {
                let input = match told {
                    Told::Timer(id) => sdk::Input::Timer(id),
                    Told::Built(id) => sdk::Input::Built(sdk::Candidate { id: id.to_vec(), bytes: 1, transactions: 1 }),
                    Told::Judged(id) => sdk::Input::Judged(sdk::Judged { id, verdict: sdk::Verdict::Valid }),
                    Told::Message(message) => sdk::Input::Message(message),
                    Told::Committed(BlockRef { height, id, timestamp_ms }) => sdk::Input::Committed(sdk::Committed {
                        block: sdk::BlockRef { height, id, timestamp_ms },
                        ready: 1,
                        committee: native_members(members),
                    }),
                };
                Ok(of_native(native::with(keys.clone(), || member.handle(0, input))))
            }
        }
    }
}

/// Members that reach each other at once.
struct Committee {
    members: Vec<Kind>,
    validators: Vec<Validator>,
    waiting: VecDeque<(usize, Told)>,
    decided: Vec<u64>,
}

impl Committee {
    /// Starts so many members on a chain that has no block; in the sandbox where there is a module.
    async fn start(count: u8, module: Option<&sandbox::Module>) -> anyhow::Result<Self> {
        let voters: Vec<_> = (1..=count).map(|secret| Arc::new(Voter::new(Some([secret; 32]), [0; 32], Guard::default()))).collect();
        let validator = |voter: &Arc<Voter>| anyhow::Ok(Validator { node: Signer::key(&**voter).context("a voter has a key")?, power: 1 });
        let validators = voters.iter().map(validator).collect::<anyhow::Result<Vec<_>>>()?;
        let head = BlockRef { height: 0, id: vec![0; 32], timestamp_ms: 0 };
        let limits = subnode_devnet::default_options(Sealing::Instant, subnode_chain::TimeSource::Wall).query;
        let mut committee = Self { members: Vec::new(), decided: vec![0; voters.len()], validators, waiting: VecDeque::new() };
        for (index, voter) in voters.into_iter().enumerate() {
            let (kind, wants) = if let Some(module) = module {
                let tenant = Tenant::alone("bench".parse()?);
                let mut guest = ConsensusGuest::new(module, &tenant, limits, Membership { signer: voter, authors: None })
                    .await?
                    .map_err(|error| anyhow!("{error}"))?;
                let beginning = sandbox::Beginning {
                    config: Vec::new(),
                    head: head.clone(),
                    ready: 1,
                    committee: committee.validators.clone(),
                    log: Vec::new(),
                    kept: Vec::new(),
                };
                let effects = guest.start(beginning).await.map_err(|error| anyhow!("{error}"))?.map_err(anyhow::Error::msg)?;
                (Kind::Guest(Box::new(guest)), of_guest(effects))
            } else {
                let keys = Rc::new(Keys(voter));
                let beginning = sdk::Beginning {
                    config: Vec::new(),
                    head: sdk::BlockRef { height: 0, id: vec![0; 32], timestamp_ms: 0 },
                    ready: 1,
                    committee: native_members(&committee.validators),
                    log: Vec::new(),
                    kept: Vec::new(),
                };
                let (member, effects) = native::with(keys.clone(), || Member::start(beginning)).map_err(anyhow::Error::msg)?;
                (Kind::Native(Box::new(member), keys), of_native(effects))
            };
            committee.members.push(kind);
            committee.perform(index, wants);
        }
        Ok(committee)
    }

    fn perform(&mut self, index: usize, wants: Vec<Wants>) {
        for want in wants {
            let height = self.decided[index] + 1;
            match want {
                // Nothing is late here: all other timers are cancelled before they run out.
                Wants::Timer(id, 0) => self.waiting.push_back((index, Told::Timer(id))),
                Wants::Timer(..) => {}
                Wants::Build => {
                    let mut id = [0; 32];
                    id[..8].copy_from_slice(&height.to_be_bytes());
                    self.waiting.push_back((index, Told::Built(id)));
                }
                Wants::Decide(id) => {
                    self.decided[index] = height;
                    self.waiting.push_back((index, Told::Committed(BlockRef { height, id, timestamp_ms: height })));
                }
                Wants::Obtain(id) => self.waiting.push_back((index, Told::Judged(id))),
                Wants::Tell(message) => {
                    let others = (0..self.validators.len()).filter(|other| *other != index);
                    self.waiting.extend(others.map(|other| (other, Told::Message(message.clone()))));
                }
            }
        }
    }

    /// Until all have decided so many blocks.
    async fn run(&mut self, heights: u64) -> anyhow::Result<Duration> {
        let started = Instant::now();
        while self.decided.iter().any(|decided| *decided < heights) {
            let (index, told) = self.waiting.pop_front().context("the members stand still")?;
            let wants = self.members[index].tell(told, &self.validators).await?;
            self.perform(index, wants);
        }
        Ok(started.elapsed())
    }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) async fn run() -> anyhow::Result<()> {
    println!("\n## consensus: bft in the sandbox against Malachite's core driven natively, {HEIGHTS} decisions, nothing else\n");
    println!("| members | guest, us per decision | native, us | native / guest time (quartiles) |\n|---|---|---|---|");
    let sandbox = Sandbox::new(&SandboxOptions { instances: 64, cache_dir: subnode_devnet::module_cache_dir() })?;
    let module = sandbox.load(subnode_modules::by_name("bft").context("bft is embedded")?)?;
    for members in [4, 16] {
        let mut pairs = Pairs::new();
        for _ in 0..ROUNDS {
            let guest = Committee::start(members, Some(&module)).await?.run(HEIGHTS).await?;
            let native = Committee::start(members, None).await?.run(HEIGHTS).await?;
            pairs.push(guest, native);
        }
        let ((guest, native), (ratio, low, high)) = (pairs.medians(), pairs.speed());
        ensure!(ratio.is_finite(), "no decision was made");
        let each = |seconds: f64| seconds * 1e6 / HEIGHTS as f64;
        println!("| {members} | {:.0} | {:.0} | {ratio:.2} ({low:.2} to {high:.2}) |", each(guest), each(native));
    }
    seeds()
}

/// What the author of a block does for its seed, and what each other host does.
fn seeds() -> anyhow::Result<()> {
    const SEEDS: u32 = 2_000;
    let voter = Voter::new(Some([1; 32]), [7; 32], Guard::default());
    let began = Instant::now();
    let draw = |height| voter.draw(height, &[9; 32]).map(|drawn| (height, drawn));
    let drawn: Vec<_> = (0..SEEDS).map(|height| draw(height.into())).collect::<Option<_>>().context("no seed was drawn")?;
    let drawing = began.elapsed() / SEEDS;
    let began = Instant::now();
    let hold = drawn.iter().all(|(height, drawn)| voter.drawn(drawn.author, *height, &[9; 32], &drawn.proof) == Some(drawn.seed));
    let checking = began.elapsed() / SEEDS;
    ensure!(hold, "a seed that was drawn is refused");
    println!("\nA block's seed: {} us to draw, {} us to check (estimated: 100 and 150).", drawing.as_micros(), checking.as_micros());
    Ok(())
}
