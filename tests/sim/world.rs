//! One run: nodes that hold one chain, clients that write to it, faults, and what must hold all the while.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ed25519_dalek::{Signer, SigningKey};
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng, seq::SliceRandom};
use serde_json::json;
use subnode_chain::{Chain, ChainParts, Reply, TimeSource};
use subnode_devnet::{Signers, default_options};
use subnode_sandbox::{Module, Sandbox, SandboxOptions, Tenant};
use subnode_storage::{Entry, MemoryStore, Retention, Store, Table, Write};
use subnode_types::{ChainName, NodeId, Sealing};
use tokio::time::Instant;

use crate::{
    actor::{Actor, Kind},
    link::{Links, Weather},
};

/// How long faults last, in simulated time.
const TROUBLED: Duration = Duration::from_secs(8);
/// How soon all nodes must go on once the network is well: some rounds of the longest timeouts there were.
const RECOVERED_WITHIN: Duration = Duration::from_secs(120);
/// Blocks each node must commit then.
const BLOCKS_THEN: u64 = 3;
/// When simulated time begins.
const EPOCH_MS: u64 = 1_700_000_000_000;

/// What a run is like.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    /// Powers of the members.
    pub powers: Vec<u64>,
    pub weather: Weather,
    /// Of a thousand moments in which something could happen to a node.
    pub crashes: u32,
    pub partitions: u32,
    /// How long a write takes at most.
    pub disk_ms: u64,
    /// How far clocks are apart.
    pub skew_ms: u64,
    pub sealing: &'static str,
    /// How the first member breaks the rules.
    pub(crate) bad: Option<Kind>,
    /// The consensus module.
    pub(crate) consensus: &'static str,
}

impl Plan {
    /// The plan of a seed.
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let members = random.random_range(1..=7);
        let slow = random.random_bool(0.3);
        Self {
            powers: (0..members).map(|_| if random.random_bool(0.7) { 1 } else { random.random_range(1..=4) }).collect(),
            weather: Weather {
                latency_ms: if slow { (5, 300) } else { (1, 40) },
                lost: *[0, 0, 10, 100].get(random.random_range(0..4)).unwrap(),
                doubled: *[0, 20, 200].get(random.random_range(0..3)).unwrap(),
            },
            crashes: *[0, 30, 150].get(random.random_range(0..3)).unwrap(),
            partitions: *[0, 50, 150].get(random.random_range(0..3)).unwrap(),
            disk_ms: *[0, 2, 80].get(random.random_range(0..3)).unwrap(),
            skew_ms: *[0, 500, 10_000].get(random.random_range(0..3)).unwrap(),
            sealing: ["interval 200 timeout 600", "instant timeout 600", "interval 1000 timeout 900"][random.random_range(0..3)],
            bad: None,
            consensus: "bft",
        }
    }

    /// The plan of a seed with a bad member, which has less than a third of the power.
    pub(crate) fn beside(kind: Kind, seed: u64) -> Self {
        let plan = Self::of(seed);
        Self { powers: vec![1; 4 + (seed % 4) as usize], bad: Some(kind), ..plan }
    }
}

/// The runtime and the consensus modules, compiled once for all runs.
fn modules() -> &'static (Module, BTreeMap<&'static str, Module>) {
    static MODULES: OnceLock<(Module, BTreeMap<&str, Module>)> = OnceLock::new();
    MODULES.get_or_init(|| {
        let cache_dir = subnode_devnet::module_cache_dir();
        let sandbox = Sandbox::new(&SandboxOptions { instances: 256, cache_dir }).unwrap();
        let load = |name: &'static str| (name, sandbox.load(subnode_modules::by_name(name).unwrap()).unwrap());
        (load("kv").1, ["authority", "bft"].map(load).into())
    })
}

struct Node {
    id: NodeId,
    secret: [u8; 32],
    store: Arc<MemoryStore>,
    clock_ms: u64,
    chain: Option<Chain>,
    /// Blocks that this node has shown: they must stay.
    shown: u64,
}

impl Node {
    /// How often it saw a member break the rules, since it was started.
    fn evidence(&self) -> u64 {
        self.chain.as_ref().map_or(0, |chain| chain.stats().evidence)
    }
}

/// A run.
pub(crate) struct World {
    plan: Plan,
    seed: u64,
    random: StdRng,
    links: Links,
    nodes: Vec<Node>,
    spec: Vec<u8>,
    /// The block at each height.
    chain: BTreeMap<u64, Vec<u8>>,
    client: SigningKey,
    started: Instant,
}

fn hex(bytes: &[u8]) -> String {
    alloy::hex::encode_prefixed(bytes)
}

