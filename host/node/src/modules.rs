//! Modules by name: those embedded in the program, and those that were added and lie in the data directory under their hash.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use subnode_sandbox::{Module, ModuleError, ModuleHash, Sandbox};

/// Before the hash of a module that was added.
const HASH_PREFIX: &str = "sha256:";

/// Bytes of a module. The largest of those embedded has 5 MiB, and compiling takes some twenty times a module's bytes in memory.
const MODULE_BYTES_MAX: u64 = 32 << 20;
/// Bytes of all modules that were added: chains that are imported bring theirs along.
const ADDED_BYTES_MAX: u64 = 1 << 30;

/// Finds, keeps and loads modules.
#[derive(Clone)]
pub struct Modules {
    sandbox: Sandbox,
    embedded: &'static [(&'static str, &'static [u8])],
    dir: PathBuf,
    /// Held while a module is written: two that are added at once are counted one after the other, and a file has one writer.
    writing: Arc<Mutex<()>>,
}

/// Why there is no such module.
#[derive(Debug, thiserror::Error)]
pub enum ModulesError {
    /// Neither embedded nor added.
    #[error("no module {0:?}: it is neither embedded nor was it added to this node")]
    Unknown(String),
    /// It is larger than modules may be.
    #[error("a module of {bytes} bytes: {MODULE_BYTES_MAX} are the most")]
    TooLarge {
        /// Its bytes.
        bytes: u64,
    },
    /// Those that were added take too much already.
    #[error("the modules in {dir:?} would have {bytes} bytes, and {ADDED_BYTES_MAX} are the most; remove those that no chain runs")]
    TooMany {
        /// Where they are.
        dir: PathBuf,
        /// Their bytes with this one.
        bytes: u64,
    },
    /// It is no module.
    #[error("module {name}: {error}")]
    Module {
        /// Its name.
        name: String,
        /// What is wrong.
        error: ModuleError,
    },
    /// It cannot be kept or read.
    #[error("module {name}: {error}")]
    File {
        /// Its name.
        name: String,
        /// What the system says.
        error: std::io::Error,
    },
}

impl Modules {
    /// Modules that are embedded, and those in `dir`.
    #[must_use]
    pub fn new(sandbox: Sandbox, embedded: &'static [(&'static str, &'static [u8])], dir: PathBuf) -> Self {
        Self { sandbox, embedded, dir, writing: Arc::default() }
    }

    fn path(&self, name: &str) -> Option<PathBuf> {
        let hash = name.strip_prefix(HASH_PREFIX)?;
        let plain = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| self.dir.join(format!("{hash}.wasm")))
    }

    /// Checks a component and keeps it; its name from now on.
    ///
    /// # Errors
    /// Where it is no module, is too large, or cannot be kept.
    pub fn add(&self, component: &[u8]) -> Result<String, ModulesError> {
        let bytes = component.len() as u64;
        if bytes > MODULE_BYTES_MAX {
            return Err(ModulesError::TooLarge { bytes });
        }
        let hash = ModuleHash::of(component);
        if let Some((name, _)) = self.embedded.iter().find(|(_, bytes)| ModuleHash::of(bytes) == hash) {
            return Ok((*name).to_owned());
        }
        let name = format!("{HASH_PREFIX}{hash}");
        self.sandbox.load(component).map_err(|error| ModulesError::Module { name: name.clone(), error })?;
        let file = |error| ModulesError::File { name: name.clone(), error };
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(path) = self.path(&name).filter(|path| !path.exists()) else { return Ok(name) };
        fs::create_dir_all(&self.dir).map_err(file)?;
        let bytes = self.added_bytes().map_err(file)?.saturating_add(bytes);
        if bytes > ADDED_BYTES_MAX {
            return Err(ModulesError::TooMany { dir: self.dir.clone(), bytes });
        }
        write_whole(&path, component).map_err(file)?;
        Ok(name)
    }

    /// Bytes of the modules that were added. What a process left half written goes.
    fn added_bytes(&self) -> std::io::Result<u64> {
        let mut bytes = 0_u64;
        for entry in fs::read_dir(&self.dir)? {
            let entry = entry?;
            if entry.path().extension().is_some_and(|extension| extension == PARTIAL) {
                fs::remove_file(entry.path())?;
            } else {
                bytes = bytes.saturating_add(entry.metadata()?.len());
            }
        }
        Ok(bytes)
    }

    /// The bytes of a module that was added; none for an embedded one, which every node of this release has.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn added(&self, name: &str) -> Result<Option<Vec<u8>>, ModulesError> {
        let Some(path) = self.path(name) else { return Ok(None) };
        // Whoever may write here may have put something else in its place.
        let bytes = fs::metadata(&path).map_or(0, |file| file.len());
        if bytes > MODULE_BYTES_MAX {
            return Err(ModulesError::TooLarge { bytes });
        }
        fs::read(path).map(Some).map_err(|error| ModulesError::File { name: name.to_owned(), error })
    }

    /// Loads a module.
    ///
    /// # Errors
    /// Where there is none, or it is damaged.
    pub fn load(&self, name: &str) -> Result<Module, ModulesError> {
        let added;
        let component = match self.embedded.iter().find(|(embedded, _)| *embedded == name) {
            Some((_, bytes)) => *bytes,
            None => {
                added = self.added(name)?.ok_or_else(|| ModulesError::Unknown(name.to_owned()))?;
                if format!("{HASH_PREFIX}{}", ModuleHash::of(&added)) != name {
                    let error = std::io::Error::new(std::io::ErrorKind::InvalidData, "its file is damaged; add it again");
                    return Err(ModulesError::File { name: name.to_owned(), error });
                }
                &added
            }
        };
        self.sandbox.load(component).map_err(|error| ModulesError::Module { name: name.to_owned(), error })
    }
}

/// Of the name of a file that is being written.
const PARTIAL: &str = "partial";

/// Writes a file that is either there as a whole or not at all, whenever the machine stops.
fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let partial = path.with_extension(PARTIAL);
    let mut file = fs::File::create(&partial)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&partial, path)?;
    // The name as well.
    path.parent().map_or(Ok(()), |dir| fs::File::open(dir)?.sync_all())
}
