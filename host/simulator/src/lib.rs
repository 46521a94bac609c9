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

/// What a run came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Report {
    /// A number that the same run comes to again: of everything that any node heard, and when.
    pub trace: u64,
    /// The height that all honest nodes reached.
    pub height: u64,
    /// How often a node took the state of a later block instead of all blocks.
    pub adopted: u64,
    /// Evidence against members that honest nodes reported.
    pub evidence: u64,
    /// Consensus frames that were carried, and their bytes.
    pub frames: (u64, u64),
    /// Writes to the disks of all nodes since they were started, each of which a node on a real disk would wait for to be synced; and the blocks
    /// that all of them had in the end.
    pub writes: (u64, u64),
    /// Most fuel that a call of the consensus module burnt, and most memory that it had.
    pub consensus_max: (u64, u64),
}

/// Runs a plan; the error is what did not hold.
///
/// # Errors
/// What did not hold.
pub fn run(seed: u64, plan: Plan) -> Result<Report, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    runtime.block_on(async { world::World::new(seed, plan)?.run().await })
}

/// Runs the plans of seeds on all cores: what each of those that failed came to. After a few failures it stops.
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
