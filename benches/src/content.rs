//! A module that one of four nodes has: how soon the other three have it, checked and compiled, against a copy over quinn alone and a compilation.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use bytes::Bytes;
use quinn::{ClientConfig, Endpoint, ServerConfig};
use rand::{RngCore, SeedableRng, rngs::StdRng};
use subnode_chain::TimeSource;
use subnode_devnet::{Signers, default_options};
use subnode_network::{Network, NetworkOptions, NodeKey, Overlay};
use subnode_node::{Desired, Modules, Origin, Peering, Supervisor, SupervisorParts, Wanted};
use subnode_sandbox::{ModuleHash, Sandbox, SandboxOptions};
use subnode_scheduler::Capacity;
use subnode_storage::{MemoryStore, Retention};
use subnode_types::{NodeId, Parts, Sealing, Slice};
use tokio::task::JoinSet;

use crate::ratio::Pairs;

/// Bytes of the module: `bft`, and a section of random bytes behind it.
const MODULE_BYTES: usize = 1_300_000;
const NODES: usize = 4;
const ROUNDS: u64 = 7;
const PATIENCE: Duration = Duration::from_secs(60);
const CAPACITY: Capacity = Capacity { parts: Parts::ONE, memory_bytes: 1 << 30, storage_bytes: 1 << 30, bandwidth_bytes: 125_000_000 };

fn loopback() -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, 0))
}

/// Another module in each round.
fn module(seed: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = subnode_modules::by_name("bft").context("bft is embedded")?.to_vec();
    // A custom section: its kind, its length in four digits of LEB128, the length of its name, and its name.
    let length = MODULE_BYTES.checked_sub(bytes.len() + 5).context("bft has become larger than the module")?;
    let digit = |place: usize| u8::try_from(length >> (7 * place) & 0x7f);
    bytes.extend([0, digit(0)? | 0x80, digit(1)? | 0x80, digit(2)? | 0x80, digit(3)?, 1, b'x']);
    let mut more = vec![0; length - 2];
    StdRng::seed_from_u64(seed).fill_bytes(&mut more);
    bytes.extend(more);
    Ok(bytes)
}

fn sandbox() -> anyhow::Result<Sandbox> {
    Ok(Sandbox::new(&SandboxOptions { instances: 64, cache_dir: None })?)
}

struct Node {
    supervisor: Arc<Supervisor>,
    overlay: Arc<Overlay>,
    network: Network,
}

async fn node(dir: &Path, peers: BTreeMap<NodeId, SocketAddr>) -> anyhow::Result<Node> {
    let secret = NodeKey::new_secret()?;
    let options = NetworkOptions { listen: loopback(), network: "bench".into(), strangers_max: NODES };
    let network = Network::open(NodeKey::from_secret(secret)?, options)?;
    let overlay = Arc::new(Overlay::new(network.clone(), peers));
    let parts = SupervisorParts {
        store: Arc::new(MemoryStore::default()),
        modules: Modules::new(sandbox()?, &subnode_modules::ALL, dir.to_owned()),
        capacity: CAPACITY,
        options: default_options(Sealing::Manual, TimeSource::Wall),
        accounts: Arc::new(Signers::default()),
        disk_free_bytes_min: 0,
        peering: Some(Peering { network: overlay.clone(), secret, attest_secret: None }),
    };
    let supervisor = Box::pin(Supervisor::start(parts, Vec::new())).await?;
    Ok(Node { supervisor, overlay, network })
}

fn desired(node: &Node, consensus: &str) -> Desired {
    let id = node.overlay.id();
    Desired {
        id: None,
        origin: Origin::Operator,
        wanted: Wanted::Running,
        runtime: "kv".into(),
        consensus: consensus.into(),
        spec: format!("{{\"owner\":\"0x{id}\",\"committee\":[{{\"key\":\"0x{id}\",\"power\":1}}]}}").into_bytes(),
        consensus_config: b"interval 1000 timeout 3000".to_vec(),
        sealing: Sealing::Manual,
        slice: Slice { cpu: Parts::ONE, memory_bytes: 512 << 20, storage_bytes: 1 << 30, bandwidth_bytes: CAPACITY.bandwidth_bytes },
        retention: Retention::Archive,
        controls: false,
        pool_bytes: 1 << 20,
        checkpoint_every: 0,
        attest_every: 0,
        silent: false,
    }
}

