//! Who makes a block: draws the seeds of this host's blocks, and checks who drew those of others.

use subnode_chain_core::Author;
use subnode_sandbox::{CallError, Declared, HostFault, Signer};
use subnode_signer::DrawnSeed;
use subnode_storage::View;
use subnode_types::{BlockRef, NodeId};

use super::state::Actor;
use crate::ledger::last_seed;

/// Why a block is invalid whose runtime says that it used another seed than its author drew; none where that is so, or nothing is said or drawn.
pub(super) fn other_seed(declared: &Declared, drawn: Option<&DrawnSeed>) -> Option<String> {
    let (declared, drawn) = (declared.seed?, drawn?);
    (declared != drawn.seed).then(|| "it uses another seed than its author drew".into())
}

impl Actor {
    /// The seed before that of the block on a head; none where that block has no author.
    pub(super) fn seed_before(&self, view: &View, parent: &BlockRef) -> Result<Option<[u8; 32]>, CallError> {
        if self.parts.ledger.committees().at(parent.height + 1).is_empty() {
            return Ok(None);
        }
        last_seed(view).map_err(|error| HostFault::Storage(error.to_string()).into())
    }

    fn decides(&self, node: NodeId, height: u64) -> bool {
        self.parts.ledger.committees().at(height).iter().any(|member| member.node == node)
    }

    /// Draws the seed of a block on a head: the inner none where that block has no author, the outer one where this host can make no block.
    pub(super) fn draw(&self, view: &View, parent: &BlockRef) -> Option<Option<DrawnSeed>> {
        let before = match self.seed_before(view, parent) {
            Ok(Some(before)) => before,
            Ok(None) => return Some(None),
            Err(fault) => {
                self.parts.standing.set_stuck(Some(fault.to_string()));
                return None;
            }
        };
        let (voter, height) = (&self.parts.voter, parent.height + 1);
        let drawn = voter.key().filter(|key| self.decides(*key, height)).and_then(|_| voter.draw(height, &before));
        if drawn.is_none() {
            tracing::warn!(chain = %self.parts.name, height, "no block is built: this node is not in the committee, so it draws no seed");
        }
        drawn.map(Some)
    }

    /// What the author of a block on a head drew, or why the block is invalid. Another host finds the same.
    pub(super) fn drawn(
        &self,
        view: &View,
        parent: &BlockRef,
        author: Option<&Author>,
    ) -> Result<Result<Option<DrawnSeed>, String>, CallError> {
        let (author, before) = match (author, self.seed_before(view, parent)?) {
            (Some(author), Some(before)) => (author, before),
            (None, None) => return Ok(Ok(None)),
            (None, Some(_)) => return Ok(Err("it has no author".into())),
            (Some(_), None) => return Ok(Err("it has an author, and blocks of this chain have none".into())),
        };
        let (key, proof, height) = (author.key(), author.proof(), parent.height + 1);
        if !self.decides(key, height) {
            return Ok(Err(format!("its author {key} is not in the committee")));
        }
        let seed = self.parts.voter.drawn(key, height, &before, &proof);
        let drawing = seed.map(|seed| DrawnSeed { author: key, proof, seed });
        Ok(drawing.map(Some).ok_or_else(|| format!("its author {key} did not draw its seed")))
    }
}
