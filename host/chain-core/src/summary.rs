use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subnode_types::{NodeId, Validator};

use crate::{CommitteeError, Committees, Manifest, Upgrade};

/// Before what a summary's digest is the hash of.
const DOMAIN: &[u8] = b"subnode outcome 1\0";

/// What a block does, in short. Its digest is part of the block's id, so whoever decided the block vouches for all of this: a node that has
/// not executed the block can believe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Its height.
    pub height: u64,
    /// The id that its runtime gives it.
    pub id: Vec<u8>,
    /// Its time.
    pub timestamp_ms: u64,
    /// How many transactions it has.
    pub transactions: u32,
    /// A digest of all that it changes.
    pub changes: [u8; 32],
    /// Set where it changes who decides later blocks.
    pub committee: Option<Turn>,
    /// In some blocks: the root of the state at an earlier height.
    pub checkpoint: Option<[u8; 32]>,
    /// With a change of who decides: the addresses with which its members attest, in their order. Empty where they do not.
    pub attesters: Vec<[u8; 20]>,
    /// Where the chain goes over to another module.
    pub upgrades: Vec<Upgrade>,
}

/// What comes behind the parts of a digest that every summary has, in blocks that have it: a summary without is what it was before there were any.
const ATTESTERS: &[u8] = b"attesters";
const UPGRADES: &[u8] = b"upgrades";

/// A change of who decides.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// From which height on.
    pub from: u64,
    /// Keys and powers.
    pub members: Vec<([u8; 32], u64)>,
}

impl Turn {
    /// To these members.
    #[must_use]
    pub fn new(from: u64, members: &[Validator]) -> Self {
        Self { from, members: members.iter().map(|member| (member.node.0, member.power)).collect() }
    }

    /// The members.
    #[must_use]
    pub fn validators(&self) -> Vec<Validator> {
        self.members.iter().map(|(key, power)| Validator { node: NodeId(*key), power: *power }).collect()
    }
}

impl Summary {
    /// What a block's id has of it.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hash = Sha256::new_with_prefix(DOMAIN);
        let mut add = |bytes: &[u8]| {
            hash.update((bytes.len() as u64).to_be_bytes());
            hash.update(bytes);
        };
        for number in [self.height, self.timestamp_ms, u64::from(self.transactions)] {
            add(&number.to_be_bytes());
        }
        add(&self.id);
        add(&self.changes);
        // What is not there is no bytes; what is there is some.
        let turn = self.committee.as_ref().map_or_else(Vec::new, |turn| {
            let members = turn.members.iter().flat_map(|(key, power)| [key.as_slice(), &power.to_be_bytes()].concat());
            turn.from.to_be_bytes().into_iter().chain(members).collect()
        });
        add(&turn);
        add(self.checkpoint.as_ref().map_or(&[], |root| root.as_slice()));
        if !self.attesters.is_empty() {
            add(ATTESTERS);
            add(self.attesters.as_flattened());
        }
        if !self.upgrades.is_empty() {
            add(UPGRADES);
            add(&self.upgrades.iter().flat_map(Upgrade::encode).collect::<Vec<_>>());
        }
        hash.finalize().into()
    }
}

/// A decided block, as one believes it who has not executed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// What the block's id stands for.
    pub manifest: Manifest,
    /// What it does.
    pub summary: Summary,
    /// What shows that it was decided.
    pub certificate: Vec<u8>,
}

impl Link {
    /// The id that the certificate must be about; none where the summary is of another block.
    #[must_use]
    pub fn id(&self) -> Option<[u8; 32]> {
        (self.manifest.is_sound() && self.manifest.outcome() == self.summary.digest()).then(|| self.manifest.id())
    }

    /// Takes the change of who decides, where there is one.
    ///
    /// # Errors
    /// Where no committee can be like that.
    pub fn apply(&self, committees: &mut Committees) -> Result<(), CommitteeError> {
        committees.forget_before(self.summary.height + 1);
        match &self.summary.committee {
            None => Ok(()),
            Some(turn) => {
                let attesters = self.summary.attesters.clone();
                committees.change_attested(self.summary.height, turn.from, turn.validators(), attesters)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPGRADE: Upgrade = Upgrade { role: crate::Role::Runtime, height: 9, sha256: [3; 32], size: 4 };

    fn summary() -> Summary {
        let committee = Some(Turn { from: 9, members: vec![([1; 32], 2), ([2; 32], 1)] });
        Summary {
            height: 7,
            id: vec![5; 32],
            timestamp_ms: 1,
            transactions: 3,
            changes: [4; 32],
            committee,
            checkpoint: Some([6; 32]),
            attesters: vec![[8; 20], [9; 20]],
            upgrades: vec![UPGRADE],
        }
    }

    #[test]
    fn a_digest_stands_for_every_field() {
        let whole = summary();
        let others = [
            Summary { height: 8, ..whole.clone() },
            Summary { id: vec![5; 31], ..whole.clone() },
            Summary { timestamp_ms: 2, ..whole.clone() },
            Summary { transactions: 4, ..whole.clone() },
            Summary { changes: [5; 32], ..whole.clone() },
            Summary { committee: None, ..whole.clone() },
            Summary { committee: Some(Turn { from: 10, members: vec![([1; 32], 2), ([2; 32], 1)] }), ..whole.clone() },
            Summary { committee: Some(Turn { from: 9, members: vec![([1; 32], 2)] }), ..whole.clone() },
            Summary { checkpoint: None, ..whole.clone() },
            Summary { checkpoint: Some([7; 32]), ..whole.clone() },
            Summary { attesters: Vec::new(), ..whole.clone() },
            Summary { upgrades: Vec::new(), ..whole.clone() },
            Summary { upgrades: vec![Upgrade { height: 10, ..UPGRADE }], ..whole.clone() },
            Summary { attesters: vec![[8; 20], [7; 20]], ..whole.clone() },
        ];
        for other in others {
            assert_ne!(other.digest(), whole.digest(), "{other:?}");
        }
    }

    #[test]
    fn a_link_whose_summary_is_of_another_block_has_no_id() {
        let manifest = Manifest::of(&[1; 10], summary().digest()).expect("short");
        let link = Link { manifest, summary: summary(), certificate: Vec::new() };
        assert_eq!(link.id(), Some(link.manifest.id()));
        assert_eq!(Link { summary: Summary { transactions: 4, ..summary() }, ..link }.id(), None);
    }
}
