//! Blocks that could be next: what they stand for and what they do.

use std::{collections::BTreeSet, sync::Arc};

use sha2::{Digest, Sha256};
use subnode_chain_core::{Author, BlockTooLong, CommitteeError, Committees, Manifest, Role, Summary, Turn, Upgrade};
use subnode_sandbox::{CHANGE_BYTES, CallError, Change, Declared, DeclaredUpgrade, GuestFault, Lease, Outcome, Tenant, convert};
use subnode_signer::DrawnSeed;
use subnode_storage::KEY_BYTES_MAX;
use subnode_types::BlockRef;

use crate::statements::Noted;

/// Ids that runtimes give to blocks: the contract's bounds.
const ID_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
/// Bytes of a sender's name, as in an admission: the pool remembers those whose sequence a block moved on.
const SENDER_BYTES_MAX: usize = 64;
/// What a candidate takes besides its block and its changes: itself, its manifest, and its places in maps. A block of a byte that changes
/// nothing takes some 2 KiB.
const CANDIDATE_BYTES: u64 = 4 << 10;
/// What a block's id stands for: 32 bytes.
pub(crate) type BlockId = [u8; 32];

/// A block as others can get it.
pub(crate) struct Offered {
    pub(crate) manifest: Manifest,
    pub(crate) block: Vec<u8>,
    /// Memory it takes while it is no part of the chain.
    _memory: Option<Lease>,
}

/// A block that could be next, with what it does.
pub(crate) struct Candidate {
    pub(crate) id: BlockId,
    pub(crate) offered: Arc<Offered>,
    pub(crate) outcome: Outcome,
    pub(crate) summary: Summary,
    pub(crate) committees: Option<Committees>,
    /// What its author drew, where it has one.
    pub(crate) seed: Option<[u8; 32]>,
    /// Pooled transactions that can be in no block after it, where it was built here.
    pub(crate) discarded: Vec<Vec<u8>>,
    /// The statements that it notes.
    /// Bound: 1,024, which is a bound of the contract.
    pub(crate) noted: Vec<Noted>,
    /// Memory that all but the block takes.
    _memory: Lease,
}

/// What a block is made on.
pub(crate) struct Basis<'a> {
    /// None for genesis.
    pub(crate) parent: Option<&'a BlockRef>,
    pub(crate) committees: &'a Committees,
    /// What it has to vouch for.
    pub(crate) checkpoint: Option<[u8; 32]>,
    /// Who drew its seed, where blocks have authors.
    pub(crate) drawn: Option<DrawnSeed>,
}

/// The height of a block at most, which genesis alone can come near: heights are added to without a look at each sum.
const HEIGHT_MAX: u64 = u64::MAX / 2;

