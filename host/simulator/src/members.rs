//! Members that break the rules. They may say anything on the network, and may forget what is on their disk.

use std::fmt;

use bytes::Bytes;
use rand::{Rng, RngCore, SeedableRng, rngs::StdRng};
use subnode_chain_core::{
    Link, Manifest,
    checkpoint::Outline,
    wire::{self, Notice, Question, Whole},
};
use subnode_types::{NodeId, Purpose};

/// Who a member is.
#[derive(Clone, Copy, Debug)]
pub struct Member {
    /// Its key.
    pub node: NodeId,
    /// Its secret: a bad member signs what it likes.
    pub secret: [u8; 32],
    /// Of the run.
    pub seed: u64,
}

/// How the first member of a run breaks the rules.
#[derive(Clone, Copy)]
pub enum Bad {
    /// It runs the honest code, and what it says is changed on the way.
    Tampers(fn(Member) -> Box<dyn Tamper>),
    /// It forgets its log, and so what it signed, whenever it is started.
    Forgets,
    /// It runs twice, with one key and two disks, each side for half of the others: whatever a protocol has, it says two things of it (Bano et al., "Twins: BFT
    /// Systems Made Robust", 2020).
    Twins,
    /// Its clock is an hour ahead.
    Hurries,
}

impl fmt::Debug for Bad {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tampers(_) => "Tampers",
            Self::Forgets => "Forgets",
            Self::Twins => "Twins",
            Self::Hurries => "Hurries",
        })
    }
}

/// Changes what a member says.
pub trait Tamper: Send {
    /// It has joined this chain.
    fn joined(&mut self, _chain: [u8; 32]) {}

    /// What it says to `to` in place of a frame.
    fn say(&mut self, _to: NodeId, purpose: Purpose, frame: &Bytes) -> Vec<(Purpose, Bytes)> {
        vec![(purpose, frame.clone())]
    }

    /// What it answers; none leaves that to the honest code, and the inner none is no answer.
    fn answer(&mut self, _question: &Bytes) -> Option<Option<Bytes>> {
        None
    }

    /// Overhears an answer of another node's.
    fn overhear(&mut self, _answer: &Bytes) {}
}

/// Tells half of the others nothing, and gives nobody a block.
pub struct Withholder;

impl Tamper for Withholder {
    fn say(&mut self, to: NodeId, purpose: Purpose, frame: &Bytes) -> Vec<(Purpose, Bytes)> {
        if to.is_even() { Vec::new() } else { vec![(purpose, frame.clone())] }
    }

    fn answer(&mut self, _question: &Bytes) -> Option<Option<Bytes>> {
        Some(None)
    }
}

/// Half of all nodes.
pub(crate) trait Half {
    fn is_even(&self) -> bool;
}

impl Half for NodeId {
    fn is_even(&self) -> bool {
        self.0[31].is_multiple_of(2)
    }
}

fn bytes(random: &mut StdRng, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    random.fill_bytes(&mut bytes);
    bytes
}

/// Says everything many times, some of it later again, among halves of it, changed bits and nonsense.
pub struct Flooder {
    random: StdRng,
    said: Vec<(Purpose, Bytes)>,
}

impl Flooder {
    /// Of a member.
    #[must_use]
    pub fn new(member: Member) -> Self {
        Self { random: StdRng::seed_from_u64(member.seed ^ 0xf100d), said: Vec::new() }
    }
}

impl Tamper for Flooder {
    fn say(&mut self, _to: NodeId, purpose: Purpose, frame: &Bytes) -> Vec<(Purpose, Bytes)> {
        let mut frames = vec![(purpose, frame.clone()); 5];
        frames.push((purpose, frame.slice(..frame.len() / 2)));
        let mut changed = frame.to_vec();
        if !changed.is_empty() {
            let at = self.random.random_range(0..changed.len());
            changed[at] ^= 1 << self.random.random_range(0..8);
        }
        frames.push((purpose, changed.into()));
        for purpose in [Purpose::Consensus, Purpose::Transactions, Purpose::Blocks, Purpose::Statements] {
            let length = self.random.random_range(0..2_000);
            frames.push((purpose, bytes(&mut self.random, length).into()));
        }
        if !self.said.is_empty() {
            let again = self.random.random_range(0..self.said.len());
            frames.push(self.said[again].clone());
        }
        if self.said.len() < 256 {
            self.said.push((purpose, frame.clone()));
        }
        frames
    }
}

/// Says that it is far ahead, and has anything but the blocks and states that it is asked for.
pub struct LyingSyncPeer {
    random: StdRng,
    /// Links that it has overheard, with roots of its own.
    links: Option<Bytes>,
}

impl LyingSyncPeer {
    /// Of a member.
    #[must_use]
    pub fn new(member: Member) -> Self {
        Self { random: StdRng::seed_from_u64(member.seed ^ 0x11e5), links: None }
    }

    fn whole(&mut self) -> Bytes {
        let (block, certificate) = (bytes(&mut self.random, 100), bytes(&mut self.random, 200));
        match Manifest::of(&block, [9; 32]) {
            Ok(manifest) if self.random.random() => wire::encode(&Whole { manifest, certificate, first: block }).into(),
            _ => block.into(),
        }
    }
}

impl Tamper for LyingSyncPeer {
    fn say(&mut self, _to: NodeId, purpose: Purpose, frame: &Bytes) -> Vec<(Purpose, Bytes)> {
        let ahead = Notice::Head(self.random.random_range(1..1_000_000));
        vec![(purpose, if purpose == Purpose::Blocks { wire::encode(&ahead).into() } else { frame.clone() })]
    }

    fn answer(&mut self, question: &Bytes) -> Option<Option<Bytes>> {
        Some(Some(match wire::decode(question)? {
            Question::Block(_) => self.whole(),
            Question::Part(..) | Question::Group(..) | Question::Piece(..) => bytes(&mut self.random, 100).into(),
            Question::Outline(_) => wire::encode(&Outline::of(100, &[[7; 32]])).into(),
            // Or the true ones: then it is asked for the state.
            Question::Links(_) => self.links.clone().filter(|_| self.random.random())?,
        }))
    }

    fn overhear(&mut self, answer: &Bytes) {
        let Some(mut links) = wire::decode::<Vec<Link>>(answer).filter(|links| !links.is_empty()) else { return };
        for link in &mut links {
            link.summary.checkpoint = link.summary.checkpoint.map(|_| [8; 32]);
            let block = vec![1; link.manifest.block_bytes()];
            if let Ok(manifest) = Manifest::of(&block, link.summary.digest()) {
                link.manifest = manifest;
            }
        }
        self.links = Some(wire::encode(&links).into());
    }
}
