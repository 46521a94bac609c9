//! What operators get wrong, and what others try on their socket. Each is refused by name, and the node goes on.

use std::{fs, net::TcpStream, os::unix::fs::PermissionsExt};

use serde_json::{Value, json};
use subnode_tests::operator::{GENESIS, Home, Operator};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
};

#[test]
fn slices_that_do_not_fit_say_what_is_free() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    for (slice, hint) in [
        (json!({ "slice": 129 }), "129 wanted, 128 of 128 parts free"),
        (json!({ "slice": 0 }), "invalid slice"),
        (json!({ "slice": "tiny" }), "large, medium, small"),
        (json!({ "memoryBytes": u64::MAX }), "memory does not fit"),
        (json!({ "storageBytes": 9_u64 << 30 }), "storage does not fit"),
        (json!({ "bandwidthBytes": u64::MAX }), "bandwidth does not fit"),
        (json!({ "memoryBytes": 1000 }), "memory slice full"),
    ] {
        let said = node.operator.create("a", slice.clone()).unwrap_err().to_string();
        assert!(said.contains(hint), "{slice}: {said}");
        assert!(node.operator.show("a").is_err(), "nothing is left of it");
    }
    node.operator.create("a", json!({ "slice": 100 })).unwrap();
    let said = node.operator.create("b", json!({ "slice": 29 })).unwrap_err().to_string();
    assert!(said.contains("29 wanted, 28 of 128 parts free"), "{said}");
    let said = node.operator.call("chain_resize", json!({ "name": "a", "slice": 129 })).unwrap_err().to_string();
    assert!(said.contains("does not fit"), "{said}");
    for (part, hint) in [("memoryBytes", "bytes of memory"), ("storageBytes", "bytes of storage")] {
        let said = node.operator.call("chain_resize", json!({ "name": "a", part: 1 })).unwrap_err().to_string();
        assert!(said.contains(hint) && said.contains("less than that"), "{said}");
    }
    assert_eq!(node.operator.show("a").unwrap()["slice"]["parts"], 100, "refusals change nothing");
    assert_eq!(node.operator.call("node_status", json!({})).unwrap()["granted"]["parts"], 100);
}

#[test]
fn names_and_numbers_are_one_chains() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    node.operator.create("a", json!({ "id": 7 })).unwrap();
    for (name, more, hint) in [
        ("a", json!({ "id": 8 }), "another one"),
        ("b", json!({ "id": 7 }), "chain a's"),
        ("A b", json!({}), "invalid chain name"),
        ("../../etc", json!({}), "invalid chain name"),
        ("", json!({}), "invalid chain name"),
        ("b", json!({ "sealing": "2h" }), "500ms"),
        ("b", json!({ "genesis": "{}" }), "config: missing"),
        ("b", json!({ "runtime": "nope" }), "neither embedded"),
        ("b", json!({ "runtime": "sha256:../../../etc/passwd" }), "64 digits"),
        ("b", json!({ "runtime": format!("sha256:{}", "0".repeat(64)) }), "neither embedded"),
        ("b", json!({ "runtime": "solo" }), "runtime"),
    ] {
        let said = node.operator.create(name, more.clone()).unwrap_err().to_string();
        assert!(said.contains(hint), "{name} {more}: {said}");
    }
    assert_eq!(node.operator.create("c", json!({})).unwrap()["id"], 8, "the next free number");
    for method in ["chain_show", "chain_start", "chain_stop", "chain_pause", "chain_resize", "chain_delete", "chain_export", "chain_logs"] {
        let said = node.operator.call(method, json!({ "name": "nobody" })).unwrap_err().to_string();
        assert!(said.contains("no chain nobody"), "{method}: {said}");
    }
}

