use std::{
    cell::{Cell, RefCell},
    collections::{BTreeMap, VecDeque},
    rc::Rc,
};

use serde::{Deserialize, Serialize};

use super::*;
use crate::{
    codec::encode,
    consensus::{BlockRef, Candidate, Decision, Position},
    native::{self, Host},
};

/// The block of the leader, once more than half would have it.
#[derive(Default)]
struct Majority {
    proposal: Option<Id>,
    accepted: BTreeMap<Key, Signature>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Word {
    Propose(Id),
    Accept(Id),
}

impl Said for Word {
    fn step(&self) -> u8 {
        matches!(self, Self::Accept(_)).into()
    }
}

impl Rules for Majority {
    type Said = Word;

    fn new() -> Self {
        Self::default()
    }

    fn vote(id: Id) -> Word {
        Word::Accept(id)
    }

    fn is_enough<'a>(committee: &Committee, members: impl Iterator<Item = &'a Key>) -> bool {
        committee.is_majority(members)
    }

    fn listens(&self, _: &Seat<Word>, _: &Message<Word>) -> bool {
        true
    }

    fn hear(&mut self, _: &mut Seat<Word>, message: Message<Word>) {
        match message.said {
            Word::Propose(id) => self.proposal = Some(id),
            Word::Accept(_) => drop(self.accepted.insert(message.member, message.signature)),
        }
    }

    fn propose(&self, _: &Seat<Word>, id: Id) -> Option<Word> {
        Some(Word::Propose(id))
    }

    fn go_on(&mut self, seat: &mut Seat<Word>) {
        let Some(id) = self.proposal else {
            if seat.leads() {
                seat.build();
            }
            return;
        };
        if seat.may_vote(id) == Some(true) {
            self.say(seat, Word::Accept(id));
            if Self::is_enough(&seat.committee, self.accepted.keys()) {
                let votes = self.accepted.iter().map(|(member, signature)| (*member, signature.clone())).collect();
                seat.decide(id, 0, votes);
            }
        }
    }
}

/// A member's keys: a signature is what it signs. A second text at a position is refused.
struct Keys {
    own: Key,
    signed: RefCell<BTreeMap<(u64, u32, u8), Vec<u8>>>,
    checks: Cell<usize>,
    /// Who made all blocks.
    author: Cell<Option<Key>>,
}

fn text_of(key: &[u8], at: Position, text: &[u8]) -> Vec<u8> {
    [key, &at.height.to_be_bytes(), &at.round.to_be_bytes(), &[at.step], text].concat()
}

impl Host for Keys {
    fn key(&self) -> Option<Vec<u8>> {
        Some(self.own.to_vec())
    }

    fn sign(&self, at: Position, text: &[u8]) -> Option<Vec<u8>> {
        let mut signed = self.signed.borrow_mut();
        let known = signed.entry((at.height, at.round, at.step)).or_insert_with(|| text.to_vec());
        (known == text).then(|| text_of(&self.own, at, text))
    }

    fn verify(&self, key: &[u8], at: Position, text: &[u8], signature: &[u8]) -> bool {
        self.checks.set(self.checks.get() + 1);
        signature == text_of(key, at, text)
    }

    fn author(&self, _: &[u8]) -> Option<Vec<u8>> {
        self.author.get().map(|author| author.to_vec())
    }
}

const MEMBERS: u8 = 3;

/// Members that reach each other at once; each waits for a block of a transaction that is ready.
struct Net {
    members: Vec<(Member<Majority>, Rc<Keys>)>,
    waiting: VecDeque<(usize, Input)>,
    /// What each decided, and its log of the height that it is at.
    decided: Vec<Vec<Decision>>,
    logs: Vec<Vec<Vec<u8>>>,
}

fn validators() -> Vec<Validator> {
    (1..=MEMBERS).map(|key| Validator { key: vec![key; 32], power: 1 }).collect()
}

fn head(height: u64) -> BlockRef {
    BlockRef { height, id: vec![0; 32], timestamp_ms: height }
}

