use proptest::prelude::*;

use super::*;

/// How a chain behaves: its parts, how many calls it has at once, and how long each turn takes.
#[derive(Clone, Debug)]
struct Load {
    parts: u32,
    calls: u64,
    turn_ns: u64,
}

/// Runs busy chains on some slots for a while of simulated time; what each used.
fn simulate(slots: usize, loads: &[Load], total_ns: u64) -> Vec<u64> {
    let mut queue = FairQueue::new(slots);
    let flows: Vec<Flow> = loads.iter().map(|load| queue.join(Parts::new(load.parts).expect("parts"))).collect();
    // When each running turn ends, in order.
    let mut running: BTreeSet<(u64, usize, Waiter)> = BTreeSet::new();
    let mut used = vec![0; loads.len()];
    let chain_of = |waiter: Waiter| usize::try_from(waiter >> 32).expect("small");
    for (index, load) in loads.iter().enumerate() {
        for call in 0..load.calls {
            let waiter = (index as u64) << 32 | call;
            if queue.arrive(flows[index], waiter) {
                running.insert((load.turn_ns, index, waiter));
            }
        }
    }
    while let Some((now, index, waiter)) = running.pop_first() {
        if now > total_ns {
            break;
        }
        used[index] += loads[index].turn_ns;
        match queue.go_on(flows[index], loads[index].turn_ns, waiter) {
            None => drop(running.insert((now + loads[index].turn_ns, index, waiter))),
            Some(Some(next)) => drop(running.insert((now + loads[chain_of(next)].turn_ns, chain_of(next), next))),
            Some(None) => {}
        }
    }
    used
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn busy_chains_get_their_shares(
        parts in prop::collection::vec(1_u32..=16, 3..12),
        turns in prop::collection::vec(20_000_u64..=500_000, 12),
        calls in prop::collection::vec(1_u64..=20, 12),
    ) {
        let loads: Vec<Load> = parts
            .iter()
            .zip(turns.iter().zip(&calls))
            .map(|(parts, (turn_ns, calls))| Load { parts: *parts, calls: *calls, turn_ns: *turn_ns })
            .collect();
        let used = simulate(2, &loads, 5_000_000_000);
        // Jain's index of what each got per part, over chains that no single slot limits.
        let per_part: Vec<f64> = used.iter().zip(&loads).map(|(ns, load)| *ns as f64 / f64::from(load.parts)).collect();
        let (sum, squares) = per_part.iter().fold((0.0, 0.0), |(sum, squares), x| (sum + x, squares + x * x));
        let jain = sum * sum / (per_part.len() as f64 * squares);
        prop_assert!(jain >= 0.99, "{jain}: {used:?} for {loads:?}");
    }
}

#[test]
fn a_chain_that_idled_runs_next_and_owes_nothing() {
    let mut queue = FairQueue::new(1);
    let [busy, idle] = [Parts::ONE, Parts::ONE].map(|parts| queue.join(parts));
    assert!(queue.arrive(busy, 1));
    assert!(!queue.arrive(busy, 2));
    for turn in 3..1_000 {
        assert_eq!(queue.end(busy, 1_000_000), Some(turn - 1));
        assert!(!queue.arrive(busy, turn));
    }
    assert!(queue.arrive(idle, 7_000), "the newcomer is first");
    assert!(!queue.arrive(idle, 7_001));
    assert_eq!(queue.end(busy, 1_000_000), None);
    assert_eq!(queue.end(idle, 1_000_000), Some(999), "and saved nothing up while it idled");
}

#[test]
fn a_call_that_left_gets_no_turn_and_loses_no_slot() {
    let mut queue = FairQueue::new(1);
    let chain = queue.join(Parts::ONE);
    assert!(queue.arrive(chain, 1));
    assert!(!queue.arrive(chain, 2));
    queue.cancel(chain, 2);
    assert_eq!(queue.end(chain, 10), None);
    assert!(queue.arrive(chain, 3), "the slot is free again");
}

#[test]
fn a_resized_chain_is_served_at_its_new_share() {
    let mut queue = FairQueue::new(1);
    let flows = [Parts::ONE, Parts::ONE].map(|parts| queue.join(parts));
    queue.set_parts(flows[0], Parts::new(3).expect("parts"));
    let mut turns = [0_u32; 2];
    // One call each: the share counts, not how many calls there are.
    let mut running: VecDeque<usize> = (0..2).filter(|index| queue.arrive(flows[*index], *index as u64)).collect();
    for _ in 0..4_000 {
        let index = running.pop_front().expect("both are busy");
        turns[index] += 1;
        match queue.go_on(flows[index], 100_000, index as u64) {
            None => running.push_back(index),
            Some(next) => running.extend(next.map(|next| usize::try_from(next).expect("small"))),
        }
    }
    assert!((2_950..=3_050).contains(&turns[0]), "{turns:?}");
}

#[test]
fn a_chain_below_its_share_runs_at_once_beside_busy_ones() {
    let mut queue = FairQueue::new(2);
    let [busy, small] = [Parts::new(127).expect("parts"), Parts::ONE].map(|parts| queue.join(parts));
    for waiter in 0..10 {
        assert_eq!(queue.arrive(busy, waiter), waiter < 2);
    }
    assert!(queue.arrive(small, 100), "it does not wait for a turn to end");
    assert!(!queue.arrive(small, 101), "but once it runs, it waits as anyone");
    assert_eq!(queue.end(small, 1_000_000), None, "no more run than there are slots");
    assert!(queue.end(busy, 1_000_000).is_some());
}
