//! The binary as people run it: what it prints, how it ends, and what it says of wrong input.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::json;
use subnode_tests::{
    http::Client,
    operator::signal,
    process::{Dev, Run},
};

const GENESIS: &str = r#"{"config":{"chainId":7,"shanghaiTime":0},"alloc":{},"gasLimit":"0x1c9c380","difficulty":"0x0"}"#;

fn subnode(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_subnode")).args(arguments).output().unwrap()
}

/// What a command that fails says.
fn failure(arguments: &[&str]) -> String {
    let output = subnode(arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success(), "{arguments:?} succeeds");
    assert!(said.starts_with("error: "), "{said}");
    said
}

fn success(arguments: &[&str]) -> String {
    let output = subnode(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn help_has_examples_and_wrong_flags_end_with_2() {
    for command in [["--help"].as_slice(), &["dev", "--help"], &["run", "--help"], &["chain", "--help"]] {
        assert!(success(command).contains("Example"), "{command:?}");
    }
    assert_eq!(subnode(&[]).status.code(), Some(2));
    for (arguments, hint) in [
        (["dev", "--prot", "1"].as_slice(), "--port"),
        (&["dev", "--port", "99999"], "99999"),
        (&["dev", "--hardfork", "london"], "use paris, shanghai, cancun, prague or osaka"),
        (&["dev", "--block-time", "1", "--no-mining"], "cannot be used with"),
        (&["dev", "--mnemonic", "one two"], "one"),
    ] {
        let said = failure(arguments);
        assert!(said.contains(hint), "{said}");
    }
}

#[test]
fn help_is_wrapped_to_the_terminal_and_ends_with_what_is_common_to_all_commands() {
    for command in [&["dev"][..], &["chain"], &["chain", "create"], &["top"], &["module", "check"], &["key"], &["health"]] {
        let mut help = Command::new(env!("CARGO_BIN_EXE_subnode"));
        let help = help.args(command).arg("--help").env("COLUMNS", "80").output().unwrap();
        let help = String::from_utf8(help.stdout).unwrap();
        let (before, _) = help.split_once("\nExample").unwrap_or((&help, ""));
        let long: Vec<&str> = before.lines().filter(|line| line.chars().count() > 80).collect();
        assert!(long.is_empty(), "{command:?}: {long:#?}");
        if let Some((own, common)) = before.split_once("Options of all commands that ask a node:") {
            assert!(!own.contains("--socket") && common.contains("--socket") && common.contains("--json"), "{help}");
            assert!(["--sealing", "--stopped", "--interval", "--once"].iter().all(|option| !common.contains(option)), "{help}");
        } else {
            assert!(!help.contains("--socket"), "{help}");
        }
    }
}

#[test]
fn completions_come_for_every_shell() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        assert!(success(&["completions", shell]).contains("subnode"));
    }
}

#[test]
fn an_output_that_nobody_reads_ends_the_program_without_a_word() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let ended = Command::new(env!("CARGO_BIN_EXE_subnode")).args(["completions", "zsh"]).stdout(writer).output().unwrap();
    assert_eq!((ended.status.code(), String::from_utf8(ended.stderr).unwrap()), (Some(141), String::new()));
}

#[test]
fn a_genesis_funds_who_is_named_and_says_where_everybody_has_the_keys() {
    let address = "0x00000000000000000000000000000000000000AA";
    let genesis = success(&["config", "genesis", "--fund", address]);
    assert!(genesis.contains(address) && genesis.contains("pragueTime"), "{genesis}");
    let known = Command::new(env!("CARGO_BIN_EXE_subnode")).args(["config", "genesis"]).output().unwrap();
    assert!(known.status.success() && String::from_utf8(known.stderr).unwrap().contains("--fund"));
}

#[test]
fn the_example_configuration_checks_and_wrong_ones_name_file_line_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("subnode.toml");
    fs::write(&file, success(&["config", "example"])).unwrap();
    fs::write(dir.path().join("genesis.json"), success(&["config", "genesis", "--chain-id", "1234"])).unwrap();
    success(&["config", "check", text(&file)]);
    for (config, hints) in [
        ("data-dri = \"x\"\n", ["line 1", "did you mean `data-dir`?"]),
        ("data-dir = \"x\"\n[rpc]\nlisten = 5\n", ["line 3", "listen"]),
        ("data-dir = \"x\"\n[[chain]]\nname = \"A b\"\ngenesis = \"g\"\n", ["line 3", "name"]),
        ("data-dir = \"x\"\n[capacity]\nparts = 0\n", ["capacity.parts", "1 or more"]),
        ("data-dir = \"x\"\n[rpc]\nconnections = 0\n", ["rpc.connections", "1 or more"]),
    ] {
        fs::write(&file, config).unwrap();
        let said = failure(&["config", "check", text(&file)]);
        assert!(said.contains(text(&file)) && hints.iter().all(|hint| said.contains(hint)), "{said}");
    }
    assert!(failure(&["run", "--config", "nowhere.toml"]).contains("nowhere.toml"));
}

