//! What members signed at a height, and what enough of them say.

use std::collections::BTreeMap;

use malachite_types::{NilOrVal, ValidatorSet as _};

use crate::{
    context::{BlockId, Committee, Key, Proposal, Signature, Vote},
    message::Message,
    signing::{PRECOMMIT, PREVOTE, PROPOSE},
};

/// What a message of a member is beside what the member signed before.
pub enum Noted {
    /// Nothing was known for that place.
    New,
    /// It is the first that is known for that place, said again.
    Known,
    /// The member signed this before, which is another thing for the same place.
    Contradiction(Message),
    /// It shows nothing new: the second of two things said again, a third one, or what is known under another signature. An ed25519 key has many
    /// signatures of one message, and whoever counted each would count its member twice.
    Surplus,
}

/// Whether a proposal may be worked on.
#[derive(Debug, PartialEq, Eq)]
pub enum Fit {
    Now,
    /// Once it is known that two thirds voted for its block in the round that it names.
    Later,
    /// Two thirds voted for another block in its round.
    Never,
}

struct Word {
    said: Message,
    logged: bool,
}

/// See the module.
#[derive(Default)]
pub struct Words {
    /// What each member signed at each step of each round. Bound: two of each, as a second one shows that the member breaks the rules, and a third
    /// nothing more.
    signed: BTreeMap<(Key, u32, u8), Vec<Word>>,
    /// The block that two thirds voted for in a round. Bound: one for each round in `signed`.
    polkas: BTreeMap<u32, BlockId>,
    /// The block that two thirds precommitted to, and the round.
    decided: Option<(BlockId, u32)>,
}

/// By whom a message is signed, and for which round and step; none of a certificate.
fn place(said: &Message) -> Option<(Key, u32, u8)> {
    match said {
        Message::Vote(vote, _) => Some((vote.voter, vote.round, if vote.precommit { PRECOMMIT } else { PREVOTE })),
        Message::Proposal(proposal, _) => Some((proposal.proposer, proposal.round, PROPOSE)),
        Message::Polka { .. } | Message::Round { .. } => None,
    }
}

/// Whether two messages are the same, whatever their signatures.
fn same(one: &Message, other: &Message) -> bool {
    match (one, other) {
        (Message::Vote(one, _), Message::Vote(other, _)) => one == other,
        (Message::Proposal(one, _), Message::Proposal(other, _)) => one == other,
        _ => false,
    }
}

impl Words {
    /// Notes what a member signed.
    pub fn note(&mut self, said: &Message, committee: &Committee) -> Noted {
        let Some(place) = place(said) else { return Noted::Surplus };
        let words = self.signed.entry(place).or_default();
        if let Some(known) = words.iter().position(|word| same(&word.said, said)) {
            return if known == 0 && words[0].said == *said { Noted::Known } else { Noted::Surplus };
        }
        let noted = match words.as_slice() {
            [] => Noted::New,
            [first] => Noted::Contradiction(first.said.clone()),
            _ => return Noted::Surplus,
        };
        words.push(Word { said: said.clone(), logged: false });
        if let Message::Vote(Vote { precommit, round, block: NilOrVal::Val(block), .. }, _) = said {
            let voters = self.voters(*round, if *precommit { PRECOMMIT } else { PREVOTE }, *block);
            let power: u128 = voters.keys().map(|key| u128::from(committee.power(*key))).sum();
            if power * 3 > u128::from(committee.total_voting_power()) * 2 {
                if *precommit {
                    self.decided = Some((*block, *round));
                } else {
                    self.add_polka(*round, *block);
                }
            }
        }
        noted
    }

    /// Notes that two thirds voted for a block in a round.
    pub fn add_polka(&mut self, round: u32, block: BlockId) {
        self.polkas.entry(round).or_insert(block);
    }

    /// Whether something that a member signed is to be logged, which it is once.
    pub fn take_unlogged(&mut self, said: &Message) -> bool {
        let words = place(said).and_then(|place| self.signed.get_mut(&place));
        let word = words.and_then(|words| words.iter_mut().find(|word| word.said == *said));
        word.is_none_or(|word| !std::mem::replace(&mut word.logged, true))
    }

    /// Who voted for a block at a step of a round.
    fn voters(&self, round: u32, step: u8, block: BlockId) -> BTreeMap<Key, Signature> {
        let words = self.signed.iter().filter(|((_, of, at), _)| (*of, *at) == (round, step)).flat_map(|(_, words)| words);
        let voter = |word: &Word| match &word.said {
            Message::Vote(vote, signature) if vote.block == NilOrVal::Val(block) => Some((vote.voter, *signature)),
            _ => None,
        };
        words.filter_map(voter).collect()
    }

    /// The block that enough precommitted to, the round, and their signatures.
    pub fn decision(&self) -> Option<(BlockId, u32, BTreeMap<Key, Signature>)> {
        let (block, round) = self.decided?;
        Some((block, round, self.voters(round, PRECOMMIT, block)))
    }

    /// Whether a proposal may be worked on. The core takes a proposal for proven by any certificate of the round that it names, and for voted for by
    /// any certificate of its own round, whatever their blocks: a proposer could unlock members by what locked them.
    pub fn fit(&self, proposal: &Proposal) -> Fit {
        let polka = |round: u32| self.polkas.get(&round).copied();
        if polka(proposal.round).is_some_and(|block| block != proposal.block) {
            return Fit::Never;
        }
        match proposal.proven_round.map(polka) {
            None => Fit::Now,
            Some(block) if block == Some(proposal.block) => Fit::Now,
            Some(None) => Fit::Later,
            Some(Some(_)) => Fit::Never,
        }
    }

    /// The signature by which a vote is known already.
    pub fn signature(&self, vote: &Vote) -> Option<Signature> {
        let said = Message::Vote(vote.clone(), Signature::NONE);
        self.signed.get(&place(&said)?)?.iter().find_map(|word| match &word.said {
            Message::Vote(known, signature) if known == vote => Some(*signature),
            _ => None,
        })
    }

    /// Whether a member was heard at this height.
    pub fn has_heard(&self, member: Key) -> bool {
        self.signed.range((member, 0, 0)..=(member, u32::MAX, u8::MAX)).next().is_some()
    }

    /// What a member said first at each step of these rounds.
    pub fn said_by(&self, member: Key, rounds: std::ops::RangeInclusive<u32>) -> Vec<Message> {
        let words = self.signed.range((member, *rounds.start(), 0)..=(member, *rounds.end(), u8::MAX));
        words.filter_map(|(_, words)| words.first()).map(|word| word.said.clone()).collect()
    }
}
