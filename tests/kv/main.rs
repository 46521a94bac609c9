//! The key-value runtime beside an Ethereum chain, on one durable node: the host knows neither.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

use std::{fs, net::SocketAddr, path::Path};

use ed25519_dalek::{Signer, SigningKey};
use serde_json::{Value, json};
use subnode_tests::{http::Client, process::Run};

const GENESIS: &str = r#"{"config":{"chainId":7},"alloc":{},"gasLimit":"0x1c9c380","difficulty":"0x0"}"#;
const CONFIG: &str = r#"
data-dir = "data"
[rpc]
listen = "127.0.0.1:0"
[[chain]]
name = "ether"
genesis = "genesis.json"
[[chain]]
name = "store"
runtime = "kv"
sealing = "SEALING"
controls = true
"#;

fn start(dir: &Path, sealing: &str) -> Run {
    fs::write(dir.join("genesis.json"), GENESIS).unwrap();
    fs::write(dir.join("subnode.toml"), CONFIG.replace("SEALING", sealing)).unwrap();
    Run::start(&dir.join("subnode.toml")).unwrap()
}

fn client(address: SocketAddr) -> Client {
    Client::connect(address).unwrap().at("/chain/store")
}

fn hex(bytes: &[u8]) -> String {
    alloy::hex::encode_prefixed(bytes)
}

fn put(key: &SigningKey, sequence: u64, name: &[u8], value: &[u8]) -> Vec<u8> {
    let length = u8::try_from(name.len()).unwrap();
    let signed = [key.verifying_key().as_bytes(), &sequence.to_be_bytes()[..], &[length], name, value].concat();
    [&signed[..], &key.sign(&signed).to_bytes()].concat()
}

fn send(client: &mut Client, transaction: &[u8]) -> Result<Value, String> {
    client.call("kv_send", &json!([hex(transaction)])).map_err(|error| error.to_string())
}

/// What is under a key once its owner's `sequence` transactions are in blocks.
fn get(client: &mut Client, owner: &SigningKey, sequence: u64, name: &[u8]) -> Value {
    let mined = json!(format!("{sequence:#x}"));
    while client.call("kv_sequence", &json!([hex(owner.verifying_key().as_bytes())])).unwrap() != mined {}
    client.call("kv_get", &json!([hex(name)])).unwrap()
}

#[test]
fn signed_puts_are_kept_and_owned() {
    let dir = tempfile::tempdir().unwrap();
    let (alice, bob) = (SigningKey::from_bytes(&[1; 32]), SigningKey::from_bytes(&[2; 32]));
    let height = {
        let node = start(dir.path(), "instant");
        let mut client = client(node.address);
        // The second before the first: the pool puts them in order.
        send(&mut client, &put(&alice, 1, b"colour", b"blue")).unwrap();
        send(&mut client, &put(&alice, 0, b"colour", b"red")).unwrap();
        assert_eq!(get(&mut client, &alice, 2, b"colour"), json!(hex(b"blue")));
        for (transaction, refusal) in [
            (put(&alice, 0, b"colour", b"green"), "sequence already used"),
            (put(&alice, 2, b"", b"green"), "key must have 1 to 200 bytes"),
            ([&put(&alice, 2, b"colour", b"green")[..], &[0]].concat(), "invalid signature"),
            (vec![0; 70_000], "hexadecimal"),
            (vec![1], "transaction too short"),
        ] {
            let heard = send(&mut client, &transaction).unwrap_err();
            assert!(heard.contains(refusal), "{refusal:?} expected: {heard}");
        }
        // Bob's transaction is well-formed, so it waits; no block takes it, for the key is Alice's.
        send(&mut client, &put(&bob, 0, b"colour", b"black")).unwrap();
        send(&mut client, &put(&alice, 2, b"shape", b"round")).unwrap();
        assert_eq!(get(&mut client, &alice, 3, b"shape"), json!(hex(b"round")));
        assert_eq!(get(&mut client, &bob, 0, b"colour"), json!(hex(b"blue")));
        let mut ether = Client::connect(node.address).unwrap().at("/chain/ether");
        assert_eq!(ether.call("eth_chainId", &json!([])).unwrap(), "0x7");
        assert!(ether.call("kv_height", &json!([])).unwrap_err().to_string().contains("does not exist"));
        let seed = client.call("kv_seed", &json!([])).unwrap();
        assert!(seed.as_str().is_some_and(|seed| seed.len() == 66 && *seed != hex(&[0; 32])), "{seed}");
        client.quantity("kv_height", &json!([])).unwrap()
    };
    // The node was killed. It comes back, and goes on.
    let node = start(dir.path(), "20ms");
    let mut client = client(node.address);
    assert_eq!(get(&mut client, &alice, 3, b"colour"), json!(hex(b"blue")));
    assert!(client.quantity("kv_height", &json!([])).unwrap() >= height);
    send(&mut client, &put(&alice, 3, b"shape", b"")).unwrap();
    assert_eq!(get(&mut client, &alice, 4, b"shape"), Value::Null);
}
