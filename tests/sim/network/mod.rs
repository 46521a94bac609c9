//! The real network (`subnode-network`) over simulated datagrams: members of several chains, and their attackers.
//!
//! Everything above the socket is what `subnode` runs: quinn, TLS, and all of host/network. The clock is tokio's, which
//! stands still while anything runs.
//!
//! A seed decides what members and attackers do and when, what happens to datagrams, the order of tasks that could go
//! on at once, keys, and quinn's random numbers. A seed does not decide the secrets of connections, the ids of
//! connections, and a parameter of each handshake that quinn draws to be ignored. Two runs of a seed send packets of
//! the same length the same ways, except for some bytes of a handshake and for packets that an attacker changed. For
//! members, two runs of a seed agree in most figures and differ by some hundredths in others. A seed that fails nearly
//! always fails again.
//!
//! After every run these hold:
//!
//! * Members of a chain were connected, and were connected again soon after the network was whole.
//! * What a member sent to a member over a live connection arrived, once.
//! * No frame of consensus and no answer to a member came late.
//! * Members held no more than what host/network/src/limits.rs lets strangers take, and gave it back.
//! * For a peer that reads nothing, members kept no more frames than fit one queue.
//! * Nobody was busy over nothing.
//! * No host was sent more than three times the bytes that came in its name.

mod attacks;
#[cfg(test)]
mod countermeasures;
mod datagrams;
mod members;
mod memory;
mod plan;
mod records;
mod run;
mod strangers;

use std::{
    panic::AssertUnwindSafe,
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

pub(crate) use attacks::{Attack, Misdeed};
pub(crate) use plan::Plan;
pub(crate) use run::{Report, run};

/// No run takes that long on a machine that does anything else beside. The clock of a run stands still while a task
/// goes round without waiting, so that such a task is found by a clock outside.
const STUCK: Duration = Duration::from_secs(60);
/// Failures after which no further ones are looked for.
const FAILURES: usize = 3;

/// Runs a plan on a thread of its own, which is left behind where it does not end.
pub(crate) fn run_watched(seed: u64, plan: Plan, stuck: Duration) -> Result<Report, String> {
    let (ended, end) = mpsc::channel();
    std::thread::spawn(move || {
        let result = std::panic::catch_unwind(AssertUnwindSafe(|| run(seed, plan)));
        let told = |panic: Box<dyn std::any::Any + Send>| {
            let text = panic.downcast_ref::<String>().cloned();
            text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_else(|| "a panic".into())
        };
        drop(ended.send(result.unwrap_or_else(|panic| Err(told(panic)))));
    });
    end.recv_timeout(stuck).unwrap_or_else(|_| Err(format!("a task goes round without waiting: the run has not ended within {stuck:?}")))
}

/// Runs plans on all cores: the reports of those that went well, and what each of the others came to.
pub(crate) fn run_all(plans: Vec<(u64, Plan)>) -> (Vec<Report>, Vec<(u64, String)>) {
    let next = AtomicUsize::new(0);
    let ended = Mutex::new((Vec::new(), Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some((seed, plan)) = plans.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let result = run_watched(*seed, plan.clone(), STUCK);
                    let mut ended = ended.lock().unwrap();
                    match result {
                        Ok(report) => ended.0.push(report),
                        Err(reason) => ended.1.push((*seed, reason)),
                    }
                    if ended.1.len() >= FAILURES {
                        break;
                    }
                }
            });
        }
    });
    ended.into_inner().unwrap()
}

/// Runs plans; panics with those that fail, and prints what the others came to.
#[cfg(test)]
fn all(what: &str, plans: Vec<(u64, Plan)>) {
    if std::env::var_os("SUBNODE_SIM_TRACE").is_some() {
        // Another test may have set it.
        drop(
            tracing_subscriber::fmt()
                .with_max_level(tracing_subscriber::filter::LevelFilter::DEBUG)
                .with_writer(std::io::stderr)
                .try_init(),
        );
    }
    let began = Instant::now();
    if std::env::var_os("SUBNODE_SIM_TRACE").is_some() {
        plans.iter().for_each(|(seed, plan)| eprintln!("seed {seed}: {plan:?}"));
    }
    let (reports, failed) = run_all(plans);
    let sum = |of: fn(&Report) -> u64| reports.iter().map(of).sum::<u64>();
    let most = |of: fn(&Report) -> Duration| reports.iter().map(of).max().unwrap_or_default();
    println!(
        "{what}: {} runs in {:.1?}, {} datagrams; {} frames of members, {} of others; consensus took {:?} at most, answers {:?}; connected within {:?}, again within {:?}; held {} MiB at most; tasks went on {} times a second at most",
        reports.len(),
        began.elapsed(),
        sum(|report| report.datagrams),
        sum(|report| report.frames.0),
        sum(|report| report.frames.1),
        most(|report| report.slowest.0),
        most(|report| report.slowest.1),
        most(|report| report.connected.0),
        most(|report| report.connected.1),
        reports.iter().map(|report| report.held.0).max().unwrap_or(0) >> 20,
        reports.iter().map(|report| report.polls).max().unwrap_or(0),
    );
    let failed: Vec<_> =
        failed.iter().map(|(seed, reason)| format!("seed {seed}: {reason}; replay it with SUBNODE_SIM_SEEDS={seed}")).collect();
    assert!(failed.is_empty(), "{what}: {}", failed.join("\n"));
}

#[test]
fn members_stay_together_whatever_strangers_and_bad_members_do() {
    all("members and whoever", super::seeds_of(5).map(|seed| (seed, Plan::of(seed))).collect());
}

#[test]
fn members_alone_are_connected_and_lose_nothing() {
    all("members alone", super::seeds_of(100).map(|seed| (seed, Plan::calm(seed))).collect());
}

#[test]
fn no_kind_of_stranger_harms_members() {
    for attack in Attack::ALL {
        all(&format!("{attack:?}"), super::seeds_of(500).map(|seed| (seed, Plan::against(seed, attack, 12))).collect());
    }
}

#[test]
fn no_kind_of_bad_member_harms_the_others() {
    for misdeed in Misdeed::ALL {
        all(&format!("{misdeed:?}"), super::seeds_of(500).map(|seed| (seed, Plan::beside(seed, misdeed))).collect());
    }
}
