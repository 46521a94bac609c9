//! One run: the nodes of one chain, clients that write to it, faults, and the properties that must hold throughout.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ed25519_dalek::{Signer, SigningKey};
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::json;
use subnode_chain::{Chain, ChainOptions, ChainParts, ChainStats, Ended, FUTURE_MS_MAX, OpenError, Reply, TimeSource};
use subnode_chain_core::Author;
use subnode_devnet::{Signers, default_options};
use subnode_sandbox::Tenant;
use subnode_signer::{Guard, Voter};
use subnode_storage::{ChainStore, Entry, MemoryStore, Retention, Store, Table, Write};
use subnode_types::{BlockRef, ChainName, Hex, NodeId, Sealing};
use tokio::time::Instant;

use crate::{
    Bad, Member, Plan, Report, Weather,
    link::{Address, Links},
};

/// How soon all nodes must go on once the network is well: some rounds of the longest timeouts there were.
pub(crate) const RECOVERED_WITHIN: Duration = Duration::from_secs(120);
/// Blocks each node must commit then.
pub(crate) const BLOCKS_THEN: u64 = 3;
/// When simulated time begins.
const EPOCH_MS: u64 = 1_700_000_000_000;
/// How far ahead the clock of a member is that hurries.
const HURRY_MS: u64 = 3_600_000;
/// Real time is not what passes here.
const NEVER: Duration = Duration::from_secs(1_000_000);
/// Of a call of the consensus module, a tenth of what a node grants: no honest one comes near it, and one that loops is found in seconds.
const CALL_FUEL: u64 = 5_000_000_000;
/// Rows of `kv` that are compared: a run writes a few.
const ROWS: usize = 1_000;

/// Where a block of `kv` has its seed.
const KV_SEED: std::ops::Range<usize> = 48..80;

pub(crate) struct Node {
    address: Address,
    secret: [u8; 32],
    store: Arc<MemoryStore>,
    clock_ms: u64,
    chain: Option<Chain>,
    /// Whether it went over to the next consensus module.
    pub(crate) upgraded: bool,
    /// Blocks that this node has shown: they must stay.
    pub(crate) shown: u64,
}

/// A run.
pub(crate) struct World {
    pub(crate) plan: Plan,
    seed: u64,
    random: StdRng,
    /// Decides what members state, and nothing else.
    pub(crate) facts: StdRng,
    links: Links,
    pub(crate) nodes: Vec<Node>,
    name: ChainName,
    spec: Vec<u8>,
    /// The block at each height.
    chain: BTreeMap<u64, Vec<u8>>,
    /// The seed that the author of each of them drew.
    seeds: BTreeMap<u64, [u8; 32]>,
    /// How many of them are the first member's.
    authored: u64,
    client: SigningKey,
    started: Instant,
    /// How often a node took the state of a later block.
    adopted: u64,
    evidence: u64,
    consensus_max: (u64, u64),
    /// Writes to the disks of all nodes.
    writes: Arc<AtomicU64>,
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    format!("0x{}", Hex(bytes))
}

/// A store that fails, or anything else that is not the module's doing.
pub(crate) fn broken(error: impl std::fmt::Display) -> String {
    format!("the simulation failed: {error}")
}