#[test]
fn what_a_genesis_says_wrong_of_fees_deployers_and_limits_is_named_by_its_path() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    let owner = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    for (subnode, texts) in [
        (json!({ "fees": "free" }), ["config.subnode.fees: \"free\"", "use \"eip1559\", \"zero\""]),
        (json!({ "fees": 5 }), ["config.subnode.fees: 5", "{\"fixed\": 1000000000}"]),
        (json!({ "fees": { "fixed": -1 } }), ["config.subnode.fees: fixed: -1", "1 to 18446744073709551615"]),
        (json!({ "fees": { "fixed": 0 } }), ["config.subnode.fees", "use \"zero\""]),
        (json!({ "fees": { "zero": { "senderGas": 1 } } }), ["config.subnode.fees.zero.senderGas: 1", "use 21000 to 30000000"]),
        (json!({ "fees": { "zero": { "senderTransactions": "none" } } }), ["zero.senderTransactions: \"none\"", "whole number"]),
        (json!({ "deployers": [] }), ["config.subnode.deployers", "invalid length 0"]),
        (
            json!({ "deployers": { "owner": owner, "allowed": [owner, "me"] } }),
            ["config.subnode.deployers.allowed[1]: \"me\"", "40 hexadecimal"],
        ),
        (json!({ "deployers": { "owner": -1, "allowed": [] } }), ["config.subnode.deployers.owner", "`-1`"]),
        (json!({ "codeSizeLimit": -1 }), ["config.subnode.codeSizeLimit", "`-1`"]),
        (json!({ "codeSizeLimit": 3 << 20 }), ["config.subnode.codeSizeLimit: 3145728 bytes", "use 1 to 2097152"]),
        (json!({ "free": true }), ["unknown field `free`", "`fees`"]),
    ] {
        let mut genesis: Value = serde_json::from_str(GENESIS).unwrap();
        genesis["config"]["subnode"] = subnode.clone();
        let said = node.operator.create("a", json!({ "genesis": genesis.to_string() })).unwrap_err().to_string();
        assert!(texts.iter().all(|text| said.contains(text)), "{subnode}: {said}");
    }
    let mut genesis: Value = serde_json::from_str(GENESIS).unwrap();
    (genesis["config"]["subnode"]["fees"], genesis["baseFeePerGas"]) = (json!("zero"), json!("0x7"));
    let said = node.operator.create("a", json!({ "genesis": genesis.to_string() })).unwrap_err().to_string();
    assert!(said.contains("baseFeePerGas: 7, but config.subnode.fees is zero; leave it out, or put 0"), "{said}");
    assert!(node.operator.show("a").is_err(), "nothing is left of it");
    // A limit of code is a chain's own, a developer's or not.
    let mut genesis: Value = serde_json::from_str(GENESIS).unwrap();
    genesis["config"]["subnode"] = json!({ "codeSizeLimit": 100 });
    node.operator.create("a", json!({ "genesis": genesis.to_string() })).unwrap();
    let mut client = node.chain("a").unwrap();
    for (bytes, fits) in [(100, true), (101, false)] {
        // Returns so many zeros as code.
        let creation = json!([{ "from": owner, "data": format!("0x60{bytes:02x}5ff3") }]);
        let answer = client.ask("eth_estimateGas", &creation).unwrap();
        assert_eq!(answer.is_ok(), fits, "{bytes}: {answer:?}");
    }
}

