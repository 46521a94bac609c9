//! The chain, its modules and their agreement under a seeded clock, network and disk. What differs from production is the transport, the
//! store's backend and the clock; the rest is the same code.
//!
//! `SUBNODE_SIM_SEEDS=1000..2000` runs those seeds; a failing one is printed, and replays exactly. With `SUBNODE_SIM_TRACE` set, all that
//! happens is printed: run a single seed then.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod actor;
mod link;
mod world;

use std::{
    ops::Range,
    panic::AssertUnwindSafe,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::{
    actor::Kind,
    world::{Plan, World},
};

/// Seeds of the default run.
const SEEDS: Range<u64> = 0..1_000;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("SUBNODE_SIM_SEEDS") else { return SEEDS };
    let (first, last) = text.split_once("..").unwrap_or((&text, ""));
    let first = first.parse().unwrap();
    first..last.parse().unwrap_or(first + 1)
}

/// What a seed comes to.
fn run(seed: u64, plan: Plan) -> Result<u64, String> {
    if std::env::var_os("SUBNODE_SIM_TRACE").is_some() {
        // Another thread may have set it.
        drop(tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().try_init());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    let ended = runtime.block_on(async { World::new(seed, plan).run().await });
    drop(runtime);
    ended
}

/// Runs seeds on all cores; panics with those that fail.
fn run_all(seeds: Range<u64>, plan: impl Fn(u64) -> Plan + Sync) {
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.lock().unwrap().len() >= 3 {
                        break;
                    }
                    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| run(seed, plan(seed))))
                        .unwrap_or_else(|panic| Err(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "panic".into())));
                    if let Err(reason) = ended {
                        failed.lock().unwrap().push(format!("seed {seed}: {reason}; replay it with SUBNODE_SIM_SEEDS={seed}"));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn committees_agree_whatever_network_disks_and_crashes_do() {
    run_all(seeds(), Plan::of);
}

#[test]
fn members_that_trust_each_other_agree_as_well() {
    run_all(0..200, |seed| Plan { consensus: "authority", ..Plan::of(seed) });
}

/// Beside each kind of bad member, fewer runs: they are longer.
fn beside(kind: Kind) {
    run_all(0..40, move |seed| Plan::beside(kind, seed));
}

#[test]
fn an_equivocator_splits_nobody() {
    beside(Kind::Equivocator);
}

#[test]
fn a_withholder_stops_nobody() {
    beside(Kind::Withholder);
}

#[test]
fn a_flooder_drowns_nobody() {
    beside(Kind::Flooder);
}

#[test]
fn an_amnesiac_misleads_nobody() {
    beside(Kind::Amnesiac);
}

#[test]
fn forged_certificates_convince_nobody() {
    beside(Kind::ForgedCertificates);
}

#[test]
fn an_invalid_proposer_is_passed_over() {
    beside(Kind::InvalidProposer);
}

#[test]
fn a_lying_sync_peer_misleads_nobody() {
    beside(Kind::LyingSyncPeer);
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..4 {
        let traces = [run(seed, Plan::of(seed)), run(seed, Plan::of(seed))];
        assert!(traces[0].is_ok(), "{traces:?}");
        assert_eq!(traces[0], traces[1], "seed {seed}");
    }
}
