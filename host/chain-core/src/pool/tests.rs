use super::*;
use proptest::prelude::*;

const LIMITS: PoolLimits = PoolLimits { bytes: 1 << 20, per_sender: 1000 };

fn transaction(sender: u8, sequence: u64, priority: u64) -> Transaction {
    let mut id = vec![sender];
    id.extend_from_slice(&sequence.to_be_bytes());
    id.extend_from_slice(&priority.to_be_bytes());
    Transaction {
        id,
        sender: vec![sender],
        sequence,
        priority,
        cap: priority,
        cost: Amount::from(u128::from(priority)),
        data: vec![0; 100],
    }
}

fn drain(pool: &mut Pool) -> Vec<(u8, u64)> {
    let mut draw = pool.draw(0);
    std::iter::from_fn(|| draw.next(pool)).map(|drawn| (drawn.sender[0], drawn.sequence)).collect()
}

#[test]
fn thousands_out_of_order_are_all_drawn_in_order() {
    let mut pool = Pool::new(LIMITS);
    // 7 is coprime to 1000, so this visits every sequence once, out of order.
    for step in 0..1000u64 {
        assert_eq!(pool.insert(transaction(1, step * 7 % 1000, 5), 0), Ok(()));
    }
    assert_eq!(drain(&mut pool), (0..1000).map(|sequence| (1, sequence)).collect::<Vec<_>>());
}

#[test]
fn a_gap_waits_until_it_is_filled() {
    let mut pool = Pool::new(LIMITS);
    pool.insert(transaction(1, 1, 5), 0).expect("fits");
    assert_eq!((pool.ready(), pool.waiting()), (0, 1));
    pool.insert(transaction(1, 0, 5), 0).expect("fits");
    assert_eq!((pool.ready(), pool.waiting()), (2, 0));
    assert_eq!(pool.next_sequence(&[1]), Some(2));
}

#[test]
fn a_replacement_needs_a_tenth_more() {
    let mut pool = Pool::new(LIMITS);
    pool.insert(transaction(1, 0, 100), 0).expect("fits");
    assert_eq!(pool.insert(transaction(1, 0, 100), 0), Err(PoolError::Known));
    assert_eq!(pool.insert(transaction(1, 0, 109), 0), Err(PoolError::Underpriced));
    assert_eq!(pool.insert(transaction(1, 0, 110), 0), Ok(()));
    assert_eq!((pool.ready(), pool.waiting()), (1, 0));
}

#[test]
fn one_that_has_no_room_costs_no_other_its_place() {
    let mut pool = Pool::new(PoolLimits { bytes: 3 * (100 + OVERHEAD_BYTES), per_sender: 1000 });
    // A gap is before the first, and the others pay more than what comes.
    for (sender, sequence) in [(1, 7), (2, 0), (2, 1)] {
        pool.insert(transaction(sender, sequence, 50), 0).expect("fits");
    }
    let large = Transaction { data: vec![0; 100 + OVERHEAD_BYTES + 100], ..transaction(3, 0, 5) };
    assert_eq!(pool.insert(large.clone(), 0), Err(PoolError::Full));
    assert_eq!((pool.ready(), pool.waiting(), pool.bytes()), (2, 1, 3 * (100 + OVERHEAD_BYTES)));
    assert!(pool.get(&transaction(1, 7, 50).id).is_some());
    assert_eq!(pool.insert(Transaction { priority: 60, cap: 60, ..large }, 0), Ok(()));
    assert_eq!((pool.ready(), pool.waiting()), (2, 0));
}

#[test]
fn an_admission_from_before_a_block_is_stale_after_it() {
    let mut pool = Pool::new(LIMITS);
    pool.advance([(&[1u8][..], 3)].into_iter());
    assert_eq!(pool.insert(transaction(1, 2, 5), 2), Err(PoolError::Stale));
    assert_eq!(pool.insert(transaction(1, 3, 5), 2), Ok(()));
    assert_eq!(pool.ready(), 1);
}

#[test]
fn a_full_pool_drops_what_waits_then_what_pays_least() {
    let limits = PoolLimits { bytes: 3 * (100 + OVERHEAD_BYTES), per_sender: 10 };
    let mut pool = Pool::new(limits);
    pool.insert(transaction(1, 0, 10), 0).expect("fits");
    pool.insert(transaction(2, 0, 20), 0).expect("fits");
    pool.insert(transaction(3, 7, 99), 0).expect("fits");
    assert_eq!(pool.insert(transaction(4, 0, 15), 0), Ok(()), "takes the place of the one that waits");
    assert_eq!(pool.insert(transaction(5, 0, 12), 0), Ok(()), "takes the place of the cheapest");
    assert_eq!(pool.insert(transaction(6, 0, 12), 0), Err(PoolError::Full));
    assert_eq!(drain(&mut pool), [(2, 0), (4, 0), (5, 0)]);
}

