//! Finds the suites, and turns what they have in common into genesis files.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::Context;
use serde_json::{Map, Value, json};
use subnode_sandbox::{Module, Sandbox, SandboxOptions};
use subnode_tests::guests;

/// The forks this runtime knows, and the time each begins where a suite names it.
const FORKS: [(&str, &[&str]); 5] = [
    ("Paris", &[]),
    ("Shanghai", &["shanghaiTime"]),
    ("Cancun", &["shanghaiTime", "cancunTime"]),
    ("Prague", &["shanghaiTime", "cancunTime", "pragueTime"]),
    ("Osaka", &["shanghaiTime", "cancunTime", "pragueTime", "osakaTime"]),
];

/// A file's name, and its tests by theirs.
pub(crate) type File = (String, Map<String, Value>);

/// Where the suites are: `SUBNODE_FIXTURES`, or beside the checkout. None where `folder` is not there, which is said.
pub(crate) fn folder(folder: &str) -> Option<PathBuf> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/fixtures").into();
    let root = env::var_os("SUBNODE_FIXTURES").map_or_else(beside, PathBuf::from).join(folder);
    if !root.is_dir() {
        println!("{folder}: skipped, for it is not in SUBNODE_FIXTURES");
        return None;
    }
    Some(root)
}

/// The tests of a folder, file by file; none where there is no such folder.
pub(crate) fn suite(folder: &str) -> anyhow::Result<Option<Vec<File>>> {
    let Some(root) = self::folder(folder) else { return Ok(None) };
    let mut files = Vec::new();
    collect(&root, &mut files)?;
    files.sort();
    let read = |path: PathBuf| -> anyhow::Result<_> {
        let tests = serde_json::from_slice(&fs::read(&path)?).with_context(|| path.display().to_string())?;
        Ok((path.strip_prefix(&root)?.display().to_string(), tests))
    };
    files.into_iter().map(read).collect::<anyhow::Result<_>>().map(Some)
}

fn collect(dir: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            collect(&path, files)?;
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    Ok(())
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

/// A genesis with these accounts under the rules of a fork; none where the runtime has no such fork.
pub(crate) fn genesis(fork: &str, header: Value, accounts: &Value) -> Option<Value> {
    let (_, times) = FORKS.iter().find(|(name, _)| *name == fork)?;
    let mut config = json!({ "chainId": 1, "terminalTotalDifficulty": 0, "blobSchedule": {
        "cancun": { "target": 3, "max": 6, "baseFeeUpdateFraction": 3_338_477 },
        "prague": { "target": 6, "max": 9, "baseFeeUpdateFraction": 5_007_716 },
        "osaka": { "target": 6, "max": 9, "baseFeeUpdateFraction": 5_007_716 },
    } });
    for time in *times {
        config[*time] = json!(0);
    }
    let mut genesis = header;
    genesis["config"] = config;
    genesis["alloc"] = accounts.clone();
    Some(genesis)
}