/// The seed of a block, which must be the one that its author drew; what it was drawn after is not known where a state was taken.
fn check_seed(chain: [u8; 32], height: u64, block: &[u8], author: &Author, before: Option<&[u8; 32]>) -> Result<[u8; 32], String> {
    let (key, proof) = (author.key(), author.proof());
    let drawn = match before {
        Some(before) => Voter::new(None, chain, Guard::default()).drawn(key, height, before, &proof),
        None => Voter::seed_of(&proof),
    };
    let drawn = drawn.ok_or_else(|| format!("the author of block {height} did not draw its seed"))?;
    if block.get(KV_SEED) == Some(&drawn) { Ok(drawn) } else { Err(format!("block {height} uses another seed than its author drew")) }
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan) -> Result<Self, String> {
        let (random, facts) = (StdRng::seed_from_u64(seed ^ 0x5eed), StdRng::seed_from_u64(seed ^ 0xfac7));
        let links = Links::new(seed, plan.weather);
        let mut clocks = StdRng::seed_from_u64(seed ^ 0xc10c);
        let twin = matches!(plan.bad, Some(Bad::Twins));
        let places = (0_u8..).take(plan.powers.len().max(1)).map(|index| (index, false)).chain(twin.then_some((0, true)));
        let mut nodes = Vec::new();
        let all_writes = Arc::<AtomicU64>::default();
        for (index, twin) in places {
            let mut secret = [0; 32];
            secret[0] = index + 1;
            let node = NodeId(SigningKey::from_bytes(&secret).verifying_key().to_bytes());
            let (writes, disk_us) = (AtomicU64::new(seed.wrapping_mul(31).wrapping_add(index.into())), plan.disk_ms * 1_000);
            let all_writes = all_writes.clone();
            let latency = move || {
                all_writes.fetch_add(1, Ordering::Relaxed);
                let mixed = writes.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
                Duration::from_micros(mixed % (disk_us + 1))
            };
            nodes.push(Node {
                address: Address { node, twin },
                secret,
                store: Arc::new(MemoryStore::with_latency(Arc::new(latency))),
                clock_ms: EPOCH_MS + clocks.random_range(0..=plan.skew_ms),
                chain: None,
                upgraded: false,
                shown: 0,
            });
        }
        let bad = nodes.first_mut().ok_or("a plan without members")?;
        let first = Member { node: bad.address.node, secret: bad.secret, seed };
        match plan.bad {
            Some(Bad::Tampers(tamper)) => links.set_bad(first.node, tamper(first)),
            Some(Bad::Twins) => links.set_twins(first.node),
            Some(Bad::Hurries) => bad.clock_ms += HURRY_MS,
            Some(Bad::Forgets) | None => {}
        }
        let members: Vec<_> =
            nodes.iter().zip(&plan.powers).map(|(node, power)| json!({ "key": hex(&node.address.node.0), "power": power })).collect();
        let client = SigningKey::from_bytes(&[0xcc; 32]);
        let spec = if plan.powers.is_empty() {
            json!({})
        } else {
            json!({ "owner": hex(client.verifying_key().as_bytes()), "committee": members })
        };
        let spec = spec.to_string().into_bytes();
        let name = "simulated".parse().map_err(broken)?;
        let (chain, started) = (BTreeMap::new(), Instant::now());
        let (adopted, evidence, consensus_max, writes) = (0, 0, (0, 0), all_writes);
        let (seeds, authored) = (BTreeMap::from([(0, [0; 32])]), 0);
        Ok(Self {
            plan,
            seed,
            random,
            facts,
            links,
            nodes,
            name,
            spec,
            chain,
            seeds,
            authored,
            client,
            started,
            adopted,
            evidence,
            consensus_max,
            writes,
        })
    }

    /// Whether a node is one that breaks the rules.
    pub(crate) fn is_bad(&self, index: usize) -> bool {
        self.plan.bad.is_some() && self.nodes[index].address.node == self.nodes[0].address.node
    }

    /// How many members there are, and the key of one.
    pub(crate) fn places(&self) -> usize {
        self.plan.powers.len()
    }

    pub(crate) fn key(&self, place: usize) -> [u8; 32] {
        self.nodes[place].address.node.0
    }

    /// The chains that run, with the number of their node.
    pub(crate) fn chains(&self) -> Vec<(usize, Chain)> {
        let chains = self.nodes.iter().enumerate();
        chains.filter_map(|(index, node)| Some((index, node.chain.clone()?))).collect()
    }

    /// Whether a node comes only when the trouble is over.
    fn is_late(&self, index: usize) -> bool {
        self.plan.late && index + 1 == self.plan.powers.len()
    }

    fn tables(&self, index: usize) -> Result<Arc<ChainStore>, String> {
        self.nodes[index].store.open(&self.name, Retention::Last(16)).map_err(broken)
    }

    async fn start(&mut self, index: usize) -> Result<(), String> {
        let chain = match self.open(index).await {
            Err(OpenError::Upgrade(_)) if self.plan.next_consensus.is_some() && !self.nodes[index].upgraded => {
                self.nodes[index].upgraded = true;
                self.open(index).await
            }
            opened => opened,
        };
        let chain = chain.map_err(|error| format!("node {index} does not start: {error}"))?;
        if chain.head().height < self.nodes[index].shown {
            return Err(format!("node {index} has lost committed blocks"));
        }
        self.nodes[index].chain = Some(chain);
        self.links.note(("start", index));
        Ok(())
    }

    async fn open(&mut self, index: usize) -> Result<Chain, OpenError> {
        let store = self.tables(index).map_err(OpenError::Network)?;
        let node = &mut self.nodes[index];
        let consensus = self.plan.next_consensus.as_ref().filter(|_| node.upgraded).unwrap_or(&self.plan.modules.consensus);
        let parts = ChainParts {
            tenant: Tenant::alone(self.name.clone()),
            runtime: self.plan.modules.runtime.clone(),
            consensus: consensus.clone(),
            store,
            spec: self.spec.clone().into(),
            consensus_config: self.plan.config.into(),
            accounts: Arc::new(Signers::default()),
            network: (!self.plan.powers.is_empty()).then(|| self.links.port(node.address)),
            vote_secret: (!self.plan.powers.is_empty()).then_some(node.secret),
            attest_secret: None,
        };
        let mut seed = [0; 32];
        StdRng::seed_from_u64(self.seed.wrapping_mul(8).wrapping_add(index as u64)).fill_bytes(&mut seed);
        let time = TimeSource::Since(node.clock_ms, self.started);
        let mut options = ChainOptions {
            seed: Some(seed),
            checkpoint_every: self.plan.checkpoint_every,
            attest_every: 0,
            future_ms_max: self.plan.future_ms_max,
            patience: self.plan.patience,
            ..default_options(Sealing::Instant, time)
        };
        options.block.wall = NEVER;
        options.query.wall = NEVER;
        options.query.fuel = CALL_FUEL;
        Chain::open(parts, options).await
    }

    /// Takes what a node has counted since it was started.
    fn tell(&mut self, index: usize, stats: &ChainStats) {
        if !self.is_bad(index) {
            self.evidence += stats.evidence;
        }
        let (fuel, bytes) = stats.consensus_max;
        self.consensus_max = (self.consensus_max.0.max(fuel), self.consensus_max.1.max(bytes));
    }

    async fn crash(&mut self, index: usize) -> Result<(), String> {
        let Some(chain) = self.nodes[index].chain.take() else { return Ok(()) };
        self.links.leave(self.nodes[index].address);
        self.tell(index, &chain.stats());
        chain.crash().await;
        if self.is_bad(index) && matches!(self.plan.bad, Some(Bad::Forgets)) {
            let tables = self.tables(index)?;
            let log = tables.view().scan(Table::Log, &[], None, 1 << 20).map_err(broken)?;
            let forget = |row: Entry| Write { table: Table::Log, key: row.key, value: None };
            tables.log(log.into_iter().map(forget).collect()).await.map_err(broken)?;
        }
        self.links.note(("crash", index));
        Ok(())
    }

    /// What must hold at any moment: no two blocks at one height, none lost, and none from the future.
    pub(crate) fn check(&mut self) -> Result<(), String> {
        let now_ms = EPOCH_MS + self.plan.skew_ms + u64::try_from(self.started.elapsed().as_millis()).map_err(broken)?;
        let first = self.nodes[0].address.node;
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let Some(chain) = &node.chain else { continue };
            let BlockRef { height: head, timestamp_ms, .. } = chain.head();
            if timestamp_ms > now_ms + FUTURE_MS_MAX {
                return Err(format!("block {head} of node {index} is of a time that no good clock shows yet"));
            }
            let view = chain.store().view();
            for height in node.shown + 1..=head {
                let block = view.get(Table::Block, &height.to_be_bytes()).map_err(broken)?;
                let block = block.ok_or_else(|| format!("node {index} lost block {height}"))?;
                if !self.chain.contains_key(&height) && !self.plan.powers.is_empty() {
                    let author = chain.author(height).map_err(broken)?.ok_or_else(|| format!("block {height} has no author"))?;
                    let drawn = check_seed(self.links.chain(), height, &block, &author, self.seeds.get(&(height - 1)))?;
                    self.seeds.insert(height, drawn);
                    self.authored += u64::from(author.key() == first);
                }
                let known = self.chain.entry(height).or_insert_with(|| block.clone());
                if *known != block {
                    return Err(format!("two blocks at height {height}: node {index} has another"));
                }
                self.links.note((index, height));
            }
            node.shown = node.shown.max(head);
        }
        Ok(())
    }

    /// Opens nodes anew that took the state of a later block; fails where one gave up.
    pub(crate) async fn ended(&mut self) -> Result<(), String> {
        for index in 0..self.nodes.len() {
            let Some(chain) = self.nodes[index].chain.clone() else { continue };
            let Ok(ended) = tokio::time::timeout(Duration::ZERO, chain.ended()).await else { continue };
            match ended {
                // Whoever forgets what it said may trip over that, and is started again.
                Ended::Failed(_) if self.is_bad(index) && matches!(self.plan.bad, Some(Bad::Forgets)) => self.crash(index).await?,
                Ended::Failed(reason) => return Err(format!("node {index} gave up: {reason}")),
                Ended::Upgraded(_) | Ended::Adopted(_) => {
                    self.links.leave(self.nodes[index].address);
                    self.nodes[index].chain = None;
                    chain.stop().await;
                    if let Ended::Adopted(height) = ended {
                        // It has no block before that one.
                        self.nodes[index].shown = height - 1;
                        self.adopted += 1;
                    }
                    self.start(index).await?;
                }
            }
        }
        Ok(())
    }

    /// A client writes.
    pub(crate) async fn write(&mut self) {
        let alive: Vec<_> = self.nodes.iter().filter_map(|node| node.chain.clone()).collect();
        if alive.is_empty() {
            return;
        }
        let chain = &alive[self.random.random_range(0..alive.len())];
        // What waits in a pool is gone with its node, so it starts over from what is committed.
        let owner = json!([hex(self.client.verifying_key().as_bytes())]).to_string();
        let Ok(Reply::Json(committed)) = chain.query("kv_sequence", owner.as_bytes(), None).await else { return };
        let committed = String::from_utf8_lossy(&committed).trim_matches('"').trim_start_matches("0x").to_owned();
        let sequence = u64::from_str_radix(&committed, 16).unwrap_or_default() + self.random.random_range(0..3);
        let (name, owner, value) = (format!("key {}", sequence % 5), self.client.verifying_key(), sequence.to_string());
        let length = u8::try_from(name.len()).unwrap_or(u8::MAX);
        let head = [owner.as_bytes(), &sequence.to_be_bytes()[..], &[length], name.as_bytes(), value.as_bytes()].concat();
        let transaction = [&head[..], &self.client.sign(&head).to_bytes()].concat();
        let params = json!([hex(&transaction)]).to_string();
        // It may be there already.
        drop(chain.query("kv_send", params.as_bytes(), None).await);
    }

    /// Something happens, or nothing.
    async fn trouble(&mut self) -> Result<(), String> {
        for index in 0..self.nodes.len() {
            let forgets = matches!(self.plan.bad, Some(Bad::Forgets)) && self.is_bad(index) && self.random.random_bool(0.2);
            if forgets || self.random.random_ratio(self.plan.crashes, 1_000) {
                self.crash(index).await?;
            } else if self.nodes[index].chain.is_none() && !self.is_late(index) && self.random.random_bool(0.3) {
                self.start(index).await?;
            }
        }
        self.fill();
        if self.random.random_ratio(self.plan.partitions, 1_000) {
            let mut ids: Vec<_> = self.nodes.iter().map(|node| node.address.node).collect();
            ids.shuffle(&mut self.random);
            let (one, other) = ids.split_at(self.random.random_range(0..=ids.len()));
            self.links.part(one, other);
        } else if self.random.random_bool(0.1) {
            self.links.heal();
        }
        Ok(())
    }

    /// Slices of storage are full, or were resized.
    fn fill(&mut self) {
        if self.plan.fills == 0 {
            return;
        }
        let all = self.random.random_ratio(self.plan.fills, 2_000);
        for node in &self.nodes {
            let full = self.random.random_ratio(self.plan.fills, 1_000) || all;
            let resized = self.random.random_bool(0.2);
            let Some(store) = node.chain.as_ref().map(Chain::store) else { continue };
            if full {
                store.set_limit_bytes(store.live_bytes());
            } else if resized {
                store.set_limit_bytes(u64::MAX);
            }
        }
    }

    /// Writes to all disks until now, and blocks that all nodes have.
    fn written(&self) -> (u64, u64) {
        let chains = self.nodes.iter().filter_map(|node| node.chain.as_ref());
        (self.writes.load(Ordering::Relaxed), chains.map(|chain| chain.head().height).sum())
    }

    /// Runs to its end.
    pub(crate) async fn run(mut self) -> Result<Report, String> {
        for index in (0..self.nodes.len()).filter(|index| !self.is_late(*index)).collect::<Vec<_>>() {
            self.start(index).await?;
        }
        let (began, troubled) = (Instant::now(), Duration::from_millis(self.plan.troubled_ms));
        // What the first blocks take, before all are connected, is another matter.
        let mut settled = None;
        while began.elapsed() < troubled {
            if settled.is_none() && began.elapsed() > troubled / 4 {
                settled = Some(self.written());
            }
            tokio::time::sleep(Duration::from_millis(self.random.random_range(10..200))).await;
            self.write().await;
            if self.has_facts() && self.facts.random_bool(0.2) {
                self.state_facts().await;
            }
            self.trouble().await?;
            self.ended().await?;
            self.check()?;
        }
        let (written, before) = (self.written(), settled.unwrap_or_default());
        let writes = (written.0 - before.0, written.1.saturating_sub(before.1));
        let height = self.recover().await?;
        let silent = self.silent()?;
        let (trace, frames) = (self.links.trace(), self.links.frames());
        Ok(Report {
            trace,
            height,
            silent,
            adopted: self.adopted,
            evidence: self.evidence,
            authored: self.authored,
            frames,
            writes,
            consensus_max: self.consensus_max,
        })
    }

    /// Once the network is well and all nodes are there, they go on together, to this height.
    async fn recover(&mut self) -> Result<u64, String> {
        self.links.heal();
        self.links.set_weather(Weather { latency_ms: (1, 20), lost: 0, doubled: 0 });
        for index in 0..self.nodes.len() {
            match &self.nodes[index].chain {
                Some(chain) => chain.store().set_limit_bytes(u64::MAX),
                None => self.start(index).await?,
            }
        }
        // Whoever breaks the rules may be left behind.
        let honest: Vec<_> = (0..self.nodes.len()).filter(|index| !self.is_bad(*index)).collect();
        let wanted = self.nodes.iter().map(|node| node.shown).max().unwrap_or(0) + BLOCKS_THEN;
        let began = Instant::now();
        while honest.iter().any(|index| self.nodes[*index].shown < wanted) {
            if began.elapsed() > RECOVERED_WITHIN {
                let heights: Vec<_> = self.nodes.iter().map(|node| node.shown).collect();
                return Err(format!(
                    "no progress to height {wanted} within {RECOVERED_WITHIN:?} on a good network: the nodes are at {heights:?}"
                ));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            self.write().await;
            self.ended().await?;
            self.check()?;
        }
        if self.has_facts() {
            self.note_truth(began).await?;
        }
        if let Some(next) = self.plan.next_consensus.clone() {
            self.upgrade(&next, began).await?;
        }
        let stats = |index: usize| Some((index, self.nodes[index].chain.as_ref()?.stats()));
        let stats: Vec<_> = honest.into_iter().filter_map(stats).collect();
        stats.iter().for_each(|(index, stats)| self.tell(*index, stats));
        self.same_state()?;
        Ok(wanted)
    }

    /// Nodes of one height have one state.
    fn same_state(&self) -> Result<(), String> {
        let mut states: BTreeMap<u64, Vec<Entry>> = BTreeMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(chain) = &node.chain else { continue };
            let rows = chain.store().view().scan(Table::State, &[], None, ROWS).map_err(broken)?;
            let known = states.entry(chain.head().height).or_insert_with(|| rows.clone());
            if *known != rows {
                return Err(format!("node {index} has another state at height {}", chain.head().height));
            }
        }
        Ok(())
    }
}
