use std::{cell::Cell, rc::Rc};

use subnode_sdk::{
    consensus::{Beginning, BlockRef, Consensus, Input, Position, Validator},
    member::Said as _,
    native::{self, Host},
};

use super::*;

/// A host of the first of four members: a signature is the key and what it signs.
#[derive(Default)]
struct Keys {
    checks: Cell<usize>,
}

fn signature(key: &[u8], at: Position, text: &[u8]) -> Vec<u8> {
    [key, &at.height.to_be_bytes(), &at.round.to_be_bytes(), &[at.step], text].concat()
}

impl Host for Keys {
    fn key(&self) -> Option<Vec<u8>> {
        Some(vec![1; 32])
    }

    fn sign(&self, at: Position, text: &[u8]) -> Option<Vec<u8>> {
        Some(signature(&[1; 32], at, text))
    }

    fn verify(&self, key: &[u8], at: Position, text: &[u8], by: &[u8]) -> bool {
        self.checks.set(self.checks.get() + 1);
        by == signature(key, at, text)
    }
}

/// A member at height 1, which has begun. The leader of view 0 is 2, that of view 1 is 3.
struct One {
    member: Member<Pbft>,
    keys: Rc<Keys>,
}

impl One {
    fn new() -> Self {
        let keys = Rc::new(Keys::default());
        let beginning = Beginning {
            config: Vec::new(),
            head: BlockRef { height: 0, id: vec![0; 32], timestamp_ms: 0 },
            ready: 1,
            committee: (1..=4).map(|key| Validator { key: vec![key; 32], power: 1 }).collect(),
            log: Vec::new(),
            kept: Vec::new(),
        };
        let (member, _) = native::with(keys.clone(), || Member::start(beginning)).unwrap();
        let mut one = Self { member, keys };
        one.handle(Input::Timer(0));
        one
    }

    fn handle(&mut self, input: Input) -> Vec<Effect> {
        native::with(self.keys.clone(), || self.member.handle(0, input))
    }

    /// How many signatures are checked for a message.
    fn checks(&mut self, message: &Message) -> usize {
        let before = self.keys.checks.get();
        self.handle(Input::Message(encode(message)));
        self.keys.checks.get() - before
    }

    /// What it says once it has heard a message.
    fn answers(&mut self, message: &Message) -> Vec<Message> {
        let effects = self.handle(Input::Message(encode(message)));
        effects.iter().filter_map(|effect| if let Effect::Broadcast(said) = effect { decode(said) } else { None }).collect()
    }
}

fn signed(key: u8, view: u32, said: Said) -> Message {
    let signature = signature(&[key; 32], Position { height: 1, round: view, step: said.step() }, &said.text());
    Message { height: 1, view, said, member: [key; 32], signature }
}

fn vote(key: u8, view: u32, id: Id) -> (Key, Signature) {
    ([key; 32], signed(key, view, Said::Prepare(id)).signature)
}

fn change(key: u8, view: u32, prepared: Option<Prepared>) -> Change {
    let Message { member, signature, .. } = signed(key, view, Said::Change(prepared.clone()));
    Change { member, prepared, signature }
}

const BLOCK: Id = [7; 32];

fn prepared() -> Prepared {
    Prepared { view: 0, id: BLOCK, votes: [2, 3, 4].map(|key| vote(key, 0, BLOCK)).to_vec() }
}

#[test]
fn votes_of_one_key_are_not_checked_many_times() {
    let mut one = One::new();
    let mut votes = vec![vote(4, 0, BLOCK); 2_400];
    votes.extend([2, 3].map(|key| ([key; 32], Vec::new())));
    let repeated = signed(4, 1, Said::Change(Some(Prepared { view: 0, id: BLOCK, votes: votes.clone() })));
    assert_eq!(one.checks(&repeated), 0);
    let changes = vec![change(4, 1, None); 3];
    assert_eq!(one.checks(&signed(3, 1, Said::Propose(BLOCK, changes))), 0);
    let nested = [2, 3, 4].map(|key| change(key, 1, Some(Prepared { view: 0, id: BLOCK, votes: votes.clone() })));
    assert_eq!(one.checks(&signed(3, 1, Said::Propose(BLOCK, nested.to_vec()))), 0);
}

