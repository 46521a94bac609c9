//! Members that break the rules of `bft`. Each runs the honest code, and its messages are changed on their way.

use std::collections::BTreeMap;

use bytes::Bytes;
use malachite_types::NilOrVal;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use subnode_bft::{
    context::{BlockId, Height, Key, Proposal, Signature, Vote},
    message::{Certificate, Message},
    signing::{of_proposal, of_vote},
};
use subnode_chain_core::{
    Manifest,
    wire::{self, Asked, Question, Whole},
};
use subnode_sandbox::Signer;
use subnode_sdk::codec::{decode, encode};
use subnode_signer::{Guard, Voter};
use subnode_simulator::{Flooder, Member, Tamper};
use subnode_types::{NodeId, Position, Purpose};

/// How a member is bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Says one thing to some and another to others.
    Equivocator,
    /// Says everything many times, among nonsense, votes of outsiders, and votes for times that never come.
    Flooder,
    /// Shows majorities that there were not.
    ForgedCertificates,
    /// Proposes what is no block.
    InvalidProposer,
    /// Proposes blocks that nobody has in many rounds that have not begun, and says it is there.
    EarlyProposer,
    /// Votes, and proposes nothing.
    NoProposer,
    /// Says nothing in the first round of a height: at its turn it is heard once the others have waited for it.
    LateVoter,
}

/// A bad member.
pub struct Actor {
    kind: Kind,
    node: NodeId,
    secret: [u8; 32],
    chain: [u8; 32],
    random: StdRng,
    /// What it proposes that is no block, by id; and which of it at a height, in a round.
    junk: BTreeMap<[u8; 32], Vec<u8>>,
    proposed: BTreeMap<(u64, u32), BlockId>,
    /// Certificates that it has seen go by, of any block.
    certificates: Vec<Vec<u8>>,
    flooder: Flooder,
}

impl Actor {
    /// Of a member, whose secret it signs with.
    #[must_use]
    pub fn new(kind: Kind, member: Member) -> Self {
        let Member { node, secret, seed } = member;
        Self {
            kind,
            node,
            secret,
            chain: [0; 32],
            random: StdRng::seed_from_u64(seed ^ 0xbad),
            junk: BTreeMap::new(),
            proposed: BTreeMap::new(),
            certificates: Vec::new(),
            flooder: Flooder::new(member),
        }
    }

    fn signature(&self, secret: [u8; 32], (at, text): (subnode_sdk::consensus::Position, Vec<u8>)) -> Signature {
        // It remembers nothing, so it signs anything.
        let at = Position { height: at.height, round: at.round, step: at.step };
        let signature = Voter::new(Some(secret), self.chain, Guard::default()).sign(at, &text).expect("a first signature");
        Signature::from_bytes(&signature).expect("64 bytes")
    }

    fn vote(&self, vote: Vote) -> Bytes {
        let signature = self.signature(self.secret, of_vote(&vote));
        encode(&Message::Vote(vote, signature)).into()
    }

    fn proposal(&self, proposal: Proposal) -> Bytes {
        let signature = self.signature(self.secret, of_proposal(&proposal));
        encode(&Message::Proposal(proposal, signature)).into()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        let mut bytes = vec![0; length];
        self.random.fill_bytes(&mut bytes);
        bytes
    }

    fn id(&mut self) -> BlockId {
        let mut id = [0; 32];
        self.random.fill_bytes(&mut id);
        BlockId(id)
    }

    /// What it proposes in a round, which is no block: the same to all, so that they could agree on it.
    fn junk(&mut self, height: Height, round: u32) -> BlockId {
        if let Some(known) = self.proposed.get(&(height.0, round)) {
            return *known;
        }
        let block = self.bytes(300);
        let id = Manifest::of(&block, [9; 32]).expect("a short block").id();
        self.junk.insert(id, block);
        self.proposed.insert((height.0, round), BlockId(id));
        BlockId(id)
    }

    /// So many votes of a height, each for another block: all are genuine, and no two are of one mind.
    pub fn votes(&mut self, height: u64, count: usize) -> Vec<Bytes> {
        let vote = |_| {
            let (block, precommit, round) = (self.id(), self.random.random(), self.random.random_range(0..2_000));
            self.vote(Vote { precommit, height: Height(height), round, block: NilOrVal::Val(block), voter: Key(self.node.0) })
        };
        (0..count).map(vote).collect()
    }

    /// So many proposals of a height, in any of its rounds, of blocks that there are not.
    pub fn proposals(&mut self, height: u64, count: usize) -> Vec<Bytes> {
        let proposal = |_| {
            let (block, round) = (self.id(), self.random.random_range(0..100));
            self.proposal(Proposal { height: Height(height), round, block, proven_round: None, proposer: Key(self.node.0) })
        };
        (0..count).map(proposal).collect()
    }

