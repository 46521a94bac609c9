//! The same sources in another folder give the same guest modules, byte for byte: a hash names a module everywhere.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use subnode_sandbox::ModuleHash;
use subnode_tests::guests;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

fn built(target: &Path, module: &str) -> PathBuf {
    let outputs = fs::read_dir(target.join("release/build")).unwrap();
    let mut modules = outputs.map(|output| output.unwrap().path().join("out").join(format!("{module}.wasm")));
    modules.find(|path| path.exists()).unwrap()
}

/// What the modules are made of: all sources, the compiler, and what came of them here.
fn made_of() -> String {
    fn add(path: &Path, all: &mut Vec<u8>) {
        if path.is_dir() {
            let mut entries: Vec<_> = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()).collect();
            entries.sort();
            entries.iter().filter(|entry| !entry.ends_with("target")).for_each(|entry| add(entry, all));
        } else {
            all.extend_from_slice(path.strip_prefix(ROOT).unwrap().as_os_str().as_encoded_bytes());
            all.extend_from_slice(ModuleHash::of(&fs::read(path).unwrap()).as_bytes());
        }
    }
    let mut all = Command::new(env!("CARGO")).arg("-vV").output().unwrap().stdout;
    ["guest-modules", "wit", "host/modules"].iter().for_each(|part| add(&Path::new(ROOT).join(part), &mut all));
    subnode_modules::ALL.iter().for_each(|(_, embedded)| all.extend_from_slice(ModuleHash::of(embedded).as_bytes()));
    ModuleHash::of(&all).to_string()
}

#[test]
fn another_folder_gives_the_same_modules() {
    // It takes minutes, and comes to the same for the same sources.
    let stamp = Path::new(env!("CARGO_TARGET_TMPDIR")).join("reproducible");
    let made_of = made_of();
    if fs::read_to_string(&stamp).is_ok_and(|known| known == made_of) {
        println!("these sources were built in another folder before");
        return;
    }
    let elsewhere = tempfile::Builder::new().prefix("another folder ").tempdir().unwrap();
    let (sources, target) = (elsewhere.path().join("sources"), elsewhere.path().join("built"));
    guests::copy(Path::new(ROOT), &sources).unwrap();
    let cargo = Command::new(env!("CARGO"))
        .args(["build", "--release", "--locked", "--package", "subnode-modules", "--target-dir"])
        .arg(&target)
        .current_dir(&sources)
        .status()
        .unwrap();
    assert!(cargo.success());
    for (name, embedded) in subnode_modules::ALL {
        let rebuilt = fs::read(built(&target, name)).unwrap();
        println!("{name}: {}", ModuleHash::of(&rebuilt));
        assert_eq!(ModuleHash::of(&rebuilt), ModuleHash::of(embedded), "{name} depends on where it is built");
    }
    fs::write(stamp, made_of).unwrap();
}
