//! `subnode config check` says what `subnode run` would.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{fs, process::Command};

const GENESIS: &str = r#"{"config":{"chainId":7,"shanghaiTime":0},"alloc":{},"gasLimit":"0x1c9c380","difficulty":"0x0"}"#;

#[test]
fn what_would_keep_a_chain_from_running_is_said_before_it_runs() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("subnode.toml");
    let check = |chain: &str| {
        fs::write(&file, format!("data-dir = \"data\"\n[[chain]]\nname = \"a\"\n{chain}\n")).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_subnode")).args(["config", "check"]).arg(&file).output().unwrap();
        (output.status.success(), String::from_utf8([output.stdout, output.stderr].concat()).unwrap())
    };
    fs::write(dir.path().join("genesis.json"), GENESIS).unwrap();
    fs::write(
        dir.path().join("prague.json"),
        GENESIS.replace("\"shanghaiTime\":0", "\"shanghaiTime\":0,\"cancunTime\":0,\"pragueTime\":0"),
    )
    .unwrap();
    fs::write(dir.path().join("wrong.json"), GENESIS.replace("\"chainId\":7", "\"chainId\":0")).unwrap();
    fs::write(dir.path().join("none.wasm"), "none").unwrap();
    for (chain, hints) in [
        ("genesis = \"missing.json\"", ["chain a", "missing.json"]),
        ("genesis = \"wrong.json\"", ["chain a", "config.chainId: missing or 0"]),
        ("genesis = \"genesis.json\"\nruntime = \"evmm\"", ["neither embedded", "did you mean \"evm\"?"]),
        ("genesis = \"genesis.json\"\nruntime = \"none.wasm\"", ["chain a", "not a WebAssembly component"]),
        ("genesis = \"genesis.json\"\nruntime = \"evm\"\nconsensus = \"evm\"", ["chain a", "consensus module"]),
        ("genesis = \"genesis.json\"\nconsensus = \"bft\"", ["chain a", "name a committee in its genesis"]),
        ("genesis = \"genesis.json\"\nconsensus-config = \"nonsense\"", ["chain a", "nonsense"]),
        ("genesis = \"genesis.json\"\nhistory = -1", ["history: -1", "a number of heights of 1 or more"]),
        ("genesis = \"genesis.json\"\nmemory = \"900TiB\"", ["chain a", "memory"]),
        ("genesis = \"genesis.json\"\n[capacity]\nkeep-free = \"900TiB\"", ["capacity.keep-free is 900 TiB", "data"]),
        ("genesis = \"genesis.json\"\n[metrics]\nlisten = \"127.0.0.1:8545\"", ["rpc.listen and metrics.listen", "127.0.0.1:8545"]),
    ] {
        let (well, said) = check(chain);
        assert!(!well && hints.iter().all(|hint| said.contains(hint)), "{chain}: {said}");
    }
    let (well, said) = check("genesis = \"genesis.json\"");
    assert!(well && said.contains("1 chain, no errors"), "{said}");
    assert!(!dir.path().join("data").exists(), "nothing is written");
    let (well, said) = check("genesis = \"prague.json\"");
    assert!(
        !well && said.contains("chain a") && said.contains("EIP-7251's contract at 0x0000BBdDc7CE488642fb579F8B00f3a590007251"),
        "{said}"
    );
    assert!(said.contains("`subnode config genesis`"), "{said}");
    let prague = fs::read_to_string(dir.path().join("prague.json")).unwrap();
    let with = |name: &str, from: &str, to: &str| fs::write(dir.path().join(name), prague.replace(from, to)).unwrap();
    with("later.json", "\"pragueTime\":0", "\"pragueTime\":1");
    let (well, said) = check("genesis = \"later.json\"");
    assert!(!well && said.contains("no block can be built") && said.contains("from the time 1 on without EIP-7002"), "{said}");
    with("misspelt.json", "pragueTime", "pragueTimee");
    let (well, said) = check("genesis = \"misspelt.json\"");
    assert!(!well && said.contains("config.pragueTimee: unknown; did you mean config.pragueTime?"), "{said}");
    with("unknown.json", "\"pragueTime\"", "\"qbft\"");
    let (well, said) = check("genesis = \"unknown.json\"");
    assert!(well && said.contains("config.qbft: unknown, and ignored"), "{said}");
}
