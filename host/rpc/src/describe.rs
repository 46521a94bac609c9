//! Chains and the node as JSON, for operators.

use std::time::Duration;

use serde_json::{Value, json};
use subnode_chain::{Chain, MemberStats, Reply};
use subnode_node::{ChainInfo, Fetching, Machine, Origin, PeerInfo, State, Supervisor, Wanted};
use subnode_storage::{Retention, StoreUsage};
use subnode_types::{Boxed, Hex, boxed};

/// A chain.
pub(crate) fn chain(info: &ChainInfo) -> Value {
    let desired = &info.desired;
    let mut value = json!({
        "name": info.name.as_str(),
        "id": desired.id,
        "state": info.state.name(),
        "reason": info.state.reason(),
        "fetching": match &info.state {
            State::Fetching(Fetching { module, bytes, of, .. }) => json!({ "module": module, "bytes": bytes, "of": of }),
            State::Opening | State::Running | State::Paused | State::Stopped | State::Restarting { .. } | State::Quarantined { .. } => Value::Null,
        },
        "failures": info.failures,
        "origin": match desired.origin { Origin::Config => "config", Origin::Operator => "operator" },
        "wanted": match desired.wanted { Wanted::Running => "running", Wanted::Paused => "paused", Wanted::Stopped => "stopped" },
        "runtime": desired.runtime,
        "consensus": desired.consensus,
        "sealing": desired.sealing.to_string(),
        "history": match desired.retention {
            Retention::Archive => json!("archive"),
            Retention::Last(heights) => json!(heights),
            Retention::Within { bytes, .. } => json!({ "bytes": bytes }),
        },
        "slice": {
            "parts": desired.slice.cpu.get(),
            "memoryBytes": desired.slice.memory_bytes,
            "storageBytes": desired.slice.storage_bytes,
            "bandwidthBytes": desired.slice.bandwidth_bytes,
        },
    });
    if let Some(chain) = &info.chain {
        let stats = chain.stats();
        value["height"] = json!(stats.head.height);
        value["timestampMs"] = json!(stats.head.timestamp_ms);
        value["stats"] = json!({
            "blocks": stats.blocks,
            "transactions": stats.transactions,
            "buildUs": stats.build_us,
            "commitUs": stats.commit_us,
            "lateUs": stats.late_us,
            "lateUsMax": stats.late_us_max,
            "cpuNs": stats.usage.ran_ns,
            "fuel": stats.usage.fuel,
            "turns": stats.usage.turns,
            "memoryBytes": stats.memory_bytes.0,
            "storageBytes": stats.storage_bytes.0,
            "storageFull": stats.full,
            "stuck": stats.stuck,
            "receivedBytes": stats.traffic_bytes.0,
            "sentBytes": stats.traffic_bytes.1,
            "poolReady": stats.pool.0,
            "poolWaiting": stats.pool.1,
            "poolBytes": stats.pool_bytes,
            "admitted": stats.transactions_admitted,
            "refused": stats.transactions_refused,
            "shed": stats.transactions_shed,
            "queries": stats.queries,
            "queriesRefused": stats.queries_refused,
            "guestFaults": stats.guest_faults,
            "evidence": stats.evidence,
            "hostFaults": stats.host_faults,
            "subscriptions": stats.subscriptions,
            "silent": stats.silent.0,
            "votesElsewhere": stats.silent.1,
            "peers": stats.peers,
            "members": stats.members.iter().map(member).collect::<Vec<_>>(),
            "states": chain.stated().into_iter().map(stated).collect::<Vec<_>>(),
            "peerSentBytes": stats.peer_traffic.sent_bytes,
            "peerReceivedBytes": stats.peer_traffic.received_bytes,
            "peerDroppedFrames": stats.peer_traffic.dropped_frames,
            "stateSync": stats.state_sync.map(|(here, total)| json!({ "pieces": here, "of": total })),
        });
    }
    value
}

/// Longest text that a runtime says about its chain: the contract's bound.
const ABOUT_BYTES_MAX: usize = 4 << 10;
/// How long it is waited for: an operator wants to see a chain that is too busy to say anything.
const ABOUT_WITHIN: Duration = Duration::from_secs(1);

/// A chain, and what its runtime says about it; null where it runs not, or says nothing.
pub(crate) fn in_full(info: &ChainInfo) -> Boxed<'_, Value> {
    boxed(async move {
        let mut value = chain(info);
        if let Some(chain) = &info.chain {
            let asked = tokio::time::timeout(ABOUT_WITHIN, chain.query("subnode_about", b"[]", None)).await;
            let said = match asked {
                Ok(Ok(Reply::Json(json))) if json.len() <= ABOUT_BYTES_MAX => serde_json::from_slice(&json).ok(),
                Ok(_) | Err(_) => None,
            };
            value["about"] = said.filter(Value::is_object).unwrap_or_default();
        }
        value
    })
}

