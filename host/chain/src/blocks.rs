//! Blocks: how they come to be, what they stand for, how they are written.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use subnode_chain_core::{BlockTooLong, CommitteeError, Committees, Manifest};
use subnode_sandbox::{Built, CallError, Change, GuestFault, Lease, Lent, ModuleHash, Outcome, RuntimeGuest, Tenant, border};
use subnode_storage::{Batch, ChainStore, Head, StoreError, Table, Write};
use subnode_types::{BlockRef, ChainName};

use crate::{ChainOptions, ChainParts, OpenError, lend::ViewReader};

/// Ids that runtimes give to blocks: the contract's bounds.
const ID_BYTES: std::ops::RangeInclusive<usize> = 16..=64;
/// Rows written with genesis: the hash of the spec, and what genesis stands for.
const SPEC_KEY: &[u8] = b"spec";
const GENESIS_KEY: &[u8] = b"genesis";
/// Who decides which block.
const COMMITTEES_KEY: &[u8] = b"committees";
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
    pub(crate) committees: Option<Committees>,
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
    /// Of a block on a parent, and what it does.
    pub(crate) fn new(
        tenant: &Tenant,
        parent: Option<&BlockRef>,
        committees: &Committees,
        block: Vec<u8>,
        outcome: Outcome,
    ) -> Result<Self, NoBlock> {
        let height = outcome.block.height;
        if let Some(parent) = parent.filter(|parent| height != parent.height + 1) {
            return Err(NoBlock::Height(height, parent.height));
        }
        if !ID_BYTES.contains(&outcome.block.id.len()) {
            return Err(NoBlock::Id(outcome.block.id.len()));
        }
        let committees = match &outcome.committee {
            None => None,
            Some(change) => {
                let mut changed = committees.clone();
                changed.forget_before(height + 1);
                let members = border::members(&change.members).ok_or(NoBlock::MemberKey)?;
                changed.change(height, change.from_height, members)?;
                Some(changed)
            }
        };
        let manifest = Manifest::of(&block, digest(&outcome))?;
        let memory = tenant.lease(block.len() as u64)?;
        let offered = Arc::new(Offered { manifest, block, _memory: Some(memory) });
        Ok(Self { id: offered.manifest.id(), offered, outcome, committees })
    }

    pub(crate) fn head(&self) -> BlockRef {
        border::block_ref(&self.outcome)
    }
}

impl Offered {
    /// A block of the chain.
    pub(crate) fn decided(block: Vec<u8>, outcome: [u8; 32]) -> Result<Self, BlockTooLong> {
        Ok(Self { manifest: Manifest::of(&block, outcome)?, block, _memory: None })
    }
}

/// A digest of all that a block does, but for what the block itself says.
pub(crate) fn digest(outcome: &Outcome) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut add = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    for number in [outcome.block.height, outcome.block.timestamp_ms, u64::from(outcome.transactions)] {
        add(&number.to_be_bytes());
    }
    add(&outcome.block.id);
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
    if let Some(change) = &outcome.committee {
        add(&change.from_height.to_be_bytes());
        for member in &change.members {
            add(&member.key);
            add(&member.power.to_be_bytes());
        }
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

/// What is written of a decided block. An empty certificate is none.
pub(crate) fn batch(candidate: Candidate, certificate: Vec<u8>) -> Batch {
    let head = candidate.head();
    let height = head.height.to_be_bytes().to_vec();
    let outcome = candidate.outcome;
    let mut all: Vec<Write> = writes(Table::State, outcome.state).chain(writes(Table::Index, outcome.index)).collect();
    let mut put = |table, key, value| all.push(Write { table, key, value: Some(value) });
    put(Table::Block, head.id.clone(), height.clone());
    put(Table::Block, height, candidate.offered.block.clone());
    if !certificate.is_empty() {
        let shown = [candidate.offered.manifest.outcome().as_slice(), &certificate].concat();
        put(Table::Meta, certificate_key(head.height), shown);
    }
    if let Some(committees) = &candidate.committees {
        put(Table::Meta, COMMITTEES_KEY.to_vec(), committees.encode());
    }
    Batch { head: encode_head(&head), writes: all }
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
}

/// The chain's head and committees, after creating the chain if its store is empty.
pub(crate) async fn load_or_create(parts: &ChainParts, options: &ChainOptions) -> Result<Origin, OpenError> {
    if parts.store.head().is_none() {
        create(parts, options).await?;
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
    Ok(Origin { head: decode_head(&head)?, committees, key })
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

async fn create(parts: &ChainParts, options: &ChainOptions) -> Result<(), OpenError> {
    let guest = RuntimeGuest::new(&parts.runtime, &parts.tenant, options.block, &[]).await;
    let mut guest = guest.map_err(|error| OpenError::Module { which: "runtime", error })??;
    let lent = Lent { state: Box::new(ViewReader(parts.store.view())), pool: None, query: None };
    let Built { block, outcome } = guest.genesis(&parts.spec, lent).await?.map_err(OpenError::Spec)?;
    let genesis = Candidate::new(&parts.tenant, None, &Committees::default(), block, outcome).map_err(CallError::from)?;
    let id = genesis.id;
    let mut batch = batch(genesis, Vec::new());
    let mut put =
        |key: &[u8], value: &[u8]| batch.writes.push(Write { table: Table::Meta, key: key.to_vec(), value: Some(value.to_vec()) });
    put(SPEC_KEY, ModuleHash::of(&parts.spec).as_bytes());
    put(GENESIS_KEY, &id);
    Ok(parts.store.commit(batch).await?)
}
