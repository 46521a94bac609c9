//! A compiled module on disk. The only `unsafe` of the workspace: a compiled module is machine code.
//!
//! A file is `magic ‖ sha256(hash of the module ‖ body) ‖ body`. The digest catches damage and a file that belongs to another module;
//! wasmtime itself refuses one of another version, configuration or processor. It is no protection against someone who can
//! write the directory: they could replace this program as well. The directory is made for its owner alone.

use std::{fs, io, io::Write, path::Path};

use sha2::{Digest, Sha256};
use wasmtime::{Engine, component::Component};

use crate::ModuleHash;

const MAGIC: &[u8; 8] = b"subnodeA";

/// A name that differs where the engine or the module does.
pub(crate) fn file_name(engine: &Engine, hash: ModuleHash) -> String {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::hash::DefaultHasher::new();
    engine.precompile_compatibility_hash().hash(&mut hasher);
    format!("{hash}-{:016x}.cwasm", hasher.finish())
}

fn digest(hash: ModuleHash, body: &[u8]) -> [u8; 32] {
    Sha256::new().chain_update(hash.as_bytes()).chain_update(body).finalize().into()
}

/// The compiled module in a file, or none where there is none that can be used. A file that is damaged or foreign is removed.
pub(crate) fn load(engine: &Engine, hash: ModuleHash, path: &Path) -> Option<Component> {
    let file = fs::read(path).ok()?;
    let loaded = check(hash, &file).and_then(|body| {
        // SAFETY: the digest shows these are the bytes `store` wrote, which came from `Component::serialize` of this module.
        #[expect(unsafe_code, reason = "loading machine code that this program wrote")]
        unsafe { Component::deserialize(engine, body) }.ok()
    });
    if loaded.is_none() {
        tracing::warn!(?path, "removing a compiled module that is damaged or foreign");
        drop(fs::remove_file(path));
    }
    loaded
}

fn check(hash: ModuleHash, file: &[u8]) -> Option<&[u8]> {
    let (claimed, body) = file.strip_prefix(MAGIC)?.split_at_checked(32)?;
    (digest(hash, body) == claimed).then_some(body)
}

/// Writes a compiled module, whole or not at all.
pub(crate) fn store(component: &Component, hash: ModuleHash, path: &Path) -> io::Result<()> {
    let body = component.serialize().map_err(io::Error::other)?;
    let temporary = path.with_extension(format!("tmp{}", std::process::id()));
    let mut file = fs::File::create(&temporary)?;
    file.write_all(MAGIC)?;
    file.write_all(&digest(hash, &body))?;
    file.write_all(&body)?;
    drop(file);
    fs::rename(&temporary, path)
}