/// A member of the committee, as it was heard last.
fn member(member: &MemberStats) -> Value {
    json!({
        "node": member.node.to_string(),
        "heardMs": member.heard_ms,
        "absent": member.absent,
        "height": member.height,
    })
}

/// What this node states until a block notes it.
fn stated((kind, subject, value): (u16, [u8; 32], Vec<u8>)) -> Value {
    json!({ "kind": kind, "subject": format!("0x{}", Hex(&subject)), "value": format!("0x{}", Hex(&value)) })
}

/// This node among others, and who is connected.
pub(crate) fn peers(supervisor: &Supervisor) -> Value {
    let Some(network) = supervisor.network() else { return json!({ "node": null, "peers": [] }) };
    let peer = |peer: PeerInfo| {
        json!({
            "node": peer.id.to_string(),
            "address": peer.address.to_string(),
            "connectedMs": u64::try_from(peer.connected.as_millis()).unwrap_or(u64::MAX),
            "roundTripUs": u64::try_from(peer.round_trip.as_micros()).unwrap_or(u64::MAX),
            "sentBytes": peer.sent_bytes,
            "receivedBytes": peer.received_bytes,
            "faults": peer.faults,
            "chains": peer.shared_chains,
        })
    };
    json!({ "node": network.id().to_string(), "peers": network.peers().into_iter().map(peer).collect::<Vec<_>>() })
}

/// What does not go as it should.
pub(crate) fn problems(supervisor: &Supervisor) -> Vec<String> {
    problems_of(supervisor, &supervisor.list(), &supervisor.store().usage())
}

/// The same of what was looked at already: the store's usage takes a look at each of its files.
fn problems_of(supervisor: &Supervisor, chains: &[ChainInfo], usage: &StoreUsage) -> Vec<String> {
    let damaged = supervisor.store().damaged().into_iter();
    let mut problems: Vec<_> = damaged.map(|(name, reason)| format!("chain {name} is damaged: {reason}")).collect();
    for info in chains {
        if let Some(reason) = info.state.reason() {
            problems.push(format!("chain {} is {}: {reason}", info.name, info.state.name()));
        }
        let Some(stats) = info.chain.as_ref().map(Chain::stats) else { continue };
        for member in stats.members.iter().filter(|member| member.absent) {
            problems.push(format!("chain {}: member {} was not heard for {} s", info.name, member.node, member.heard_ms / 1_000));
        }
        if stats.full {
            problems.push(format!("chain {}: its slice of storage is full; {}", info.name, more_storage(info)));
        } else if let Some(reason) = stats.stuck {
            problems.push(format!("chain {} makes no blocks: {reason}", info.name));
        }
    }
    if usage.disk_free_bytes.is_some_and(|free| free < supervisor.disk_free_bytes_min()) {
        problems.push(format!(
            "the disk has {} bytes left, less than the {} that are kept free: no block is written until there are more",
            usage.disk_free_bytes.unwrap_or_default(),
            supervisor.disk_free_bytes_min()
        ));
    }
    problems
}

/// How a chain gets more storage.
fn more_storage(info: &ChainInfo) -> String {
    match info.desired.origin {
        Origin::Operator => format!("subnode chain resize {} --storage SIZE", info.name),
        Origin::Config => "give it more `storage` in the configuration file and reload (SIGHUP)".to_owned(),
    }
}

/// The node.
pub(crate) fn node(supervisor: &Supervisor) -> Value {
    let (capacity, granted) = supervisor.granted();
    let usage = supervisor.store().usage();
    let chains = supervisor.list();
    let count = |state: &str| chains.iter().filter(|info| info.state.name() == state).count();
    json!({
        "version": env!("CARGO_PKG_VERSION"),
        "uptimeMs": u64::try_from(supervisor.uptime().as_millis()).unwrap_or(u64::MAX),
        "healthy": problems_of(supervisor, &chains, &usage).is_empty(),
        "chains": {
            "running": count("running"),
            "paused": count("paused"),
            "stopped": count("stopped"),
            "fetching": count("fetching"),
            "restarting": count("restarting") + count("opening"),
            "quarantined": count("quarantined"),
        },
        "capacity": {
            "parts": capacity.parts.get(),
            "memoryBytes": capacity.memory_bytes,
            "storageBytes": capacity.storage_bytes,
            "bandwidthBytes": capacity.bandwidth_bytes,
        },
        "granted": {
            "parts": granted.parts,
            "memoryBytes": granted.memory_bytes,
            "storageBytes": granted.storage_bytes,
            "bandwidthBytes": granted.bandwidth_bytes,
        },
        "residentBytes": Machine::resident_bytes(),
        "cores": supervisor.cores(),
        "store": {
            "diskBytes": usage.disk_bytes,
            "diskFreeBytes": usage.disk_free_bytes,
            "memoryBytes": usage.memory_bytes,
            "syncedWrites": usage.synced_writes,
            "batches": usage.batches,
            "families": usage.families,
        },
    })
}
