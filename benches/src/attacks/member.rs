//! A member of a committee that is honest until it is told to break the rules: it runs in this process, and what it says goes through a
//! [`Tamper`] on its way to the network.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, anyhow};
use bytes::Bytes;
use subnode_chain::{Chain, ChainOptions, ChainParts, TimeSource};
use subnode_devnet::{Signers, default_options};
use subnode_network::{ChainKey, Incoming, Membership, Network, NetworkOptions, NodeKey, Part};
use subnode_peers::{Inbox, Joined, Peers, Traffic};
use subnode_sandbox::{Module, Tenant};
use subnode_scheduler::Bandwidth;
use subnode_simulator::{Member, Tamper};
use subnode_storage::{ChainStore, MemoryStore, Retention, Store};
use subnode_tests::testnet::Testnet;
use subnode_types::{Boxed, ChainName, NodeId, Purpose, Sealing};

/// As `subnode testnet` names its network and its first chain.
pub(crate) const NETWORK: &str = "testnet";
const CHAIN: &str = "chain1";

/// Who a member is, and what it needs to take part.
pub(crate) struct Identity {
    pub(crate) secret: [u8; 32],
    listen: SocketAddr,
    addresses: BTreeMap<NodeId, SocketAddr>,
    spec: Vec<u8>,
    sealing: Sealing,
    modules: [Module; 2],
    store: Arc<ChainStore>,
}

impl Identity {
    /// That of a node of a test network, whose own process does not run.
    pub(crate) fn of(files: &Testnet, node: usize, nodes: usize, sealing: Sealing, modules: &[Module; 2]) -> anyhow::Result<Self> {
        let secret = std::fs::read_to_string(files.folder(node).join("node.key"))?;
        let others = (0..nodes).filter(|other| *other != node);
        let address = |other| anyhow::Ok((files.key(other)?.parse().map_err(|_| anyhow!("a key is 64 digits"))?, files.address(other)));
        let name: ChainName = CHAIN.parse()?;
        Ok(Self {
            secret: secret.trim().parse::<NodeId>().map_err(|_| anyhow!("a secret is 64 digits"))?.0,
            listen: files.address(node),
            addresses: others.map(address).collect::<anyhow::Result<_>>()?,
            spec: std::fs::read(files.genesis(0))?,
            sealing,
            modules: modules.clone(),
            store: MemoryStore::default().open(&name, Retention::Archive)?,
        })
    }

    /// What it proves itself with.
    pub(crate) fn key(&self) -> anyhow::Result<NodeKey> {
        Ok(NodeKey::from_secret(self.secret)?)
    }

    /// The others, and where they are.
    pub(crate) fn others(&self) -> &BTreeMap<NodeId, SocketAddr> {
        &self.addresses
    }

    /// How the simulator's bad members know it.
    pub(crate) fn as_member(&self) -> anyhow::Result<Member> {
        Ok(Member { node: self.key()?.id(), secret: self.secret, seed: 1 })
    }
}

/// A member that runs.
pub(crate) struct BadMember {
    chain: Chain,
    network: Network,
    line: Arc<Line>,
}

impl BadMember {
    /// Takes part, honestly at first.
    pub(crate) async fn open(identity: &Identity, tamper: Option<Box<dyn Tamper>>) -> anyhow::Result<Self> {
        let key = identity.key()?;
        let options = NetworkOptions { listen: identity.listen, network: NETWORK.into(), strangers_max: 64 };
        let network = Network::open(key, options)?;
        let line = Arc::new(Line {
            network: network.clone(),
            addresses: identity.addresses.clone(),
            tamper: Mutex::new(tamper),
            attacking: AtomicBool::new(false),
            joined: Mutex::default(),
        });
        let [runtime, consensus] = identity.modules.clone();
        let parts = ChainParts {
            tenant: Tenant::alone(CHAIN.parse()?),
            runtime,
            consensus,
            store: identity.store.clone(),
            spec: identity.spec.clone().into(),
            consensus_config: identity.sealing.consensus_config().into_bytes(),
            accounts: Arc::new(Signers::default()),
            network: Some(Arc::new(Port(line.clone()))),
            vote_secret: Some(identity.secret),
            attest_secret: None,
        };
        let options = ChainOptions { controls: false, ..default_options(identity.sealing, TimeSource::Wall) };
        let chain = Box::pin(Chain::open(parts, options)).await?;
        Ok(Self { chain, network, line })
    }

    /// Has it break the rules, or keep them, from now on.
    pub(crate) fn attack(&self, attacking: bool) {
        self.line.attacking.store(attacking, Ordering::Relaxed);
    }