impl Net {
    fn new() -> Self {
        let count = usize::from(MEMBERS);
        let mut net =
            Self { members: Vec::new(), waiting: VecDeque::new(), decided: vec![Vec::new(); count], logs: vec![Vec::new(); count] };
        for key in 1..=MEMBERS {
            let keys = Rc::new(Keys { own: [key; 32], signed: RefCell::default(), checks: Cell::default(), author: Cell::default() });
            let (member, effects) = net.started(&keys, net.members.len());
            net.members.push((member, keys));
            net.perform(usize::from(key) - 1, effects);
        }
        net
    }

    fn started(&self, keys: &Rc<Keys>, index: usize) -> (Member<Majority>, Vec<Effect>) {
        let height = self.decided[index].len() as u64;
        let log = self.logs[index].clone();
        let beginning = Beginning { config: Vec::new(), head: head(height), ready: 1, committee: validators(), log, kept: Vec::new() };
        native::with(keys.clone(), || Member::start(beginning)).unwrap()
    }

    /// Ends a member, and starts it again with its log.
    fn restart(&mut self, index: usize) {
        let keys = self.members[index].1.clone();
        let (member, effects) = self.started(&keys, index);
        self.members[index].0 = member;
        self.perform(index, effects);
    }

    fn perform(&mut self, index: usize, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::SetTimer((START, 0)) => self.waiting.push_back((index, Input::Timer(START))),
                Effect::Build => {
                    let id = vec![self.decided[index].len() as u8 + 1; 32];
                    self.waiting.push_back((index, Input::Built(Candidate { id, bytes: 1, transactions: 1 })));
                }
                Effect::Obtain(wanted) => {
                    self.waiting.push_back((index, Input::Judged(Judged { id: wanted.id, verdict: Verdict::Valid })));
                }
                Effect::AppendLog(entry) => self.logs[index].push(entry),
                Effect::Broadcast(message) => {
                    let others = (0..self.members.len()).filter(|other| *other != index);
                    self.waiting.extend(others.map(|other| (other, Input::Message(message.clone()))));
                }
                Effect::Decide(decision) => {
                    self.decided[index].push(decision);
                    self.logs[index].clear();
                    let block = head(self.decided[index].len() as u64);
                    let committed = Committed { block, ready: 1, committee: validators() };
                    // Before the effects behind it.
                    self.waiting.push_front((index, Input::Committed(committed)));
                    return;
                }
                _ => {}
            }
        }
    }

    fn tell(&mut self, index: usize, input: Input) {
        let (member, keys) = &mut self.members[index];
        let effects = native::with(keys.clone(), || member.handle(0, input));
        self.perform(index, effects);
    }

    fn until(&mut self, height: usize) {
        while self.decided.iter().any(|decided| decided.len() < height) {
            let (index, input) = self.waiting.pop_front().expect("the members stand still");
            self.tell(index, input);
        }
    }
}

#[test]
fn members_decide_one_height_after_another_and_their_certificates_show_it() {
    let mut net = Net::new();
    net.until(5);
    let checker = net.members[0].1.clone();
    let check = |height: u64, id: &[u8], certificate: &[u8]| {
        native::with(checker.clone(), || Member::<Majority>::check(validators(), height, id.to_vec(), certificate.to_vec()))
    };
    for (height, decision) in (1..).zip(&net.decided[0][..5]) {
        check(height, &decision.id, &decision.certificate).unwrap();
        assert!(check(height + 1, &decision.id, &decision.certificate).is_err(), "of another height");
        assert!(check(height, &[9; 32], &decision.certificate).is_err(), "of another block");
        let Certificate { view, votes } = decode(&decision.certificate).unwrap();
        let few = encode(&Certificate { view, votes: votes[..1].to_vec() });
        assert!(check(height, &decision.id, &few).is_err_and(|error| error.contains("too few")));
        let twice = encode(&Certificate { view, votes: vec![votes[0].clone(), votes[0].clone()] });
        assert!(check(height, &decision.id, &twice).is_err());
        let once_more = encode(&Certificate { view, votes: [&votes[..], &votes[..1]].concat() });
        assert!(check(height, &decision.id, &once_more).is_err_and(|error| error.contains("twice")));
        let stranger = encode(&Certificate { view, votes: [votes, vec![([9; 32], Vec::new())]].concat() });
        assert!(check(height, &decision.id, &stranger).is_err_and(|error| error.contains("no member")));
    }
}

