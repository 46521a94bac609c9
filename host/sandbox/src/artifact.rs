//! A compiled module on disk. Loading one is `unsafe`: a compiled module is machine code.
//!
//! Beside the file, which wasmtime maps as it is, lies its *seal*: `magic ‖ hash of the module ‖ CRC-32 of the file`. It catches
//! damage and a file that belongs to another module; wasmtime itself refuses one of another version, configuration or processor.
//! It is no protection against someone who can write the directory: they could replace this program as well. The directory is
//! made for its owner alone.

use std::{
    fs, io,
    io::{Read, Write},
    path::Path,
};

use wasmtime::{Engine, component::Component};

use crate::module_hash::ModuleHash;

const MAGIC: &[u8; 8] = b"subnodeB";

/// A name that differs where the engine or the module does.
pub(crate) fn file_name(engine: &Engine, hash: ModuleHash) -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{hash}-{:016x}.cwasm", hasher.finish())
}

fn seal(hash: ModuleHash, checksum: u32) -> Vec<u8> {
    [&MAGIC[..], hash.as_bytes(), &checksum.to_be_bytes()].concat()
}

/// The compiled module in a file, or none where there is none that can be used. A file that is damaged or foreign is removed.
pub(crate) fn load(engine: &Engine, hash: ModuleHash, path: &Path) -> Option<Component> {
    let sealed = fs::read(path.with_extension("seal")).ok()?;
    let checked = checksum(path).is_ok_and(|checksum| seal(hash, checksum) == sealed);
    let loaded = checked.then(|| {
        // SAFETY: the seal shows these are the bytes `store` wrote, which came from `Component::serialize` of this module.
        #[expect(unsafe_code, reason = "loading machine code that this program wrote")]
        unsafe { Component::deserialize_file(engine, path) }.ok()
    });
    if loaded.is_none() {
        tracing::warn!(?path, "removing a compiled module that is damaged or foreign");
        drop(fs::remove_file(path));
    }
    loaded.flatten()
}

/// A component for another engine of the same configuration, in memory.
pub(crate) fn copied(component: &Component, engine: &Engine) -> wasmtime::Result<Component> {
    let bytes = component.serialize()?;
    // SAFETY: these are the bytes of `Component::serialize`.
    #[expect(unsafe_code, reason = "loading machine code that this program made")]
    unsafe {
        Component::deserialize(engine, bytes)
    }
}

/// Read in pieces: the file is mapped afterwards, and a copy of it in memory would cost more than the sum.
fn checksum(path: &Path) -> io::Result<u32> {
    let mut file = fs::File::open(path)?;
    let mut checksum = crc32fast::Hasher::new();
    let mut piece = vec![0; 64 << 10];
    loop {
        match file.read(&mut piece)? {
            0 => return Ok(checksum.finalize()),
            read => checksum.update(&piece[..read]),
        }
    }
}

/// Writes a compiled module, whole or not at all.
pub(crate) fn store(component: &Component, hash: ModuleHash, path: &Path) -> io::Result<()> {
    let body = component.serialize().map_err(io::Error::other)?;
    // First the file: a seal that is there before its file, or beside an older one, does not fit, and both are written anew.
    replace(path, &body)?;
    replace(&path.with_extension("seal"), &seal(hash, crc32fast::hash(&body)))
}

/// Compiled modules kept on disk, some 8 MB each: those of this release, and of a few that went before.
const KEPT_MAX: usize = 24;

/// Removes the oldest compiled modules beyond [`KEPT_MAX`].
pub(crate) fn prune(dir: &Path) -> io::Result<()> {
    let mut kept: Vec<_> = fs::read_dir(dir)?
        .flatten()
        .filter(|entry| entry.path().extension().is_some_and(|extension| extension == "cwasm"))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    kept.sort_unstable();
    for (_, path) in kept.iter().rev().skip(KEPT_MAX) {
        fs::remove_file(path)?;
        // A file that an earlier release wrote has none.
        drop(fs::remove_file(path.with_extension("seal")));
    }
    Ok(())
}

fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let temporary = path.with_added_extension(format!("tmp{}", std::process::id()));
    fs::File::create(&temporary)?.write_all(bytes)?;
    fs::rename(&temporary, path)
}
