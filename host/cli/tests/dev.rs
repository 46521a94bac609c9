//! What the flags of `subnode dev` make of its chains.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{
    fs,
    io::{BufRead, BufReader, Lines},
    path::Path,
    process::{ChildStdout, Command, Stdio},
};

use alloy::primitives::{Address, Bytes, U256, address, bytes, hex, keccak256};
use serde_json::{Value, json};
use subnode_tests::{
    http::Client,
    operator::signal,
    process::{Dev, Process, Run},
};

const GENESIS: &str = r#"{"config":{"chainId":7,"shanghaiTime":0},"alloc":{},"gasLimit":"0x1c9c380","difficulty":"0x0"}"#;
const FIRST: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

fn dev(arguments: &[&str]) -> (Dev, Client) {
    let node = Dev::start(arguments).unwrap();
    let client = node.client().unwrap();
    (node, client)
}

/// What a `subnode dev` that does not start says.
fn failure(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_subnode")).args(["dev", "--port", "0"]).args(arguments).output().unwrap();
    assert!(!output.status.success(), "{arguments:?} succeeds");
    String::from_utf8(output.stderr).unwrap()
}

fn call(client: &mut Client, method: &str, params: Value) -> Value {
    client.call(method, &params).unwrap()
}

fn refused(client: &mut Client, method: &str, params: Value) -> String {
    client.call(method, &params).unwrap_err().to_string()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Sends from the first account; the receipt, on a chain that answers once it is mined.
fn mined(client: &mut Client, transaction: Value) -> Value {
    let mut transaction = transaction;
    transaction["from"] = json!(FIRST);
    let hash = call(client, "eth_sendTransaction", json!([transaction]));
    call(client, "eth_getTransactionReceipt", json!([hash]))
}

/// Init code of some bytes that makes a contract of some zero bytes.
fn makes(code_bytes: u32, init_bytes: usize) -> String {
    let mut init = vec![0x62];
    init.extend_from_slice(&code_bytes.to_be_bytes()[1..]);
    init.extend_from_slice(&[0x60, 0, 0xf3]);
    init.resize(init_bytes.max(init.len()), 0);
    hex::encode_prefixed(init)
}

#[test]
fn each_kind_of_node_says_what_tools_take_it_for() {
    let version = |client: &mut Client| call(client, "web3_clientVersion", json!([])).as_str().unwrap().to_owned();
    let own = concat!("subnode/", env!("CARGO_PKG_VERSION"));
    let (_node, mut client) = dev(&[]);
    assert_eq!(version(&mut client), format!("anvil/v1.7.1/{own}"));
    let metadata = call(&mut client, "hardhat_metadata", json!([]));
    assert_eq!(metadata["clientVersion"], version(&mut client));
    let genesis = call(&mut client, "eth_getBlockByNumber", json!(["0x0", false]));
    assert_eq!((&metadata["instanceId"], &metadata["chainId"]), (&genesis["hash"], &json!(31337)));

    let (node, mut client) = dev(&["--hardhat"]);
    assert_eq!(version(&mut client), format!("HardhatNetwork/2.29.1/{own}"));
    assert_eq!(call(&mut client, "eth_accounts", json!([])).as_array().unwrap().len(), 20);
    assert_eq!(node.announced["accounts"].as_array().unwrap().len(), 20);
    let receipt = mined(&mut client, json!({ "to": FIRST, "value": "0x1" }));
    assert_eq!(receipt["status"], "0x1", "it is mined when the answer comes");

    let (_node, mut client) = dev(&["--hardhat", "--accounts", "3", "--client-version", "Geth/v1.16.0"]);
    assert_eq!(version(&mut client), "Geth/v1.16.0");
    assert_eq!(call(&mut client, "eth_accounts", json!([])).as_array().unwrap().len(), 3);

    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("subnode.toml");
    fs::write(dir.path().join("genesis.json"), GENESIS).unwrap();
    fs::write(&config, "data-dir = \"data\"\n[rpc]\nlisten = \"127.0.0.1:0\"\n[[chain]]\nname = \"main\"\ngenesis = \"genesis.json\"\n")
        .unwrap();
    let node = Run::start(&config).unwrap();
    assert_eq!(version(&mut Client::connect(node.address).unwrap()), own, "a durable node is nobody's dev chain");
}

/// A `subnode dev` whose output is read line by line, and a client of it.
fn printing(arguments: &[&str]) -> (Process, Lines<BufReader<ChildStdout>>, Client) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_subnode"));
    let mut process = Process(command.args(["dev", "--port", "0"]).args(arguments).stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
    let address = loop {
        let line = lines.next().unwrap().unwrap();
        if let Some(address) = line.strip_prefix("Listening on ") {
            break address.to_owned();
        }
        if let Some(address) =
            serde_json::from_str::<Value>(&line).ok().and_then(|announced| Some(announced["listening"].as_str()?.to_owned()))
        {
            break address;
        }
    };
    let client = Client::connect(address.parse().unwrap()).unwrap();
    (process, lines, client)
}

#[test]
fn blocks_and_their_transactions_are_printed() {
    let (_node, mut lines, mut client) = printing(&["--wait-mined"]);
    let mut next = || lines.next().unwrap().unwrap();
    let receipt = mined(&mut client, json!({ "to": FIRST }));
    let hash = |receipt: &Value, key: &str| receipt[key].as_str().unwrap().to_owned();
    assert_eq!(next(), format!("Block 1  {}  1 transaction, 21000 gas", hash(&receipt, "blockHash")));
    assert_eq!(next(), format!("  Transaction {}  21000 gas", hash(&receipt, "transactionHash")));
    let receipt = mined(&mut client, json!({ "data": makes(1, 0) }));
    assert!(next().starts_with("Block 2  "));
    let contract: Address = hash(&receipt, "contractAddress").parse().unwrap();
    assert!(next().ends_with(&format!(" gas, created {contract}")));
    // INVALID
    refused(&mut client, "eth_sendTransaction", json!([{ "from": FIRST, "data": "0xfe", "gas": "0x186a0" }]));
    assert!(next().starts_with("Block 3  "));
    assert!(next().ends_with("  100000 gas, failed"));
    let snapshot = call(&mut client, "evm_snapshot", json!([]));
    call(&mut client, "evm_mine", json!([]));
    assert!(next().ends_with("  0 transactions, 0 gas"));
    call(&mut client, "evm_revert", json!([snapshot]));
    assert_eq!(next(), "Returned to block 3");

    let (_node, mut lines, mut client) = printing(&["--json", "--wait-mined", "--chains", "2"]);
    let receipt = mined(&mut client, json!({ "to": FIRST }));
    let line: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    let transaction = json!({ "hash": receipt["transactionHash"], "gasUsed": 21000, "success": true, "contract": null });
    let block = json!({
        "chain": "dev1", "block": 1, "hash": receipt["blockHash"], "gasUsed": 21000, "transactionCount": 1, "transactions": [transaction],
    });
    assert_eq!(line, block);

    let (mut node, mut lines, mut client) = printing(&["--json", "--silent", "--wait-mined"]);
    mined(&mut client, json!({ "to": FIRST }));
    signal(node.0.id(), "-TERM").unwrap();
    assert!(node.0.wait().unwrap().success());
    assert!(lines.next().is_none(), "silent");
}

#[test]
fn blocks_that_nobody_reads_hold_up_no_chain() {
    let (mut node, mut lines, mut client) = printing(&[]);
    for _ in 0..10 {
        call(&mut client, "anvil_mine", json!(["0x3e8"]));
    }
    assert_eq!(client.quantity("eth_blockNumber", &json!([])).unwrap(), 10_000);
    assert!(lines.any(|line| line.unwrap().ends_with(" blocks are not shown")));
    signal(node.0.id(), "-TERM").unwrap();
    assert!(node.0.wait().unwrap().success());
}

#[test]
fn contracts_are_as_large_as_a_flag_allows() {
    let (_node, mut client) = dev(&[]);
    let created = |code_bytes, init_bytes| json!([{ "from": FIRST, "data": makes(code_bytes, init_bytes) }, "latest"]);
    assert_eq!(call(&mut client, "eth_call", created(24_576, 0)).as_str().unwrap().len(), 2 + 2 * 24_576);
    assert!(refused(&mut client, "eth_call", created(24_577, 0)).contains("max code size exceeded"));
    assert!(refused(&mut client, "eth_call", created(1, 49_153)).contains("max initcode size exceeded: code size 49153, limit 49152"));

    let (_node, mut client) = dev(&["--code-size-limit", "30000", "--wait-mined"]);
    let receipt = mined(&mut client, json!({ "data": makes(30_000, 60_000), "gas": "0x1312d00" }));
    let code = call(&mut client, "eth_getCode", json!([receipt["contractAddress"], "latest"]));
    assert_eq!(code.as_str().unwrap().len(), 2 + 2 * 30_000);
    assert!(refused(&mut client, "eth_call", created(30_001, 0)).contains("max code size exceeded"));
    let sent = json!([{ "from": FIRST, "data": makes(1, 60_001), "gas": "0x1312d00" }]);
    assert!(refused(&mut client, "eth_sendTransaction", sent).contains("max initcode size exceeded: code size 60001, limit 60000"));

    // The transaction alone is larger than what a pool takes otherwise.
    let (_node, mut client) = dev(&["--disable-code-size-limit", "--gas-limit", "200000000", "--wait-mined"]);
    let receipt = mined(&mut client, json!({ "data": makes(300_000, 200_000), "gas": "0xbebc200" }));
    let code = call(&mut client, "eth_getCode", json!([receipt["contractAddress"], "latest"]));
    assert_eq!(code.as_str().unwrap().len(), 2 + 2 * 300_000);

    assert!(failure(&["--code-size-limit", "2097153"]).contains("2097152"));
    assert!(failure(&["--code-size-limit", "3MiB"]).contains("3MiB: use 1 to 2097152 bytes"));
}

#[test]
fn a_transaction_may_ask_for_a_whole_block_unless_the_cap_is_asked_for() {
    let whole = json!({ "to": FIRST, "gas": "0x1c9c380" });
    let (_node, mut client) = dev(&["--wait-mined"]);
    assert_eq!(mined(&mut client, whole.clone())["status"], "0x1");

    let (_node, mut client) = dev(&["--enable-tx-gas-limit"]);
    let mut sent = whole;
    sent["from"] = json!(FIRST);
    let said = refused(&mut client, "eth_sendTransaction", json!([sent]));
    assert!(said.contains("transaction gas limit too high (cap: 16777216, tx: 30000000)"), "{said}");
}

#[test]
fn a_foreign_genesis_makes_a_dev_chain_with_the_contracts_that_its_forks_need() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("genesis.json");
    let genesis = json!({
        "config": { "chainId": 7, "terminalTotalDifficulty": 0, "shanghaiTime": 0, "cancunTime": 0, "pragueTime": 0 },
        "alloc": { FIRST: { "balance": "0x56bc75e2d63100000", "comment": "the first", "privateKey": "0x01" } },
        "gasLimit": "0x1c9c380", "difficulty": "0x0",
    });
    fs::write(&file, genesis.to_string()).unwrap();
    let (node, mut client) = dev(&["--init", text(&file), "--wait-mined"]);
    assert_eq!(node.announced["chains"][0]["chainId"], 7, "the file's id, not the flag's default");
    assert_eq!(mined(&mut client, json!({ "to": FIRST, "value": "0x1" }))["status"], "0x1");
    for contract in [
        "0x000F3df6D732807Ef1319fB7B8bB8522d0Beac02",
        "0x0000F90827F1C53a10cb7A02335B175320002935",
        "0x00000961Ef480Eb55e80D19ad83579A64c007002",
        "0x0000BBdDc7CE488642fb579F8B00f3a590007251",
    ] {
        assert_ne!(call(&mut client, "eth_getCode", json!([contract, "latest"])), "0x", "{contract}");
    }
    let impersonated = Address::repeat_byte(7);
    call(&mut client, "anvil_setBalance", json!([impersonated, "0x56bc75e2d63100000"]));
    call(&mut client, "anvil_impersonateAccount", json!([impersonated]));
    let hash = call(&mut client, "eth_sendTransaction", json!([{ "from": impersonated, "to": FIRST, "value": "0x1" }]));
    assert_eq!(call(&mut client, "eth_getTransactionReceipt", json!([hash]))["status"], "0x1");
    assert!(failure(&["--init", text(&file), "--chain-id", "5"]).contains("cannot be used with"));
}