impl World {
    pub(crate) fn new(seed: u64, plan: Plan) -> Self {
        let random = StdRng::seed_from_u64(seed ^ 0x5eed);
        let links = Links::new(seed, plan.weather);
        let mut nodes = Vec::new();
        let mut clocks = StdRng::seed_from_u64(seed ^ 0xc10c);
        for index in 0..plan.powers.len() {
            let mut secret = [0; 32];
            secret[0] = u8::try_from(index + 1).unwrap();
            let id = NodeId(SigningKey::from_bytes(&secret).verifying_key().to_bytes());
            let (writes, disk_us) = (AtomicU64::new(seed.wrapping_mul(31).wrapping_add(index as u64)), plan.disk_ms * 1_000);
            let latency = move || {
                let mixed = writes.fetch_add(1, Ordering::Relaxed).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 33;
                Duration::from_micros(mixed % (disk_us + 1))
            };
            nodes.push(Node {
                id,
                secret,
                store: Arc::new(MemoryStore::with_latency(Arc::new(latency))),
                clock_ms: EPOCH_MS + clocks.random_range(0..=plan.skew_ms),
                chain: None,
                shown: 0,
            });
        }
        if let Some(kind) = plan.bad {
            links.set_bad(Actor::new(kind, nodes[0].id, nodes[0].secret, seed));
        }
        let members: Vec<_> =
            nodes.iter().zip(&plan.powers).map(|(node, power)| json!({ "key": hex(&node.id.0), "power": power })).collect();
        let client = SigningKey::from_bytes(&[0xcc; 32]);
        let spec = json!({ "owner": hex(client.verifying_key().as_bytes()), "committee": members }).to_string().into_bytes();
        Self { plan, seed, random, links, nodes, spec, chain: BTreeMap::new(), client, started: Instant::now() }
    }

    async fn start(&mut self, index: usize) {
        let (runtime, consensus) = (modules().0.clone(), modules().1[self.plan.consensus].clone());
        let name: ChainName = "sim".parse().unwrap();
        let node = &mut self.nodes[index];
        let parts = ChainParts {
            tenant: Tenant::alone(name.clone()),
            runtime,
            consensus,
            store: node.store.open(&name, Retention::Last(16)).unwrap(),
            spec: self.spec.clone(),
            consensus_config: self.plan.sealing.into(),
            accounts: Arc::new(Signers::default()),
            network: Some(self.links.port(node.id)),
            vote_secret: Some(node.secret),
        };
        let mut seed = [0; 32];
        StdRng::seed_from_u64(self.seed.wrapping_mul(8).wrapping_add(index as u64)).fill_bytes(&mut seed);
        let time = TimeSource::Since(node.clock_ms, self.started);
        let mut options = subnode_chain::ChainOptions { seed: Some(seed), ..default_options(Sealing::Instant, time) };
        // Real time is not what passes here.
        options.block.wall = Duration::from_secs(1_000_000);
        options.query.wall = Duration::from_secs(1_000_000);
        let chain = Box::pin(Chain::open(parts, options)).await.unwrap();
        assert!(chain.head().height >= node.shown, "a committed block is gone");
        node.chain = Some(chain);
        self.links.note(("start", index));
    }

    async fn crash(&mut self, index: usize) {
        if let Some(chain) = self.nodes[index].chain.take() {
            self.links.leave(self.nodes[index].id);
            chain.crash().await;
            if self.plan.bad == Some(Kind::Amnesiac) && index == 0 {
                let store = self.nodes[index].store.open(chain.name(), Retention::Last(16)).unwrap();
                let log = store.view().scan(Table::Log, &[], None, 1 << 20).unwrap();
                let forget = |row: Entry| Write { table: Table::Log, key: row.key, value: None };
                store.log(log.into_iter().map(forget).collect()).await.unwrap();
            }
            self.links.note(("crash", index));
        }
    }

