//! What a committee says to outsiders about its blocks: which blocks that is, and the rows it is kept in.
//!
//! The rows are of the log: they are written between blocks, and no revert or re-opening takes them away. Those of blocks have the newest first.

use std::sync::Arc;

use subnode_attestation::{Attestation, Committee, DoubleAttestation, Extra, Member, Signed};
use subnode_chain_core::{Committees, wire};
use subnode_storage::{ChainStore, StoreError, Table, Write};
use subnode_types::{BlockRef, NodeId};

use super::rows::{ATTESTING_KEY, log_write, put};

/// Of the log, before the complement of a height: what its committee attests, and who signed.
const ATTESTED_PREFIX: &[u8] = b"attested";
/// Of the log, before a member's key: the proof that it attested a height twice.
const DOUBLE_PREFIX: &[u8] = b"double";
/// Attestations that outlive a state that takes the chain's place: as many as are collected at once.
const KEPT: usize = 16;
/// Proofs that are kept: one against each member.
const PROOFS_MAX: usize = 4_096;

/// How a chain attests, as its genesis says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attesting {
    /// Heights between two blocks that are attested whatever they do; 0 for none.
    pub(crate) every: u64,
    /// The hash of the committee of epoch 0, where that attests.
    pub(crate) first: Option<[u8; 32]>,
}

impl Attesting {
    /// Of the committees of genesis, which decide from this height on.
    pub(super) fn of_genesis(every: u64, committees: Option<&Committees>, height: u64) -> Option<Self> {
        let first = committee(committees?, height)?.hash().0;
        Some(Self { every, first: Some(first) })
    }

    pub(super) fn row(self) -> Option<Write> {
        Some(put(Table::Meta, ATTESTING_KEY, [self.every.to_be_bytes().as_slice(), &self.first?].concat()))
    }

    pub(super) fn load(store: &Arc<ChainStore>) -> Result<Self, StoreError> {
        let Some(row) = store.view().get(Table::Meta, ATTESTING_KEY)? else { return Ok(Self::default()) };
        let read = row.split_first_chunk().and_then(|(every, first)| Some((u64::from_be_bytes(*every), first.try_into().ok()?)));
        let (every, first) = read.ok_or_else(|| corrupt("how the chain attests"))?;
        Ok(Self { every, first: Some(first) })
    }

    /// What the committee of a block attests; none where it attests nothing of it. `before` are the committees that decided the block, `after` those that
    /// decide the next ones. All of it is a function of the block and of what came before it.
    pub(crate) fn of_block(self, chain: [u8; 32], head: &BlockRef, before: &Committees, after: &Committees) -> Option<Attested> {
        let (epoch, next) = (before.epoch_at(head.height), after.epoch_at(head.height + 1));
        let is_due = self.every > 0 && head.height.is_multiple_of(self.every);
        if epoch == next && !is_due {
            return None;
        }
        let committee = committee(before, head.height)?;
        // An epoch names the next one alone.
        let named = (epoch.checked_add(1) == Some(next)).then(|| self::committee(after, head.height + 1)).flatten();
        let extra = Extra { next_committee: named.map(|named| named.hash()).unwrap_or_default(), ..Extra::default() };
        let attestation = Attestation {
            network: Default::default(),
            chain: 0,
            genesis: chain.into(),
            epoch,
            height: head.height,
            block_id: head.id.clone().into(),
            outbox_root: Default::default(),
            outbox_count: 0,
            time_ms: head.timestamp_ms,
            extra: extra.root(),
        };
        Some(Attested { attestation, extra, committee: Arc::new(committee) })
    }
}

/// What a committee attests of a block.
#[derive(Clone, Debug)]
pub(crate) struct Attested {
    pub(crate) attestation: Attestation,
    pub(crate) extra: Extra,
    pub(crate) committee: Arc<Committee>,
}

impl Attested {
    /// Before anybody signed it.
    pub(crate) fn unsigned(&self) -> Signed {
        let Self { attestation, extra, committee } = self.clone();
        Signed { attestation, extra, committee: Committee::clone(&committee), signatures: Vec::new() }
    }
}

/// The committee that decides a height, as outsiders know it; none where it attests nothing.
fn committee(committees: &Committees, height: u64) -> Option<Committee> {
    let (members, attesters) = (committees.at(height), committees.attesters_at(height));
    let member = |(member, attester): (&subnode_types::Validator, &[u8; 20])| Member {
        key: member.node.0.into(),
        attester: attester.into(),
        power: member.power,
    };
    // A runtime may name an address that is nobody's: such a committee attests nothing.
    if attesters.is_empty() { None } else { Committee::new(members.iter().zip(attesters).map(member).collect()).ok() }
}

fn corrupt(what: &str) -> StoreError {
    StoreError::Corrupt(format!("{what} does not decode"))
}

fn key(height: u64) -> Vec<u8> {
    [ATTESTED_PREFIX, &(!height).to_be_bytes()].concat()
}

/// What is attested of a block, as it is kept.
pub(crate) fn attested_row(signed: &Signed) -> Write {
    log_write(key(signed.attestation.height), Some(wire::encode(signed)))
}

/// A proof against a member, as it is kept.
pub(crate) fn proof_row(member: NodeId, proof: &DoubleAttestation) -> Write {
    log_write([DOUBLE_PREFIX, &member.0].concat(), Some(wire::encode(proof)))
}

/// What is attested of the block at a height, as far as this host heard.
pub(crate) fn attested_at(store: &Arc<ChainStore>, height: u64) -> Result<Option<Signed>, StoreError> {
    let row = store.view().get(Table::Log, &key(height))?;
    row.map(|row| wire::decode(&row).ok_or_else(|| corrupt("an attestation"))).transpose()
}

/// The last that were attested, the newest first.
pub(crate) fn last_attested(store: &Arc<ChainStore>, limit: usize) -> Result<Vec<Signed>, StoreError> {
    let rows = store.view().scan(Table::Log, &key(u64::MAX), Some(&[ATTESTED_PREFIX, &[u8::MAX; 9]].concat()), limit)?;
    rows.iter().map(|row| wire::decode(&row.value).ok_or_else(|| corrupt("an attestation"))).collect()
}

/// Proofs against members.
pub(crate) fn proofs(store: &Arc<ChainStore>) -> Result<Vec<(NodeId, DoubleAttestation)>, StoreError> {
    let end = [DOUBLE_PREFIX, &[u8::MAX; 33]].concat();
    let rows = store.view().scan(Table::Log, DOUBLE_PREFIX, Some(&end), PROOFS_MAX)?;
    let decode = |row: &subnode_storage::Entry| {
        let member = row.key.strip_prefix(DOUBLE_PREFIX)?.try_into().ok()?;
        Some((NodeId(member), wire::decode(&row.value)?))
    };
    rows.iter().map(|row| decode(row).ok_or_else(|| corrupt("a proof of a double attestation"))).collect()
}

/// What outlives a state that takes the place of the chain's: proofs, and the last attestations.
pub(crate) fn attestations_kept(store: &Arc<ChainStore>) -> Result<Vec<Write>, StoreError> {
    let attested = last_attested(store, KEPT)?;
    let proofs = proofs(store)?;
    Ok(attested.iter().map(attested_row).chain(proofs.iter().map(|(member, proof)| proof_row(*member, proof))).collect())
}