#[test]
fn a_wrong_genesis_names_file_and_key() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("genesis.json");
    let replaced = |from: &str, to: &str| GENESIS.replace(from, to);
    for (genesis, hint) in [
        ("garbage".to_owned(), "line 1 column 1"),
        ("[]".to_owned(), "no JSON object"),
        ("{}".to_owned(), "config: missing"),
        (replaced("\"chainId\":7,", ""), "config.chainId: missing"),
        (replaced("7", "\"seven\""), "config.chainId: invalid type"),
        (replaced("shanghaiTime", "cancunTime"), "config.cancunTime: set, but shanghaiTime before it is not"),
        (replaced("\"shanghaiTime\":0", "\"londonBlock\":9"), "config.londonBlock"),
        (replaced("\"alloc\":{}", "\"alloc\":[]"), "alloc: invalid type"),
        (replaced("0x1c9c380", "0x1"), "gasLimit: 1 is less than"),
        (replaced("0x1c9c380", "lots"), "gasLimit"),
        (
            replaced("\"alloc\":{}", "\"alloc\":{\"0x0000000000000000000000000000000000000001\":{\"balance\":\"much\"}}"),
            "0x0000000000000000000000000000000000000001.balance",
        ),
    ] {
        fs::write(&file, &genesis).unwrap();
        let said = failure(&["dev", "--port", "0", "--init", text(&file)]);
        assert!(said.contains(text(&file)) && said.contains(hint), "{genesis}: {said}");
    }
    assert!(failure(&["dev", "--port", "0", "--init", "nowhere.json"]).contains("nowhere.json"));
}

#[test]
fn a_port_in_use_is_named() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let said = failure(&["dev", "--port", &port]);
    assert!(said.contains(&port) && said.contains("--port"), "{said}");
}

#[test]
fn a_data_directory_in_use_or_damaged_is_refused_and_the_one_who_has_it_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut first = Dev::start(["--data-dir", text(&data)]).unwrap();
    assert!(failure(&["dev", "--port", "0", "--data-dir", text(&data)]).contains("in use"));
    let mut client = first.client().unwrap();
    client.call("evm_mine", &json!([])).unwrap();
    first.child().kill().unwrap();
    first.child().wait().unwrap();

    let manifest = fs::read_dir(&data).unwrap().flatten().map(|entry| entry.path()).find(|path| text(path).contains("MANIFEST")).unwrap();
    let whole = fs::read(&manifest).unwrap();
    fs::write(&manifest, b"scribble").unwrap();
    let said = failure(&["dev", "--port", "0", "--data-dir", text(&data)]);
    assert!(said.contains("damaged") && said.contains(text(&data)), "{said}");
    fs::write(&manifest, whole).unwrap();
    let again = Dev::start(["--data-dir", text(&data)]).unwrap();
    let mut client = again.client().unwrap();
    assert_eq!(client.call("eth_blockNumber", &json!([])).unwrap(), "0x1", "what was sealed before the damage is still there");

    let file = dir.path().join("file");
    fs::write(&file, b"").unwrap();
    assert!(failure(&["dev", "--port", "0", "--data-dir", text(&file)]).contains("cannot be used"));
}

#[test]
fn a_signal_ends_it_cleanly() {
    for name in ["-INT", "-TERM"] {
        let mut node = Dev::start([""; 0]).unwrap();
        signal(node.child().id(), name).unwrap();
        assert!(node.child().wait().unwrap().success(), "{name}");
        let address = node.announced["listening"].as_str().unwrap();
        assert!(TcpListener::bind(address).is_ok(), "the port is free again");
    }
}

