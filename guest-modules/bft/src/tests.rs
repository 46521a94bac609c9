use std::rc::Rc;

use malachite_types::{NilOrVal, Timeout};
use subnode_sdk::{
    codec::encode,
    consensus::{BlockRef, Position},
    native::{self, Host},
};

use super::*;
use crate::{
    context::{Signature, Vote},
    message::timer,
};

/// A host of the first of four members, on which all signatures are good.
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

fn handle(member: &mut Member, input: Input) -> Vec<Effect> {
    native::with(Rc::new(Trusting), || member.handle(0, input))
}

/// At height 1, which has begun.
fn begun() -> Member {
    let beginning = Beginning {
        config: b"interval 1000".to_vec(),
        head: BlockRef { height: 0, id: vec![0; 32], timestamp_ms: 0 },
        ready: 0,
        committee: (1..=4).map(|key| Validator { key: vec![key; 32], power: 1 }).collect(),
        log: Vec::new(),
        kept: Vec::new(),
    };
    let mut member = native::with(Rc::new(Trusting), || Member::start(beginning)).unwrap().0;
    handle(&mut member, Input::Timer(START_TIMER));
    member
}

fn precommit(key: u8, round: u32, block: u8) -> Input {
    let block = NilOrVal::Val(BlockId([block; 32]));
    let vote = Vote { precommit: true, height: Height(1), round, block, voter: Key([key; 32]) };
    Input::Message(encode(&Message::Vote(vote, Signature::NONE)))
}

fn obtained(effects: &[Effect]) -> Vec<u8> {
    effects.iter().filter_map(|effect| if let Effect::Obtain(wanted) = effect { Some(wanted.id[0]) } else { None }).collect()
}

fn decided(effects: &[Effect]) -> Vec<u8> {
    effects.iter().filter_map(|effect| if let Effect::Decide(decision) = effect { Some(decision.id[0]) } else { None }).collect()
}

#[test]
fn what_enough_precommit_to_is_decided_where_the_proposal_was_never_heard() {
    let mut member = begun();
    // Two of three for one block, and one for another, in two rounds.
    for early in [precommit(2, 1, 7), precommit(3, 1, 7), precommit(4, 1, 8), precommit(4, 0, 7)] {
        assert_eq!(obtained(&handle(&mut member, early)), []);
    }
    // The fourth says two things.
    assert_eq!(obtained(&handle(&mut member, precommit(4, 1, 7))), [7]);
    let effects = handle(&mut member, Input::Judged(Judged { id: vec![7; 32], verdict: Verdict::Valid }));
    assert_eq!(decided(&effects), [7]);
    let Some(Effect::Decide(decision)) = effects.iter().find(|effect| matches!(effect, Effect::Decide(_))) else { panic!() };
    let certificate: Certificate = decode(&decision.certificate).unwrap();
    assert_eq!((certificate.round, certificate.signatures.len()), (1, 3));
    // Once.
    assert_eq!(decided(&handle(&mut member, precommit(1, 1, 7))), []);
}

#[test]
fn a_block_that_is_not_valid_is_not_decided_whoever_precommits_to_it() {
    let mut member = begun();
    handle(&mut member, Input::Judged(Judged { id: vec![7; 32], verdict: Verdict::Invalid("wrong".into()) }));
    for key in 2..=4 {
        assert_eq!(decided(&handle(&mut member, precommit(key, 0, 7))), []);
    }
}

#[test]
fn a_member_that_a_certificate_brings_to_a_round_repeats_what_it_says_there() {
    let mut member = begun();
    let prevote = |key: u8| Vote { precommit: false, height: Height(1), round: 1, block: NilOrVal::Nil, voter: Key([key; 32]) };
    let votes = [2, 3].map(|key| (prevote(key), Signature::NONE)).to_vec();
    let certificate = Message::Round { height: Height(1), round: 1, skip: true, votes };
    let effects = handle(&mut member, Input::Message(encode(&certificate)));
    let repeat = timer(Timeout::rebroadcast(Round::new(1)));
    let last = effects.iter().rev().find_map(|effect| match effect {
        Effect::SetTimer((number, _)) if *number == repeat => Some(true),
        Effect::CancelTimer(number) if *number == repeat => Some(false),
        _ => None,
    });
    assert_eq!(last, Some(true));
}
