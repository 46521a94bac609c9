//! Which blocks of the next height a host has, and which it asks other nodes for.
//!
//! A [`Candidates`] names blocks by their ids and says what to do; whoever holds it has the blocks and asks for them. Nobody's proposals
//! take the room of another's: those of one proposer displace each other first.

use std::collections::{BTreeMap, BTreeSet};

use subnode_types::NodeId;

/// A block's id.
type BlockId = [u8; 32];

/// Candidates of one height at once: those of the rounds that a committee may need in a bad hour. Each takes memory and storage of the
/// chain's. None that is here is dropped to make room: one that members are bound to must stay somewhere.
pub const CANDIDATES_MAX: usize = 64;
/// Blocks of one proposer that are asked for at once: those of this round and of the next, two where it says two things.
pub const WANTED_PER_MEMBER: usize = 4;

/// What to do about a block that the consensus module wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Obtain {
    /// Nothing: it is here, or asked for.
    Known,
    /// To ask for it, and to give up earlier ones.
    Ask {
        /// The blocks that are asked for no more.
        instead_of: Vec<BlockId>,
    },
    /// Nothing: the blocks that are here leave no room for what would come. No fetch is given up.
    Full,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Candidates {
    /// Bound: [`CANDIDATES_MAX`] ids of 32 bytes. Blocks that this node builds may be more; the memory slice is charged for each block.
    here: BTreeSet<BlockId>,
    /// The last that was built here, until it is shared.
    built: Option<BlockId>,
    /// Bound: [`CANDIDATES_MAX`] entries of 80 bytes.
    wanted: BTreeMap<BlockId, Wanted>,
    /// How many were asked for.
    asked: u64,
}

#[derive(Debug)]
struct Wanted {
    /// How many were asked for before.
    number: u64,
    proposer: Option<NodeId>,
}

impl Candidates {
    /// Whether a block is here.
    #[must_use]
    pub fn has(&self, id: &BlockId) -> bool {
        self.here.contains(id)
    }

    /// A block of another node is here, executed and valid.
    pub fn insert(&mut self, id: BlockId) {
        self.wanted.remove(&id);
        self.here.insert(id);
    }

    /// A block that was built here is here. Names the one before it, to be dropped, unless that was shared.
    pub fn insert_built(&mut self, id: BlockId) -> Option<BlockId> {
        if self.has(&id) {
            // It was here before, and may be shared.
            return None;
        }
        let before = self.built.replace(id).filter(|before| self.here.remove(before));
        self.insert(id);
        before
    }

    /// Others may have a block: it stays from now on. False where it is not here.
    pub fn share(&mut self, id: &BlockId) -> bool {
        if self.built.as_ref() == Some(id) {
            self.built = None;
        }
        self.has(id)
    }

    /// Takes a block out. False where it is not here.
    pub fn take(&mut self, id: &BlockId) -> bool {
        if self.built.as_ref() == Some(id) {
            self.built = None;
        }
        self.here.remove(id)
    }

    /// The consensus module wants a block. Blocks that nobody has would be asked for until the next one is decided, so the oldest gives way:
    /// of the same proposer's, or of all.
    pub fn obtain(&mut self, id: BlockId, proposer: Option<NodeId>) -> Obtain {
        if self.has(&id) || self.wanted.contains_key(&id) {
            return Obtain::Known;
        }
        if self.here.len() >= CANDIDATES_MAX {
            return Obtain::Full;
        }
        let mut instead_of = Vec::new();
        if self.wanted.values().filter(|other| other.proposer == proposer).count() >= WANTED_PER_MEMBER {
            instead_of.extend(self.give_up(|other| other.proposer == proposer));
        }
        // Usually one is enough. A block that is built takes a place whether one is free or not, and then it is several.
        while self.wanted.len() + self.here.len() >= CANDIDATES_MAX {
            let Some(oldest) = self.give_up(|_| true) else { return Obtain::Full };
            instead_of.push(oldest);
        }
        self.wanted.insert(id, Wanted { number: self.asked, proposer });
        self.asked += 1;
        Obtain::Ask { instead_of }
    }

    /// A block has come. Who proposed it, where it is still wanted.
    pub fn came(&mut self, id: &BlockId) -> Option<Option<NodeId>> {
        self.wanted.remove(id).map(|wanted| wanted.proposer)
    }

    /// Gives the oldest of some that are asked for up.
    fn give_up(&mut self, which: impl Fn(&Wanted) -> bool) -> Option<BlockId> {
        let oldest = self.wanted.iter().filter(|(_, wanted)| which(wanted)).min_by_key(|(_, wanted)| wanted.number);
        let id = *oldest?.0;
        self.wanted.remove(&id);
        Some(id)
    }
}

#[cfg(test)]
mod tests;
