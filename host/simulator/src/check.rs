//! The checks that a module must pass before it is trusted with a chain.

use std::{
    fmt,
    num::NonZeroU64,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{Bad, Flooder, LyingSyncPeer, Modules, Plan, Report, Withholder, run, run_all};

/// A scenario, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    /// What was tried.
    pub name: &'static str,
    /// What was seen, or what did not hold.
    pub outcome: Result<String, String>,
    /// Whether a member lies in it. A consensus whose members trust each other does not hold then.
    pub byzantine: bool,
}

impl Scenario {
    /// One in which nobody lies.
    #[must_use]
    pub fn new(name: &'static str, outcome: Result<String, String>) -> Self {
        Self { name, outcome, byzantine: false }
    }
}

impl fmt::Display for Scenario {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Ok(seen) => write!(f, "ok      {}: {seen}", self.name),
            Err(reason) => write!(f, "FAILED  {}: {reason}", self.name),
        }
    }
}

/// How a consensus module is checked.
#[derive(Clone, Copy, Debug)]
pub struct ConsensusCheck {
    /// Runs of each scenario.
    pub seeds: NonZeroU64,
    /// Whether it stands members that lie, or only such as stop and are cut off.
    pub byzantine: bool,
    /// Whether it is for a single sequencer, without a committee.
    pub single: bool,
}

/// What a module took at most.
#[derive(Default)]
pub(crate) struct Profile {
    fuel: AtomicU64,
    bytes: AtomicU64,
}

impl Profile {
    pub(crate) fn add(&self, (fuel, bytes): (u64, u64)) {
        self.fuel.fetch_max(fuel, Ordering::Relaxed);
        self.bytes.fetch_max(bytes, Ordering::Relaxed);
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (fuel, bytes) = (self.fuel.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed));
        write!(f, "{fuel} units of fuel in a call at most, {} KiB of memory", bytes >> 10)
    }
}

/// Tries a consensus module in committees, calm and troubled, and tells of each scenario as it ends.
pub fn check_consensus(modules: &Modules, check: ConsensusCheck, mut done: impl FnMut(Scenario)) {
    let seeds = 0..check.seeds.get();
    let profile = Profile::default();
    let all = |seeds, plan: &(dyn Fn(u64) -> Plan + Sync)| all(seeds, plan, &profile);
    let alone = Plan { powers: if check.single { Vec::new() } else { vec![1] }, ..Plan::calm(1, modules.clone()) };
    done(Scenario::new("a chain of one node", run(0, alone.clone()).map(|report| format!("{} blocks", report.height))));
    let troubled = |seed| {
        let plan = Plan::of(seed, modules.clone());
        if check.single { Plan { powers: Vec::new(), ..plan } } else { plan }
    };
    done(Scenario::new(
        "the same run twice",
        (0..3)
            .try_fold(0, |frames, seed| same_twice(seed, &troubled(seed)).map(|report| frames + report.frames.0))
            .map(|frames| format!("the same to the bit, over {frames} messages")),
    ));
    if check.single {
        done(Scenario::new("crashes", all(seeds, &troubled)));
        done(Scenario::new("profile", Ok(profile.to_string())));
        return;
    }
    done(Scenario::new(
        "a calm committee of four",
        run(0, Plan::calm(4, modules.clone())).map(|report| {
            let (frames, bytes) = report.frames;
            format!("{} blocks; for each {} messages of {} bytes in all", report.height, frames / report.height, bytes / report.height)
        }),
    ));
    done(Scenario::new("loss, delay, crashes, partitions, slow disks, wrong clocks", all(seeds.clone(), &troubled)));
    let beside = |bad: Bad| all(seeds.clone(), &|seed| Plan::beside(bad, seed, modules.clone()));
    done(Scenario::new(
        "beside a member that sends nonsense, halves and repetitions",
        beside(Bad::Tampers(|member| Box::new(Flooder::new(member)))),
    ));
    let lies: [(&str, Bad); 5] = [
        ("beside a member that says nothing to half of the others", Bad::Tampers(|_| Box::new(Withholder))),
        ("beside a member that has anything but what it is asked for", Bad::Tampers(|member| Box::new(LyingSyncPeer::new(member)))),
        ("beside a member that forgets what it signed", Bad::Forgets),
        ("beside a member that says two things of everything", Bad::Twins),
        ("beside a member whose clock is an hour ahead", Bad::Hurries),
    ];
    for (name, bad) in lies.into_iter().filter(|_| check.byzantine) {
        done(Scenario { name, outcome: beside(bad), byzantine: true });
    }
    done(Scenario::new("profile", Ok(profile.to_string())));
}

fn same_twice(seed: u64, plan: &Plan) -> Result<Report, String> {
    let [one, other] = [(); 2].map(|()| run(seed, plan.clone()));
    let (one, other) = (one?, other?);
    if one == other {
        Ok(one)
    } else {
        Err(format!("seed {seed} came to two different runs: the module does not depend on its inputs alone"))
    }
}

/// All seeds of a plan.
fn all(seeds: std::ops::Range<u64>, plan: impl Fn(u64) -> Plan + Sync, profile: &Profile) -> Result<String, String> {
    let (blocks, adopted) = (AtomicU64::new(0), AtomicU64::new(0));
    let runs = seeds.end - seeds.start;
    let failed = run_all(seeds, plan, |_, report| {
        profile.add(report.consensus_max);
        blocks.fetch_add(report.height, Ordering::Relaxed);
        adopted.fetch_add(report.adopted, Ordering::Relaxed);
    });
    match failed.first() {
        Some((seed, reason)) => Err(format!("seed {seed}: {reason}")),
        None => Ok(format!("{runs} runs, {} blocks, {} nodes that caught up by a state", blocks.into_inner(), adopted.into_inner())),
    }
}
