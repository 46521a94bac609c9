use std::{cell::RefCell, collections::BTreeMap, rc::Rc};

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

thread_local! {
    /// Which member made which block.
    static MADE: RefCell<BTreeMap<u8, u8>> = RefCell::default();
}

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

    fn author(&self, id: &[u8]) -> Option<Vec<u8>> {
        MADE.with_borrow(|made| made.get(&id[0]).map(|key| vec![*key; 32]))
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
    started_of(4, log)
}

/// The same in a committee of so many.
fn started_of(members: u8, log: Vec<Vec<u8>>) -> (Member, Vec<Effect>) {
    let beginning = Beginning {
        config: b"interval 1000".to_vec(),
        head: BlockRef { height: 0, id: vec![0; 32], timestamp_ms: 0 },
        ready: 0,
        committee: (1..=members).map(|key| Validator { key: vec![key; 32], power: 1 }).collect(),
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
    proven(member, round, block, None)
}

/// The same of a block that it says was voted for in an earlier round.
fn proven(member: &Member, round: u32, block: u8, proven_round: Option<u32>) -> Input {
    let proposer = *Bft.select_proposer(&member.next.committee, Height(1), Round::new(round)).address();
    let proposal = Proposal { height: Height(1), round, block: BlockId([block; 32]), proven_round, proposer };
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

/// A message.
fn message(message: &Message) -> Input {
    Input::Message(encode(message))
}

fn prevote(key: u8, round: u32, block: Option<u8>) -> Input {
    let block = block.map_or(NilOrVal::Nil, |block| NilOrVal::Val(BlockId([block; 32])));
    message(&Message::Vote(vote(key, false, round, block), Signature::NONE))
}

fn valid(block: u8) -> Input {
    Input::Judged(Judged { id: vec![block; 32], verdict: Verdict::Valid })
}

/// Certificates that members 2 to 4 voted for a block, and for anything.
fn polka(round: u32, block: u8) -> Input {
    let signatures = (2..=4).map(|key| (Key([key; 32]), Signature::NONE)).collect();
    message(&Message::Polka { height: Height(1), round, block: BlockId([block; 32]), signatures })
}

fn skip(round: u32, voters: impl IntoIterator<Item = u8>, block: u8) -> Input {
    let vote = |key| (vote(key, false, round, NilOrVal::Val(BlockId([block; 32]))), Signature::NONE);
    message(&Message::Round { height: Height(1), round, skip: true, votes: voters.into_iter().map(vote).collect() })
}

/// What the member votes for while it takes these, and what it logs.
fn run(member: &mut Member, inputs: Vec<Input>) -> (Vec<Vote>, Vec<Vec<u8>>) {
    let (mut votes, mut log) = (Vec::new(), Vec::new());
    for input in inputs {
        let effects = handle(member, input);
        votes.extend(voted(&effects));
        log.extend(logged(&effects));
    }
    (votes, log)
}

#[test]
fn a_member_that_was_locked_is_locked_after_a_restart() {
    let nils = |round| vec![prevote(3, round, None), prevote(4, round, None)];
    let me = begun();
    let propose = |round| proposal(&me, round, 7);
    let late = Input::Timer(timer(Timeout::propose(Round::new(1))));
    // How it comes to be locked on block 7, and in which round.
    let ways = [
        ("a certificate for the block", 1, [nils(1), vec![propose(1), valid(7), polka(1, 7)]].concat()),
        ("a certificate of the round", 1, vec![skip(1, 2..=4, 7), propose(1), valid(7)]),
        ("a certificate of a round far ahead", 49, vec![propose(49), skip(49, 2..=3, 7), propose(49), valid(7), prevote(4, 49, Some(7))]),
        ("a verdict that came last", 1, vec![prevote(3, 1, Some(7)), prevote(4, 1, Some(7)), polka(1, 7), propose(1), late, valid(7)]),
    ];
    for (way, round, inputs) in ways {
        let (votes, log) = run(&mut begun(), inputs);
        let locked = votes.iter().any(|vote| vote.precommit && vote.block == NilOrVal::Val(BlockId([7; 32])));
        assert!(locked, "{way}: {votes:?}");
        // In the next round another block is proposed, which one that is locked does not vote for.
        let (mut member, _) = started(log);
        let other = proposal(&member, round + 1, 8);
        let (votes, _) = run(&mut member, [nils(round + 1), vec![other, valid(8)]].concat());
        let prevote = votes.iter().find(|vote| !vote.precommit && vote.round == round + 1);
        assert!(prevote.is_some_and(|vote| vote.block == NilOrVal::Nil), "{way}: {votes:?}");
    }
}

#[test]
fn a_certificate_for_another_block_unlocks_nobody() {
    let mut member = begun();
    let [first, proven] = [proposal(&member, 0, 7), proven(&member, 1, 8, Some(0))];
    let (votes, _) = run(&mut member, vec![first, valid(7), polka(0, 7)]);
    assert!(votes.iter().any(|vote| vote.precommit && vote.block == NilOrVal::Val(BlockId([7; 32]))), "{votes:?}");
    let (votes, _) = run(&mut member, vec![prevote(3, 1, None), prevote(4, 1, None), proven, valid(8)]);
    assert!(votes.iter().all(|vote| vote.block != NilOrVal::Val(BlockId([8; 32]))), "{votes:?}");
}

#[test]
fn a_block_that_was_not_voted_for_in_its_round_is_not_locked_by_a_certificate_for_another() {
    let mut member = begun();
    let other = proposal(&member, 0, 8);
    let (votes, _) = run(&mut member, vec![polka(0, 7), other, valid(8)]);
    assert!(votes.iter().all(|vote| vote.block != NilOrVal::Val(BlockId([8; 32]))), "{votes:?}");
}

#[test]
fn a_proven_proposal_that_comes_before_what_proves_it_is_voted_for_then() {
    let mut member = begun();
    let proven = proven(&member, 1, 7, Some(0));
    let (votes, _) = run(&mut member, vec![prevote(3, 1, None), prevote(4, 1, None), proven, valid(7)]);
    assert!(votes.iter().all(|vote| vote.block == NilOrVal::Nil), "{votes:?}");
    let (votes, _) = run(&mut member, vec![polka(0, 7), valid(7)]);
    assert!(votes.iter().any(|vote| vote.round == 1 && vote.block == NilOrVal::Val(BlockId([7; 32]))), "{votes:?}");
}

#[test]
fn a_block_is_voted_for_in_the_round_of_its_first_proposal_only_if_its_proposer_made_it() {
    // The turns of rounds 0 and 1 are those of members 2 and 3.
    MADE.set(BTreeMap::from([(7, 2), (8, 3)]));
    let is_voted_for = |votes: &[Vote], round, block| {
        votes.iter().any(|vote| !vote.precommit && vote.round == round && vote.block == NilOrVal::Val(BlockId([block; 32])))
    };
    let round_1 = || vec![prevote(3, 1, None), prevote(4, 1, None)];
    let (own, others) = (proposal(&begun(), 0, 7), proposal(&begun(), 0, 8));
    let (votes, _) = run(&mut begun(), vec![own, valid(7)]);
    assert!(is_voted_for(&votes, 0, 7), "{votes:?}");
    let mut member = begun();
    let (votes, log) = run(&mut member, vec![others.clone(), valid(8)]);
    assert!(votes.iter().any(|vote| vote.round == 0 && vote.block == NilOrVal::Nil) && !is_voted_for(&votes, 0, 8), "{votes:?}");
    // It may be its author's block in a later round, after a restart too.
    for mut member in [member, started(log).0] {
        let of_author = proposal(&member, 1, 8);
        let (votes, _) = run(&mut member, [round_1(), vec![of_author]].concat());
        assert!(is_voted_for(&votes, 1, 8), "{votes:?}");
    }
    // Nobody votes for the block of an earlier round's proposer because another one proposes it, unless two thirds did in that round.
    let mut member = begun();
    let (first, again) = (proposal(&member, 1, 7), proven(&member, 1, 7, Some(0)));
    let (votes, _) = run(&mut member, [round_1(), vec![first, valid(7)]].concat());
    assert!(!is_voted_for(&votes, 1, 7), "{votes:?}");
    let (votes, _) = run(&mut begun(), [round_1(), vec![polka(0, 7), again, valid(7)]].concat());
    assert!(is_voted_for(&votes, 1, 7), "{votes:?}");
}

#[test]
fn a_member_counts_once_however_many_signatures_of_a_vote_it_makes() {
    let mut member = begun();
    let first = proposal(&member, 0, 7);
    run(&mut member, vec![first]);
    for signature in 0..4 {
        let signature = Signature::from_bytes(&[signature; 64]).unwrap();
        let vote = message(&Message::Vote(vote(2, true, 0, NilOrVal::Val(BlockId([7; 32]))), signature));
        assert_eq!(decided(&handle(&mut member, vote)), []);
    }
    run(&mut member, vec![precommit(3, 0, 7)]);
    assert_eq!(decided(&handle(&mut member, valid(7))), []);
    assert_eq!(decided(&handle(&mut member, precommit(4, 0, 7))), [7]);
}

#[test]
fn what_is_said_again_is_logged_once() {
    let mut member = begun();
    let again: Vec<_> = (0..100).flat_map(|_| [prevote(2, 0, Some(7)), prevote(2, 0, Some(8)), prevote(2, 0, Some(9))]).collect();
    // Whatever is remembered of what came before.
    member.seen_bytes = SEEN_BYTES_MAX;
    assert_eq!(run(&mut member, again).1.len(), 2);
}

#[test]
fn calls_have_few_effects_after_many_rounds_and_in_a_large_committee() {
    const EFFECTS_MAX: usize = 256;
    let mut member = begun();
    let mut log = Vec::new();
    for round in 0..60 {
        let propose = timer(Timeout::propose(Round::new(round)));
        log.extend(run(&mut member, vec![Input::Timer(propose), prevote(2, round + 1, None), prevote(3, round + 1, None)]).1);
    }
    let (_, effects) = started(log);
    assert!(effects.len() < EFFECTS_MAX / 4, "{}", effects.len());
    let mut large = started_of(128, Vec::new()).0;
    for key in 2..=128 {
        for round in 0..2 {
            handle(&mut large, prevote(key, round, None));
            handle(&mut large, precommit(key, round, 7));
        }
    }
    let mut taken = 0;
    let mut next = Some(START_TIMER);
    while let Some(number) = next {
        let effects = handle(&mut large, Input::Timer(number));
        assert!(effects.len() <= EFFECTS_MAX, "{}", effects.len());
        taken += logged(&effects).len();
        next = effects.iter().any(|effect| matches!(effect, Effect::SetTimer((BACKLOG_TIMER, _)))).then_some(BACKLOG_TIMER);
    }
    assert!(taken >= 127 * 4, "{taken}");
}