    pub(crate) fn is_attacking(&self) -> bool {
        self.line.attacking.load(Ordering::Relaxed)
    }

    /// Tells its head's height.
    pub(crate) fn heights(&self) -> impl Fn() -> u64 + Send + use<> {
        let chain = self.chain.clone();
        move || chain.head().height
    }

    /// The key of its chain, and what it sends with.
    pub(crate) fn joined(&self) -> anyhow::Result<(ChainKey, Arc<Membership>)> {
        lock(&self.line.joined).clone().context("a chain that is open has joined")
    }

    /// Leaves the network.
    pub(crate) async fn close(self) {
        lock(&self.line.joined).take();
        self.chain.stop().await;
        drop(self.chain);
        self.network.close().await;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Between a member and the network.
struct Line {
    network: Network,
    addresses: BTreeMap<NodeId, SocketAddr>,
    tamper: Mutex<Option<Box<dyn Tamper>>>,
    attacking: AtomicBool,
    joined: Mutex<Option<(ChainKey, Arc<Membership>)>>,
}

impl Line {
    fn located(&self, members: &[NodeId]) -> BTreeMap<NodeId, Option<SocketAddr>> {
        members.iter().map(|member| (*member, self.addresses.get(member).copied())).collect()
    }

    /// What the one that breaks the rules makes of something; none while it keeps them.
    fn tampered<T>(&self, tampered: impl FnOnce(&mut Box<dyn Tamper>) -> T) -> Option<T> {
        let mut tamper = lock(&self.tamper);
        tamper.as_mut().filter(|_| self.attacking.load(Ordering::Relaxed)).map(tampered)
    }
}

struct Port(Arc<Line>);

impl subnode_peers::Network for Port {
    fn join(&self, chain: [u8; 32], members: &[NodeId], bandwidth: Arc<Bandwidth>) -> Result<Joined, String> {
        let line = self.0.clone();
        let (key, members) = (ChainKey(chain), line.located(members));
        let (membership, inbox) = line.network.join(key, members, bandwidth).map_err(|error| error.to_string())?;
        let membership = Arc::new(membership);
        *lock(&line.joined) = Some((key, membership.clone()));
        if let Some(tamper) = &mut *lock(&line.tamper) {
            tamper.joined(chain);
        }
        let mailbox = |part| Box::new(Mailbox { part, line: line.clone() });
        let (consensus, inbox) = (mailbox(inbox.consensus), mailbox(inbox.others));
        Ok(Joined { peers: Arc::new(Speaker { membership, line: line.clone() }), consensus, inbox })
    }
}

struct Speaker {
    membership: Arc<Membership>,
    line: Arc<Line>,
}

impl Peers for Speaker {
    fn set_members(&self, members: &[NodeId]) {
        self.membership.set_members(self.line.located(members));
    }

    fn connected(&self) -> Vec<NodeId> {
        self.membership.connected()
    }

    fn broadcast(&self, purpose: Purpose, frame: Bytes) {
        for to in self.membership.connected() {
            let said = self.line.tampered(|tamper| tamper.say(to, purpose, &frame)).unwrap_or_else(|| vec![(purpose, frame.clone())]);
            for (purpose, frame) in said {
                // What does not fit is lost, as on any network.
                self.membership.send(to, purpose, frame).unwrap_or_default();
            }
        }
    }

    fn traffic(&self) -> Traffic {
        Traffic::default()
    }

    fn fault(&self, _node: NodeId, _what: &str) {}

    fn ask(&self, to: NodeId, purpose: Purpose, question: Bytes) -> Boxed<'_, Result<Bytes, String>> {
        Box::pin(async move {
            let answer = self.membership.request(to, purpose, question).await.map_err(|error| error.to_string())?;
            self.line.tampered(|tamper| tamper.overhear(&answer));
            Ok(answer)
        })
    }
}

struct Mailbox {
    part: Part,
    line: Arc<Line>,
}

impl Inbox for Mailbox {
    fn next(&mut self) -> Boxed<'_, Option<Incoming>> {
        Box::pin(async move {
            loop {
                let request = match self.part.next().await? {
                    frame @ Incoming::Frame(_) => return Some(frame),
                    Incoming::Request(request) => request,
                };
                match self.line.tampered(|tamper| tamper.answer(&request.frame)).flatten() {
                    Some(Some(answer)) => request.answer(answer),
                    Some(None) => drop(request),
                    None => return Some(Incoming::Request(request)),
                }
            }
        })
    }
}
