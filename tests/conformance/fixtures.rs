//! Finds the suites and reads their files, also those inside packed archives; compiles the guests that the suites run on.

use std::{
    env, fs,
    io::{Read, Write},
    path::{Path, PathBuf},
};

use anyhow::Context;
use subnode_sandbox::{Module, Sandbox, SandboxOptions};
use subnode_tests::guests;

/// How an archive's name ends.
const ARCHIVE: &str = ".tar.xz";

/// Where the suites are: `SUBNODE_FIXTURES`, or beside the checkout. None where `folder` is not there, which is said.
pub(crate) fn folder(folder: &str) -> Option<PathBuf> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures").into();
    let root = env::var_os("SUBNODE_FIXTURES").map_or_else(beside, PathBuf::from).join(folder);
    if !root.is_dir() {
        say(&format!("{folder}: skipped, for it is not in SUBNODE_FIXTURES"));
        return None;
    }
    Some(root)
}

/// Calls `each` with the name and content of every JSON file of a folder, packed or not, in the order of their names.
pub(crate) fn each_file(root: &Path, each: &mut dyn FnMut(String, Vec<u8>)) -> anyhow::Result<()> {
    let mut paths = Vec::new();
    collect(root, &mut paths)?;
    paths.sort();
    for path in paths {
        let name = path.strip_prefix(root)?.display().to_string();
        if name.ends_with(ARCHIVE) {
            unpack(&path, &name, each).with_context(|| path.display().to_string())?;
        } else {
            each(name, fs::read(&path).with_context(|| path.display().to_string())?);
        }
    }
    Ok(())
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.to_str().is_some_and(|path| path.ends_with(".json") || path.ends_with(ARCHIVE)) {
            files.push(path);
        }
    }
    Ok(())
}

/// The files of an archive, one after the other: none is written to the disk.
fn unpack(path: &Path, archive: &str, each: &mut dyn FnMut(String, Vec<u8>)) -> anyhow::Result<()> {
    let unpacked = liblzma::read::XzDecoder::new(fs::File::open(path)?);
    for entry in tar::Archive::new(unpacked).entries()? {
        let mut entry = entry?;
        let name = entry.path()?.display().to_string();
        if name.ends_with(".json") {
            let mut content = Vec::new();
            entry.read_to_end(&mut content)?;
            each(format!("{archive} {name}"), content);
        }
    }
    Ok(())
}

/// Prints a line past the test harness, which swallows what a test that passes prints.
pub(crate) fn say(line: &str) {
    writeln!(std::io::stdout(), "{line}").expect("stdout is open");
}

/// The embedded EVM, compiled.
pub(crate) fn evm() -> anyhow::Result<Module> {
    let sandbox = Sandbox::new(&SandboxOptions { instances: 64, cache_dir: None })?;
    Ok(sandbox.load(subnode_modules::EVM)?)
}

/// The EVM that leaves transfers to revm, built from its sources.
pub(crate) fn evm_with_transfers_by_revm() -> anyhow::Result<Module> {
    let workspace = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../guest-modules"));
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("transfers-by-revm-target");
    let built = guests::build_with(workspace, &["subnode-evm"], &["subnode-evm/transfers-by-revm"], &target)?;
    let sandbox = Sandbox::new(&SandboxOptions { instances: 64, cache_dir: None })?;
    Ok(sandbox.load(&fs::read(built.join("subnode_evm.wasm"))?)?)
}
