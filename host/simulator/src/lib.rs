//! A chain on many nodes under a seeded clock, network and disk, in one thread. Only the transport, the store's
//! backend and the clock differ from production. The chain, its modules and their agreement are the same code. The
//! same seed gives the same run each time.
//!
//! [`Plan`] describes a run, and [`run`] runs it. At every moment of a run, no two nodes have different blocks at
//! one height, committed blocks stay, and nodes at one height have one state. Once the network is well, all honest
//! nodes go on.
//!
//! A plan may have one member that breaks the rules: [`Bad`]. [`check_consensus`] and [`check_runtime`] are the
//! checks that a module must pass before it is trusted with a chain.
//!
//! Not here: the modules, and what is printed.

mod check;
mod facts;
mod link;
mod members;
mod plan;
mod runtime;
mod world;

use std::{
    ops::Range,
    panic::AssertUnwindSafe,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

pub use check::{ConsensusCheck, Scenario, check_consensus};
pub use link::Weather;
pub use members::{Bad, Flooder, LyingSyncPeer, Member, Tamper, Withholder};
pub use plan::{Modules, Plan};
pub use runtime::{RuntimeCheck, check_runtime};

/// The result of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Members of which blocks note that they were silent, by their places.
    pub silent: Vec<usize>,
    /// A hash of everything that any node heard, and when. The same run has the same hash.
    pub trace: u64,
    /// The height that all honest nodes reached.
    pub height: u64,
    /// How often a node caught up by state sync.
    pub adopted: u64,
    /// Evidence against members that honest nodes reported.
    pub evidence: u64,
    /// Blocks whose author is the first member, which is the bad one where there is one.
    pub authored: u64,
    /// Consensus frames that were carried, and their bytes.
    pub frames: (u64, u64),
    /// Writes to the disks of all nodes in the last three quarters of the time of trouble, and the blocks that nodes committed
    /// meanwhile, counted once for each node. On a real disk a node would wait until each of these writes is synced.
    pub writes: (u64, u64),
    /// The most fuel that a call of the consensus module burnt, and the most memory that the module had.
    pub consensus_max: (u64, u64),
}

/// Runs a plan.
///
/// # Errors
/// The property that did not hold.
pub fn run(seed: u64, plan: Plan) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    runtime.block_on(async { world::World::new(seed, plan)?.run().await })
}

/// Runs the plans of seeds on all cores, and returns each seed that failed with the reason. Stops after a few failures.
pub fn run_all(seeds: Range<u64>, plan: impl Fn(u64) -> Plan + Sync, done: impl Fn(u64, &Report) + Sync) -> Vec<(u64, String)> {
    /// Failures after which no further ones are looked for.
    const FAILURES: usize = 3;
    let next = AtomicU64::new(seeds.start);
    let failed = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end || failed.lock().unwrap_or_else(PoisonError::into_inner).len() >= FAILURES {
                        break;
                    }
                    let ended = std::panic::catch_unwind(AssertUnwindSafe(|| run(seed, plan(seed))))
                        .unwrap_or_else(|panic| Err(panic.downcast_ref::<String>().cloned().unwrap_or_else(|| "a panic".into())));
                    match ended {
                        Ok(report) => done(seed, &report),
                        Err(reason) => failed.lock().unwrap_or_else(PoisonError::into_inner).push((seed, reason)),
                    }
                }
            });
        }
    });
    failed.into_inner().unwrap_or_else(PoisonError::into_inner)
}
