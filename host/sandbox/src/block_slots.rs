//! Slots for the instances that build and execute blocks, which keep the memory that a block takes.
//!
//! A fresh instance faults its pages in one by one: a block of 2,000 transfers writes 700, a tenth of its time. Here the next instance finds
//! them. The slots are few, so that what they keep is bounded: 8 MiB each, two for each core. Where all are taken, an instance comes from the
//! engine that queries use, whose slots are many and keep little.
//!
//! The slots belong to an engine of their own, since an engine has one size of slot. It is started, and a module loaded into it, when the
//! first block is built.

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread::available_parallelism,
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use wasmtime::{
    Engine, PoolingAllocationConfig,
    component::{Component, Linker},
};

use crate::{
    artifact,
    bindings::runtime::RuntimePre,
    engine::{self, Slots},
    guest::GuestState,
    module_hash::ModuleHash,
};

/// More blocks than cores are in the making at once while some wait for their next turn.
const SLOTS_PER_CORE: u32 = 2;
/// On any machine: 256 MiB.
const SLOTS_MAX: u32 = 32;
/// What a block of some thousand transactions writes.
const KEPT_RESIDENT_BYTES: usize = 8 << 20;

/// A slot that is taken. Dropped after its instance.
pub(crate) type Slot = OwnedSemaphorePermit;

/// The engine of the slots, once it is started.
pub(crate) struct BlockSlots {
    cache_dir: Option<PathBuf>,
    count: u32,
    free: Arc<Semaphore>,
    started: OnceLock<Option<(Engine, Linker<GuestState>)>>,
}

impl BlockSlots {
    pub(crate) fn new(cache_dir: Option<PathBuf>) -> Self {
        let cores = available_parallelism().map_or(1, usize::from);
        let count = u32::try_from(cores).unwrap_or(u32::MAX).saturating_mul(SLOTS_PER_CORE).min(SLOTS_MAX);
        Self { cache_dir, count, free: Arc::new(Semaphore::new(count as usize)), started: OnceLock::new() }
    }

    /// A slot, if one is free.
    pub(crate) fn take(&self) -> Option<Slot> {
        Arc::clone(&self.free).try_acquire_owned().ok()
    }

    /// A module made ready for these slots, or none where this host cannot have them.
    pub(crate) fn load(&self, hash: ModuleHash, component: &Component) -> Option<RuntimePre<GuestState>> {
        let (engine, linker) = self.started.get_or_init(|| self.start()).as_ref()?;
        // From its file, if there is one: what is mapped from it is shared with the other engine.
        let path = self.cache_dir.as_ref().map(|dir| dir.join(artifact::file_name(engine, hash)));
        let mapped = path.filter(|path| path.exists()).and_then(|path| artifact::load(engine, hash, &path));
        let loaded = mapped.map_or_else(|| artifact::copied(component, engine), Ok);
        let ready = loaded.and_then(|component| RuntimePre::new(linker.instantiate_pre(&component)?));
        ready.inspect_err(|error| tracing::warn!(module = %hash, %error, "blocks share the slots of queries")).ok()
    }

    fn start(&self) -> Option<(Engine, Linker<GuestState>)> {
        if !PoolingAllocationConfig::is_pagemap_scan_available() {
            // Before Linux 6.7 the kernel does not tell which pages were written, and all that a slot keeps would be zeroed after each block.
            return None;
        }
        let slots = Slots { instances: self.count, resident_bytes: KEPT_RESIDENT_BYTES, unused_max: self.count };
        engine::start(slots).inspect_err(|error| tracing::warn!(%error, "blocks share the slots of queries")).ok()
    }
}