    /// What must hold at any moment: no two blocks at one height, and no node that gave up.
    fn check(&mut self) -> Result<(), String> {
        for (index, node) in self.nodes.iter_mut().enumerate() {
            let Some(chain) = &node.chain else { continue };
            let (view, head) = (chain.store().view(), chain.head().height);
            for height in node.shown + 1..=head {
                let block = view.get(Table::Block, &height.to_be_bytes()).unwrap().ok_or(format!("node {index} lost block {height}"))?;
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

    /// A node that ended by itself.
    async fn ended(&self) -> Option<String> {
        for (index, node) in self.nodes.iter().enumerate() {
            if let Some(chain) = &node.chain
                && let Ok(reason) = tokio::time::timeout(Duration::ZERO, chain.failed()).await
            {
                return Some(format!("node {index} gave up: {reason}"));
            }
        }
        None
    }

    /// A client writes.
    async fn write(&mut self) {
        let alive: Vec<_> = self.nodes.iter().filter_map(|node| node.chain.clone()).collect();
        if alive.is_empty() {
            return;
        }
        let chain = &alive[self.random.random_range(0..alive.len())];
        // What waits in a pool is gone with its node, so it starts over from what is committed.
        let owner = json!([hex(self.client.verifying_key().as_bytes())]).to_string();
        let Ok(Reply::Json(committed)) = chain.query("kv_sequence", owner.as_bytes(), None).await else { return };
        let committed: String = serde_json::from_slice(&committed).unwrap();
        let committed = u64::from_str_radix(committed.trim_start_matches("0x"), 16).unwrap();
        let sequence = committed + self.random.random_range(0..3);
        let name = format!("key {}", sequence % 5);
        let owner = self.client.verifying_key();
        let value = sequence.to_string();
        let head = [owner.as_bytes(), &sequence.to_be_bytes()[..], &[u8::try_from(name.len()).unwrap()], name.as_bytes(), value.as_bytes()]
            .concat();
        let transaction = [&head[..], &self.client.sign(&head).to_bytes()].concat();
        let params = json!([hex(&transaction)]).to_string();
        // It may be there already.
        drop(chain.query("kv_send", params.as_bytes(), None).await);
    }

    /// Something happens, or nothing.
    async fn trouble(&mut self) {
        for index in 0..self.nodes.len() {
            let forgets = self.plan.bad == Some(Kind::Amnesiac) && index == 0 && self.random.random_bool(0.2);
            if forgets || self.random.random_ratio(self.plan.crashes, 1_000) {
                self.crash(index).await;
            } else if self.nodes[index].chain.is_none() && self.random.random_bool(0.3) {
                self.start(index).await;
            }
        }
        if self.random.random_ratio(self.plan.partitions, 1_000) {
            let mut ids: Vec<_> = self.nodes.iter().map(|node| node.id).collect();
            ids.shuffle(&mut self.random);
            let (one, other) = ids.split_at(self.random.random_range(0..=ids.len()));
            self.links.part(one, other);
        } else if self.random.random_bool(0.1) {
            self.links.heal();
        }
    }

    /// Runs to its end: a number that the same run comes to again, or what did not hold.
    pub(crate) async fn run(mut self) -> Result<u64, String> {
        for index in 0..self.nodes.len() {
            self.start(index).await;
        }
        let began = Instant::now();
        while began.elapsed() < TROUBLED {
            tokio::time::sleep(Duration::from_millis(self.random.random_range(10..200))).await;
            self.write().await;
            self.trouble().await;
            self.check()?;
            if let Some(reason) = self.ended().await {
                return Err(reason);
            }
        }
        self.recover().await?;
        Ok(self.links.trace())
    }

    /// Once the network is well and all nodes are there, they go on together.
    async fn recover(&mut self) -> Result<(), String> {
        self.links.heal();
        self.links.set_weather(Weather { latency_ms: (1, 20), lost: 0, doubled: 0 });
        for index in 0..self.nodes.len() {
            if self.nodes[index].chain.is_none() {
                self.start(index).await;
            }
        }
        let wanted = self.nodes.iter().map(|node| node.shown).max().unwrap_or(0) + BLOCKS_THEN;
        let began = Instant::now();
        // Whoever breaks the rules may be left behind.
        let honest = usize::from(self.plan.bad.is_some());
        while self.nodes[honest..].iter().any(|node| node.shown < wanted) {
            if began.elapsed() > RECOVERED_WITHIN {
                let heights: Vec<_> = self.nodes.iter().map(|node| node.shown).collect();
                return Err(format!("no progress to height {wanted} within {RECOVERED_WITHIN:?}: {heights:?} of {:?}", self.plan));
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            self.write().await;
            self.check()?;
            if let Some(reason) = self.ended().await {
                return Err(reason);
            }
        }
        if self.plan.bad == Some(Kind::Equivocator) && self.nodes[1..].iter().all(|node| node.evidence() == 0) {
            return Err("nobody has seen that a member says two things".into());
        }
        self.same_state()
    }

    /// Nodes of one height have one state.
    fn same_state(&self) -> Result<(), String> {
        let mut states: BTreeMap<u64, Vec<Entry>> = BTreeMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            let Some(chain) = &node.chain else { continue };
            let rows = chain.store().view().scan(Table::State, &[], None, 1_000).unwrap();
            let known = states.entry(chain.head().height).or_insert_with(|| rows.clone());
            if *known != rows {
                return Err(format!("node {index} has another state at height {}", chain.head().height));
            }
        }
        Ok(())
    }
}
