//! A module on its way to this node: a file that grows until its hash is the one that was asked for.
//!
//! The file outlives the process, and is gone on with. It is synced once it is whole: what a machine that lost its power left of it is found out by
//! the hash. A file whose chain is gone is removed.

use std::{
    collections::BTreeSet,
    fs::{self, File, OpenOptions},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};
use subnode_network::NodeId;
use subnode_sandbox::ModuleHash;

use crate::modules::{MODULE_BYTES_MAX, Modules, ModulesError, name_of};

/// Of the name of a file that is not whole.
const EXTENSION: &str = "fetch";
/// Bytes of a file that are read at once.
const READ_BYTES: usize = 256 << 10;

/// Whose bytes a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Givers {
    /// It has none.
    Nobody,
    /// One node's: that node answers for all of it.
    One(NodeId),
    /// Nobody answers for all of it: several nodes gave parts, or a process before this one got them.
    Several,
}

/// A file that grows.
pub(crate) struct Download {
    modules: Modules,
    hash: ModuleHash,
    path: PathBuf,
    file: File,
    bytes: u64,
    so_far: Sha256,
    givers: Givers,
}

impl Download {
    /// Begins, or goes on with what an earlier process left.
    pub(crate) fn open(modules: &Modules, hash: ModuleHash) -> Result<Self, ModulesError> {
        let open = || {
            fs::create_dir_all(modules.dir())?;
            let path = path(modules.dir(), hash);
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path)?;
            let mut download = Self { modules: modules.clone(), hash, path, file, bytes: 0, so_far: Sha256::new(), givers: Givers::Nobody };
            download.read_through()?;
            Ok(download)
        };
        open().map_err(|error| ModulesError::File { name: name_of(hash), error })
    }

    fn read_through(&mut self) -> io::Result<()> {
        if self.file.metadata()?.len() > MODULE_BYTES_MAX {
            return self.truncate();
        }
        let mut read = vec![0; READ_BYTES];
        loop {
            let length = self.file.read(&mut read)?;
            if length == 0 {
                break;
            }
            self.so_far.update(&read[..length]);
            self.bytes += length as u64;
        }
        if self.bytes > 0 {
            self.givers = Givers::Several;
        }
        Ok(())
    }

    fn truncate(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        (self.bytes, self.so_far, self.givers) = (0, Sha256::new(), Givers::Nobody);
        Ok(())
    }

    fn failed(&self, error: io::Error) -> ModulesError {
        ModulesError::File { name: name_of(self.hash), error }
    }

    /// Bytes that are here.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether all that is here, if anything is, came from this node.
    pub(crate) fn is_of(&self, node: NodeId) -> bool {
        matches!(self.givers, Givers::Nobody) || self.givers == Givers::One(node)
    }

    /// Whether what is here is what was asked for.
    pub(crate) fn is_whole(&self) -> bool {
        let hash: [u8; 32] = self.so_far.clone().finalize().into();
        hash == *self.hash.as_bytes()
    }

    /// Appends what a node gave.
    pub(crate) fn append(&mut self, from: NodeId, part: &[u8]) -> Result<(), ModulesError> {
        let writing = self.modules.writing();
        self.modules.check_room(part.len() as u64)?;
        // Where the disk is full, what was written of it is written again.
        self.file.write_all_at(part, self.bytes).map_err(|error| self.failed(error))?;
        drop(writing);
        self.so_far.update(part);
        self.bytes += part.len() as u64;
        self.givers = if self.is_of(from) { Givers::One(from) } else { Givers::Several };
        Ok(())
    }

    /// Forgets what is here.
    pub(crate) fn clear(&mut self) -> Result<(), ModulesError> {
        self.truncate().map_err(|error| self.failed(error))
    }

    /// Checks and compiles the module, which is whole, and keeps it. One that does not check is removed.
    pub(crate) fn keep(mut self) -> Result<(), ModulesError> {
        let name = name_of(self.hash);
        let mut component = Vec::new();
        let read = self.file.seek(SeekFrom::Start(0)).and_then(|_| (&self.file).take(MODULE_BYTES_MAX).read_to_end(&mut component));
        read.map_err(|error| self.failed(error))?;
        if let Err(error) = self.modules.check(&name, &component) {
            self.remove()?;
            return Err(error);
        }
        let _writing = self.modules.writing();
        self.modules.take_in(&self.path, self.hash).map_err(|error| self.failed(error))
    }

    fn remove(&self) -> Result<(), ModulesError> {
        fs::remove_file(&self.path).map_err(|error| self.failed(error))
    }
}

fn path(dir: &Path, hash: ModuleHash) -> PathBuf {
    dir.join(format!("{hash}.{EXTENSION}"))
}

/// Removes files of modules that no chain wants any more.
pub(crate) fn clean(modules: &Modules, wanted: &BTreeSet<ModuleHash>) -> io::Result<()> {
    let files = match fs::read_dir(modules.dir()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        files => files?,
    };
    for file in files {
        let file = file?.path();
        let of = file.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<ModuleHash>().ok());
        if file.extension().is_some_and(|extension| extension == EXTENSION) && of.is_none_or(|of| !wanted.contains(&of)) {
            fs::remove_file(file)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use subnode_sandbox::{Sandbox, SandboxOptions};

    use super::*;

    fn modules() -> (tempfile::TempDir, Modules) {
        let dir = tempfile::tempdir().expect("a directory");
        let sandbox = Sandbox::new(&SandboxOptions { instances: 4, cache_dir: None }).expect("starts");
        let modules = Modules::new(sandbox, &[], dir.path().join("modules"));
        (dir, modules)
    }

    #[test]
    fn a_download_is_gone_on_with_and_one_giver_answers_for_what_it_gave_alone() {
        let (_dir, modules) = modules();
        let (one, two, hash) = (NodeId([1; 32]), NodeId([2; 32]), ModuleHash::of(b"module"));
        let mut download = Download::open(&modules, hash).expect("opens");
        assert!(download.is_of(one) && download.is_of(two) && !download.is_whole());
        download.append(one, b"mod").expect("has room");
        assert_eq!((download.bytes(), download.is_of(one), download.is_of(two)), (3, true, false));
        drop(download);
        let mut again = Download::open(&modules, hash).expect("opens");
        assert_eq!((again.bytes(), again.is_of(one)), (3, false), "nobody knows whose it is");
        again.append(two, b"ule").expect("has room");
        assert!(again.is_whole() && !again.is_of(two));
        again.clear().expect("is emptied");
        again.append(two, b"modules").expect("has room");
        assert!(!again.is_whole() && again.is_of(two));
    }

    #[test]
    fn what_is_whole_and_no_module_is_removed_and_what_nobody_wants_too() {
        let (_dir, modules) = modules();
        let (hash, other) = (ModuleHash::of(b"module"), ModuleHash::of(b"other"));
        let mut download = Download::open(&modules, hash).expect("opens");
        download.append(NodeId([1; 32]), b"module").expect("has room");
        assert!(matches!(download.keep(), Err(ModulesError::Module { .. })));
        assert_eq!(fs::read_dir(modules.dir()).expect("is there").count(), 0);
        for hash in [hash, other] {
            drop(Download::open(&modules, hash).expect("opens"));
        }
        clean(&modules, &[hash].into()).expect("cleans");
        assert!(path(modules.dir(), hash).exists() && !path(modules.dir(), other).exists());
    }
}