#[test]
fn a_full_pool_drops_what_the_last_block_cost_too_much_for() {
    let mut pool = Pool::new(PoolLimits { bytes: 2 * (100 + OVERHEAD_BYTES), per_sender: 10 });
    // A tip of 9 that is never paid, for a block costs 10.
    pool.insert(Transaction { priority: 9, cap: 9, ..transaction(1, 0, 1) }, 0).expect("fits");
    pool.insert(Transaction { priority: 2, cap: 50, ..transaction(2, 0, 1) }, 0).expect("fits");
    pool.set_floor(10);
    assert_eq!(pool.insert(Transaction { priority: 1, cap: 50, ..transaction(3, 0, 1) }, 0), Ok(()));
    assert_eq!(pool.insert(Transaction { priority: 9, cap: 9, ..transaction(4, 0, 1) }, 0), Err(PoolError::Full));
    assert_eq!(drain(&mut pool), [(2, 0), (3, 0)]);
}

#[test]
fn those_that_pay_most_above_the_floor_are_drawn_first_and_none_below_it() {
    let mut pool = Pool::new(LIMITS);
    // With a floor of 10 they pay 2, 3 and 1 above it; the last does not reach it.
    for (sender, priority, cap) in [(1, 12, 12), (2, 3, 50), (3, 9, 11), (4, 9, 9)] {
        pool.insert(Transaction { priority, cap, ..transaction(sender, 0, 1) }, 0).expect("fits");
    }
    pool.insert(Transaction { priority: 9, cap: 9, ..transaction(2, 1, 1) }, 0).expect("fits");
    let mut draw = pool.draw(10);
    let order: Vec<_> = std::iter::from_fn(|| draw.next(&pool)).map(|drawn| (drawn.sender[0], drawn.sequence)).collect();
    assert_eq!(order, [(2, 0), (1, 0), (3, 0)]);
}

#[test]
fn senders_that_pay_the_same_take_turns_and_whoever_waited_longest_begins() {
    let mut pool = Pool::new(LIMITS);
    // The greatest name is the first to wait.
    for (sender, sequences) in [(3, 3), (1, 3), (2, 1)] {
        for sequence in 0..sequences {
            pool.insert(transaction(sender, sequence, 5), 0).expect("fits");
        }
    }
    assert_eq!(drain(&mut pool), [(3, 0), (1, 0), (2, 0), (3, 1), (1, 1), (3, 2), (1, 2)]);
    // A block has the first of sender 3 only, which now waits behind the others and one that comes.
    pool.insert(transaction(4, 0, 5), 0).expect("fits");
    pool.advance([(&[3u8][..], 1)].into_iter());
    assert_eq!(drain(&mut pool), [(1, 0), (2, 0), (4, 0), (3, 1), (1, 1), (3, 2), (1, 2)]);
    // Whoever pays more needs no turn.
    pool.insert(transaction(5, 0, 6), 0).expect("fits");
    pool.insert(transaction(5, 1, 6), 0).expect("fits");
    assert_eq!(drain(&mut pool)[..3], [(5, 0), (5, 1), (1, 0)]);
}

#[test]
fn a_sender_that_fills_the_pool_makes_room_for_others_that_pay_the_same() {
    let mut pool = Pool::new(PoolLimits { bytes: 4 * (100 + OVERHEAD_BYTES), per_sender: 10 });
    for sequence in 0..4 {
        pool.insert(transaction(1, sequence, 0), 0).expect("fits");
    }
    assert_eq!(pool.insert(transaction(1, 4, 0), 0), Err(PoolError::Full), "not for itself");
    assert_eq!(pool.insert(transaction(2, 0, 0), 0), Ok(()));
    assert_eq!(pool.insert(transaction(3, 0, 0), 0), Ok(()));
    assert_eq!(pool.insert(transaction(4, 0, 0), 0), Ok(()));
    assert_eq!(pool.insert(transaction(5, 0, 0), 0), Err(PoolError::Full), "all have as many");
    assert_eq!(drain(&mut pool), [(1, 0), (2, 0), (3, 0), (4, 0)]);
}

