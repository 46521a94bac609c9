//! What loads modules: an engine, and the modules that it has compiled.

use std::{path::PathBuf, sync::Arc};

use wasmtime::{Engine, component::Linker};

use crate::{
    Module, ModuleError,
    block_slots::BlockSlots,
    cache::Cache,
    engine::{Slots, start},
    guest::GuestState,
    module_hash::ModuleHash,
};

/// Memory kept ready for the next instance in a slot, instead of returned to the system and faulted in again.
const KEPT_RESIDENT_BYTES: usize = 256 << 10;
/// Slots that are kept though nobody uses them: 16 MiB in all.
const UNUSED_SLOTS_MAX: u32 = 64;

/// How a sandbox is set up.
#[derive(Clone, Debug)]
pub struct SandboxOptions {
    /// Instances that may exist at once, over all chains. Costs address space, not memory.
    pub instances: u32,
    /// Where compiled modules are kept; none keeps them in memory only.
    pub cache_dir: Option<PathBuf>,
}

/// The engine that runs modules, and the modules it has compiled. Cheap to clone.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    linker: Linker<GuestState>,
    cache: Cache,
    block_slots: Arc<BlockSlots>,
}

impl Sandbox {
    /// Sets the engine up.
    ///
    /// # Errors
    /// Where this machine cannot run it (address space, memory mappings).
    pub fn new(options: &SandboxOptions) -> Result<Self, SandboxError> {
        let slots = Slots { instances: options.instances, resident_bytes: KEPT_RESIDENT_BYTES, unused_max: UNUSED_SLOTS_MAX };
        let (engine, linker) = start(slots).map_err(|error| SandboxError(format!("{error:#}")))?;
        let cache = Cache::new(options.cache_dir.clone());
        let block_slots = Arc::new(BlockSlots::new(options.cache_dir.clone()));
        Ok(Self { inner: Arc::new(Inner { engine, linker, cache, block_slots }) })
    }

    /// Checks and compiles a module, or finds it compiled.
    ///
    /// # Errors
    /// [`ModuleError`] says what is wrong with it.
    pub fn load(&self, component: &[u8]) -> Result<Module, ModuleError> {
        let hash = ModuleHash::of(component);
        let Inner { engine, linker, cache, block_slots } = &*self.inner;
        cache.get_or_compile(hash, engine, component, |component| Module::check(hash, component, linker, block_slots))
    }
}

/// The machine cannot run the engine.
#[derive(Debug, thiserror::Error)]
#[error("the WebAssembly engine does not start: {0}")]
pub struct SandboxError(String);
