//! What members state about the world outside of the chain, and what blocks note of it.

use std::collections::BTreeSet;

use rand::Rng;
use serde_json::json;
use subnode_chain::{Chain, Kind, Reply, Role, Upgrade};
use subnode_sandbox::Module;
use subnode_storage::Table;

use crate::world::{World, broken, hex};

/// What the honest members state in the end, and what the bad one states.
const TRUTH: [u8; 32] = [1; 32];
const LIE: [u8; 32] = [0xff; 32];

impl World {
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
