//! A component that was checked.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicBool, Ordering},
};

use wasmtime::component::{Component, Linker};

use crate::{
    bindings::{consensus::ConsensusPre, runtime::RuntimePre},
    block_slots::{BlockSlots, Slot},
    guest::GuestState,
    module_hash::ModuleHash,
};

/// The worlds a module can implement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum World {
    /// What a block means.
    Runtime,
    /// Which block is next.
    Consensus,
}

/// Why bytes are no module.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ModuleError {
    /// Not a WebAssembly component, or one that does not validate.
    #[error("not a WebAssembly component: {0}; build it for target wasm32-wasip2")]
    NotAComponent(String),
    /// Compiling it takes more than a module may.
    #[error("takes too much to compile: {what} are {found}, and {most} are the most; divide its functions")]
    Effort {
        /// Of what there is too much.
        what: &'static str,
        /// How much there is.
        found: u64,
        /// How much there may be.
        most: u64,
    },
    /// It imports something that no module is given.
    #[error("imports what is not offered: {0}")]
    Import(String),
    /// It lacks an export of either world, or an export has another type.
    #[error("implements neither world of subnode:chain@0.1: as a runtime: {runtime}; as a consensus: {consensus}")]
    Export {
        /// What is missing for a runtime.
        runtime: String,
        /// What is missing for a consensus.
        consensus: String,
    },
    /// It implements the other world.
    #[error("implements the world {found:?}, and {wanted:?} is needed here")]
    World {
        /// What it is.
        found: World,
        /// What is needed.
        wanted: World,
    },
}

/// A module that can be instantiated. Cheap to clone.
#[derive(Clone)]
pub struct Module {
    hash: ModuleHash,
    pre: Arc<Pre>,
    streams_genesis: bool,
    takes_notes: bool,
    declares: bool,
}

/// The interface by which a runtime takes a genesis in parts, but for its version.
const GENESIS_STREAM: &str = "subnode:chain/genesis-stream@";
/// The interface by which a runtime takes notes, but for its version.
const NOTES: &str = "subnode:chain/notes@";
/// The interface by which a runtime says more of its blocks, but for its version.
const DECLARE: &str = "subnode:chain/declare@";

enum Pre {
    Runtime { pre: RuntimePre<GuestState>, for_blocks: Box<ForBlocks> },
    Consensus(ConsensusPre<GuestState>),
}

/// A runtime in the slots for blocks, loaded there once a block is built.
struct ForBlocks {
    slots: Arc<BlockSlots>,
    component: Component,
    /// Whether it is being loaded, or was.
    asked: AtomicBool,
    pre: OnceLock<RuntimePre<GuestState>>,
}

impl Module {
    pub(crate) fn check(
        hash: ModuleHash,
        component: Component,
        linker: &Linker<GuestState>,
        slots: &Arc<BlockSlots>,
    ) -> Result<Self, ModuleError> {
        let imports = |interface: &str| component.component_type().imports(component.engine()).any(|(name, _)| name.starts_with(interface));
        let (streams_genesis, takes_notes, declares) = (imports(GENESIS_STREAM), imports(NOTES), imports(DECLARE));
        let instance = linker.instantiate_pre(&component).map_err(|error| ModuleError::Import(format!("{error:#}")))?;
        let pre = match RuntimePre::new(instance.clone()) {
            Ok(pre) => Pre::Runtime {
                pre,
                for_blocks: Box::new(ForBlocks { slots: slots.clone(), component, asked: AtomicBool::new(false), pre: OnceLock::new() }),
            },
            Err(runtime) => match ConsensusPre::new(instance) {
                Ok(pre) => Pre::Consensus(pre),
                Err(consensus) => {
                    return Err(ModuleError::Export { runtime: format!("{runtime:#}"), consensus: format!("{consensus:#}") });
                }
            },
        };
        Ok(Self { hash, pre: Arc::new(pre), streams_genesis, takes_notes, declares })
    }

    /// SHA-256 of the component.
    pub fn hash(&self) -> ModuleHash {
        self.hash
    }

    /// Whether it is a runtime that reads a long spec in parts, and hands the rows of genesis over in parts.
    pub fn streams_genesis(&self) -> bool {
        self.streams_genesis
    }

    /// Whether its blocks can hold notes.
    #[must_use]
    pub fn takes_notes(&self) -> bool {
        self.takes_notes
    }

    /// Whether its blocks can say more than their outcomes: attest addresses, seeds.
    #[must_use]
    pub fn declares(&self) -> bool {
        self.declares
    }

    /// The world it implements.
    pub fn world(&self) -> World {
        match *self.pre {
            Pre::Runtime { .. } => World::Runtime,
            Pre::Consensus(_) => World::Consensus,
        }
    }

    pub(crate) fn runtime(&self) -> Result<&RuntimePre<GuestState>, ModuleError> {
        match &*self.pre {
            Pre::Runtime { pre, .. } => Ok(pre),
            Pre::Consensus(_) => Err(ModuleError::World { found: World::Consensus, wanted: World::Runtime }),
        }
    }

    /// The runtime and a slot for an instance that works on a block; none where all are taken, or until the module is loaded there.
    pub(crate) fn for_block(&self) -> Option<(&RuntimePre<GuestState>, Slot)> {
        let Pre::Runtime { for_blocks, .. } = &*self.pre else { return None };
        let Some(pre) = for_blocks.pre.get() else {
            if !for_blocks.asked.swap(true, Ordering::Relaxed) {
                self.load_for_blocks();
            }
            return None;
        };
        Some((pre, for_blocks.slots.take()?))
    }

    /// Loads it on a thread of its own: that takes tens of milliseconds, and the chain that asks has others on its thread.
    fn load_for_blocks(&self) {
        let (hash, shared) = (self.hash, self.pre.clone());
        let load = move || {
            let Pre::Runtime { for_blocks, .. } = &*shared else { return };
            if let Some(pre) = for_blocks.slots.load(hash, &for_blocks.component) {
                // Nobody else sets it.
                drop(for_blocks.pre.set(pre));
            }
        };
        if let Err(error) = std::thread::Builder::new().name("load-module".into()).spawn(load) {
            tracing::warn!(module = %hash, %error, "blocks share the slots of queries");
        }
    }

    pub(crate) fn consensus(&self) -> Result<&ConsensusPre<GuestState>, ModuleError> {
        match &*self.pre {
            Pre::Consensus(pre) => Ok(pre),
            Pre::Runtime { .. } => Err(ModuleError::World { found: World::Runtime, wanted: World::Consensus }),
        }
    }

    /// Refuses a module of another world.
    ///
    /// # Errors
    /// Where it implements the other one.
    pub fn expect(&self, wanted: World) -> Result<(), ModuleError> {
        let found = self.world();
        if found == wanted { Ok(()) } else { Err(ModuleError::World { found, wanted }) }
    }
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Module").field("hash", &self.hash).field("world", &self.world()).finish()
    }
}
