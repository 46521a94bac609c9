//! Figures for Prometheus, and whether the node is alive and well, on a port of their own.
//!
//! | path | answer |
//! |---|---|
//! | `/metrics` | the figures below, in OpenMetrics text |
//! | `/health` | 200 while nothing is wrong, else 503; what is wrong as JSON |
//! | `/ready` | 200 once every chain that should run does, else 503 |
//!
//! Every figure of a chain has the label `chain`, its name, and no other: there are as many series as chains, times the table.
//!
//! | figure | of | meaning |
//! |---|---|---|
//! | `subnode_chain_height` | chain | height of its last block |
//! | `subnode_chain_state` | chain, state | 1 for the state that it is in |
//! | `subnode_chain_module_bytes`, `_module_size_bytes` | chain | of the module that it waits for: what is here, and all of it, once a node said it |
//! | `subnode_chain_failures_total` | chain | how often it failed |
//! | `subnode_chain_blocks_total`, `_transactions_total` | chain | committed |
//! | `subnode_chain_build_seconds_total`, `_commit_seconds_total` | chain | time of its blocks |
//! | `subnode_chain_late_seconds_total` | chain | how long after they were due its blocks were committed |
//! | `subnode_chain_cpu_seconds_total`, `_fuel_total` | chain | what it used of the cores |
//! | `subnode_chain_cpu_parts` | chain | what it is entitled to |
//! | `subnode_chain_memory_bytes`, `_memory_limit_bytes` | chain | in use, and its slice |
//! | `subnode_chain_storage_bytes`, `_storage_limit_bytes` | chain | live, and its slice |
//! | `subnode_chain_received_bytes_total`, `_sent_bytes_total` | chain | its clients' traffic |
//! | `subnode_chain_pool_ready`, `_pool_waiting`, `_pool_bytes` | chain | its pool |
//! | `subnode_chain_admitted_total`, `_refused_total`, `_shed_total` | chain | transactions into, past and out of the pool |
//! | `subnode_chain_queries_total`, `_queries_refused_total` | chain | its clients' calls |
//! | `subnode_chain_guest_faults_total`, `_host_faults_total` | chain | calls that ended by the module's doing, and this host's |
//! | `subnode_chain_subscriptions` | chain | open |
//! | `subnode_chain_evidence_total` | chain | rules of the consensus that members broke |
//! | `subnode_chain_members_absent` | chain | other members of the committee that were not heard of late |
//! | `subnode_chain_peers`, `_peer_sent_bytes_total`, `_peer_received_bytes_total`, `_peer_dropped_frames_total` | chain | other nodes |
//! | `subnode_node_peers`, `subnode_node_peer_faults` | | nodes that are connected, and rules of the protocol that they broke |
//! | `subnode_node_resident_bytes`, `subnode_node_parts`, `subnode_node_parts_granted` | node | memory, parts |
//! | `subnode_store_bytes`, `_free_bytes`, `_synced_writes_total`, `_batches_total`, `_families` | node | the store |

use std::{fmt, sync::Arc};

use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};
use serde_json::json;
use subnode_chain::ChainStats;
use subnode_node::{ChainInfo, Fetching, Machine, State as ChainState, Supervisor, Wanted};
use subnode_types::{Boxed, boxed};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::{
    RpcLimits, ServeError,
    connection::{self, BoundedListener},
    describe,
    held::Budget,
};

/// Connections at once: of some collectors, and of people who look.
const CONNECTIONS_MAX: usize = 64;

/// Serves figures until `shutdown`.
///
/// # Errors
/// Where the listener fails.
pub fn serve_metrics(
    supervisor: Arc<Supervisor>,
    listener: TcpListener,
    shutdown: CancellationToken,
) -> Boxed<'static, Result<(), ServeError>> {
    boxed(async move {
        let router =
            Router::new().route("/metrics", get(metrics)).route("/health", get(health)).route("/ready", get(ready)).with_state(supervisor);
        let limits = RpcLimits::DEFAULT;
        let listener = BoundedListener::new(listener, CONNECTIONS_MAX, Arc::new(Budget::new(limits.held_bytes)), &limits);
        connection::serve(listener, router, limits.header_within, shutdown).await;
        Ok(())
    })
}

