//! How a chain is born: its runtime makes genesis of a spec, whole or in parts, and the store takes it in one write or as a load.
//!
//! Memory of the host, which the chain's slice is charged for: twice the spec, where that is short or the runtime takes no parts; else
//! [`Load::MEMORY_BYTES`], and a part of the spec.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use sha2::{Digest, Sha256};
use subnode_chain_core::{Checkpoints, Committees};
use subnode_sandbox::{
    Built, CallError, Declared, Declaring, GenesisStream, HostFault, Lease, Lent, Limits, Module, Outcome, RuntimeGuest, Tenant,
};
use subnode_storage::{Batch, ChainStore, Load, MemoryStore, Retention, Store, StoreError, Table, Write};
use subnode_types::{BlockRef, ChainName};

use super::{
    attested::Attesting,
    candidate::{Basis, Candidate, digest},
    genesis_stream::{Lending, Streamed, unreadable_spec},
    rows::{self, CHECKPOINTS_KEY, GENESIS_KEY, SPEC_KEY, decode_head, load_committees, put},
};
use crate::{
    error::OpenError,
    options::{ChainOptions, ChainParts},
    reader::EmptyState,
    spec::{READ_BYTES, Spec},
};

/// The longest spec that a runtime gets whole if it can read parts: the contract's bound. The chain's key depends on it, as the digest of what came in
/// parts is a part of it.
const WHOLE_BYTES_MAX: u64 = 4 << 20;
/// Fuel of genesis for each byte of the spec, where that is more than a block's: to parse it, and to hash, sort and write what is made of it.
const FUEL_PER_BYTE: u64 = 2_000;
/// Time of genesis for each byte of the spec, where that is more than a block's: that fuel, at half a nanosecond a unit.
const NANOSECONDS_PER_BYTE: u64 = 1_000;

/// What a chain is when it is opened.
pub(crate) struct Opened {
    pub(crate) head: BlockRef,
    pub(crate) committees: Committees,
    /// The chain among all of a network; none where it was made before there were any.
    pub(crate) key: Option<[u8; 32]>,
    pub(crate) rule: Option<Checkpoints>,
    pub(crate) attesting: Attesting,
}

/// The chain's head and committees, after creating the chain if its store is empty.
pub(crate) async fn load_or_create(parts: &ChainParts, options: &ChainOptions) -> Result<Opened, OpenError> {
    let store = &parts.store;
    if store.head().is_none() {
        let founded = found(&parts.runtime, &parts.tenant, &parts.spec, options, store.begin_load().await?).await?;
        let Founded { batch, load, _memory } = founded;
        store.finish_load(load, batch).await?;
    } else if !parts.spec.is_empty()
        && let Some(known) = store.view().get(Table::Meta, SPEC_KEY)?
    {
        // An empty spec asks for the chain as it is.
        if reading(&parts.spec, Spec::hash).await?.as_slice() != known {
            return Err(OpenError::OtherSpec);
        }
    }
    let view = store.view();
    let head = store.head().ok_or_else(|| StoreError::Corrupt("no head after genesis".into()))?;
    let committees = load_committees(store)?;
    let key = key_of(store, parts.tenant.chain())?;
    let every = view.get(Table::Meta, CHECKPOINTS_KEY)?.and_then(|row| row.try_into().ok()).map_or(0, u64::from_be_bytes);
    let attesting = Attesting::load(store)?;
    Ok(Opened { head: decode_head(&head)?, committees, key, rule: Checkpoints::new(every), attesting })
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

/// The batch that begins a chain anew which has begun before: `bytes_max` of rows at most.
pub(crate) async fn genesis_batch(
    runtime: &Module,
    tenant: &Tenant,
    spec: &Spec,
    options: &ChainOptions,
    bytes_max: u64,
) -> Result<Batch, OpenError> {
    // The chain goes on with what it has until the batch is written: rows wait in memory.
    let store = MemoryStore::default().open(tenant.chain(), Retention::Archive)?;
    store.set_limit_bytes(bytes_max);
    let Founded { mut batch, load, _memory } = found(runtime, tenant, spec, options, store.begin_load().await?).await?;
    let mut writes = load.into_writes().await?;
    // Of two writes to one key the later holds, and that is the outcome's.
    writes.append(&mut batch.writes);
    Ok(Batch { writes, ..batch })
}

/// What a runtime made of a spec: a load with the rows that came in parts, and the rest.
struct Founded {
    load: Load,
    batch: Batch,
    /// What the load takes.
    _memory: Lease,
}

async fn found(runtime: &Module, tenant: &Tenant, spec: &Spec, options: &ChainOptions, load: Load) -> Result<Founded, OpenError> {
    if runtime.streams_genesis() && spec.len() > WHOLE_BYTES_MAX {
        in_parts(runtime, tenant, spec, options, load).await
    } else {
        whole(runtime, tenant, spec, options, load).await
    }
}

/// Genesis of a spec that is handed over whole. Nothing is put into the load.
async fn whole(runtime: &Module, tenant: &Tenant, spec: &Spec, options: &ChainOptions, load: Load) -> Result<Founded, OpenError> {
    if spec.len() > options.block.memory_bytes as u64 {
        let reason = format!("{} bytes are more than this runtime can have in memory: {}", spec.len(), options.block.memory_bytes);
        return Err(OpenError::Spec(reason));
    }
    // It is here, and on its way to the guest.
    let memory = tenant.lease(2 * spec.len()).map_err(CallError::from)?;
    let bytes = reading(spec, Spec::bytes).await?;
    let built = call(runtime, tenant, limits(options, spec.len()), &bytes, None).await?;
    let batch = first(runtime, tenant, options, Sha256::digest(&bytes).into(), built, None)?;
    Ok(Founded { load, batch, _memory: memory })
}

/// Genesis of a spec that is read in parts.
async fn in_parts(runtime: &Module, tenant: &Tenant, spec: &Spec, options: &ChainOptions, load: Load) -> Result<Founded, OpenError> {
    let memory = tenant.lease(Load::MEMORY_BYTES).map_err(CallError::from)?;
    let back = Arc::new(Mutex::new(None));
    let streamed = Streamed { spec: spec.reader(), size: spec.len(), load, rows: Sha256::new(), error: None };
    let stream = Box::new(Lending { streamed: Some(streamed), back: back.clone() });
    let built = call(runtime, tenant, limits(options, spec.len()), &[], Some(stream)).await;
    // A call that was given up has it still: the next load drops what it wrote.
    let streamed = back.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(streamed) = streamed else { return Err(built.err().unwrap_or_else(|| CallError::from(HostFault::Stopping).into())) };
    let Streamed { spec: reader, load, rows, error, .. } = streamed;
    let made = async {
        if let Some(error) = error {
            return Err(error.into());
        }
        let built = built?;
        let handed: Option<[u8; 32]> = (!load.is_empty()).then(|| rows.finalize().into());
        let hash = blocking(move || reader.finish()).await?;
        first(runtime, tenant, options, hash, built, handed)
    };
    match made.await {
        Ok(batch) => Ok(Founded { load, batch, _memory: memory }),
        Err(error) => {
            load.discard().await?;
            Err(error)
        }
    }
}

/// Reads a spec: a long one, or one of a file, where that holds up no other chain.
async fn reading<T: Send + 'static>(spec: &Spec, read: fn(&Spec) -> io::Result<T>) -> Result<T, OpenError> {
    if spec.is_here() && spec.len() <= READ_BYTES as u64 {
        return read(spec).map_err(|error| unreadable_spec(&error).into());
    }
    let spec = spec.clone();
    blocking(move || read(&spec)).await
}