#[test]
fn a_sender_whose_next_sequence_was_moved_goes_on_from_there() {
    let mut pool = Pool::new(LIMITS);
    pool.insert(transaction(1, 5, 5), 5).expect("fits");
    pool.forget_progress();
    pool.insert(transaction(1, 10, 5), 10).expect("fits");
    assert_eq!(drain(&mut pool), [(1, 10)], "what is below is forgotten");
    pool.insert(transaction(1, 8, 5), 8).expect("fits");
    assert_eq!((drain(&mut pool), pool.waiting()), (vec![(1, 8)], 1));
    pool.insert(transaction(1, 9, 5), 8).expect("fits");
    assert_eq!(drain(&mut pool), [(1, 8), (1, 9), (1, 10)]);
}

#[test]
fn what_a_sender_cannot_pay_is_forgotten_and_the_rest_is_not() {
    let mut pool = Pool::new(LIMITS);
    for (sequence, price) in [(0, 5), (1, 50), (2, 6)] {
        pool.insert(transaction(1, sequence, price), 0).expect("fits");
    }
    pool.insert(transaction(2, 0, 50), 0).expect("fits");
    pool.drop_unpayable(&[1], Amount::from(49));
    assert_eq!(drain(&mut pool), [(2, 0), (1, 0)]);
    assert_eq!((pool.waiting(), pool.owed(&[1], 2)), (1, (Amount::from(11), Amount::from(6))));
}

#[test]
fn a_call_that_reads_an_older_state_learns_the_next_sequence() {
    let mut pool = Pool::new(LIMITS);
    pool.insert(transaction(1, 0, 5), 0).expect("fits");
    pool.advance([(&[1u8][..], 1)].into_iter());
    assert_eq!(pool.next_sequence(&[1]), Some(1));
    pool.clear();
    assert_eq!(pool.next_sequence(&[1]), None);
}

proptest! {
    #[test]
    fn counts_bytes_and_order_hold_under_any_use(
        steps in prop::collection::vec((0u8..4, 0u64..12, 1u64..50, 0u8..8), 1..120),
    ) {
        let mut pool = Pool::new(PoolLimits { bytes: 20 * (100 + OVERHEAD_BYTES), per_sender: 8 });
        let mut next = [0u64; 4];
        for (sender, sequence, priority, kind) in steps {
            match kind {
                0 => {
                    let drawn = drain(&mut pool).into_iter().find(|(drawn, _)| *drawn == sender);
                    if let Some((_, sequence)) = drawn {
                        next[usize::from(sender)] = sequence + 1;
                        pool.advance([(&[sender][..], sequence + 1)].into_iter());
                    }
                }
                1 => {
                    let id = pool.by_sender(&[sender]).next().map(|(first, _)| first.id.clone());
                    if let Some(id) = id {
                        prop_assert!(pool.remove(&id));
                    }
                }
                _ => drop(pool.insert(transaction(sender, sequence, priority), next[usize::from(sender)])),
            }
            let all: Vec<_> = pool.all().collect();
            prop_assert_eq!(pool.bytes(), all.iter().map(|(one, _)| bytes_of(one)).sum::<usize>());
            prop_assert!(pool.bytes() <= pool.limits.bytes);
            for sender in 0..4u8 {
                let costs = pool.by_sender(&[sender]).map(|(one, _)| one.cost).fold(Amount::default(), Amount::saturating_add);
                prop_assert_eq!(pool.owed(&[sender], 0).0, costs);
            }
            prop_assert_eq!(pool.ready(), all.iter().filter(|(_, ready)| *ready).count());
            prop_assert_eq!(pool.ready() + pool.waiting(), all.len());
            let drawn = drain(&mut pool);
            prop_assert_eq!(drawn.len(), pool.ready());
            for sender in 0..4u8 {
                let own: Vec<_> = drawn.iter().filter(|(drawn, _)| *drawn == sender).map(|(_, sequence)| *sequence).collect();
                let start = next[usize::from(sender)];
                prop_assert_eq!(&own, &(start..start + own.len() as u64).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn what_is_remembered_of_senders_is_bounded_whatever_one_block_says() {
    let mut pool = Pool::new(PoolLimits { bytes: 1 << 20, per_sender: 16 });
    for block in 1..3 {
        let names: Vec<_> = (0..3 * PROGRESS_MAX as u64).map(u64::to_be_bytes).collect();
        pool.advance(names.iter().map(|name| (name.as_slice(), block)));
        assert!(pool.progress.len() <= PROGRESS_MAX + 1, "{}", pool.progress.len());
    }
}
