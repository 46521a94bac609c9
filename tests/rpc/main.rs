//! JSON-RPC over real sockets. Here: requests that no client should send, each of which gets an error that says what is wrong, and the chain
//! goes on. In the modules: what clients of a dev chain rely on.
#![allow(clippy::unwrap_used, missing_docs, reason = "tests")]

mod answers;
mod calls;
mod chain;
mod clock;
mod fees;
mod filters;
mod history;
mod pending;
mod port;
mod sending;
mod traces;

use std::{
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::Duration,
};

use alloy::{
    consensus::{SignableTransaction, TxEip1559},
    eips::{Encodable2718, eip2930::AccessList},
    primitives::{Address, Bytes, Signature, U256, hex},
    signers::{SignerSync, local::PrivateKeySigner},
};
use serde_json::{Value, json};
use subnode_devnet::{DEFAULT_MNEMONIC, accounts};
use subnode_tests::{http::Client, process::Dev};

fn client(node: &Dev) -> Client {
    node.client().unwrap()
}

/// The error of an answer: its code, and what it says.
fn error(client: &mut Client, body: &[u8]) -> (i64, String) {
    let answer: Value = serde_json::from_slice(client.post(body).unwrap()).unwrap();
    let error = &answer["error"];
    (error["code"].as_i64().unwrap_or_else(|| panic!("no error: {answer}")), error["message"].as_str().unwrap().to_owned())
}

/// The error of a call that fails.
fn refusal(client: &mut Client, method: &str, params: &Value) -> (i64, String) {
    let request = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    error(client, request.to_string().as_bytes())
}

fn still_seals(client: &mut Client) {
    let height = client.call("eth_blockNumber", &json!([])).unwrap();
    client.call("evm_mine", &json!([])).unwrap();
    assert_ne!(client.call("eth_blockNumber", &json!([])).unwrap(), height);
}