/// A runtime returned what cannot be a block.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoBlock {
    #[error("a block of height {0} on {1}")]
    Height(u64, u64),
    #[error("a block of height {0}: {HEIGHT_MAX} is the most")]
    TooHigh(u64),
    #[error("block id of {0} bytes")]
    Id(usize),
    #[error("a key of {0} bytes: it needs 1 to {KEY_BYTES_MAX}")]
    Key(usize),
    #[error("a sender's name of {0} bytes, at most {SENDER_BYTES_MAX}")]
    Sender(usize),
    #[error(transparent)]
    TooLong(#[from] BlockTooLong),
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    #[error("a member's key has 32 bytes")]
    MemberKey,
    #[error("attest addresses: one of 20 bytes for each member of the committee that the block names, none twice")]
    Attesters,
    #[error("an upgrade at height {0}: it needs a later height, 1048576 ahead at most, and a hash of 32 bytes")]
    Upgrade(u64),
    #[error("{0}")]
    Memory(#[from] subnode_sandbox::HostFault),
}

impl From<NoBlock> for CallError {
    fn from(error: NoBlock) -> Self {
        match error {
            NoBlock::Memory(fault) => fault.into(),
            other => GuestFault::Bound(other.to_string()).into(),
        }
    }
}

/// The attest addresses of the committee that a block names.
fn attesters(declared: Option<Vec<Vec<u8>>>, turn: Option<&Turn>) -> Result<Vec<[u8; 20]>, NoBlock> {
    let Some(declared) = declared else { return Ok(Vec::new()) };
    let attesters: Option<Vec<[u8; 20]>> = declared.into_iter().map(|address| address.try_into().ok()).collect();
    let attesters = attesters.filter(|attesters| {
        let different: BTreeSet<_> = attesters.iter().collect();
        different.len() == attesters.len() && turn.is_some_and(|turn| turn.members.len() == attesters.len())
    });
    attesters.ok_or(NoBlock::Attesters)
}

/// The modules that a block of a height has the chain go over to.
fn upgrades(declared: [Option<DeclaredUpgrade>; 2], height: u64) -> Result<Vec<Upgrade>, NoBlock> {
    let upgrade = |(role, declared): (Role, DeclaredUpgrade)| {
        let sha256 = declared.sha256.try_into().map_err(|_| NoBlock::Upgrade(declared.height))?;
        let upgrade = Upgrade { role, height: declared.height, sha256, size: declared.size };
        if upgrade.may_follow(height) { Ok(upgrade) } else { Err(NoBlock::Upgrade(declared.height)) }
    };
    Role::ALL.into_iter().zip(declared).filter_map(|(role, declared)| Some((role, declared?))).map(upgrade).collect()
}

/// The length of a key that the store does not take, if there is one.
pub(crate) fn unfit_key(changes: &[Change]) -> Option<usize> {
    changes.iter().map(|change| change.key.len()).find(|bytes| !(1..=KEY_BYTES_MAX).contains(bytes))
}

/// What changes take in memory.
pub(crate) fn changes_bytes(changes: &[Change]) -> u64 {
    changes.iter().map(|change| (change.key.len() + change.value.as_ref().map_or(0, Vec::len) + CHANGE_BYTES) as u64).sum()
}

fn outcome_bytes(outcome: &Outcome) -> u64 {
    let senders: u64 = outcome.progress.iter().map(|progress| (size_of_val(progress) + progress.sender.len()) as u64).sum();
    changes_bytes(&outcome.state) + changes_bytes(&outcome.index) + senders
}

impl Candidate {
    /// Of a block and what it does.
    pub(crate) fn new(tenant: &Tenant, basis: Basis<'_>, block: Vec<u8>, outcome: Outcome, declared: Declared) -> Result<Self, NoBlock> {
        let changes = digest(&outcome);
        Self::with_changes(tenant, basis, block, outcome, declared, changes)
    }

    /// The same, where the outcome is not all that it does: `changes` is a digest of that.
    pub(crate) fn with_changes(
        tenant: &Tenant,
        basis: Basis<'_>,
        block: Vec<u8>,
        outcome: Outcome,
        declared: Declared,
        changes: [u8; 32],
    ) -> Result<Self, NoBlock> {
        let Basis { parent, committees, checkpoint, drawn } = basis;
        let height = outcome.block.height;
        if let Some(parent) = parent.filter(|parent| height != parent.height + 1) {
            return Err(NoBlock::Height(height, parent.height));
        }
        if height > HEIGHT_MAX {
            return Err(NoBlock::TooHigh(height));
        }
        if !ID_BYTES.contains(&outcome.block.id.len()) {
            return Err(NoBlock::Id(outcome.block.id.len()));
        }
        if let Some(bytes) = unfit_key(&outcome.state).or_else(|| unfit_key(&outcome.index)) {
            return Err(NoBlock::Key(bytes));
        }
        if let Some(bytes) = outcome.progress.iter().map(|progress| progress.sender.len()).find(|bytes| *bytes > SENDER_BYTES_MAX) {
            return Err(NoBlock::Sender(bytes));
        }
        let (committees, turn, attesters) = match &outcome.committee {
            None => (None, None, attesters(declared.attesters, None)?),
            Some(change) => {
                let mut changed = committees.clone();
                changed.forget_before(height + 1);
                let members = convert::members(&change.members).ok_or(NoBlock::MemberKey)?;
                let turn = Turn::new(change.from_height, &members);
                let attesters = attesters(declared.attesters, Some(&turn))?;
                changed.change_attested(height, change.from_height, members, attesters.clone())?;
                (Some(changed), Some(turn), attesters)
            }
        };
        let upgrades = upgrades(declared.upgrades, height)?;
        let summary = Summary {
            height,
            id: outcome.block.id.clone(),
            timestamp_ms: outcome.block.timestamp_ms,
            transactions: outcome.transactions,
            changes,
            committee: turn,
            checkpoint,
            attesters,
            upgrades,
        };
        let author = drawn.map(|DrawnSeed { author, proof, .. }| Author::new(author, proof));
        let manifest = Manifest::of(&block, summary.digest())?.by(author);
        let memory = tenant.lease(CANDIDATE_BYTES + outcome_bytes(&outcome))?;
        let of_block = tenant.lease(block.len() as u64)?;
        let offered = Arc::new(Offered { manifest, block, _memory: Some(of_block) });
        Ok(Self {
            id: offered.manifest.id(),
            offered,
            outcome,
            summary,
            committees,
            seed: drawn.map(|drawn| drawn.seed),
            discarded: Vec::new(),
            noted: Vec::new(),
            _memory: memory,
        })
    }

    pub(crate) fn head(&self) -> BlockRef {
        convert::block_ref(&self.outcome)
    }
}

impl Offered {
    /// A block of the chain.
    pub(crate) fn decided(block: Vec<u8>, outcome: [u8; 32], author: Option<Author>) -> Result<Self, BlockTooLong> {
        Ok(Self { manifest: Manifest::of(&block, outcome)?.by(author), block, _memory: None })
    }
}

/// A digest of all that a block changes.
pub(crate) fn digest(outcome: &Outcome) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for changes in [&outcome.state, &outcome.index] {
        add(&(changes.len() as u64).to_be_bytes());
        for change in changes {
            add(&change.key);
            // A deletion is no empty value.
            add(&[u8::from(change.value.is_some())]);
            add(change.value.as_deref().unwrap_or_default());
        }
    }
    add(&(outcome.progress.len() as u64).to_be_bytes());
    for progress in &outcome.progress {
        add(&progress.sender);
        add(&progress.next_sequence.to_be_bytes());
    }
    hash.finalize().into()
}

