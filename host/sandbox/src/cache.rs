//! Compiled modules: in memory, and on disk under their hash.

use std::{
    collections::HashMap,
    fmt, fs,
    path::PathBuf,
    sync::{Mutex, PoisonError},
};

use sha2::{Digest, Sha256};
use subnode_types::Hex;
use wasmtime::{Engine, component::Component};

use crate::{Module, ModuleError, artifact};

/// SHA-256 of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleHash([u8; 32]);

/// Most modules kept in memory. A compiled runtime is some 5 MiB, so this bounds the cache to 160 MiB.
const MODULES_MAX: usize = 32;

impl ModuleHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(component: &[u8]) -> Self {
        Self(Sha256::digest(component).into())
    }

    /// The hash itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for ModuleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for ModuleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

pub(crate) struct Cache {
    dir: Option<PathBuf>,
    modules: Mutex<HashMap<ModuleHash, Module>>,
}

impl Cache {
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, modules: Mutex::new(HashMap::new()) }
    }

    /// The lock is held while compiling: two chains that start with one module compile it once.
    pub(crate) fn get_or_compile(
        &self,
        hash: ModuleHash,
        engine: &Engine,
        bytes: &[u8],
        check: impl FnOnce(Component) -> Result<Module, ModuleError>,
    ) -> Result<Module, ModuleError> {
        let mut modules = self.modules.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = modules.get(&hash) {
            return Ok(module.clone());
        }
        let component = self.component(hash, engine, bytes)?;
        let module = check(component)?;
        if modules.len() >= MODULES_MAX {
            modules.clear();
        }
        modules.insert(hash, module.clone());
        Ok(module)
    }

    fn component(&self, hash: ModuleHash, engine: &Engine, bytes: &[u8]) -> Result<Component, ModuleError> {
        let path = self.dir.as_ref().map(|dir| dir.join(artifact::file_name(engine, hash)));
        if let Some(component) = path.as_ref().and_then(|path| artifact::load(engine, hash, path)) {
            return Ok(component);
        }
        let started = std::time::Instant::now();
        let component = Component::new(engine, bytes).map_err(|error| ModuleError::NotAComponent(format!("{error:#}")))?;
        tracing::info!(module = %hash, ms = started.elapsed().as_millis(), "compiled a module");
        if let (Some(path), Some(dir)) = (path, &self.dir) {
            // Without the file the next start compiles again: slower, not wrong.
            let kept = fs::create_dir_all(dir).and_then(|()| artifact::store(&component, hash, &path)).and_then(|()| artifact::prune(dir));
            if let Err(error) = kept {
                tracing::warn!(%error, ?path, "cannot keep the compiled module");
            }
        }
        Ok(component)
    }
}