#[test]
fn a_durable_node_comes_back_as_it_was_and_refuses_another_genesis() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("subnode.toml");
    fs::write(dir.path().join("genesis.json"), GENESIS).unwrap();
    fs::write(&config, "data-dir = \"data\"\n[rpc]\nlisten = \"127.0.0.1:0\"\n[[chain]]\nname = \"main\"\ngenesis = \"genesis.json\"\nsealing = \"manual\"\ncontrols = true\n").unwrap();
    let mut sealed = None;
    for _ in 0..3 {
        let mut node = Run::start(&config).unwrap();
        let mut client = Client::connect(node.address).unwrap();
        let head = client.call("eth_getBlockByNumber", &json!(["latest", false])).unwrap();
        assert_eq!(sealed.take().unwrap_or_else(|| head.clone()), head);
        client.call("evm_mine", &json!([])).unwrap();
        sealed = Some(client.call("eth_getBlockByNumber", &json!(["latest", false])).unwrap());
        signal(node.child().id(), "-TERM").unwrap();
        assert!(node.child().wait().unwrap().success());
    }
    fs::write(dir.path().join("genesis.json"), GENESIS.replace('7', "8")).unwrap();
    // Other chains of the node are not to wait for this one to be put right.
    let _node = Run::start(&config).unwrap();
    let health = subnode(&["health", "--config", text(&config)]);
    let said = String::from_utf8(health.stdout).unwrap();
    assert!(health.status.code() == Some(1) && said.contains("chain main") && said.contains("another spec"), "{said}");
}

#[test]
fn modules_have_a_hash_and_a_world() {
    let listed = success(&["module", "hash"]);
    assert_eq!(listed.lines().count(), subnode_modules::ALL.len());
    let dir = tempfile::tempdir().unwrap();
    for (name, component) in subnode_modules::ALL {
        let file = dir.path().join(name);
        fs::write(&file, component).unwrap();
        let hash = success(&["module", "hash", text(&file)]);
        let hash = hash.split(' ').next().unwrap();
        assert!(listed.contains(&format!("{hash}  {name}")), "{listed}");
        assert!(success(&["module", "hash", "--json", name]).contains(hash));
        let checked = success(&["module", "inspect", text(&file)]);
        assert!(
            checked.contains(hash) && checked.contains(if ["authority", "bft", "solo"].contains(&name) { "consensus" } else { "runtime" }),
            "{checked}"
        );
    }
    let no_module = dir.path().join("none");
    fs::write(&no_module, b"none").unwrap();
    assert!(failure(&["module", "check", text(&no_module)]).contains("not a WebAssembly component"));
    assert!(failure(&["module", "hash", "nope"]).contains("neither an embedded module nor a file"));
}

