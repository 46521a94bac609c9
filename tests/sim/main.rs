//! The chain, its modules and their agreement under a seeded clock, network and disk (`subnode-simulator`).
//!
//! `SUBNODE_SIM_SEEDS=1000..2000` runs those seeds. A seed that fails is printed, and replays exactly. With
//! `SUBNODE_SIM_TRACE` set, a run prints everything that happens, so run a single seed then.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod absence;
mod countermeasures;
mod network;

use std::{
    ops::Range,
    sync::{
        OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use subnode_sandbox::{Module, Sandbox, SandboxOptions};
use subnode_simulator::{Bad, LyingSyncPeer, Modules, Plan, Report, Withholder, run, run_all};
use subnode_tests::{
    bad_member::{Actor, Kind},
    seed_grinder::{Search, SeedGrinder},
};

/// Seeds of the default run.
const SEEDS: Range<u64> = 0..1_000;

/// Of so many seeds, one is run beside each kind of bad member.
const BESIDE: u64 = 25;
/// And those of committees that go over to another module.
const UPGRADED: u64 = 10;

fn seeds() -> Range<u64> {
    let Ok(text) = std::env::var("SUBNODE_SIM_SEEDS") else { return SEEDS };
    let (first, last) = text.split_once("..").unwrap_or((&text, ""));
    let first = first.parse().unwrap();
    first..last.parse().unwrap_or(first + 1)
}

/// A part of them, for runs that are longer or of which there are many kinds.
fn seeds_of(part: u64) -> Range<u64> {
    let all = seeds();
    all.start..all.start + ((all.end - all.start) / part).max(1)
}

fn sandbox() -> &'static Sandbox {
    static SANDBOX: OnceLock<Sandbox> = OnceLock::new();
    SANDBOX.get_or_init(|| Sandbox::new(&SandboxOptions { instances: 256, cache_dir: subnode_devnet::module_cache_dir() }).unwrap())
}

/// Modules compiled once for all runs.
fn modules(consensus: &str) -> Modules {
    static LOADED: OnceLock<[Module; 3]> = OnceLock::new();
    let [kv, bft, authority] =
        LOADED.get_or_init(|| ["kv", "bft", "authority"].map(|name| sandbox().load(subnode_modules::by_name(name).unwrap()).unwrap()));
    let consensus = if consensus == "bft" { bft } else { authority };
    Modules { runtime: kv.clone(), consensus: consensus.clone() }
}

/// Runs seeds on all cores; panics with those that fail.
fn all(seeds: Range<u64>, plan: impl Fn(u64) -> Plan + Sync, done: impl Fn(u64, &Report) + Sync) {
    if std::env::var_os("SUBNODE_SIM_TRACE").is_some() {
        // Another test may have set it.
        drop(tracing_subscriber::fmt().with_writer(std::io::stderr).without_time().try_init());
    }
    let failed = run_all(seeds, plan, done);
    let failed: Vec<_> =
        failed.iter().map(|(seed, reason)| format!("seed {seed}: {reason}; replay it with SUBNODE_SIM_SEEDS={seed}")).collect();
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

#[test]
fn committees_agree_whatever_network_disks_and_crashes_do() {
    let adopted = AtomicU64::new(0);
    let range = seeds();
    let many = range.end - range.start >= 1_000;
    let count = |_, report: &Report| {
        adopted.fetch_add(report.adopted, Ordering::Relaxed);
    };
    all(range, |seed| Plan::of(seed, modules("bft")), count);
    let adopted = adopted.into_inner();
    println!("{adopted} nodes took the state of a later block");
    assert!(!many || adopted > 0, "no node took the state of a later block");
}

#[test]
fn members_that_trust_each_other_agree_as_well() {
    all(seeds_of(5), |seed| Plan::of(seed, modules("authority")), |_, _| {});
}

/// Seeds beyond the default ones that found a committee standing still.
#[test]
fn seeds_that_found_something_find_nothing_any_more() {
    let found = |seed: u64, plan: Plan| {
        // As they were found: a member that states something besides makes another run of a seed.
        let ran = run(seed, Plan { facts: false, ..plan });
        assert!(ran.is_ok(), "seed {seed}: {ran:?}");
    };
    // Views that never met; a block that was shared after another was built.
    for seed in [700_105, 700_165, 745_044] {
        found(seed, Plan::of(seed, modules("authority")));
    }
    // A member that a certificate brought to a round fell silent there.
    found(720_605, Plan::of(720_605, modules("bft")));
    // A decision whose proposal one member had not heard, and one of its votes only that member.
    let forger = Bad::Tampers(|member| Box::new(Actor::new(Kind::ForgedCertificates, member)));
    found(700_015, Plan::beside(forger, 700_015, modules("bft")));
}

#[test]
fn committees_go_over_to_another_consensus_module_at_a_height() {
    let bft = modules("bft").consensus;
    all(seeds_of(UPGRADED), move |seed| Plan { next_consensus: Some(bft.clone()), ..Plan::of(seed, modules("authority")) }, |_, _| {});
}

/// Beside a bad member.
fn beside(bad: Bad, done: impl Fn(u64, &Report) + Sync) {
    all(seeds_of(BESIDE), move |seed| Plan::beside(bad, seed, modules("bft")), done);
}

#[test]
fn an_equivocator_splits_nobody_and_is_found_out() {
    let seen = AtomicU64::new(0);
    beside(Bad::Tampers(|member| Box::new(Actor::new(Kind::Equivocator, member))), |_, report| {
        seen.fetch_add(report.evidence.min(1), Ordering::Relaxed);
    });
    let runs = seeds_of(BESIDE);
    assert!(seen.into_inner() == runs.end - runs.start, "in some runs nobody has seen that a member says two things");
}

#[test]
fn twins_split_nobody() {
    beside(Bad::Twins, |_, _| {});
}

#[test]
fn a_withholder_stops_nobody() {
    beside(Bad::Tampers(|_| Box::new(Withholder)), |_, _| {});
}

#[test]
fn a_flooder_drowns_nobody() {
    beside(Bad::Tampers(|member| Box::new(Actor::new(Kind::Flooder, member))), |_, _| {});
}

#[test]
fn a_clock_that_is_an_hour_ahead_hurries_nobody() {
    beside(Bad::Hurries, |_, _| {});
}

#[test]
fn an_amnesiac_misleads_nobody() {
    beside(Bad::Forgets, |_, _| {});
}

#[test]
fn forged_certificates_convince_nobody() {
    beside(Bad::Tampers(|member| Box::new(Actor::new(Kind::ForgedCertificates, member))), |_, _| {});
}

#[test]
fn an_invalid_proposer_is_passed_over() {
    beside(Bad::Tampers(|member| Box::new(Actor::new(Kind::InvalidProposer, member))), |_, _| {});
}

#[test]
fn an_early_proposer_takes_nobodys_room() {
    beside(Bad::Tampers(|member| Box::new(Actor::new(Kind::EarlyProposer, member))), |_, _| {});
}

/// A member that could choose a block's seed would win what a contract draws by it.
#[test]
fn a_proposer_that_searches_for_a_seed_makes_no_block() {
    let searches = [
        (Search::Nowhere, Bad::Tampers(|member| Box::new(SeedGrinder::new(Search::Nowhere, member)))),
        (Search::Block, Bad::Tampers(|member| Box::new(SeedGrinder::new(Search::Block, member)))),
        (Search::Heights, Bad::Tampers(|member| Box::new(SeedGrinder::new(Search::Heights, member)))),
        (Search::Before, Bad::Tampers(|member| Box::new(SeedGrinder::new(Search::Before, member)))),
        (Search::Names, Bad::Tampers(|member| Box::new(SeedGrinder::new(Search::Names, member)))),
    ];
    for (search, bad) in searches {
        let plan = |_| Plan { bad: Some(bad), ..Plan::calm(4, modules("bft")) };
        all(0..2, plan, |seed, report| {
            println!("{search:?}, seed {seed}: {} of {} blocks", report.authored, report.height);
            assert_eq!(report.authored > 0, search == Search::Nowhere, "{search:?}: {} blocks of {}", report.authored, report.height);
        });
        beside(bad, |_, _| {});
    }
}

#[test]
fn a_lying_sync_peer_misleads_nobody() {
    beside(Bad::Tampers(|member| Box::new(LyingSyncPeer::new(member))), |_, _| {});
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in 0..4 {
        let traces = [(); 2].map(|()| run(seed, Plan::of(seed, modules("bft"))));
        assert!(traces[0].is_ok(), "{traces:?}");
        assert_eq!(traces[0], traces[1], "seed {seed}");
    }
}
