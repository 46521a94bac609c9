//! Members that are away.

use subnode_simulator::{Plan, run};

use crate::modules;

#[test]
fn an_absent_proposer_is_waited_for_once() {
    /// How long the fourth member is away.
    const AWAY_MS: u64 = 30_000;
    for seed in 0..3 {
        let calm = Plan::calm(4, modules("bft"));
        let plan = Plan { late: true, troubled_ms: AWAY_MS, config: "interval 200 timeout 3000", ..calm };
        let report = run(seed, plan).unwrap();
        // Waited for at each of its turns, four seconds for every fourth block, there would be fewer than 30.
        assert!(report.height > 70, "seed {seed}: {} blocks", report.height);
    }
}