#[test]
fn the_socket_is_its_users_alone_and_survives_nonsense() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    let mode = fs::metadata(home.socket()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for line in ["", "garbage", "{}", "[]", "{\"method\":5}", &"[".repeat(100_000), "{\"method\":\"chain_show\",\"params\":[1,2]}", "\u{0}"]
    {
        let mut operator = Operator::connect(&home.socket()).unwrap();
        assert!(operator.say(line).unwrap()["error"].is_object(), "{}", &line[..line.len().min(40)]);
    }
    let unknown = node.operator.say(r#"{"id":9,"method":"chain_fly"}"#).unwrap();
    assert_eq!((unknown["error"]["code"].as_i64(), unknown["id"].as_i64()), (Some(-32601), Some(9)));
    assert_eq!(node.operator.call("node_health", json!({})).unwrap()["healthy"], true);
}

/// Only root can become somebody else; elsewhere the file's mode, tested above, is what keeps others out.
#[test]
fn another_user_is_refused() {
    let home = Home::new("").unwrap();
    let _node = home.start().unwrap();
    // Open to all, as a careless administrator might make it.
    for path in [home.socket(), home.path("data"), home.path("")] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    }
    let script = r#"import os,socket,sys
try: os.setuid(65534)
except PermissionError: print("cannot"); sys.exit()
s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1])
try: s.sendall(b'{"id":1,"method":"node_status"}\n')
except BrokenPipeError: pass
print(s.makefile().readline())"#;
    let output = std::process::Command::new("python3").args(["-c", script]).arg(home.socket()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("for the user that runs the node") || said.contains("cannot"),
        "{said} {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn thousands_of_calls_at_once_are_all_answered() {
    let home = Home::new("").unwrap();
    let mut node = home.start().unwrap();
    node.operator.create("a", json!({})).unwrap();
    std::thread::scope(|scope| {
        for client in 0..100 {
            let home = &home;
            scope.spawn(move || {
                let mut operator = Operator::connect(&home.socket()).unwrap();
                for call in 0..30 {
                    let answered = match (client + call) % 5 {
                        0 => operator.call("chain_list", json!({})),
                        1 => operator.call("node_status", json!({})),
                        2 => operator.call("chain_resize", json!({ "name": "a", "slice": 1 + call % 8 })),
                        3 => operator.call("chain_pause", json!({ "name": "a" })),
                        _ => operator.call("chain_resume", json!({ "name": "a" })),
                    };
                    answered.unwrap();
                }
            });
        }
    });
    node.operator.call("chain_resume", json!({ "name": "a" })).unwrap();
    assert_eq!(node.operator.show("a").unwrap()["state"], "running");
}

#[test]
fn configurations_that_cannot_be_are_refused_at_the_start() {
    let chain = |more: &str| format!("[[chain]]\nname = \"a\"\ngenesis = \"genesis.json\"\n{more}\n");
    for (config, hint) in [
        (chain("slice = 129"), "129 wanted"),
        (chain("slice = 100") + "[[chain]]\nname = \"b\"\nslice = 29\ngenesis = \"genesis.json\"\n", "28 of 128 parts free"),
        (chain("id = 3") + "[[chain]]\nname = \"b\"\nid = 3\ngenesis = \"genesis.json\"\n", "have one id"),
        (chain("memory = \"9GiB\""), "memory does not fit"),
        (chain("runtime = \"nowhere.wasm\""), "nowhere.wasm"),
    ] {
        let home = Home::new(&config).unwrap();
        let said = home.start().err().unwrap().to_string();
        assert!(said.contains(hint), "{config}: {said}");
    }
}

#[test]
fn json_is_there_beside_what_people_read() {
    let home = Home::new("").unwrap();
    let _node = home.start().unwrap();
    home.succeeds(&["chain", "create", "a", "--genesis", "genesis.json", "--slice", "small"]).unwrap();
    for arguments in
        [["chain", "list"].as_slice(), &["chain", "show", "a"], &["status"], &["health"], &["chain", "resize", "a", "--slice", "2"]]
    {
        let people = home.succeeds(arguments).unwrap();
        assert!(serde_json::from_str::<Value>(&people).is_err() && !people.contains('\x1b'), "{people}");
        let machines = home.succeeds(&[arguments, &["--json"]].concat()).unwrap();
        assert!(serde_json::from_str::<Value>(&machines).is_ok(), "{machines}");
    }
    let top = home.succeeds(&["top", "--once", "--interval", "0.1"]).unwrap();
    assert!(top.contains("NAME") && top.contains("running") && top.contains("GRANTED"), "{top}");
}

#[tokio::test]
async fn an_address_that_keeps_its_connections_open_closes_the_port_for_no_other() {
    const CONNECTIONS: usize = 8;
    let home = Home::new("").unwrap();
    let config = fs::read_to_string(home.config()).unwrap();
    fs::write(home.config(), config.replace("[rpc]", &format!("[rpc]\nconnections = {CONNECTIONS}"))).unwrap();
    let node = home.start().unwrap();
    let port = node.run.address;
    let _open: Vec<_> = (0..2 * CONNECTIONS).map(|_| TcpStream::connect(port).unwrap()).collect();
    let other = TcpSocket::new_v4().unwrap();
    other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
    let mut other = other.connect(port).await.unwrap();
    other.write_all(b"GET / HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut answer = [0; 12];
    other.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 404");
    assert!(node.stop().unwrap());
}
