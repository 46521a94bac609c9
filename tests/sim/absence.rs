//! Members that are away, and members that do not propose.

use subnode_chain::Patience;
use subnode_simulator::{Bad, Plan, Withholder, run};
use subnode_tests::bad_member::{Actor, Kind};

use crate::modules;

/// How long a member is away, or proposes nothing.
const AWAY_MS: u64 = 30_000;
/// Runs, of which each has its luck with the network.
const RUNS: u64 = 6;

/// Blocks of all runs, of which each has seconds to wait for a proposal.
fn blocks(plan: impl Fn(Plan) -> Plan) -> u64 {
    let calm = || Plan { troubled_ms: AWAY_MS, config: "interval 200 timeout 3000", ..Plan::calm(4, modules("bft")) };
    (0..RUNS).map(|seed| run(seed, plan(calm())).unwrap().height).sum()
}

#[test]
fn an_absent_proposer_is_waited_for_once() {
    let blocks = blocks(|calm| Plan { late: true, ..calm });
    // Waited for at each of its turns, four seconds for every fourth block, there would be fewer than 30 in a run.
    assert!(blocks > 65 * RUNS, "{blocks} blocks in {RUNS} runs");
}

#[test]
fn a_member_that_votes_and_gives_nobody_a_block_is_waited_for_less_and_less() {
    let tampers: [(&str, u64, Bad); 4] = [
        ("nothing", 80, Bad::Tampers(|member| Box::new(Actor::new(Kind::NoProposer, member)))),
        // Nor has it a vote in first rounds, so that all others have to have theirs.
        ("nothing, and is silent meanwhile", 70, Bad::Tampers(|member| Box::new(Actor::new(Kind::LateVoter, member)))),
        ("what is no block", 80, Bad::Tampers(|member| Box::new(Actor::new(Kind::InvalidProposer, member)))),
        ("blocks that it keeps", 75, Bad::Tampers(|_| Box::new(Withholder))),
    ];
    for (proposes, least, bad) in tampers {
        let blocks = blocks(|calm| Plan { bad: Some(bad), ..calm });
        println!("{proposes}: {blocks}");
        // As above. After what is no block, votes alone are waited for, a second each time.
        assert!(blocks > least * RUNS, "a member proposes {proposes}: {blocks} blocks in {RUNS} runs");
    }
}

/// A patience that ends while a member is away.
const PATIENCE: Patience = Patience { blocks: 20, ms: 10_000 };

#[test]
fn a_member_that_is_away_is_noted_as_silent_and_none_that_is_there() {
    for seed in 0..RUNS {
        let calm = Plan { troubled_ms: AWAY_MS, patience: PATIENCE, ..Plan::calm(4, modules("bft")) };
        let away = Plan { late: true, ..calm.clone() };
        assert_eq!(run(seed, away).unwrap().silent, [3], "the last one is away");
        // Its votes are in no certificate, and half of the others do not hear it: it is there all the same.
        for bad in [Bad::Tampers(|member| Box::new(Actor::new(Kind::LateVoter, member))), Bad::Tampers(|_| Box::new(Withholder))] {
            assert_eq!(run(seed, Plan { bad: Some(bad), ..calm.clone() }).unwrap().silent, [] as [usize; 0]);
        }
    }
}