/// The id that bytes are, if they have its length.
pub(crate) fn block_id(bytes: &[u8]) -> Option<BlockId> {
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use subnode_scheduler::Cores;
    use subnode_types::Parts;

    use super::*;

    fn tenant(memory_bytes: u64) -> Tenant {
        Tenant::new("demo".parse().expect("a name"), &Cores::new(1), Parts::ONE, memory_bytes)
    }

    /// A candidate of a block of one byte that writes this value.
    fn candidate(tenant: &Tenant, value: Vec<u8>) -> Result<Candidate, NoBlock> {
        candidate_at(tenant, 0, value)
    }

    /// The same at a height.
    fn candidate_at(tenant: &Tenant, height: u64, value: Vec<u8>) -> Result<Candidate, NoBlock> {
        let outcome = Outcome {
            block: convert::runtime_ref(&BlockRef { height, id: vec![7; 32], timestamp_ms: 0 }),
            transactions: 0,
            state: vec![Change { key: b"key".to_vec(), value: Some(value) }],
            index: Vec::new(),
            progress: Vec::new(),
            committee: None,
        };
        let basis = Basis { parent: None, committees: &Committees::default(), checkpoint: None, drawn: None };
        Candidate::new(tenant, basis, vec![1], outcome, Declared::default())
    }

    #[test]
    fn genesis_is_of_no_height_that_cannot_be_added_to() {
        let tenant = tenant(1 << 20);
        assert!(candidate_at(&tenant, HEIGHT_MAX, Vec::new()).is_ok());
        for height in [HEIGHT_MAX + 1, u64::MAX] {
            assert!(matches!(candidate_at(&tenant, height, Vec::new()), Err(NoBlock::TooHigh(_))));
        }
    }

    #[test]
    fn what_a_block_changes_is_charged_while_it_could_be_next() {
        let tenant = tenant(1 << 20);
        let one = candidate(&tenant, vec![0; 600_000]).expect("there is room");
        assert!(tenant.memory().used() > 600_000);
        assert!(matches!(candidate(&tenant, vec![0; 600_000]), Err(NoBlock::Memory(_))), "two of a byte each have no room");
        drop(one);
        assert_eq!(tenant.memory().used(), 0);
        let empty: Vec<_> = (0..).map_while(|_| candidate(&tenant, Vec::new()).ok()).collect();
        assert!(empty.len() < 256, "{} blocks of a byte", empty.len());
    }
}
