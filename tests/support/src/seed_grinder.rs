//! Members that search for a seed they like, and propose blocks of `kv` with it. Their blocks are right in all else.

use std::collections::BTreeMap;

use bytes::Bytes;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use sha2::{Digest, Sha256};
use subnode_bft::{
    context::{BlockId, Proposal, Signature},
    message::Message,
    signing::of_proposal,
};
use subnode_chain_core::{
    Author, Manifest, Summary,
    wire::{self, Asked, Question, Whole},
};
use subnode_sandbox::Signer;
use subnode_sdk::codec::{decode, encode};
use subnode_signer::{DrawnSeed, Guard, Voter};
use subnode_simulator::{Member, Tamper};
use subnode_types::{NodeId, Position, Purpose};

/// Where a member looks for a seed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Search {
    /// Nowhere: it proposes the seed that it drew. Others take such a block.
    Nowhere,
    /// It writes any seed into the block.
    Block,
    /// It draws for other heights.
    Heights,
    /// It draws after other seeds than the last one.
    Before,
    /// It names another member as the author.
    Names,
}

/// See the module.
pub struct SeedGrinder {
    search: Search,
    node: NodeId,
    voter: Voter,
    secret: [u8; 32],
    random: StdRng,
    /// The last block that it overheard at each height: its id as `kv` has it, its time and its seed.
    heard: BTreeMap<u64, ([u8; 32], u64, [u8; 32])>,
    /// What it proposed at a height.
    proposed: BTreeMap<u64, [u8; 32]>,
    wholes: BTreeMap<[u8; 32], Whole>,
}

/// A block's seed that the grinder likes.
fn is_liked(seed: &[u8; 32]) -> bool {
    seed[0].is_multiple_of(8)
}

impl SeedGrinder {
    /// Of a member, whose secret it signs with.
    #[must_use]
    pub fn new(search: Search, member: Member) -> Self {
        let Member { node, secret, seed } = member;
        let (voter, random) = (Voter::new(Some(secret), [0; 32], Guard::default()), StdRng::seed_from_u64(seed ^ 0x5eed));
        Self { search, node, voter, secret, random, heard: BTreeMap::new(), proposed: BTreeMap::new(), wholes: BTreeMap::new() }
    }

    /// The author and the seed of its block at a height.
    fn choose(&mut self, height: u64, last: [u8; 32], other: NodeId) -> Option<(DrawnSeed, [u8; 32])> {
        let drawn = self.voter.draw(height, &last)?;
        let mut any = [0; 32];
        Some(match self.search {
            Search::Nowhere => (drawn, drawn.seed),
            Search::Names => (DrawnSeed { author: other, ..drawn }, drawn.seed),
            Search::Block => {
                while !is_liked(&any) || any == [0; 32] {
                    self.random.fill_bytes(&mut any);
                }
                (drawn, any)
            }
            Search::Heights => {
                let drawn =
                    (height + 1..height + 1_000).filter_map(|height| self.voter.draw(height, &last)).find(|drawn| is_liked(&drawn.seed))?;
                (drawn, drawn.seed)
            }
            Search::Before => loop {
                self.random.fill_bytes(&mut any);
                let drawn = self.voter.draw(height, &any)?;
                if is_liked(&drawn.seed) {
                    break (drawn, drawn.seed);
                }
            },
        })
    }

    /// Its block at a height, if it knows what that follows.
    fn block(&mut self, height: u64, other: NodeId) -> Option<[u8; 32]> {
        if let Some(known) = self.proposed.get(&height) {
            return Some(*known);
        }
        let (parent, timestamp_ms, last) = *self.heard.get(&(height - 1))?;
        let (drawn, seed) = self.choose(height, last, other)?;
        let block = [parent.as_slice(), &height.to_be_bytes(), &timestamp_ms.to_be_bytes(), &seed].concat();
        // What changes nothing: no rows of the state, none of the index, no sender's progress.
        let nothing = [8_u64.to_be_bytes(), 0_u64.to_be_bytes()].concat().repeat(3);
        let summary = Summary {
            height,
            id: Sha256::digest(&block).to_vec(),
            timestamp_ms,
            transactions: 0,
            changes: Sha256::digest(nothing).into(),
            committee: None,
            checkpoint: None,
            attesters: Vec::new(),
            upgrades: Vec::new(),
        };
        let manifest = Manifest::of(&block, summary.digest()).ok()?.by(Some(Author::new(drawn.author, drawn.proof)));
        let id = manifest.id();
        self.wholes.insert(id, Whole { manifest, certificate: Vec::new(), first: block });
        self.proposed.insert(height, id);
        Some(id)
    }

    fn proposal(&self, proposal: Proposal) -> Bytes {
        let (at, text) = of_proposal(&proposal);
        let at = Position { height: at.height, round: at.round, step: at.step };
        // It remembers nothing, so it signs anything.
        let voter = Voter::new(Some(self.secret), self.voter.chain(), Guard::default());
        let signature = voter.sign(at, &text).expect("a first signature");
        encode(&Message::Proposal(proposal, Signature::from_bytes(&signature).expect("64 bytes"))).into()
    }
}

impl Tamper for SeedGrinder {
    fn joined(&mut self, chain: [u8; 32]) {
        self.voter = Voter::new(Some(self.secret), chain, Guard::default());
    }

    fn say(&mut self, to: NodeId, purpose: Purpose, frame: &Bytes) -> Vec<(Purpose, Bytes)> {
        let message = (purpose == Purpose::Consensus).then(|| decode::<Message>(frame)).flatten();
        if let Some(Message::Proposal(mut proposal, _)) = message
            && proposal.proven_round.is_none()
            && proposal.proposer.0 == self.node.0
        {
            // Without one of its own it proposes nothing: an honest proposal would hide what becomes of the others.
            let Some(id) = self.block(proposal.height.0, to) else { return Vec::new() };
            proposal.block = BlockId(id);
            return vec![(purpose, self.proposal(proposal))];
        }
        vec![(purpose, frame.clone())]
    }

    fn answer(&mut self, question: &Bytes) -> Option<Option<Bytes>> {
        let Question::Block(Asked::Candidate(id)) = wire::decode(question)? else { return None };
        Some(Some(wire::encode(self.wholes.get(&id)?).into()))
    }

    fn overhear(&mut self, answer: &Bytes) {
        let Some(whole) = wire::decode::<Whole>(answer) else { return };
        let block = &whole.first;
        let height = block.get(32..40).and_then(|height| height.try_into().ok()).map(u64::from_be_bytes);
        let time = block.get(40..48).and_then(|time| time.try_into().ok()).map(u64::from_be_bytes);
        let seed = block.get(48..80).and_then(|seed| seed.try_into().ok());
        if let (Some(height), Some(time), Some(seed)) = (height, time, seed) {
            self.heard.insert(height, (Sha256::digest(block).into(), time, seed));
        }
    }
}
