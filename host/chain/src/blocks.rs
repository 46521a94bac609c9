//! Blocks: how they come to be, what they stand for, how they are written.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use subnode_chain_core::{BlockTooLong, Checkpoints, CommitteeError, Committees, Link, Manifest, Summary, Turn, wire};
use subnode_sandbox::{Built, CallError, Change, GuestFault, Lease, Lent, Module, ModuleHash, Outcome, RuntimeGuest, Tenant, convert};
use subnode_storage::{Batch, ChainStore, Head, StoreError, Table, Write};
use subnode_types::{BlockRef, ChainName};

use crate::{ChainOptions, ChainParts, OpenError, lend::Nothing};

/// Ids that runtimes give to blocks: the contract's bounds.
const ID_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
/// Rows written with genesis: the hash of the spec, and what genesis stands for.
const SPEC_KEY: &[u8] = b"spec";
const GENESIS_KEY: &[u8] = b"genesis";
/// Who decides which block.
const COMMITTEES_KEY: &[u8] = b"committees";
/// Heights between two states that get a root; none where no state gets one.
const CHECKPOINTS_KEY: &[u8] = b"checkpoints";
/// Before a height: the summary of its block, where other nodes may need it without the block.
const SUMMARY_PREFIX: &[u8] = b"summary";
/// Before a height: what shows that its block was decided.
const CERTIFICATE_PREFIX: &[u8] = b"certificate";

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
    /// Pooled transactions that can be in no block after it, where it was built here.
    pub(crate) discarded: Vec<Vec<u8>>,
}

/// What a block is made on.
pub(crate) struct Basis<'a> {
    /// None for genesis.
    pub(crate) parent: Option<&'a BlockRef>,
    pub(crate) committees: &'a Committees,
    /// What it has to vouch for.
    pub(crate) checkpoint: Option<[u8; 32]>,
}