async fn blocking<T: Send + 'static>(read: impl FnOnce() -> io::Result<T> + Send + 'static) -> Result<T, OpenError> {
    let read = tokio::task::spawn_blocking(read).await;
    read.map_err(|_| OpenError::from(StoreError::Closed))?.map_err(|error| unreadable_spec(&error).into())
}

/// Bounds of genesis: those of a block, or more for a long spec.
fn limits(options: &ChainOptions, bytes: u64) -> Limits {
    let Limits { fuel, wall, .. } = options.block;
    let longest = Duration::from_nanos(bytes.saturating_mul(NANOSECONDS_PER_BYTE));
    Limits { fuel: fuel.max(bytes.saturating_mul(FUEL_PER_BYTE)), wall: wall.max(longest), ..options.block }
}

async fn call(
    runtime: &Module,
    tenant: &Tenant,
    limits: Limits,
    spec: &[u8],
    genesis: Option<Box<dyn GenesisStream>>,
) -> Result<(Built, Declared), OpenError> {
    let declaring = Declaring::default();
    let lent = Lent { genesis, declared: Some(declaring.clone()), ..Lent::of(EmptyState) };
    let guest = RuntimeGuest::new(runtime, tenant, limits, &[]).await;
    let mut guest = guest.map_err(|error| OpenError::Module { which: "runtime", error })??;
    let built = guest.genesis(spec, lent).await?.map_err(OpenError::Spec)?;
    Ok((built, declaring.take()))
}

/// The batch of genesis. `handed` stands for the rows that came in parts.
fn first(
    runtime: &Module,
    tenant: &Tenant,
    options: &ChainOptions,
    spec: [u8; 32],
    (Built { block, outcome }, declared): (Built, Declared),
    handed: Option<[u8; 32]>,
) -> Result<Batch, OpenError> {
    // Part of what genesis stands for: nodes that take different states' roots, or attest different blocks, are on different chains.
    let every = if outcome.committee.is_some() { options.checkpoint_every } else { 0 };
    let attest_every = if declared.attesters.is_some() { options.attest_every } else { 0 };
    let mut checkpoint = [0; 32];
    checkpoint[16..24].copy_from_slice(&attest_every.to_be_bytes());
    checkpoint[24..].copy_from_slice(&every.to_be_bytes());
    // So are nodes of which some ask for a block's author.
    let authors = runtime.declares() && outcome.committee.as_ref().is_some_and(|change| !change.members.is_empty());
    checkpoint[0] = authors.into();
    let checkpoint = (every > 0 || attest_every > 0 || authors).then_some(checkpoint);
    let basis = Basis { parent: None, committees: &Committees::default(), checkpoint, drawn: None };
    let changes = changes(&outcome, handed);
    let genesis = Candidate::with_changes(tenant, basis, block, outcome, declared, changes).map_err(CallError::from)?;
    let id = genesis.id;
    let attesting = Attesting::of_genesis(attest_every, genesis.committees.as_ref(), genesis.summary.height + 1);
    let mut batch = rows::batch(genesis, &[], None);
    batch.writes.extend([
        put(Table::Meta, SPEC_KEY, spec.to_vec()),
        genesis_row(&id),
        put(Table::Meta, CHECKPOINTS_KEY, every.to_be_bytes().to_vec()),
    ]);
    batch.writes.extend(authors.then(|| rows::seed_row(&[0; 32])));
    batch.writes.extend(attesting.and_then(Attesting::row));
    Ok(batch)
}

/// A digest of all that genesis changes.
fn changes(outcome: &Outcome, handed: Option<[u8; 32]>) -> [u8; 32] {
    let changes = digest(outcome);
    match handed {
        None => changes,
        Some(handed) => Sha256::new().chain_update(changes).chain_update(handed).finalize().into(),
    }
}