#[test]
fn what_is_no_request_is_answered_with_what_is_wrong() {
    let node = Dev::start([""; 0]).unwrap();
    let mut client = client(&node);
    let deep = [br#"{"jsonrpc":"2.0","id":1,"method":"eth_call","params":"#.as_slice(), &[b'['; 100_000], &[b']'; 100_000], b"}"].concat();
    let cases: &[(&[u8], i64, &str)] = &[
        (b"", -32700, "empty request"),
        (b"garbage", -32700, "parse error"),
        (b"\xff\xfe\x00", -32700, "not UTF-8"),
        (b"{\"jsonrpc\":", -32700, "parse error"),
        (&[b'['; 100_000], -32700, "parse error"),
        (&deep, -32602, "recursion limit"),
        (b"5", -32600, "expected a request object"),
        (b"null", -32600, "expected a request object"),
        (b"[]", -32600, "empty batch"),
        (b"{}", -32600, "method is missing"),
        (br#"{"id":1,"jsonrpc":"1.0","method":"eth_chainId"}"#, -32600, "jsonrpc must be \"2.0\""),
        (br#"{"id":{},"jsonrpc":"2.0","method":"eth_chainId"}"#, -32600, "the id must be"),
        (br#"{"id":1,"jsonrpc":"2.0","method":5}"#, -32600, "expected a string"),
        (br#"{"id":1,"jsonrpc":"2.0","method":"eth_chainID"}"#, -32601, "the method eth_chainID does not exist"),
        (br#"{"id":1,"jsonrpc":"2.0","method":"eth_getBalance","params":{}}"#, -32602, "non-array args"),
        (br#"{"id":1,"jsonrpc":"2.0","method":"eth_getBalance","params":[]}"#, -32602, "missing value for required argument 0"),
        (br#"{"id":1,"jsonrpc":"2.0","method":"eth_getBalance","params":[1]}"#, -32602, "invalid argument 0"),
        (
            br#"{"id":1,"jsonrpc":"2.0","method":"eth_getBalance","params":["0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266","yesterday"]}"#,
            -32602,
            "invalid argument 1",
        ),
        (
            br#"{"id":1,"jsonrpc":"2.0","method":"eth_getBalance","params":["0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266","0x999"]}"#,
            -32000,
            "header not found",
        ),
        (br#"{"id":1,"jsonrpc":"2.0","method":"eth_subscribe","params":["newHeads"]}"#, -32004, "notifications not supported"),
        (br#"{"id":1,"jsonrpc":"2.0","method":"anvil_dumpState"}"#, -32004, "the method anvil_dumpState is not supported"),
        (br#"{"id":1,"jsonrpc":"2.0","method":"hardhat_setLoggingEnabled","params":[true]}"#, -32004, "not supported"),
        (br#"{"id":1,"jsonrpc":"2.0","method":"anvil_setMinGasPrice","params":["0x1"]}"#, -32004, "EIP-1559"),
        (br#"{"id":1,"jsonrpc":"2.0","method":"anvil_reset","params":[{"forking":{}}]}"#, -32004, "forking another network"),
        (br#"{"id":1,"jsonrpc":"2.0","method":"anvil_dumpStates"}"#, -32601, "the method anvil_dumpStates does not exist"),
    ];
    for (body, code, message) in cases {
        let heard = error(&mut client, body);
        assert!(heard.0 == *code && heard.1.contains(message), "{:?}: {heard:?}", String::from_utf8_lossy(&body[..body.len().min(90)]));
    }
    assert!(client.call("eth_getBlockByNumber", &json!(["0x999", false])).unwrap().is_null(), "an unknown block is null");
    still_seals(&mut client);
}

#[test]
fn what_is_too_large_is_refused_by_its_bound() {
    let node = Dev::start([""; 0]).unwrap();
    let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "eth_chainId" });
    let (code, message) = error(&mut client(&node), json!(vec![call; 1_001]).to_string().as_bytes());
    assert!(code == -32600 && message.contains("1001 calls, at most 1000"), "{message}");
    let (code, message) = error(&mut client(&node), &vec![b' '; (10 << 20) + 1]);
    assert!(code == -32600 && message.contains("at most 10485760 bytes"), "{message}");
    still_seals(&mut client(&node));
}

#[test]
fn clients_that_are_slow_or_gone_hold_nobody_up() {
    let node = Dev::start([""; 0]).unwrap();
    let address = node.announced["listening"].as_str().unwrap();
    let head = "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{";
    let mut half_sent: Vec<_> = (0..200).map(|_| TcpStream::connect(address).unwrap()).collect();
    for stream in &mut half_sent {
        stream.write_all(head.as_bytes()).unwrap();
    }
    let mut nonsense = TcpStream::connect(address).unwrap();
    nonsense.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    nonsense.write_all(b"\x16\x03\x01 this is no HTTP\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    nonsense.read_to_end(&mut answer).unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    still_seals(&mut client(&node));
    drop(half_sent);
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| still_seals(&mut client(&node)));
        }
    });
}

#[test]
fn an_unknown_path_says_which_chains_there_are() {
    let node = Dev::start(["--chains", "2"]).unwrap();
    let (_, message) = error(&mut client(&node).at("/chain/nope"), b"{}");
    assert!(message.contains("/chain/dev1") && message.contains("/chain/dev2"), "{message}");
}

/// A transfer by the first dev account that any chain of id 31337 takes as its `nonce`th.
fn transfer(nonce: u64) -> TxEip1559 {
    TxEip1559 {
        chain_id: 31337,
        nonce,
        gas_limit: 21_000,
        max_fee_per_gas: 20_000_000_000,
        max_priority_fee_per_gas: 1_000_000_000,
        to: Address::repeat_byte(9).into(),
        value: U256::from(1),
        access_list: AccessList::default(),
        input: Bytes::new(),
    }
}

fn signer() -> PrivateKeySigner {
    PrivateKeySigner::from_bytes(&accounts(DEFAULT_MNEMONIC, 1).unwrap()[0].secret()).unwrap()
}

fn raw(transaction: TxEip1559) -> String {
    let signature = signer().sign_hash_sync(&transaction.signature_hash()).unwrap();
    hex::encode_prefixed(transaction.into_signed(signature).encoded_2718())
}

fn send(client: &mut Client, raw: &str) -> Result<Value, String> {
    client.call("eth_sendRawTransaction", &json!([raw])).map_err(|error| error.to_string())
}

#[test]
fn a_transaction_that_cannot_be_mined_is_refused_in_geths_words() {
    let node = Dev::start([""; 0]).unwrap();
    let mut client = client(&node);
    send(&mut client, &raw(transfer(0))).unwrap();
    still_seals(&mut client);

    let unrecoverable = Signature::new(U256::ZERO, U256::ZERO, false);
    let stranger = PrivateKeySigner::from_bytes(&[7; 32].into()).unwrap();
    let by_stranger = stranger.sign_hash_sync(&transfer(0).signature_hash()).unwrap();
    let with = |change: fn(&mut TxEip1559)| {
        let mut transaction = transfer(1);
        change(&mut transaction);
        raw(transaction)
    };
    let cases = [
        ("0x".to_owned(), "typed transaction too short"),
        ("0x02c0".to_owned(), "rlp"),
        ("0x03c0".to_owned(), "this chain carries no blobs"),
        ("0x7f00".to_owned(), "transaction type not supported"),
        (hex::encode_prefixed(vec![0xab; 200_000]), "oversized data: transaction size 200000"),
        (hex::encode_prefixed(transfer(1).into_signed(unrecoverable).encoded_2718()), "invalid sender"),
        (hex::encode_prefixed(transfer(0).into_signed(by_stranger).encoded_2718()), "insufficient funds for gas * price + value"),
        (raw(transfer(0)), "nonce too low: next nonce 1, tx nonce 0"),
        (with(|transaction| transaction.chain_id = 1), "invalid chain id for signer: have 1 want 31337"),
        (with(|transaction| transaction.gas_limit = 20_999), "intrinsic gas too low"),
        (with(|transaction| transaction.gas_limit = 40_000_000), "exceeds block gas limit"),
        (with(|transaction| transaction.max_fee_per_gas = 1), "max priority fee per gas higher than max fee per gas"),
        (
            with(|transaction| (transaction.max_fee_per_gas, transaction.max_priority_fee_per_gas) = (1, 1)),
            "max fee per gas less than block base fee",
        ),
        (with(|transaction| transaction.value = U256::MAX), "insufficient funds for gas * price + value"),
    ];
    for (raw, expected) in &cases {
        let heard = send(&mut client, raw).unwrap_err();
        assert!(heard.contains(expected), "{expected:?} expected: {heard}");
    }
    assert_eq!(client.call("txpool_status", &json!([])).unwrap(), json!({ "pending": "0x0", "queued": "0x0" }));
    still_seals(&mut client);
}

#[test]
fn a_gap_waits_and_a_replacement_pays_more() {
    let node = Dev::start(["--no-mining"]).unwrap();
    let mut client = client(&node);
    send(&mut client, &raw(transfer(2))).unwrap();
    assert_eq!(client.call("txpool_status", &json!([])).unwrap(), json!({ "pending": "0x0", "queued": "0x1" }));
    send(&mut client, &raw(transfer(0))).unwrap();
    assert!(send(&mut client, &raw(transfer(0))).unwrap_err().contains("already known"));
    let dearer = |by: u128| TxEip1559 {
        max_fee_per_gas: 20_000_000_000 * by / 100,
        max_priority_fee_per_gas: 1_000_000_000 * by / 100,
        ..transfer(0)
    };
    assert!(send(&mut client, &raw(dearer(105))).unwrap_err().contains("replacement transaction underpriced"));
    let replaced = send(&mut client, &raw(dearer(110))).unwrap();
    send(&mut client, &raw(transfer(1))).unwrap();
    client.call("evm_mine", &json!([])).unwrap();
    let mined = client.call("eth_getBlockByNumber", &json!(["latest", false])).unwrap()["transactions"].clone();
    assert_eq!((mined.as_array().unwrap().len(), &mined[0]), (3, &replaced));
}

/// The next text on a WebSocket.
fn hear<S: Read + Write>(socket: &mut tungstenite::WebSocket<S>) -> Value {
    serde_json::from_str(socket.read().unwrap().to_text().unwrap()).unwrap()
}

#[test]
fn a_websocket_outlives_garbage_and_closes_on_too_much() {
    let node = Dev::start([""; 0]).unwrap();
    let (mut socket, _) = tungstenite::connect(node.ws()).unwrap();
    for garbage in ["garbage", "", "[]", "{\"id\":"] {
        socket.send(garbage.into()).unwrap();
        assert!(hear(&mut socket)["error"]["code"].is_i64(), "{garbage:?}");
    }
    socket.send(tungstenite::Message::binary(&br#"{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}"#[..])).unwrap();
    let subscription = hear(&mut socket)["result"].clone();
    still_seals(&mut client(&node));
    let notification = hear(&mut socket);
    assert_eq!((&notification["params"]["subscription"], &notification["params"]["result"]["number"]), (&subscription, &json!("0x1")));
    let other = json!({ "jsonrpc": "2.0", "id": 2, "method": "eth_unsubscribe", "params": ["0x99"] });
    socket.send(other.to_string().into()).unwrap();
    assert_eq!(hear(&mut socket)["result"], false, "it was never subscribed to");
    // Either side may find out first.
    let told = socket.send(" ".repeat((10 << 20) + 1).into()).and_then(|()| socket.read());
    assert!(!told.is_ok_and(|message| message.is_text()), "a message beyond the bound is answered");
    let (mut again, _) = tungstenite::connect(node.ws()).unwrap();
    again.send(json!({ "jsonrpc": "2.0", "id": 3, "method": "eth_blockNumber" }).to_string().into()).unwrap();
    assert_eq!(hear(&mut again)["result"], "0x1");
}