#[test]
fn the_banner_tells_how_to_use_it_and_silence_is_silent() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_subnode")).args(["dev", "--port", "0"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut banner = String::new();
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(child.stdout.take().unwrap()));
    while !banner.contains("Listening on ") {
        banner += &lines.next().unwrap().unwrap();
        banner.push('\n');
    }
    for part in [
        "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266 (10000 ETH)",
        "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
        "test test test test test test test test test test test junk",
        "31337",
        "cast block-number --rpc-url http://127.0.0.1:",
    ] {
        assert!(banner.contains(part), "{banner}");
    }
    signal(child.id(), "-TERM").unwrap();
    assert!(child.wait().unwrap().success());

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    drop(taken);
    let child = Command::new(env!("CARGO_BIN_EXE_subnode"))
        .args(["dev", "--silent", "--port", &port.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    while Client::connect(([127, 0, 0, 1], port).into()).is_err() {
        std::thread::yield_now();
    }
    signal(child.id(), "-INT").unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_doctor_measures_what_this_machine_carries() {
    let dir = tempfile::tempdir().unwrap();
    let measured: serde_json::Value = serde_json::from_str(&success(&["doctor", "--data-dir", text(dir.path()), "--json"])).unwrap();
    for figure in
        ["cores", "memoryBytes", "diskFreeBytes", "fuelPerSecond", "transferMicros", "idleChainBytes", "syncMsMedian", "syncMsP99"]
    {
        assert!(measured[figure].as_f64().unwrap() > 0.0, "{figure}: {measured}");
    }
    assert!(measured["clockDriftMs"].as_f64().unwrap() >= 0.0);
    let classes: Vec<(&str, u64)> = measured["classes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|class| {
            assert!(class["chains"].as_u64().unwrap() > 0 && class["transfersPerSecond"].as_f64().unwrap() > 0.0, "{class}");
            (class["class"].as_str().unwrap(), class["parts"].as_u64().unwrap())
        })
        .collect();
    assert_eq!(classes, [("large", 128), ("medium", 4), ("test", 4), ("small", 1)]);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it leaves nothing behind");

    let said = failure(&["doctor", "--data-dir", text(&dir.path().join("nowhere"))]);
    assert!(said.contains("nowhere"), "{said}");
}

#[test]
fn a_key_is_made_once_and_read_by_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.key");
    let both = success(&["key", "new", text(&file)]);
    let (id, address) = both.trim().split_once("\nattests as 0x").unwrap();
    let is_hex = |text: &str, digits| text.len() == digits && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    assert!(is_hex(id, 64) && is_hex(address, 40), "{both}");
    assert_eq!(success(&["key", "show", text(&file)]), both);
    let json: serde_json::Value = serde_json::from_str(&success(&["key", "show", "--json", text(&file)])).unwrap();
    assert_eq!(json, serde_json::json!({ "node": id, "attester": format!("0x{address}") }));
    let beside = dir.path().join("node.key.attest");
    assert_eq!(fs::metadata(&beside).unwrap().permissions().mode() & 0o777, 0o600);
    assert_ne!(fs::read(&beside).unwrap(), fs::read(&file).unwrap(), "one is not the other");
    fs::remove_file(&beside).unwrap();
    let again = success(&["key", "show", text(&file)]);
    assert!(again.starts_with(id) && again != both, "it is made when it is needed, and is nobody's else: {again}");
    assert_eq!(success(&["key", "show", text(&file)]), again);
    assert!(failure(&["key", "new", text(&file)]).contains("never written over"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    assert!(failure(&["key", "show", text(&file)]).contains("can be read by others (mode 640)"));
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(&file, "secret").unwrap();
    assert!(failure(&["key", "show", text(&file)]).contains("holds no key"));
    assert!(failure(&["key", "show", text(&dir.path().join("none"))]).contains("subnode key new"));
}

#[test]
fn an_encrypted_key_opens_with_its_password_alone() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (plain, locked, back, right, wrong) = (path("node.key"), path("node.json"), path("back.key"), path("right"), path("wrong"));
    fs::write(&right, "correct horse\n").unwrap();
    fs::write(&wrong, "battery staple\n").unwrap();
    let id = success(&["key", "new", &plain]);
    assert_eq!(success(&["key", "import", &locked, "--from", &plain, "--encrypted", "--password-file", &right]), id);
    let keystore: serde_json::Value = serde_json::from_str(&fs::read_to_string(&locked).unwrap()).unwrap();
    assert_eq!((&keystore["version"], &keystore["crypto"]["cipher"]), (&serde_json::json!(3), &serde_json::json!("aes-128-ctr")));
    assert_eq!(success(&["key", "show", &locked, "--password-file", &right]), id);
    assert!(failure(&["key", "show", &locked, "--password-file", &wrong]).contains("a wrong password"));
    assert!(failure(&["key", "show", &locked]).contains("--password-file"), "there is no terminal to ask on");
    assert!(failure(&["key", "show", &locked, "--password-file", &path("none")]).contains("read the password"));
    assert_eq!(success(&["key", "import", &back, "--from", &locked, "--from-password-file", &right]), id);
    assert_eq!(fs::read_to_string(&back).unwrap(), fs::read_to_string(&plain).unwrap());
    assert!(failure(&["key", "new", &locked, "--encrypted", "--password-file", &right]).contains("never written over"));
}

#[test]
fn a_testnet_is_written_with_configurations_that_check() {
    let dir = tempfile::tempdir().unwrap();
    let net = dir.path().join("net");
    for runtime in ["evm", "kv"] {
        let dir = net.join(runtime);
        let said = success(&["testnet", "--write-only", "--dir", text(&dir), "--nodes", "3", "--chains", "2", "--runtime", runtime]);
        assert!(said.contains("subnode run --config"), "{said}");
        for node in ["node1", "node2", "node3"] {
            success(&["config", "check", text(&dir.join(node).join("subnode.toml"))]);
        }
    }
    assert!(failure(&["testnet", "--write-only", "--dir", text(&net.join("far")), "--port", "65535"]).contains("no port is left"));
    assert!(failure(&["testnet", "--write-only", "--dir", text(&net.join("none")), "--nodes", "0"]).contains("--nodes"));
}
