//! What members state about the world outside of the chain, and what blocks note of it.

use std::{collections::BTreeSet, time::Duration};

use rand::Rng;
use serde_json::json;
use subnode_chain::{Chain, Kind, Reply, Role, Upgrade};
use subnode_sandbox::Module;
use subnode_storage::Table;
use tokio::time::Instant;

use crate::world::{BLOCKS_THEN, RECOVERED_WITHIN, World, broken, hex};

/// Blocks from when an upgrade is asked for until it is: `kv` wants 16 between the note and the upgrade.
const UPGRADE_NOTICE: u64 = 24;
/// What the honest members state in the end, and what the bad one states.
const TRUTH: [u8; 32] = [1; 32];
const LIE: [u8; 32] = [0xff; 32];

impl World {
    /// Whether members state facts.
    pub(crate) fn has_facts(&self) -> bool {
        self.plan.facts && !self.plan.powers.is_empty()
    }

    /// What all honest members state is noted in time.
    pub(crate) async fn note_truth(&mut self, began: Instant) -> Result<(), String> {
        self.state_truth().await;
        while !self.is_truth_noted().await? {
            if began.elapsed() > RECOVERED_WITHIN {
                return Err(format!("what all state was not noted within {RECOVERED_WITHIN:?} on a good network"));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            self.write().await;
            self.ended().await?;
            self.check()?;
        }
        Ok(())
    }

    /// The chain goes over to another consensus module, and goes on with it.
    pub(crate) async fn upgrade(&mut self, next: &Module, began: Instant) -> Result<(), String> {
        let height = self.nodes.iter().map(|node| node.shown).max().unwrap_or_default() + UPGRADE_NOTICE;
        self.state_upgrade(next, height).await;
        let honest: Vec<_> = (0..self.nodes.len()).filter(|index| !self.is_bad(*index)).collect();
        while honest.iter().any(|index| !self.nodes[*index].upgraded || self.nodes[*index].shown < height + BLOCKS_THEN) {
            if began.elapsed() > RECOVERED_WITHIN {
                let at: Vec<_> = self.nodes.iter().map(|node| (node.shown, node.upgraded)).collect();
                return Err(format!("the upgrade at {height} was not over within {RECOVERED_WITHIN:?}: the nodes are at {at:?}"));
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
            self.write().await;
            self.ended().await?;
            self.check()?;
        }
        Ok(())
    }

    /// Members state facts, on which they may differ at first. The bad one lies.
    pub(crate) async fn state_facts(&mut self) {
        let (subject, differing) = (self.facts.random_range(2..6), self.facts.random_bool(0.3));
        for (index, chain) in self.chains() {
            let lies = self.is_bad(index);
            let value = if differing && index % 2 == 0 { b"odd".to_vec() } else { b"true".to_vec() };
            let (subject, value) = if lies { (LIE, b"lie".to_vec()) } else { ([subject; 32], value) };
            // A chain that stands still or ends takes none.
            drop(chain.state(Kind::Test, subject, Some(value)).await);
        }
    }

    /// The honest members state one thing.
    pub(crate) async fn state_truth(&self) {
        for (index, chain) in self.chains() {
            if !self.is_bad(index) {
                drop(chain.state(Kind::Test, TRUTH, Some(b"true".to_vec())).await);
            }
        }
    }

    /// The honest members ask for another consensus module from a height on.
    pub(crate) async fn state_upgrade(&self, next: &Module, height: u64) {
        let upgrade = Upgrade { role: Role::Consensus, height, sha256: *next.hash().as_bytes(), size: 0 };
        for (index, chain) in self.chains() {
            if !self.is_bad(index) {
                drop(chain.state(Kind::Upgrade, Upgrade::subject(Role::Consensus), Some(upgrade.encode())).await);
            }
        }
    }

    /// Members of which blocks note that they were silent, by their places.
    pub(crate) fn silent(&self) -> Result<Vec<usize>, String> {
        let mut silent = BTreeSet::new();
        for (index, chain) in self.chains() {
            if self.is_bad(index) {
                continue;
            }
            for place in 0..self.places() {
                let row = [b"n".as_slice(), &(Kind::Silence as u16).to_be_bytes(), &self.key(place)].concat();
                if chain.store().view().get(Table::State, &row).map_err(broken)?.is_some() {
                    silent.insert(place);
                }
            }
        }
        Ok(Vec::from_iter(silent))
    }

    /// Whether all honest nodes have noted it.
    ///
    /// # Errors
    /// Where a lie of one is noted.
    pub(crate) async fn is_truth_noted(&self) -> Result<bool, String> {
        let mut all = true;
        for (index, chain) in self.chains() {
            if self.is_bad(index) {
                continue;
            }
            if noted(&chain, LIE).await?.is_some() {
                return Err(format!("node {index} noted what one member alone stated"));
            }
            all &= noted(&chain, TRUTH).await?.is_some_and(|noted| noted.ends_with(&hex(b"true")[2..]));
        }
        Ok(all)
    }
}

/// What the chain has noted of a subject.
async fn noted(chain: &Chain, subject: [u8; 32]) -> Result<Option<String>, String> {
    let matter = [&(Kind::Test as u16).to_be_bytes(), subject.as_slice()].concat();
    match chain.query("kv_noted", json!([hex(&matter)]).to_string().as_bytes(), None).await {
        Ok(Reply::Json(row)) => {
            let row: Option<String> = serde_json::from_slice(&row).map_err(broken)?;
            Ok(row)
        }
        // It may be starting again.
        _ => Ok(None),
    }
}