async fn metrics(State(supervisor): State<Arc<Supervisor>>) -> Response {
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Figures(supervisor)));
    let mut text = String::new();
    match encode(&mut text, &registry) {
        Ok(()) => ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

fn verdict(well: bool) -> StatusCode {
    if well { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE }
}

async fn health(State(supervisor): State<Arc<Supervisor>>) -> Response {
    let problems = describe::problems(&supervisor);
    (verdict(problems.is_empty()), Json(json!({ "healthy": problems.is_empty(), "problems": problems }))).into_response()
}

async fn ready(State(supervisor): State<Arc<Supervisor>>) -> Response {
    let chains = supervisor.list();
    let missing: Vec<_> = chains.iter().filter(|info| info.desired.wanted != Wanted::Stopped && info.chain.is_none()).collect();
    let names: Vec<_> = missing.iter().map(|info| info.name.as_str()).collect();
    (verdict(missing.is_empty()), Json(json!({ "ready": missing.is_empty(), "missing": names }))).into_response()
}

struct Figures(Arc<Supervisor>);

impl fmt::Debug for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Figures")
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
}

use Kind::{Counter, Gauge};

type Figure<T> = (&'static str, &'static str, Kind, fn(&T) -> f64);

#[expect(clippy::cast_precision_loss, reason = "figures of this size lose nothing that a chart shows")]
fn f(number: u64) -> f64 {
    number as f64
}

#[expect(clippy::cast_precision_loss, reason = "as above")]
fn n(number: usize) -> f64 {
    number as f64
}

const OF_A_CHAIN: [Figure<ChainStats>; 32] = [
    ("height", "Height of the last block", Gauge, |s| f(s.head.height)),
    ("blocks", "Blocks committed", Counter, |s| f(s.blocks)),
    ("transactions", "Transactions committed", Counter, |s| f(s.transactions)),
    ("build_seconds", "Time blocks took to build", Counter, |s| f(s.build_us) / 1e6),
    ("commit_seconds", "Time blocks took to commit", Counter, |s| f(s.commit_us) / 1e6),
    ("late_seconds", "Time from when blocks were due until they were committed", Counter, |s| f(s.late_us) / 1e6),
    ("cpu_seconds", "CPU time used", Counter, |s| f(s.usage.ran_ns) / 1e9),
    ("fuel", "Fuel burnt", Counter, |s| f(s.usage.fuel)),
    ("memory_bytes", "Memory in use", Gauge, |s| f(s.memory_bytes.0)),
    ("memory_limit_bytes", "Memory slice", Gauge, |s| f(s.memory_bytes.1)),
    ("storage_bytes", "Live bytes of the tables", Gauge, |s| f(s.storage_bytes.0)),
    ("storage_limit_bytes", "Storage slice", Gauge, |s| f(s.storage_bytes.1)),
    ("storage_full", "Whether the storage slice keeps the chain from making blocks", Gauge, |s| f(u64::from(s.full))),
    ("received_bytes", "Bytes clients sent", Counter, |s| f(s.traffic_bytes.0)),
    ("sent_bytes", "Bytes clients received", Counter, |s| f(s.traffic_bytes.1)),
    ("pool_ready", "Transactions that could be in the next block", Gauge, |s| n(s.pool.0)),
    ("pool_waiting", "Transactions behind a gap", Gauge, |s| n(s.pool.1)),
    ("pool_bytes", "Memory of the pool", Gauge, |s| n(s.pool_bytes)),
    ("admitted", "Transactions that entered the pool", Counter, |s| f(s.transactions_admitted)),
    ("refused", "Transactions that were refused", Counter, |s| f(s.transactions_refused)),
    ("shed", "Transactions dropped for lack of memory", Counter, |s| f(s.transactions_shed)),
    ("queries", "Calls of clients", Counter, |s| f(s.queries)),
    ("queries_refused", "Calls refused because too many waited", Counter, |s| f(s.queries_refused)),
    ("guest_faults", "Calls that ended by the modules' doing", Counter, |s| f(s.guest_faults)),
    ("host_faults", "Calls that ended by this host's", Counter, |s| f(s.host_faults)),
    ("subscriptions", "Open subscriptions", Gauge, |s| n(s.subscriptions)),
    ("evidence", "Rules of the consensus that members broke", Counter, |s| f(s.evidence)),
    ("peers", "Nodes that are connected and have the chain", Gauge, |s| n(s.peers)),
    ("members_absent", "Other members of the committee that were not heard of late", Gauge, |s| {
        n(s.members.iter().filter(|member| member.absent).count())
    }),
    ("peer_sent_bytes", "Bytes sent to other nodes", Counter, |s| f(s.peer_traffic.sent_bytes)),
    ("peer_received_bytes", "Bytes received from other nodes", Counter, |s| f(s.peer_traffic.received_bytes)),
    ("peer_dropped_frames", "Messages not sent, since a node took them too slowly", Counter, |s| f(s.peer_traffic.dropped_frames)),
];

const STATES: [&str; 7] = ["opening", "fetching", "running", "paused", "stopped", "restarting", "quarantined"];