/// A runtime returned what cannot be a block.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoBlock {
    #[error("a block of height {0} on {1}")]
    Height(u64, u64),
    #[error("block id of {0} bytes")]
    Id(usize),
    #[error(transparent)]
    TooLong(#[from] BlockTooLong),
    #[error(transparent)]
    Committee(#[from] CommitteeError),
    #[error("a member's key has 32 bytes")]
    MemberKey,
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

impl Candidate {
    /// Of a block and what it does.
    pub(crate) fn new(tenant: &Tenant, basis: Basis<'_>, block: Vec<u8>, outcome: Outcome) -> Result<Self, NoBlock> {
        let Basis { parent, committees, checkpoint } = basis;
        let height = outcome.block.height;
        if let Some(parent) = parent.filter(|parent| height != parent.height + 1) {
            return Err(NoBlock::Height(height, parent.height));
        }
        if !ID_BYTES.contains(&outcome.block.id.len()) {
            return Err(NoBlock::Id(outcome.block.id.len()));
        }
        let (committees, turn) = match &outcome.committee {
            None => (None, None),
            Some(change) => {
                let mut changed = committees.clone();
                changed.forget_before(height + 1);
                let members = convert::members(&change.members).ok_or(NoBlock::MemberKey)?;
                let turn = Turn::new(change.from_height, &members);
                changed.change(height, change.from_height, members)?;
                (Some(changed), Some(turn))
            }
        };
        let summary = Summary {
            height,
            id: outcome.block.id.clone(),
            timestamp_ms: outcome.block.timestamp_ms,
            transactions: outcome.transactions,
            changes: digest(&outcome),
            committee: turn,
            checkpoint,
        };
        let manifest = Manifest::of(&block, summary.digest())?;
        let memory = tenant.lease(block.len() as u64)?;
        let offered = Arc::new(Offered { manifest, block, _memory: Some(memory) });
        Ok(Self { id: offered.manifest.id(), offered, outcome, summary, committees, discarded: Vec::new() })
    }

    pub(crate) fn head(&self) -> BlockRef {
        convert::block_ref(&self.outcome)
    }
}

impl Offered {
    /// A block of the chain.
    pub(crate) fn decided(block: Vec<u8>, outcome: [u8; 32]) -> Result<Self, BlockTooLong> {
        Ok(Self { manifest: Manifest::of(&block, outcome)?, block, _memory: None })
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

pub(crate) fn encode_head(head: &BlockRef) -> Head {
    Head { height: head.height, data: [&head.timestamp_ms.to_be_bytes(), head.id.as_slice()].concat() }
}

pub(crate) fn decode_head(head: &Head) -> Result<BlockRef, StoreError> {
    let (timestamp, id) = head.data.split_first_chunk::<8>().ok_or_else(|| StoreError::Corrupt("head does not decode".into()))?;
    Ok(BlockRef { height: head.height, id: id.to_vec(), timestamp_ms: u64::from_be_bytes(*timestamp) })
}

pub(crate) fn writes(table: Table, changes: Vec<Change>) -> impl Iterator<Item = Write> {
    changes.into_iter().map(move |change| Write { table, key: change.key, value: change.value })
}

fn certificate_key(height: u64) -> Vec<u8> {
    [CERTIFICATE_PREFIX, &height.to_be_bytes()].concat()
}

fn summary_key(height: u64) -> Vec<u8> {
    [SUMMARY_PREFIX, &height.to_be_bytes()].concat()
}

fn put(table: Table, key: &[u8], value: Vec<u8>) -> Write {
    Write { table, key: key.to_vec(), value: Some(value) }
}

/// Rows of a decided block, beside what it changes. An empty certificate is none.
fn block_rows(summary: &Summary, outcome: [u8; 32], block: Vec<u8>, certificate: &[u8], rule: Option<Checkpoints>) -> Vec<Write> {
    let height = summary.height.to_be_bytes().to_vec();
    let mut rows = vec![put(Table::Block, &height, block), put(Table::Block, &summary.id, height)];
    if !certificate.is_empty() {
        rows.push(put(Table::Meta, &certificate_key(summary.height), [outcome.as_slice(), certificate].concat()));
    }
    if summary.committee.is_some() || rule.is_some_and(|rule| rule.is_at(summary.height)) {
        rows.push(put(Table::Meta, &summary_key(summary.height), wire::encode(summary)));
    }
    rows
}

/// What is written of a decided block.
pub(crate) fn batch(candidate: Candidate, certificate: &[u8], rule: Option<Checkpoints>) -> Batch {
    let head = candidate.head();
    let Candidate { offered, outcome, summary, committees, .. } = candidate;
    let mut all: Vec<Write> = writes(Table::State, outcome.state).chain(writes(Table::Index, outcome.index)).collect();
    all.extend(block_rows(&summary, offered.manifest.outcome(), offered.block.clone(), certificate, rule));
    all.extend(committees.map(|committees| put(Table::Meta, COMMITTEES_KEY, committees.encode())));
    Batch { head: encode_head(&head), writes: all }
}

/// What is written beside a state that came from elsewhere: its block, and what this chain knew of itself before.
pub(crate) fn renewal(
    store: &Arc<ChainStore>,
    link: &Link,
    block: Vec<u8>,
    committees: &Committees,
    rule: Option<Checkpoints>,
) -> Result<(Head, Vec<Write>), StoreError> {
    let summary = &link.summary;
    let mut all = block_rows(summary, link.manifest.outcome(), block, &link.certificate, rule);
    all.push(put(Table::Meta, COMMITTEES_KEY, committees.encode()));
    for key in [SPEC_KEY, GENESIS_KEY, CHECKPOINTS_KEY] {
        let value = store.view().get(Table::Meta, key)?;
        all.push(Write { table: Table::Meta, key: key.to_vec(), value });
    }
    let head = BlockRef { height: summary.height, id: summary.id.clone(), timestamp_ms: summary.timestamp_ms };
    Ok((encode_head(&head), all))
}

/// Summaries that are kept, of heights from `start` to before `end`.
pub(crate) fn summaries(store: &Arc<ChainStore>, start: u64, end: u64, limit: usize) -> Result<Vec<Summary>, StoreError> {
    let rows = store.view().scan(Table::Meta, &summary_key(start), Some(&summary_key(end)), limit)?;
    let decoded = rows.iter().map(|row| wire::decode(&row.value).ok_or_else(|| StoreError::Corrupt("a summary does not decode".into())));
    decoded.collect()
}

/// A decided block with its certificate, if it is here and has one.
pub(crate) fn decided(store: &Arc<ChainStore>, height: u64) -> Result<Option<(Offered, Vec<u8>)>, StoreError> {
    let view = store.view();
    let Some(shown) = view.get(Table::Meta, &certificate_key(height))? else { return Ok(None) };
    let Some(block) = view.get(Table::Block, &height.to_be_bytes())? else { return Ok(None) };
    let corrupt = || StoreError::Corrupt(format!("the certificate of block {height} does not decode"));
    let (outcome, certificate) = shown.split_first_chunk().ok_or_else(corrupt)?;
    let offered = Offered::decided(block, *outcome).map_err(|_| corrupt())?;
    Ok(Some((offered, certificate.to_vec())))
}

/// What a chain is when it is opened.
pub(crate) struct Origin {
    pub(crate) head: BlockRef,
    pub(crate) committees: Committees,
    /// The chain among all of a network; none where it was made before there were any.
    pub(crate) key: Option<[u8; 32]>,
    pub(crate) rule: Option<Checkpoints>,
}

/// The chain's head and committees, after creating the chain if its store is empty.
pub(crate) async fn load_or_create(parts: &ChainParts, options: &ChainOptions) -> Result<Origin, OpenError> {
    if parts.store.head().is_none() {
        parts.store.commit(genesis(&parts.runtime, &parts.tenant, &parts.spec, options).await?).await?;
    }
    let view = parts.store.view();
    let head = parts.store.head().ok_or_else(|| StoreError::Corrupt("no head after genesis".into()))?;
    let known = view.get(Table::Meta, SPEC_KEY)?;
    // An empty spec asks for the chain as it is.
    if !parts.spec.is_empty() && known.is_some_and(|known| known != ModuleHash::of(&parts.spec).as_bytes()) {
        return Err(OpenError::OtherSpec);
    }
    let committees = load_committees(&parts.store)?;
    let genesis = view.get(Table::Meta, GENESIS_KEY)?;
    let key = genesis.map(|genesis| chain_key(parts.tenant.chain(), &genesis));
    let every = view.get(Table::Meta, CHECKPOINTS_KEY)?.and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes);
    Ok(Origin { head: decode_head(&head)?, committees, key, rule: Checkpoints::new(every) })
}

pub(crate) fn load_committees(store: &Arc<ChainStore>) -> Result<Committees, StoreError> {
    match store.view().get(Table::Meta, COMMITTEES_KEY)? {
        None => Ok(Committees::default()),
        Some(row) => Committees::decode(&row).ok_or_else(|| StoreError::Corrupt("committees do not decode".into())),
    }
}

/// Chains of one genesis are told apart by their names.
fn chain_key(name: &ChainName, genesis: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(genesis).chain_update(name.as_str()).finalize().into()
}

/// The batch that begins a chain.
pub(crate) async fn genesis(runtime: &Module, tenant: &Tenant, spec: &[u8], options: &ChainOptions) -> Result<Batch, OpenError> {
    let guest = RuntimeGuest::new(runtime, tenant, options.block, &[]).await;
    let mut guest = guest.map_err(|error| OpenError::Module { which: "runtime", error })??;
    let lent = Lent { state: Box::new(Nothing), pool: None, query: None };
    let Built { block, outcome } = guest.genesis(spec, lent).await?.map_err(OpenError::Spec)?;
    // Part of what genesis stands for: nodes that take different states' roots are on different chains.
    let every = if outcome.committee.is_some() { options.checkpoint_every } else { 0 };
    let mut checkpoint = [0; 32];
    checkpoint[24..].copy_from_slice(&every.to_be_bytes());
    let basis = Basis { parent: None, committees: &Committees::default(), checkpoint: (every > 0).then_some(checkpoint) };
    let genesis = Candidate::new(tenant, basis, block, outcome).map_err(CallError::from)?;
    let id = genesis.id;
    let mut batch = batch(genesis, &[], None);
    batch.writes.extend([
        put(Table::Meta, SPEC_KEY, ModuleHash::of(spec).as_bytes().to_vec()),
        put(Table::Meta, GENESIS_KEY, id.to_vec()),
        put(Table::Meta, CHECKPOINTS_KEY, every.to_be_bytes().to_vec()),
    ]);
    Ok(batch)
}
