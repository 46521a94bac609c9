//! Members that are away.

use subnode_simulator::{Plan, run};

use crate::modules;

#[test]
fn an_absent_proposer_is_waited_for_once() {
    /// How long the fourth member is away.
    const AWAY_MS: u64 = 30_000;
    /// Runs, of which each has its luck with the network.
    const RUNS: u64 = 3;
    let mut blocks = 0;
    for seed in 0..RUNS {
        let calm = Plan::calm(4, modules("bft"));
        let plan = Plan { late: true, troubled_ms: AWAY_MS, config: "interval 200 timeout 3000", ..calm };
        let report = run(seed, plan).unwrap();
        blocks += report.height;
    }
    // Waited for at each of its turns, four seconds for every fourth block, there would be fewer than 30 in a run.
    assert!(blocks > 70 * RUNS, "{blocks} blocks in {RUNS} runs");
}
