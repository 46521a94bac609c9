//! How a chain begins.

use std::sync::Arc;

use sha2::{Digest, Sha256};
use subnode_chain_core::{Checkpoints, Committees};
use subnode_sandbox::{Built, CallError, Lent, Module, ModuleHash, RuntimeGuest, Tenant};
use subnode_storage::{Batch, ChainStore, StoreError, Table, Write};
use subnode_types::{BlockRef, ChainName};

use super::{
    candidate::{Basis, Candidate},
    rows::{self, CHECKPOINTS_KEY, GENESIS_KEY, SPEC_KEY, decode_head, load_committees, put},
};
use crate::{
    error::OpenError,
    options::{ChainOptions, ChainParts},
    reader::EmptyState,
};

/// What a chain is when it is opened.
pub(crate) struct Opened {
    pub(crate) head: BlockRef,
    pub(crate) committees: Committees,
    /// The chain among all of a network; none where it was made before there were any.
    pub(crate) key: Option<[u8; 32]>,
    pub(crate) rule: Option<Checkpoints>,
}

/// The chain's head and committees, after creating the chain if its store is empty.
pub(crate) async fn load_or_create(parts: &ChainParts, options: &ChainOptions) -> Result<Opened, OpenError> {
    if parts.store.head().is_none() {
        parts.store.commit(genesis_batch(&parts.runtime, &parts.tenant, &parts.spec, options).await?).await?;
    }
    let view = parts.store.view();
    let head = parts.store.head().ok_or_else(|| StoreError::Corrupt("no head after genesis".into()))?;
    let known = view.get(Table::Meta, SPEC_KEY)?;
    // An empty spec asks for the chain as it is.
    if !parts.spec.is_empty() && known.is_some_and(|known| known != ModuleHash::of(&parts.spec).as_bytes()) {
        return Err(OpenError::OtherSpec);
    }
    let committees = load_committees(&parts.store)?;
    let key = key_of(&parts.store, parts.tenant.chain())?;
    let every = view.get(Table::Meta, CHECKPOINTS_KEY)?.and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes);
    Ok(Opened { head: decode_head(&head)?, committees, key, rule: Checkpoints::new(every) })
}

/// The key of a chain among all of a network; none where it was made before there were any, or has no blocks.
pub(super) fn key_of(store: &Arc<ChainStore>, name: &ChainName) -> Result<Option<[u8; 32]>, StoreError> {
    let genesis = store.view().get(Table::Meta, GENESIS_KEY)?;
    Ok(genesis.map(|genesis| chain_key(name, &genesis)))
}

/// The row that a chain's key comes from.
pub(super) fn genesis_row(genesis: &[u8]) -> Write {
    put(Table::Meta, GENESIS_KEY, genesis.to_vec())
}

/// Chains of one genesis are told apart by their names.
fn chain_key(name: &ChainName, genesis: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(genesis).chain_update(name.as_str()).finalize().into()
}

/// The batch that begins a chain.
pub(crate) async fn genesis_batch(runtime: &Module, tenant: &Tenant, spec: &[u8], options: &ChainOptions) -> Result<Batch, OpenError> {
    let guest = RuntimeGuest::new(runtime, tenant, options.block, &[]).await;
    let mut guest = guest.map_err(|error| OpenError::Module { which: "runtime", error })??;
    let lent = Lent { state: Box::new(EmptyState), pool: None, query: None };
    let Built { block, outcome } = guest.genesis(spec, lent).await?.map_err(OpenError::Spec)?;
    // Part of what genesis stands for: nodes that take different states' roots are on different chains.
    let every = if outcome.committee.is_some() { options.checkpoint_every } else { 0 };
    let mut checkpoint = [0; 32];
    checkpoint[24..].copy_from_slice(&every.to_be_bytes());
    let basis = Basis { parent: None, committees: &Committees::default(), checkpoint: (every > 0).then_some(checkpoint) };
    let genesis = Candidate::new(tenant, basis, block, outcome).map_err(CallError::from)?;
    let id = genesis.id;
    let mut batch = rows::batch(genesis, &[], None);
    batch.writes.extend([
        put(Table::Meta, SPEC_KEY, ModuleHash::of(spec).as_bytes().to_vec()),
        genesis_row(&id),
        put(Table::Meta, CHECKPOINTS_KEY, every.to_be_bytes().to_vec()),
    ]);
    Ok(batch)
}