fn fetching(state: &ChainState) -> Option<&Fetching> {
    match state {
        ChainState::Fetching(fetching) => Some(fetching),
        ChainState::Opening
        | ChainState::Running
        | ChainState::Paused
        | ChainState::Stopped
        | ChainState::Restarting { .. }
        | ChainState::Quarantined { .. } => None,
    }
}

fn one(encoder: &mut DescriptorEncoder<'_>, (name, help, kind, value): (&str, &str, Kind, f64)) -> fmt::Result {
    match kind {
        Counter => ConstCounter::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Counter)?),
        Gauge => ConstGauge::new(value).encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?),
    }
}

/// A figure of every chain for which there is one.
fn each(
    encoder: &mut DescriptorEncoder<'_>,
    (name, help, kind): (&str, &str, Kind),
    values: impl Iterator<Item = (String, f64)>,
) -> fmt::Result {
    let name = format!("subnode_chain_{name}");
    let metric_type = match kind {
        Counter => MetricType::Counter,
        Gauge => MetricType::Gauge,
    };
    let mut family = encoder.encode_descriptor(&name, help, None, metric_type)?;
    for (chain, value) in values {
        let labels = [("chain", chain)];
        let series = family.encode_family(&labels)?;
        match kind {
            Counter => ConstCounter::new(value).encode(series)?,
            Gauge => ConstGauge::new(value).encode(series)?,
        }
    }
    Ok(())
}

impl Collector for Figures {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let chains: Vec<ChainInfo> = self.0.list();
        let running: Vec<(String, ChainStats)> =
            chains.iter().filter_map(|info| Some((info.name.to_string(), info.chain.as_ref()?.stats()))).collect();
        for (name, help, kind, value) in OF_A_CHAIN {
            each(&mut encoder, (name, help, kind), running.iter().map(|(chain, stats)| (chain.clone(), value(stats))))?;
        }
        let parts = chains.iter().map(|info| (info.name.to_string(), f64::from(info.desired.slice.cpu.get())));
        each(&mut encoder, ("cpu_parts", "Parts of the cores it is entitled to", Gauge), parts)?;
        let failures = chains.iter().map(|info| (info.name.to_string(), f(info.failures)));
        each(&mut encoder, ("failures", "How often it failed", Counter), failures)?;
        let waiting = || chains.iter().filter_map(|info| Some((info.name.to_string(), fetching(&info.state)?)));
        let here = waiting().map(|(chain, fetching)| (chain, f(fetching.bytes)));
        each(&mut encoder, ("module_bytes", "Bytes that are here of the module that it waits for", Gauge), here)?;
        let sizes = waiting().filter_map(|(chain, fetching)| Some((chain, f(fetching.of?))));
        each(&mut encoder, ("module_size_bytes", "Bytes of the module that it waits for", Gauge), sizes)?;
        let mut states =
            encoder.encode_descriptor("subnode_chain_state", "1 for the state that the chain is in", None, MetricType::Gauge)?;
        for info in &chains {
            for state in STATES {
                let labels = [("chain", info.name.as_str()), ("state", state)];
                ConstGauge::new(f(u64::from(info.state.name() == state))).encode(states.encode_family(&labels)?)?;
            }
        }
        let (capacity, granted) = self.0.granted();
        let usage = self.0.store().usage();
        let peers = self.0.network().map(|network| network.peers()).unwrap_or_default();
        for figure in [
            ("subnode_node_peers", "Nodes that are connected", Gauge, n(peers.len())),
            ("subnode_node_peer_faults", "Rules that they broke", Gauge, f(peers.iter().map(|peer| peer.faults).sum())),
            ("subnode_node_resident_bytes", "Resident memory of the process", Gauge, f(Machine::resident_bytes())),
            ("subnode_node_parts", "Parts that the cores are divided into", Gauge, f64::from(capacity.parts.get())),
            ("subnode_node_parts_granted", "Parts that are granted to chains", Gauge, f64::from(granted.parts)),
            ("subnode_node_uptime_seconds", "Since the node was started", Gauge, self.0.uptime().as_secs_f64()),
            ("subnode_store_bytes", "Bytes of the store's files", Gauge, f(usage.disk_bytes)),
            ("subnode_store_free_bytes", "Bytes that the disk has left", Gauge, f(usage.disk_free_bytes.unwrap_or_default())),
            ("subnode_store_memory_bytes", "Memory of the store's caches and buffers", Gauge, f(usage.memory_bytes)),
            ("subnode_store_synced_writes", "Synced writes", Counter, f(usage.synced_writes)),
            ("subnode_store_batches", "Batches that were in them", Counter, f(usage.batches)),
            ("subnode_store_families", "Column families", Gauge, f(usage.families)),
        ] {
            one(&mut encoder, figure)?;
        }
        Ok(())
    }
}
