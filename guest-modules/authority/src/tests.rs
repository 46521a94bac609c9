use std::rc::Rc;

use subnode_sdk::{
    codec::{decode, encode},
    consensus::{Beginning, BlockRef, Consensus, Effect, Input, Position, Validator},
    member::Said as _,
    native::{self, Host},
};

use super::*;

/// A host of the first of three members, on which all signatures are good.
struct Trusting;

impl Host for Trusting {
    fn key(&self) -> Option<Vec<u8>> {
        Some(vec![1; 32])
    }

    fn sign(&self, _: Position, _: &[u8]) -> Option<Vec<u8>> {
        Some(vec![0; 64])
    }

    fn verify(&self, _: &[u8], _: Position, _: &[u8], _: &[u8]) -> bool {
        true
    }
}

/// Timer of the next height.
const START: u64 = 0;
/// What the host takes of a call.
const EFFECTS_MAX: usize = 256;

fn handle(member: &mut Member<Authority>, input: Input) -> Vec<Effect> {
    native::with(Rc::new(Trusting), || member.handle(0, input))
}

/// At height 1, which has not begun.
fn idle() -> Member<Authority> {
    idle_of(3)
}

/// The same in a committee of so many.
fn idle_of(members: u8) -> Member<Authority> {
    let beginning = Beginning {
        config: b"interval 1000".to_vec(),
        head: BlockRef { height: 0, id: vec![0; 32], timestamp_ms: 0 },
        ready: 0,
        committee: (1..=members).map(|key| Validator { key: vec![key; 32], power: 1 }).collect(),
        log: Vec::new(),
        kept: Vec::new(),
    };
    native::with(Rc::new(Trusting), || Member::start(beginning)).unwrap().0
}

fn message(key: u8, view: u32, said: Said) -> Input {
    Input::Message(encode(&Message { height: 1, view, said, member: [key; 32], signature: vec![0; 64] }))
}

/// Views to which these effects say that the member has moved.
fn moves(effects: &[Effect]) -> Vec<u32> {
    let said = |effect: &Effect| if let Effect::Broadcast(said) = effect { decode::<Message<Said>>(said) } else { None };
    effects.iter().filter_map(said).filter(|message| message.said.step() == 0).map(|message| message.view).collect()
}

fn obtains(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Obtain(_))).count()
}

#[test]
fn a_member_moves_to_the_last_view_of_the_others_at_once() {
    for views in [10, 100, 2_000] {
        let mut member = idle();
        for view in 1..=views {
            for key in [2, 3] {
                handle(&mut member, message(key, view, Said::Move(None)));
            }
        }
        // One alone is not followed.
        handle(&mut member, message(2, views + 1, Said::Move(None)));
        let effects = handle(&mut member, Input::Timer(START));
        assert!(effects.len() <= EFFECTS_MAX, "{}", effects.len());
        assert_eq!(moves(&effects), [views]);
    }
}

#[test]
fn a_member_follows_those_without_whom_nothing_is_decided() {
    for (members, ahead) in [(2, 1), (3, 2), (4, 2), (5, 3)] {
        let mut member = idle_of(members);
        handle(&mut member, Input::Timer(START));
        let moved: Vec<_> = (2..2 + ahead).map(|key| moves(&handle(&mut member, message(key, 30, Said::Move(None))))).collect();
        let (last, others) = moved.split_last().unwrap();
        assert!(last == &[30] && others.iter().all(Vec::is_empty), "{members} members: {moved:?}");
    }
}

#[test]
fn what_was_said_far_behind_is_forgotten() {
    let mut member = idle();
    handle(&mut member, message(2, 1, Said::Accept([7; 32])));
    handle(&mut member, Input::Timer(START));
    for key in [2, 3] {
        handle(&mut member, message(key, 500, Said::Move(None)));
    }
    assert_eq!(obtains(&handle(&mut member, message(3, 1, Said::Accept([7; 32])))), 0);
    // Of a view shortly before, a decision is still learnt.
    let late = [2, 3].map(|key| obtains(&handle(&mut member, message(key, 499, Said::Accept([7; 32])))));
    assert_eq!(late, [0, 1]);
}

#[test]
fn a_block_that_was_accepted_in_many_views_is_asked_for_once() {
    let mut member = idle();
    for view in 0..60 {
        for key in [2, 3] {
            handle(&mut member, message(key, view, Said::Accept([7; 32])));
        }
    }
    assert_eq!(obtains(&handle(&mut member, Input::Timer(START))), 1);
}