#[test]
fn a_genesis_of_blocks_from_before_paris_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("genesis.json");
    let old = |config: Value, difficulty: &str| {
        let mut genesis = json!({ "config": { "chainId": 7 }, "alloc": {}, "gasLimit": "0x1c9c380", "difficulty": difficulty });
        genesis["config"].as_object_mut().unwrap().extend(config.as_object().unwrap().clone());
        fs::write(&file, genesis.to_string()).unwrap();
        failure(&["--init", text(&file)])
    };
    for (config, difficulty, reason) in [
        (
            json!({ "clique": { "period": 5, "epoch": 30000 } }),
            "0x1",
            "config.clique: Clique's proof-of-authority blocks are not supported",
        ),
        (json!({ "ethash": {} }), "0x400", "config.ethash: Ethash's proof-of-work blocks are not supported"),
        (json!({}), "0x400", "difficulty: proof-of-work blocks are not supported"),
    ] {
        let said = old(config, difficulty);
        assert!(said.contains(reason) && said.contains("terminalTotalDifficulty 0"), "{said}");
    }
}

#[test]
fn contracts_are_deployed_at_the_address_that_the_salt_says() {
    let (_node, mut client) = dev(&["--wait-mined"]);
    let deployer = address!("4e59b44847b379578588920ca78fbf26c0b4956c");
    let init = bytes!("600a600c600039600a6000f3602a60005260206000f3");
    let salt = keccak256("salt");
    let data = Bytes::from([salt.as_slice(), &init].concat());
    assert_eq!(mined(&mut client, json!({ "to": deployer, "data": data }))["status"], "0x1");
    let code = call(&mut client, "eth_getCode", json!([deployer.create2(salt, keccak256(&init)), "latest"]));
    assert_eq!(code, "0x602a60005260206000f3");
}

