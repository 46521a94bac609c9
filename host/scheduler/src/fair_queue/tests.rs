use proptest::prelude::*;

use super::*;

/// How a chain behaves: its parts, how many calls it has at once, and how long each turn takes.
#[derive(Clone, Debug)]
struct Load {
    parts: u32,
    calls: u64,
    turn_ns: u64,
}

/// Runs busy chains on some cores for a while of simulated time; what each used.
fn simulate(cores: usize, loads: &[Load], total_ns: u64) -> Vec<u64> {
    let mut queue = FairQueue::new(cores);
    let flows: Vec<Flow> = loads.iter().map(|load| queue.join(Parts::new(load.parts).expect("parts"))).collect();
    for (flow, load) in flows.iter().zip(loads) {
        (0..load.calls).for_each(|call| queue.wait(*flow, call));
    }
    // When each running turn ends, in order.
    let mut running: BTreeSet<(u64, Flow, Waiter)> = BTreeSet::new();
    let mut used = vec![0; loads.len()];
    let turn_ns = |flow: Flow| loads[usize::try_from(flow).expect("small")].turn_ns;
    for _ in 0..cores {
        let (flow, call) = queue.next().expect("all are busy");
        running.insert((turn_ns(flow), flow, call));
    }
    while let Some((now, flow, call)) = running.pop_first() {
        if now > total_ns {
            break;
        }
        used[usize::try_from(flow).expect("small")] += turn_ns(flow);
        queue.wait(flow, call);
        queue.end(flow, turn_ns(flow));
        let (next, call) = queue.next().expect("all are busy");
        running.insert((now + turn_ns(next), next, call));
    }
    used
}