    /// What any flooder says, and votes that are no part of the protocol.
    fn flood(&mut self, to: NodeId, purpose: Purpose, frame: &Bytes) -> Vec<(Purpose, Bytes)> {
        let mut frames = self.flooder.say(to, purpose, frame);
        let (block, round) = (self.id(), self.random.random());
        let height = Height(self.random.random_range(0..20));
        let mut vote = Vote { precommit: self.random.random(), height, round, block: NilOrVal::Val(block), voter: Key(self.node.0) };
        frames.push((Purpose::Consensus, self.vote(vote.clone())));
        vote.round %= 2_000;
        frames.push((Purpose::Consensus, self.vote(vote.clone())));
        // An outsider's, whose signature is good.
        let outsider = [self.random.random(); 32];
        vote.voter = Key(Voter::new(Some(outsider), self.chain, Guard::default()).key().expect("a key").0);
        let signature = self.signature(outsider, of_vote(&vote));
        frames.push((Purpose::Consensus, encode(&Message::Vote(vote, signature)).into()));
        frames
    }
}

impl Tamper for Actor {
    fn joined(&mut self, chain: [u8; 32]) {
        self.chain = chain;
    }

    fn say(&mut self, to: NodeId, purpose: Purpose, frame: &Bytes) -> Vec<(Purpose, Bytes)> {
        let honest = vec![(purpose, frame.clone())];
        let half = to.0[31].is_multiple_of(2);
        let message = (purpose == Purpose::Consensus).then(|| decode::<Message>(frame)).flatten();
        match (self.kind, message) {
            (Kind::Equivocator, Some(Message::Vote(mut vote, _))) if half => {
                vote.block = match vote.block {
                    NilOrVal::Val(_) => NilOrVal::Nil,
                    NilOrVal::Nil => NilOrVal::Val(self.id()),
                };
                vec![(purpose, self.vote(vote)), (purpose, frame.clone())]
            }
            (Kind::Equivocator, Some(Message::Proposal(mut proposal, _))) if half => {
                proposal.block = self.id();
                vec![(purpose, self.proposal(proposal))]
            }
            (Kind::NoProposer, Some(Message::Proposal(..))) => Vec::new(),
            (Kind::LateVoter, Some(Message::Proposal(Proposal { round: 0, .. }, _) | Message::Vote(Vote { round: 0, .. }, _))) => {
                Vec::new()
            }
            (Kind::Flooder, _) => self.flood(to, purpose, frame),
            (Kind::ForgedCertificates, Some(Message::Vote(vote, signature))) => {
                let block = self.id();
                let key = Key(self.node.0);
                // Its own vote as that of everyone, and many times.
                let signatures: Vec<_> = (0..7).map(|i| (if i < 4 { key } else { Key([i; 32]) }, signature)).collect();
                let polka = Message::Polka { height: vote.height, round: vote.round, block, signatures };
                let stranger = Vote { precommit: true, block: NilOrVal::Val(block), voter: Key(to.0), ..vote.clone() };
                let votes = vec![(vote.clone(), signature), (stranger.clone(), signature), (stranger, signature)];
                let round = Message::Round { height: vote.height, round: vote.round + 1, skip: true, votes };
                vec![(purpose, encode(&polka).into()), (purpose, encode(&round).into()), (purpose, frame.clone())]
            }
            (Kind::InvalidProposer, Some(Message::Proposal(mut proposal, _))) => {
                proposal.block = self.junk(proposal.height, proposal.round);
                proposal.proven_round = None;
                vec![(purpose, self.proposal(proposal))]
            }
            (Kind::EarlyProposer, Some(Message::Vote(vote, _))) => {
                let mut frames = Vec::new();
                for round in 1..=100 {
                    let (key, height) = (Key(self.node.0), vote.height);
                    let block = self.junk(height, round);
                    frames.push((purpose, self.proposal(Proposal { height, round, block, proven_round: None, proposer: key })));
                    frames.push((purpose, self.vote(Vote { precommit: true, height, round, block: NilOrVal::Nil, voter: key })));
                }
                frames.push((purpose, frame.clone()));
                frames
            }
            _ => honest,
        }
    }

    fn answer(&mut self, question: &Bytes) -> Option<Option<Bytes>> {
        let question: Question = wire::decode(question)?;
        let whole = |block: Vec<u8>, certificate: Vec<u8>| {
            let manifest = Manifest::of(&block, [9; 32]).ok()?;
            Some(Bytes::from(wire::encode(&Whole { manifest, certificate, first: block })))
        };
        match (self.kind, question) {
            (Kind::InvalidProposer, Question::Block(Asked::Candidate(id)) | Question::Part(Asked::Candidate(id), _)) => {
                self.junk.get(&id).map(|block| whole(block.clone(), Vec::new()))
            }
            (Kind::ForgedCertificates, Question::Block(Asked::Decided(_))) => {
                let block = self.bytes(100);
                // A good one of another block, or one with its own vote many times.
                let certificate = if let Some(other) = self.certificates.first().filter(|_| self.random.random()) {
                    other.clone()
                } else {
                    let id = BlockId(Manifest::of(&block, [9; 32]).ok()?.id());
                    let vote = Vote { precommit: true, height: Height(1), round: 0, block: NilOrVal::Val(id), voter: Key(self.node.0) };
                    let signature = self.signature(self.secret, of_vote(&vote));
                    encode(&Certificate { round: 0, signatures: vec![(Key(self.node.0), signature); 7] })
                };
                Some(whole(block, certificate))
            }
            _ => None,
        }
    }

    fn overhear(&mut self, answer: &Bytes) {
        if let Some(whole) = wire::decode::<Whole>(answer).filter(|whole| !whole.certificate.is_empty()) {
            self.certificates.truncate(8);
            self.certificates.insert(0, whole.certificate);
        }
    }
}
