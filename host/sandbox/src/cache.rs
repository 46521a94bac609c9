//! Compiled modules: in memory, and on disk under their hash.

use std::{
    collections::HashMap,
    fs,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use wasmtime::{Engine, component::Component};

use crate::{Module, ModuleError, artifact, effort, module_hash::ModuleHash};

/// Most modules kept in memory. A compiled runtime is some 5 MiB, so this bounds the cache to 160 MiB.
const MODULES_MAX: usize = 32;

pub(crate) struct Cache {
    dir: Option<PathBuf>,
    /// Bound: [`MODULES_MAX`] modules of some 5 MiB, 160 MiB.
    modules: Mutex<HashMap<ModuleHash, Module>>,
    /// Modules that are being compiled, each held by whoever does.
    /// Bound: some 100 bytes for each module that operators have compiled at this moment.
    compiling: Mutex<HashMap<ModuleHash, Arc<Mutex<()>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cache {
    pub(crate) fn new(dir: Option<PathBuf>) -> Self {
        Self { dir, modules: Mutex::default(), compiling: Mutex::default() }
    }

    /// Two chains that start with one module compile it once. Those with others do not wait for it.
    pub(crate) fn get_or_compile(
        &self,
        hash: ModuleHash,
        engine: &Engine,
        bytes: &[u8],
        check: impl FnOnce(Component) -> Result<Module, ModuleError>,
    ) -> Result<Module, ModuleError> {
        if let Some(module) = self.known(hash) {
            return Ok(module);
        }
        let place = lock(&self.compiling).entry(hash).or_default().clone();
        let compiling = lock(&place);
        // Whoever was first may have done it.
        let module = self.known(hash).map_or_else(|| check(self.component(hash, engine, bytes)?), Ok);
        if let Ok(module) = &module {
            self.keep(hash, module);
        }
        lock(&self.compiling).remove(&hash);
        drop(compiling);
        module
    }

    fn known(&self, hash: ModuleHash) -> Option<Module> {
        lock(&self.modules).get(&hash).cloned()
    }

    fn keep(&self, hash: ModuleHash, module: &Module) {
        let mut modules = lock(&self.modules);
        if modules.len() >= MODULES_MAX {
            modules.clear();
        }
        modules.insert(hash, module.clone());
    }

    fn component(&self, hash: ModuleHash, engine: &Engine, bytes: &[u8]) -> Result<Component, ModuleError> {
        let path = self.dir.as_ref().map(|dir| dir.join(artifact::file_name(engine, hash)));
        if let Some(component) = path.as_ref().and_then(|path| artifact::load(engine, hash, path)) {
            return Ok(component);
        }
        effort::check(bytes)?;
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

#[cfg(test)]
mod tests {
    use std::{sync::mpsc::channel, thread, time::Duration};

    use super::*;

    /// The shortest component there is.
    const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

    #[test]
    fn a_module_that_is_being_compiled_holds_no_other_up() {
        let (cache, engine) = (Cache::new(None), Engine::default());
        let none = || Err(ModuleError::NotAComponent("only tried".into()));
        let compile = |hash, check: &dyn Fn() -> Result<Module, ModuleError>| cache.get_or_compile(hash, &engine, EMPTY, |_| check());
        let ((begun, is_begun), (go_on, goes_on), (done, is_done)) = (channel(), channel::<()>(), channel());
        thread::scope(|scope| {
            scope.spawn(move || {
                drop(compile(ModuleHash::of(&[1]), &|| {
                    begun.send(()).expect("somebody waits");
                    assert!(goes_on.recv().is_err(), "the sender is dropped");
                    none()
                }));
            });
            is_begun.recv().expect("it begins");
            scope.spawn(move || {
                drop(compile(ModuleHash::of(&[2]), &none));
                done.send(()).expect("somebody waits");
            });
            let done = is_done.recv_timeout(Duration::from_secs(20));
            drop(go_on);
            assert_eq!(done, Ok(()), "the other waits for the first");
        });
    }
}