/// What each of some busy chains is entitled to: time in proportion to its parts, but no more cores than it has calls. What one cannot use
/// is the others', again by their parts (water-filling).
fn entitled(cores: usize, loads: &[Load], total_ns: u64) -> Vec<f64> {
    let most = |load: &Load| load.calls.min(cores as u64) as f64 * total_ns as f64;
    let mut entitled = vec![None; loads.len()];
    loop {
        let open = |entitled: &[Option<f64>]| (0..loads.len()).filter(|index| entitled[*index].is_none()).collect::<Vec<_>>();
        let left = cores as f64 * total_ns as f64 - entitled.iter().flatten().sum::<f64>();
        let parts: f64 = open(&entitled).iter().map(|index| f64::from(loads[*index].parts)).sum();
        let level = left / parts;
        let bounded: Vec<usize> =
            open(&entitled).into_iter().filter(|index| most(&loads[*index]) <= level * f64::from(loads[*index].parts)).collect();
        if bounded.is_empty() {
            return entitled.iter().zip(loads).map(|(bound, load)| bound.unwrap_or(level * f64::from(load.parts))).collect();
        }
        for index in bounded {
            entitled[index] = Some(most(&loads[index]));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn busy_chains_get_what_they_are_entitled_to(
        parts in prop::collection::vec(1_u32..=16, 3..12),
        turns in prop::collection::vec(20_000_u64..=500_000, 12),
        calls in prop::collection::vec(1_u64..=20, 12),
    ) {
        let loads: Vec<Load> = parts
            .iter()
            .zip(turns.iter().zip(&calls))
            .map(|(parts, (turn_ns, calls))| Load { parts: *parts, calls: *calls, turn_ns: *turn_ns })
            .collect();
        const TOTAL_NS: u64 = 5_000_000_000;
        let used = simulate(2, &loads, TOTAL_NS);
        for ((used, entitled), load) in used.iter().zip(entitled(2, &loads, TOTAL_NS)).zip(&loads) {
            prop_assert!(*used as f64 >= 0.98 * entitled, "{used} of {entitled} for {load:?} among {loads:?}");
        }
    }
}

#[test]
fn what_one_call_cannot_use_is_the_others() {
    // Of two cores, eight of ten parts are 1.6; one call has one core at a time.
    let loads = [8, 1, 1].map(|parts| Load { parts, calls: 1, turn_ns: 100_000 });
    assert_eq!(entitled(2, &loads, 1_000), [1_000.0, 500.0, 500.0]);
    let used = simulate(2, &loads, 1_000_000_000);
    assert!((990_000_000..=1_000_000_000).contains(&used[0]) && used[1].abs_diff(used[2]) <= 1_000_000, "{used:?}");
}

/// A queue and chains of so many parts.
fn queue<const N: usize>(parts: [u32; N]) -> (FairQueue, [Flow; N]) {
    let mut queue = FairQueue::new(2);
    let flows = parts.map(|parts| queue.join(Parts::new(parts).expect("parts")));
    (queue, flows)
}

/// One chain takes turns of 100 us.
fn busy(queue: &mut FairQueue, flow: Flow, turns: usize) {
    queue.wait(flow, 0);
    for _ in 0..turns {
        assert_eq!(queue.next(), Some((flow, 0)));
        queue.wait(flow, 0);
        queue.end(flow, 100_000);
    }
}

#[test]
fn a_chain_that_idled_is_due_for_its_credit_and_no_more() {
    let (mut queue, [big, small]) = queue([127, 1]);
    busy(&mut queue, big, 100_000);
    assert!(queue.begin_if_due(small));
    let mut due = 100_000;
    while queue.go_on(small, 100_000, 1) {
        due += 100_000;
    }
    assert!((CREDIT_NS..CREDIT_NS + 300_000).contains(&due), "{due}");
    assert_eq!(queue.next(), Some((big, 0)), "it waits as anyone then");
}

#[test]
fn busy_chains_are_not_due_and_a_lone_one_is() {
    let (mut queue, [first, second]) = queue([1, 1]);
    busy(&mut queue, first, 10);
    assert!(!queue.begin_if_due(first), "it is beyond its share");
    busy(&mut queue, first, usize::try_from(LONE_TURNS).expect("small"));
    assert!(queue.is_alone(first) && queue.begin_if_due(first));
    queue.wait(second, 1);
    assert!(!queue.is_alone(first), "another wants a turn");
    queue.cancel(second, 1);
    assert!(queue.begin_if_due(second) && !queue.is_alone(first));
}

#[test]
fn nothing_is_owed_once_nobody_wants_the_cores() {
    let (mut queue, [first, second]) = queue([1, 1]);
    assert!(queue.begin_if_due(first));
    queue.end(first, 50_000_000);
    assert!(queue.begin_if_due(second));
    queue.end(second, 1_000);
    assert!(queue.begin_if_due(first), "the cores were idle in between");
}

#[test]
fn a_chain_is_due_for_a_quarter_of_its_share_though_others_get_nothing_done() {
    let (mut queue, [starved, small]) = queue([1, 1]);
    queue.wait(starved, 0);
    assert!(queue.begin_if_due(small));
    queue.end(small, 10 * CREDIT_NS);
    assert!(!queue.begin_if_due(small), "all it saved up is gone");
    // A quarter of one of two chains' share of two cores.
    queue.pass(4 * 10 * CREDIT_NS);
    assert!(queue.begin_if_due(small));
}

#[test]
fn a_chain_is_due_for_no_more_turns_at_once_than_there_are_cores() {
    let (mut queue, [busy_one, many, one]) = queue([1, 1, 1]);
    busy(&mut queue, busy_one, 10_000);
    assert!(queue.begin_if_due(many) && queue.begin_if_due(many));
    assert!(!queue.begin_if_due(many) && queue.begin_if_due(one));
}

#[test]
fn what_left_gets_no_turn() {
    let (mut queue, [chain]) = queue([1]);
    queue.wait(chain, 1);
    queue.wait(chain, 2);
    queue.cancel(chain, 1);
    assert_eq!((queue.next(), queue.next()), (Some((chain, 2)), None));
}

#[test]
fn a_resized_chain_is_served_at_its_new_share() {
    let (mut queue, flows) = queue([1, 1]);
    queue.set_parts(flows[0], Parts::new(3).expect("parts"));
    // One call each: the share counts, not how many calls there are.
    flows.iter().for_each(|flow| queue.wait(*flow, 0));
    let mut turns = [0_u32; 2];
    for _ in 0..4_000 {
        let (flow, _) = queue.next().expect("both are busy");
        turns[usize::try_from(flow).expect("small")] += 1;
        queue.wait(flow, 0);
        queue.end(flow, 100_000);
    }
    assert!((2_950..=3_050).contains(&turns[0]), "{turns:?}");
}