/// From when three nodes are asked to make a chain until the module of each is compiled.
async fn fetched(bytes: &[u8]) -> anyhow::Result<Duration> {
    let name = "a".parse()?;
    let dirs: Vec<_> = (0..NODES).map(|_| tempfile::tempdir()).collect::<Result<_, _>>()?;
    let first = node(dirs[0].path(), BTreeMap::new()).await?;
    let module = first.supervisor.add_module(bytes.to_vec()).await?;
    first.supervisor.create(&name, desired(&first, &module)).await?;
    let at = BTreeMap::from([(first.overlay.id(), first.network.address()?)]);
    let mut others = Vec::new();
    for dir in &dirs[1..] {
        others.push(node(dir.path(), at.clone()).await?);
    }
    let started = Instant::now();
    for other in &others {
        let made = other.supervisor.create(&name, desired(other, &module)).await?;
        ensure!(made.state.name() == "fetching", "it has the module already");
    }
    for other in &others {
        while other.supervisor.show(&name)?.state.name() == "fetching" {
            ensure!(started.elapsed() < PATIENCE, "{:?}", other.supervisor.show(&name)?.state);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    let took = started.elapsed();
    for node in others.iter().chain([&first]) {
        node.supervisor.shut_down().await;
        node.network.close().await;
    }
    Ok(took)
}

/// The same bytes by a stream of quinn to each of three nodes, with the same cryptography, to a synced file, and compiled.
async fn copied(bytes: &[u8]) -> anyhow::Result<Duration> {
    let key = || anyhow::Ok(NodeKey::from_secret(NodeKey::new_secret()?)?);
    let giver = key()?;
    let server = Endpoint::server(ServerConfig::with_crypto(Arc::new(giver.server()?)), loopback())?;
    let address = server.local_addr()?;
    let content = Bytes::copy_from_slice(bytes);
    let giving = tokio::spawn(async move {
        while let Some(incoming) = server.accept().await {
            let content = content.clone();
            tokio::spawn(async move {
                let connection = incoming.await?;
                let mut stream = connection.open_uni().await?;
                stream.write_all_chunks(&mut [content]).await?;
                stream.finish()?;
                connection.closed().await;
                anyhow::Ok(())
            });
        }
    });
    let mut takers = Vec::new();
    for _ in 1..NODES {
        let config = ClientConfig::new(Arc::new(key()?.client(giver.id())?));
        takers.push((Endpoint::client(loopback())?, config, sandbox()?, tempfile::NamedTempFile::new()?));
    }
    let started = Instant::now();
    let mut taking = JoinSet::new();
    for (endpoint, config, sandbox, file) in takers {
        taking.spawn(async move {
            let connection = endpoint.connect_with(config, address, "subnode")?.await?;
            let content = connection.accept_uni().await?.read_to_end(MODULE_BYTES).await?;
            connection.close(0_u32.into(), b"done");
            tokio::task::spawn_blocking(move || {
                std::fs::write(file.path(), &content)?;
                file.as_file().sync_all()?;
                sandbox.load(&content)?;
                anyhow::Ok(())
            })
            .await?
        });
    }
    while let Some(taken) = taking.join_next().await {
        taken??;
    }
    let took = started.elapsed();
    giving.abort();
    Ok(took)
}

pub(crate) async fn run() -> anyhow::Result<()> {
    println!("\n## content: a module of {MODULE_BYTES} bytes that one of {NODES} nodes has, over QUIC on loopback\n");
    let mut pairs = Pairs::new();
    for round in 0..ROUNDS {
        let bytes = module(round)?;
        ensure!(bytes.len() == MODULE_BYTES, "{} bytes: {}", bytes.len(), ModuleHash::of(&bytes));
        pairs.push(fetched(&bytes).await?, copied(&bytes).await?);
    }
    let ((ours, theirs), (ratio, low, high)) = (pairs.medians(), pairs.ratio());
    println!("| | ms | quinn alone, a synced file and a compilation, ms | ratio (least to most) | wanted |\n|---|---|---|---|---|");
    println!(
        "| three nodes have it, checked and compiled | {:.0} | {:.0} | **{ratio:.2}** ({low:.2} to {high:.2}) | 1.5 |",
        ours * 1e3,
        theirs * 1e3
    );
    Ok(())
}
