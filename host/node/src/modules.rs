//! Modules by name: those embedded in the program, and those that were added and lie in the data directory under their hash.
//! One that is named by its hash may be either.

use std::{
    fs,
    io::Write,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError},
};

use subnode_sandbox::{Module, ModuleError, ModuleHash, Sandbox};

/// Before the hash of a module that was added.
const HASH_PREFIX: &str = "sha256:";

/// Bytes of a module. The largest of those embedded has 5 MiB, and compiling takes some twenty times a module's bytes in memory.
pub(crate) const MODULE_BYTES_MAX: u64 = 32 << 20;
/// Bytes of all modules that were added: chains that are imported bring theirs along.
const ADDED_BYTES_MAX: u64 = 1 << 30;

/// Finds, keeps and loads modules.
#[derive(Clone)]
pub struct Modules {
    sandbox: Sandbox,
    embedded: &'static [(&'static str, &'static [u8])],
    /// Their hashes, in the same order, once somebody asked.
    /// Bound: 32 bytes for each module that is embedded.
    hashes: Arc<OnceLock<Vec<ModuleHash>>>,
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
    /// What follows `sha256:` is no hash.
    #[error("no module {0:?}: name one by `sha256:` and 64 digits of 0-9 and a-f, as `subnode module hash` prints them")]
    NoHash(String),
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
        Self { sandbox, embedded, hashes: Arc::default(), dir, writing: Arc::default() }
    }

    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    fn path(&self, hash: ModuleHash) -> PathBuf {
        self.dir.join(format!("{hash}.wasm"))
    }

    /// The name and the bytes of an embedded module.
    fn embedded(&self, hash: ModuleHash) -> Option<(&'static str, &'static [u8])> {
        let hashes = self.hashes.get_or_init(|| self.embedded.iter().map(|(_, bytes)| ModuleHash::of(bytes)).collect());
        let index = hashes.iter().position(|known| *known == hash)?;
        self.embedded.get(index).copied()
    }

    /// The hash that a module is named by; none where it has another name.
    ///
    /// # Errors
    /// Where what follows `sha256:` is no hash.
    pub fn hash_in(name: &str) -> Result<Option<ModuleHash>, ModulesError> {
        let Some(hash) = name.strip_prefix(HASH_PREFIX) else { return Ok(None) };
        hash.parse().map(Some).map_err(|_| ModulesError::NoHash(name.to_owned()))
    }

    /// The hash of a module that is named by it and is not here: others may have it.
    #[must_use]
    pub fn missing(&self, name: &str) -> Option<ModuleHash> {
        let hash = Self::hash_in(name).ok()??;
        (self.embedded(hash).is_none() && !self.path(hash).exists()).then_some(hash)
    }

    /// Held while a module is written.
    pub(crate) fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Refuses more bytes than modules that were added may have together. Whoever asks holds [`Self::writing`].
    pub(crate) fn check_room(&self, more: u64) -> Result<(), ModulesError> {
        let file = |error| ModulesError::File { name: self.dir.display().to_string(), error };
        let bytes = self.added_bytes().map_err(file)?.saturating_add(more);
        if bytes > ADDED_BYTES_MAX { Err(ModulesError::TooMany { dir: self.dir.clone(), bytes }) } else { Ok(()) }
    }

    /// Checks and compiles a component, which is then loaded without delay.
    pub(crate) fn check(&self, name: &str, component: &[u8]) -> Result<(), ModulesError> {
        self.sandbox.load(component).map(drop).map_err(|error| ModulesError::Module { name: name.to_owned(), error })
    }

    /// Puts a file that is whole, checked and in the directory of modules in a module's place. Whoever asks holds [`Self::writing`].
    pub(crate) fn take_in(&self, file: &Path, hash: ModuleHash) -> std::io::Result<()> {
        fs::File::open(file)?.sync_all()?;
        fs::rename(file, self.path(hash))?;
        fs::File::open(&self.dir)?.sync_all()
    }

    /// The size of a module that is here, and a part of it: as many bytes as it has from the offset on, `most` at most. None where it is not here.
    pub(crate) fn part(&self, hash: ModuleHash, offset: u64, most: usize) -> std::io::Result<Option<(u64, Vec<u8>)>> {
        if let Some((_, bytes)) = self.embedded(hash) {
            let rest = usize::try_from(offset).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
            return Ok(Some((bytes.len() as u64, rest[..rest.len().min(most)].to_vec())));
        }
        let file = match fs::File::open(self.path(hash)) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let size = file.metadata()?.len();
        let length = usize::try_from(size.saturating_sub(offset)).map_or(most, |rest| rest.min(most));
        let mut part = vec![0; length];
        file.read_exact_at(&mut part, offset)?;
        Ok(Some((size, part)))
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
        if let Some((name, _)) = self.embedded(hash) {
            return Ok(name.to_owned());
        }
        let name = name_of(hash);
        self.check(&name, component)?;
        let file = |error| ModulesError::File { name: name.clone(), error };
        let _writing = self.writing();
        let path = self.path(hash);
        if path.exists() {
            return Ok(name);
        }
        fs::create_dir_all(&self.dir).map_err(file)?;
        self.check_room(bytes)?;
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

    /// The bytes of a module that is named by its hash; none for one with the name of an embedded one, which every node of this release has.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn added(&self, name: &str) -> Result<Option<Vec<u8>>, ModulesError> {
        let Some(hash) = Self::hash_in(name)? else { return Ok(None) };
        if let Some((_, bytes)) = self.embedded(hash) {
            return Ok(Some(bytes.to_vec()));
        }
        let path = self.path(hash);
        // Whoever may write here may have put something else in its place.
        let bytes = fs::metadata(&path).map_or(0, |file| file.len());
        if bytes > MODULE_BYTES_MAX {
            return Err(ModulesError::TooLarge { bytes });
        }
        fs::read(path).map(Some).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => ModulesError::Unknown(name.to_owned()),
            _ => ModulesError::File { name: name.to_owned(), error },
        })
    }

    /// Loads a module.
    ///
    /// # Errors
    /// Where there is none, or it is damaged.
    pub fn load(&self, name: &str) -> Result<Module, ModulesError> {
        self.load_with_size(name).map(|(module, _)| module)
    }

    /// The same, and the bytes of its component.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn load_with_size(&self, name: &str) -> Result<(Module, u64), ModulesError> {
        let added;
        let component = match self.embedded.iter().find(|(embedded, _)| *embedded == name) {
            Some((_, bytes)) => *bytes,
            None => {
                added = self.added(name)?.ok_or_else(|| ModulesError::Unknown(name.to_owned()))?;
                if name_of(ModuleHash::of(&added)) != name {
                    let error = std::io::Error::new(std::io::ErrorKind::InvalidData, "its file is damaged; add it again");
                    return Err(ModulesError::File { name: name.to_owned(), error });
                }
                &added
            }
        };
        let module = self.sandbox.load(component).map_err(|error| ModulesError::Module { name: name.to_owned(), error })?;
        Ok((module, component.len() as u64))
    }
}

/// How a module is named that is not embedded.
pub(crate) fn name_of(hash: ModuleHash) -> String {
    format!("{HASH_PREFIX}{hash}")
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