#[test]
fn what_a_member_said_before_a_restart_holds_and_is_said_again() {
    let mut net = Net::new();
    // Until the leader has proposed, which is in its log and not with the others yet.
    let leader = net.members[0].0.seat.leader(0);
    let leader = usize::from(leader[0]) - 1;
    while net.logs[leader].is_empty() {
        let (index, input) = net.waiting.pop_front().unwrap();
        net.tell(index, input);
    }
    net.waiting.clear();
    net.restart(leader);
    assert!(!net.waiting.iter().any(|(_, input)| matches!(input, Input::Built(_))), "it builds a second block");
    net.tell(leader, Input::Timer(REPEAT));
    net.until(2);
}

#[test]
fn a_block_is_voted_for_only_if_a_leader_up_to_now_made_it() {
    let mut net = Net::new();
    let made_by = |net: &Net, author| net.members.iter().for_each(|(_, keys)| keys.author.set(Some(author)));
    let leaders = [0, 1].map(|view| net.members[0].0.seat.leader(view));
    made_by(&net, leaders[1]);
    while let Some((index, input)) = net.waiting.pop_front() {
        net.tell(index, input);
    }
    assert!(net.decided.iter().all(Vec::is_empty), "the leader proposed another's block");
    let (member, keys) = &mut net.members[0];
    let mut votes = |view, author| {
        keys.author.set(Some(author));
        member.seat.view = view;
        let id = *member.seat.judged.keys().next().unwrap();
        native::with(keys.clone(), || member.seat.may_vote(id))
    };
    // In the next view its author may propose it, and in a later view anyone, as it may be decided.
    assert_eq!(
        [votes(0, leaders[1]), votes(1, leaders[1]), votes(2, leaders[1]), votes(u32::MAX, [9; 32])],
        [false, true, true, false].map(Some)
    );
    let mut net = Net::new();
    made_by(&net, leaders[0]);
    while net.decided.iter().any(Vec::is_empty) {
        let (index, input) = net.waiting.pop_front().expect("the leader's own block is decided");
        net.tell(index, input);
    }
}

#[test]
fn messages_of_the_next_height_wait_and_those_of_others_do_not() {
    let mut net = Net::new();
    let member = [1; 32];
    let said = |height, key: Key| {
        let (at, text) = Message::signed(height, 0, &Word::Accept([7; 32]));
        encode(&Message { height, view: 0, said: Word::Accept([7; 32]), member: key, signature: text_of(&key, at, &text) })
    };
    let early = |net: &mut Net, message: Vec<u8>| {
        net.tell(1, Input::Message(message));
        std::mem::take(&mut net.members[1].0.early).take().count()
    };
    assert_eq!(early(&mut net, said(2, member)), 1);
    assert_eq!(early(&mut net, said(3, member)), 0, "of a height after the next");
    assert_eq!(early(&mut net, said(2, [9; 32])), 0, "of no member");
    let mut forged = said(2, member);
    *forged.last_mut().unwrap() ^= 1;
    assert_eq!(early(&mut net, forged), 0, "not genuine");
}

#[test]
fn no_signature_is_checked_for_what_is_dropped_anyway() {
    let mut net = Net::new();
    let keys = net.members[1].1.clone();
    let mut checks = |number: u8| {
        let said = Word::Accept([number; 32]);
        let (at, text) = Message::signed(2, 0, &said);
        let before = keys.checks.get();
        net.tell(
            1,
            Input::Message(encode(&Message { height: 2, view: 0, said, member: [1; 32], signature: text_of(&[1; 32], at, &text) })),
        );
        keys.checks.get() - before
    };
    assert_eq!([checks(0), checks(0)], [1, 0], "it waits already");
    assert_eq!((1..100).map(checks).sum::<usize>(), 7, "its member has no more room");
    let junk = encode(&Certificate { view: 0, votes: vec![([1; 32], Vec::new()); 2_000] });
    let before = keys.checks.get();
    native::with(keys.clone(), || Member::<Majority>::check(validators(), 1, vec![0; 32], junk)).unwrap_err();
    assert_eq!(keys.checks.get(), before);
}