#[test]
fn whoever_keeps_a_connection_busy_does_not_keep_the_process() {
    let (mut node, mut client) = dev(&[]);
    let mut half = node.client().unwrap();
    half.send(b"POST / HTTP/1.1\r\nhost: localhost\r\ncontent-length: 100\r\n\r\n{").unwrap();
    let mut other = node.client().unwrap();
    std::thread::scope(|scope| {
        let mining = scope.spawn(move || client.call("hardhat_mine", &json!(["0x186a0"])));
        while call(&mut other, "eth_blockNumber", json!([])) == "0x0" {}
        signal(node.child().id(), "-TERM").unwrap();
        assert!(node.child().wait().unwrap().success());
        assert!(mining.join().unwrap().is_err(), "all blocks were mined first");
    });
}

#[test]
fn a_kept_chain_refuses_flags_that_say_something_else() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let stop = |mut node: Dev| {
        signal(node.child().id(), "-TERM").unwrap();
        assert!(node.child().wait().unwrap().success());
    };
    let (node, _) = dev(&["--data-dir", text(&data), "--chain-id", "5", "--accounts", "3", "--balance", "7"]);
    stop(node);
    for (flags, said) in [
        (["--chain-id", "6"], "--chain-id is 5 there, and 6 was asked for"),
        (["--accounts", "10"], "--accounts is 3 there, and 10 was asked for"),
        (["--balance", "10000"], "--balance is 7 there, and 10000 was asked for"),
        (["--hardfork", "cancun"], "--hardfork is osaka there, and cancun was asked for"),
        (["--code-size-limit", "9"], "--code-size-limit is EIP-170's there, and 9 was asked for"),
    ] {
        let heard = failure(&[&["--data-dir", text(&data)], flags.as_slice()].concat());
        assert!(heard.contains(said) && heard.contains(text(&data)), "{heard}");
    }
    let (node, mut client) = dev(&["--data-dir", text(&data), "--chain-id", "5", "--hardhat"]);
    assert_eq!(node.announced["chains"][0]["chainId"], 5);
    assert_eq!(node.announced["accounts"].as_array().unwrap().len(), 3, "what was not asked for is as it was");
    let balance: U256 = serde_json::from_value(call(&mut client, "eth_getBalance", json!([FIRST, "latest"]))).unwrap();
    assert_eq!(balance, U256::from(7) * U256::from(10).pow(U256::from(18)));
    stop(node);

    let from_file = dir.path().join("from-file");
    let file = dir.path().join("genesis.json");
    fs::write(&file, "garbage").unwrap();
    assert!(failure(&["--data-dir", text(&from_file), "--init", text(&file)]).contains("no JSON"));
    fs::write(&file, GENESIS).unwrap();
    for arguments in [["--init", text(&file)].as_slice(), &[]] {
        let (node, _) = dev(&[["--data-dir", text(&from_file)].as_slice(), arguments].concat());
        assert_eq!(node.announced["chains"][0]["chainId"], 7);
        stop(node);
    }
    for arguments in [["--code-size-limit", "9", "--block-time", "0.5", "--chains", "2"].as_slice(), &[]] {
        let (node, _) = dev(&[["--data-dir", text(&dir.path().join("flags")), "--init", text(&file)].as_slice(), arguments].concat());
        assert_eq!(node.announced["chains"][0]["chainId"], 7, "what flags added to the file is kept with it");
        assert!(node.announced["chains"][1].is_null() || node.announced["chains"][1]["chainId"] == 8);
        stop(node);
    }
    assert!(failure(&["--data-dir", text(&from_file), "--chain-id", "9"]).contains("made from a genesis file"));
    assert!(failure(&["--data-dir", text(&from_file), "--chains", "2"]).contains("name the file with --init"));
}
