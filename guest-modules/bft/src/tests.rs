use std::rc::Rc;

use malachite_types::{Context as _, NilOrVal, Timeout, Validator as _};
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
        Some(vec![1; 64])
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
    let mut member = started(Vec::new()).0;
    handle(&mut member, Input::Timer(START_TIMER));
    member
}

/// Started with this log, and what it asks for.
fn started(log: Vec<Vec<u8>>) -> (Member, Vec<Effect>) {
    let beginning = Beginning {
        config: b"interval 1000".to_vec(),
        head: BlockRef { height: 0, id: vec![0; 32], timestamp_ms: 0 },
        ready: 0,
        committee: (1..=4).map(|key| Validator { key: vec![key; 32], power: 1 }).collect(),
        log,
        // Blocks that this host has executed.
        kept: vec![Judged { id: vec![7; 32], verdict: Verdict::Valid }, Judged { id: vec![8; 32], verdict: Verdict::Valid }],
    };
    native::with(Rc::new(Trusting), || Member::start(beginning)).unwrap()
}

fn vote(key: u8, precommit: bool, round: u32, block: NilOrVal<BlockId>) -> Vote {
    Vote { precommit, height: Height(1), round, block, voter: Key([key; 32]) }
}

/// The member whose turn it is in a round proposes a block.
fn proposal(member: &Member, round: u32, block: u8) -> Input {
    let proposer = *Bft.select_proposer(&member.next.committee, Height(1), Round::new(round)).address();
    let proposal = Proposal { height: Height(1), round, block: BlockId([block; 32]), proven_round: None, proposer };
    Input::Message(encode(&Message::Proposal(proposal, Signature::NONE)))
}

fn logged(effects: &[Effect]) -> Vec<Vec<u8>> {
    effects.iter().filter_map(|effect| if let Effect::AppendLog(entry) = effect { Some(entry.clone()) } else { None }).collect()
}

/// What the member votes for.
fn voted(effects: &[Effect]) -> Vec<Vote> {
    let said = |effect: &Effect| if let Effect::Broadcast(said) = effect { decode::<Message>(said) } else { None };
    effects.iter().filter_map(said).filter_map(|said| if let Message::Vote(vote, _) = said { Some(vote) } else { None }).collect()
}

fn precommit(key: u8, round: u32, block: u8) -> Input {
    let vote = vote(key, true, round, NilOrVal::Val(BlockId([block; 32])));
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
    let votes = [2, 3].map(|key| (vote(key, false, 1, NilOrVal::Nil), Signature::NONE)).to_vec();
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

#[test]
fn a_member_that_was_locked_by_a_certificate_is_locked_after_a_restart() {
    let block = NilOrVal::Val(BlockId([7; 32]));
    let signers = (2..=4).map(|key| (Key([key; 32]), Signature::NONE)).collect();
    let prevotes = (2..=4).map(|key| (vote(key, false, 1, block), Signature::NONE)).collect();
    let polka = Message::Polka { height: Height(1), round: 1, block: BlockId([7; 32]), signatures: signers };
    let round = Message::Round { height: Height(1), round: 1, skip: true, votes: prevotes };
    let message = |message: &Message| Input::Message(encode(message));
    let nil = |key: u8, round: u32| message(&Message::Vote(vote(key, false, round, NilOrVal::Nil), Signature::NONE));
    // Two ways in which two thirds are heard at once.
    for (name, before, after) in [("polka", vec![nil(3, 1), nil(4, 1)], Some(polka)), ("round", vec![message(&round)], None)] {
        let mut member = begun();
        let mut inputs = before;
        inputs.push(proposal(&member, 1, 7));
        inputs.push(Input::Judged(Judged { id: vec![7; 32], verdict: Verdict::Valid }));
        inputs.extend(after.as_ref().map(message));
        let mut log = Vec::new();
        let mut said = Vec::new();
        for input in inputs {
            let effects = handle(&mut member, input);
            log.extend(logged(&effects));
            said.extend(voted(&effects));
        }
        assert!(said.iter().any(|vote| vote.precommit && vote.block == block), "{name}: {said:?}");
        // All who wait for round 2 go there, where another block is proposed: who is locked votes for none.
        let (mut member, _) = started(log);
        let mut said = Vec::new();
        for input in [nil(2, 2), nil(3, 2), proposal(&member, 2, 8)] {
            said.extend(voted(&handle(&mut member, input)));
        }
        let prevote = said.iter().find(|vote| !vote.precommit && vote.round == 2);
        assert!(prevote.is_some_and(|vote| vote.block == NilOrVal::Nil), "{name}: {said:?}");
    }
}
