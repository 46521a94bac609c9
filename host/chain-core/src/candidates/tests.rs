use proptest::{collection::vec, prelude::*};

use super::*;

fn id(number: u8) -> BlockId {
    [number; 32]
}

fn member(number: u8) -> Option<NodeId> {
    Some(NodeId([number; 32]))
}

#[derive(Clone, Debug)]
enum Step {
    Build(u8),
    Share(u8),
    Take(u8),
    Obtain(u8, u8),
    /// A block comes, and is valid or not.
    Come(u8, bool),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        1 => any::<u8>().prop_map(Step::Build),
        1 => any::<u8>().prop_map(Step::Share),
        1 => any::<u8>().prop_map(Step::Take),
        // Few proposers, of which the first wants most.
        4 => (any::<u8>(), prop_oneof![3 => Just(0), 1 => 1..8_u8]).prop_map(|(block, proposer)| Step::Obtain(block, proposer)),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(block, valid)| Step::Come(block, valid)),
    ];
    vec(step, 0..400)
}

proptest! {
    #[test]
    fn whatever_members_propose_there_is_a_bound_and_nobody_takes_anothers_room(here in prop_oneof![Just(0), 56..=64_u8], steps in steps()) {
        let mut candidates = Candidates::default();
        let mut shared = BTreeSet::new();
        (0..here).for_each(|number| candidates.insert(id(number)));
        for step in steps {
            let (wanted, here) = (candidates.wanted.len(), candidates.here.len());
            match step {
                Step::Build(number) => {
                    let dropped = candidates.insert_built(id(number));
                    prop_assert!(dropped.is_none_or(|dropped| !shared.contains(&dropped)), "a shared block was dropped");
                }
                Step::Share(number) => {
                    if candidates.share(&id(number)) {
                        shared.insert(id(number));
                    }
                }
                Step::Take(number) => {
                    prop_assert_eq!(candidates.has(&id(number)), candidates.take(&id(number)));
                    shared.remove(&id(number));
                }
                Step::Obtain(number, proposer) => {
                    let before: Vec<_> = candidates.wanted.iter().map(|(id, wanted)| (*id, wanted.proposer)).collect();
                    let known = candidates.has(&id(number)) || candidates.wanted.contains_key(&id(number));
                    let answer = candidates.obtain(id(number), member(proposer));
                    let after: Vec<_> = candidates.wanted.iter().map(|(id, wanted)| (*id, wanted.proposer)).collect();
                    prop_assert_eq!(answer == Obtain::Known, known);
                    prop_assert!(answer != Obtain::Full || after == before, "a block was given up, and none is asked for instead");
                    prop_assert_eq!(answer == Obtain::Full, !known && here >= CANDIDATES_MAX);
                    if let Obtain::Ask { instead_of } = answer {
                        let full = wanted + here >= CANDIDATES_MAX;
                        for gone in &instead_of {
                            let of = before.iter().find(|(id, _)| id == gone).map(|(_, proposer)| *proposer);
                            prop_assert!(of == Some(member(proposer)) || full, "another's block gave way though there was room");
                        }
                        prop_assert_eq!(after.len() + instead_of.len(), wanted + 1, "a fetch ends without being named");
                        prop_assert!(after.len() + here <= CANDIDATES_MAX);
                    }
                    let of_proposer = candidates.wanted.values().filter(|other| other.proposer == member(proposer)).count();
                    prop_assert!(of_proposer <= WANTED_PER_MEMBER);
                    prop_assert!(candidates.here.len() == here, "a block that is here gave way");
                    prop_assert!(candidates.wanted.len() + here <= CANDIDATES_MAX.max(wanted + here));
                }
                Step::Come(number, valid) => {
                    let was = candidates.wanted.contains_key(&id(number));
                    prop_assert_eq!(candidates.came(&id(number)).is_some(), was);
                    if was && valid {
                        candidates.insert(id(number));
                    }
                }
            }
            prop_assert!(shared.iter().all(|id| candidates.has(id)), "a shared block is gone");
            prop_assert!(candidates.here.is_disjoint(&candidates.wanted.keys().copied().collect()));
        }
    }
}

#[test]
fn a_proposers_oldest_gives_way_to_its_next_and_those_that_came_later_than_that_are_not_taken() {
    let mut candidates = Candidates::default();
    for number in 0..4 {
        assert_eq!(candidates.obtain(id(number), member(1)), Obtain::Ask { instead_of: Vec::new() });
    }
    assert_eq!(candidates.obtain(id(9), member(2)), Obtain::Ask { instead_of: Vec::new() });
    assert_eq!(candidates.obtain(id(4), member(1)), Obtain::Ask { instead_of: vec![id(0)] });
    assert_eq!((candidates.came(&id(0)), candidates.came(&id(4))), (None, Some(member(1))));
}

#[test]
fn blocks_that_are_here_leave_no_room_for_more() {
    let mut candidates = Candidates::default();
    (0..64).for_each(|number| candidates.insert(id(number)));
    assert_eq!(candidates.obtain(id(64), member(1)), Obtain::Full);
    assert!(candidates.take(&id(7)));
    assert_eq!(candidates.obtain(id(64), member(1)), Obtain::Ask { instead_of: Vec::new() });
    assert_eq!(candidates.obtain(id(65), member(2)), Obtain::Ask { instead_of: vec![id(64)] });
}

#[test]
fn a_full_answer_gives_no_fetch_up_and_one_more_that_was_built_makes_two_give_way() {
    let mut candidates = Candidates::default();
    (0..60).for_each(|number| candidates.insert(id(number)));
    (60..64).for_each(|number| assert_eq!(candidates.obtain(id(number), member(1)), Obtain::Ask { instead_of: Vec::new() }));
    assert_eq!(candidates.insert_built(id(64)), None);
    assert_eq!(candidates.obtain(id(65), member(1)), Obtain::Ask { instead_of: vec![id(60), id(61)] });
    (70..73).for_each(|number| candidates.insert(id(number)));
    assert_eq!(candidates.obtain(id(66), member(1)), Obtain::Full);
    assert_eq!(candidates.wanted.len(), 3);
}

#[test]
fn what_is_built_replaces_what_was_built_unless_others_may_have_that() {
    let mut candidates = Candidates::default();
    assert_eq!(candidates.insert_built(id(1)), None);
    assert_eq!(candidates.insert_built(id(2)), Some(id(1)));
    assert!(candidates.share(&id(2)) && !candidates.share(&id(1)));
    assert_eq!(candidates.insert_built(id(3)), None);
    assert!(candidates.has(&id(2)));
    assert_eq!(candidates.insert_built(id(3)), None, "the same block again");
    assert!(candidates.has(&id(3)));
}