#[test]
fn the_senders_signature_is_checked_before_those_that_it_brings() {
    let mut one = One::new();
    let mut forged = signed(4, 1, Said::Change(Some(prepared())));
    forged.signature.clear();
    assert_eq!(one.checks(&forged), 1);
}

#[test]
fn what_is_known_is_not_checked_again() {
    let mut one = One::new();
    let commit = signed(2, 0, Said::Commit(BLOCK));
    assert_eq!([one.checks(&commit), one.checks(&commit)], [1, 0]);
    // Two of the three votes are heard before the change that brings them along.
    for key in [2, 3] {
        assert_eq!(one.checks(&signed(key, 0, Said::Prepare(BLOCK))), 1);
    }
    let moved = signed(2, 1, Said::Change(Some(prepared())));
    assert_eq!([one.checks(&moved), one.checks(&moved)], [2, 0]);
    // One of the three changes is known. The vote that is not comes twice.
    let changes = [2, 3, 4].map(|key| change(key, 1, Some(prepared()))).to_vec();
    let proposal = signed(3, 1, Said::Propose(BLOCK, changes));
    assert_eq!([one.checks(&proposal), one.checks(&proposal)], [4, 0]);
}

#[test]
fn a_change_or_a_proposal_without_genuine_signatures_is_not_heard() {
    let mut one = One::new();
    let mut forged = prepared();
    forged.votes[2].1.clear();
    let changes = [2, 3, 4].map(|key| change(key, 1, Some(forged.clone()))).to_vec();
    assert!(one.answers(&signed(3, 1, Said::Propose(BLOCK, changes))).is_empty());
    let mut changes = [2, 3, 4].map(|key| change(key, 1, None)).to_vec();
    changes[1].signature.clear();
    assert!(one.answers(&signed(3, 1, Said::Propose(BLOCK, changes.clone()))).is_empty());
    for key in [2, 3, 4] {
        assert!(one.answers(&signed(key, 1, Said::Change(Some(forged.clone())))).is_empty());
    }
    changes[1] = change(3, 1, None);
    let said = one.answers(&signed(3, 1, Said::Propose(BLOCK, changes)));
    assert_eq!(said.iter().map(|said| said.view).collect::<Vec<_>>(), [1]);
}

#[test]
fn evidence_is_both_of_the_messages() {
    type Kind = fn(Id) -> Said;
    let kinds: [Kind; 3] = [|id| Said::Propose(id, Vec::new()), Said::Prepare, Said::Commit];
    for kind in kinds {
        let mut one = One::new();
        let mut hear = |id| one.handle(Input::Message(encode(&signed(2, 0, kind([id; 32])))));
        hear(7);
        let effects = hear(8);
        let proof = effects.iter().find_map(|effect| if let Effect::Evidence(evidence) = effect { Some(&evidence.proof) } else { None });
        let (first, second): (Message, Message) = decode(proof.unwrap()).unwrap();
        assert_eq!((first, second), (signed(2, 0, kind([7; 32])), signed(2, 0, kind([8; 32]))));
        assert!(!hear(9).iter().any(|effect| matches!(effect, Effect::Evidence(_))), "it is accused once");
    }
}

#[test]
fn evidence_is_believed_by_its_signature_alone() {
    let mut one = One::new();
    let changes = |id| [2, 3, 4].map(|key| change(key, 1, Some(Prepared { id, ..prepared() }))).to_vec();
    one.checks(&signed(3, 1, Said::Propose(BLOCK, changes(BLOCK))));
    assert_eq!(one.checks(&signed(3, 1, Said::Propose([8; 32], changes([8; 32])))), 1);
    assert_eq!(one.checks(&signed(3, 1, Said::Propose([9; 32], changes([9; 32])))), 0, "it is accused");
}

#[test]
fn members_who_are_far_ahead_are_followed() {
    let mut one = One::new();
    assert!(one.answers(&signed(2, 10_000, Said::Change(None))).is_empty());
    assert!(one.answers(&signed(2, 10_001, Said::Change(None))).is_empty(), "one that may lie is not");
    let said = one.answers(&signed(3, 10_000, Said::Change(None)));
    assert_eq!(said, [signed(1, 10_000, Said::Change(None))]);
}
