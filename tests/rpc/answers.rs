//! Answers have the form and the words of geth's, whichever method gives them.

use alloy::primitives::{Address, U256, hex};
use serde_json::{Value, json};
use subnode_tests::{http::Client, process::Dev};

use crate::{client, refusal};

const FIRST: &str = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";

fn answer(client: &mut Client, body: &str) -> String {
    String::from_utf8(client.post(body.as_bytes()).unwrap().to_vec()).unwrap()
}

/// Code that reverts with these bytes.
fn reverts(data: &[u8]) -> String {
    // The data is behind the eleven bytes of code that copy it.
    let size = u8::try_from(data.len()).unwrap();
    hex::encode_prefixed([&[0x60, size, 0x60, 12, 0x60, 0, 0x39, 0x60, size, 0x60, 0, 0xfd], data].concat())
}

#[test]
fn a_null_id_is_an_id() {
    let node = Dev::start([""; 0]).unwrap();
    let mut client = client(&node);
    assert_eq!(
        answer(&mut client, r#"{"jsonrpc":"2.0","id":null,"method":"eth_chainId"}"#),
        r#"{"jsonrpc":"2.0","id":null,"result":"0x7a69"}"#
    );
    let batch = r#"[{"jsonrpc":"2.0","method":"eth_chainId"},{"jsonrpc":"2.0","id":null,"method":"net_version"}]"#;
    assert_eq!(answer(&mut client, batch), r#"[{"jsonrpc":"2.0","id":null,"result":"31337"}]"#, "a missing id alone is a notification");
}

#[test]
fn a_batch_holds_no_more_than_one_answer_may_have() {
    /// Returns a MiB of zeros.
    const LONG: &str = "0x621000005ff3";
    let mut node = Dev::start([""; 0]).unwrap();
    let mut client = client(&node);
    client.call("anvil_setCode", &json!([FIRST, LONG])).unwrap();
    let call = |id: u32| json!({ "jsonrpc": "2.0", "id": id, "method": "eth_call", "params": [{ "to": FIRST }, "latest"] });
    let before = most_resident_mib(&mut node);
    let batch = Value::Array((0..200).map(call).collect());
    let answers: Vec<Value> = serde_json::from_slice(client.post(batch.to_string().as_bytes()).unwrap()).unwrap();
    let long = answers.iter().filter(|answer| answer["result"].is_string()).count();
    assert!((20..25).contains(&long), "{long}: 2 MiB each, and 50 in all");
    assert_eq!(answers[199]["error"]["message"], "response too large");
    // Held, they would take 400.
    let after = most_resident_mib(&mut node);
    assert!(after < before + 200, "{before} MiB at most, then {after}");
}

#[test]
fn an_error_repeats_little_of_what_was_asked() {
    let node = Dev::start([""; 0]).unwrap();
    let mut client = client(&node);
    let long = "7".repeat(9 << 20);
    for (method, params) in [
        ("eth_call", json!([long])),
        ("eth_getBalance", json!([long, "latest"])),
        ("eth_sendRawTransaction", json!([long])),
        ("eth_getLogs", json!([{ "fromBlock": long }])),
        ("debug_traceCall", json!([{}, "latest", { "tracer": long }])),
        ("trace_filter", json!([{ "fromAddress": long }])),
        (long.as_str(), json!([])),
    ] {
        let error = client.ask(method, &params).unwrap().unwrap_err();
        let message = error["message"].as_str().unwrap();
        assert!(message.len() < 5_000, "{} bytes: {}", message.len(), &message[..100]);
    }
}

/// The most memory that a process has had, in MiB.
fn most_resident_mib(node: &mut Dev) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.child().id())).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

#[test]
fn a_revert_is_worded_alike_by_calls_and_estimates() {
    let node = Dev::start([""; 0]).unwrap();
    let mut client = client(&node);
    let panic = |code: u64| [&[0x4e, 0x48, 0x7b, 0x71][..], &U256::from(code).to_be_bytes::<32>()].concat();
    for (data, text) in [
        (panic(0x01), "execution reverted: assert(false)"),
        (panic(0x11), "execution reverted: arithmetic underflow or overflow"),
        (panic(0x00), "execution reverted: generic panic"),
        (panic(0x111), "execution reverted: unknown panic code: 0x111"),
        (panic(0x1234), "execution reverted: unknown panic code: 0x1234"),
        (vec![1, 2, 3, 4], "execution reverted"),
        (Vec::new(), "execution reverted"),
    ] {
        for method in ["eth_call", "eth_estimateGas"] {
            let error = client.ask(method, &json!([{ "from": FIRST, "data": reverts(&data) }])).unwrap().unwrap_err();
            let expected = json!({ "code": 3, "message": text, "data": hex::encode_prefixed(&data) });
            assert_eq!(error, expected, "{method}");
        }
    }
}

#[test]
fn what_cannot_run_at_all_says_why_and_with_how_much_gas() {
    let node = Dev::start([""; 0]).unwrap();
    let mut client = client(&node);
    let poor = Address::repeat_byte(5);
    let mut heard = |method: &str, transaction: Value| refusal(&mut client, method, &json!([transaction, "latest"])).1;
    let transfer = json!({ "from": poor, "to": FIRST, "value": "0x64", "gas": "0x5208" });
    assert_eq!(
        heard("eth_call", transfer),
        format!("err: insufficient funds for gas * price + value: address {poor} have 0 want 100 (supplied gas 21000)")
    );
    assert_eq!(
        heard("eth_call", json!({ "from": FIRST, "to": FIRST, "gas": "0x1" })),
        "err: intrinsic gas too low: have 1, want 21000 (supplied gas 1)"
    );
    assert_eq!(
        heard("eth_call", json!({ "from": FIRST, "to": FIRST, "gas": "0x5208", "maxFeePerGas": "0x2", "maxPriorityFeePerGas": "0x3" })),
        format!(
            "err: max priority fee per gas higher than max fee per gas: address {FIRST}, maxPriorityFeePerGas: 3, maxFeePerGas: 2 (supplied gas 21000)"
        )
    );
    assert_eq!(heard("eth_call", json!({ "from": FIRST, "data": "0xfe" })), "invalid opcode: INVALID");
}

#[test]
fn proofs_name_their_keys_as_they_were_asked_for() {
    let node = Dev::start([""; 0]).unwrap();
    let mut client = client(&node);
    let padded = format!("0x{:064x}", 5);
    let mut proof = |keys: Value| client.call("eth_getProof", &json!([FIRST, keys, "latest"]));
    let heard = proof(json!(["0x00", "0x05", padded, "0xABC"])).unwrap();
    let named: Vec<&Value> = heard["storageProof"].as_array().unwrap().iter().map(|proof| &proof["key"]).collect();
    assert_eq!(named, [&json!("0x0"), &json!("0x5"), &json!(padded), &json!("0xabc")]);
    let long = format!("0x0{}", "0".repeat(64));
    for (key, text) in [(long.as_str(), "storage key too long (want at most 32 bytes): "), ("0xasdf", "invalid hex in storage key: ")] {
        let said = proof(json!([key])).unwrap_err().to_string();
        assert!(said.contains(text), "{said}");
    }
}

#[test]
fn answers_have_geths_fields() {
    let node = Dev::start(["--no-mining"]).unwrap();
    let mut client = client(&node);
    for block in ["0x0", "latest", "pending"] {
        let block = client.call("eth_getBlockByNumber", &json!([block, false])).unwrap();
        assert!(block.get("totalDifficulty").is_none() && block["difficulty"] == "0x0", "{block}");
    }
    let filled = client.call("eth_fillTransaction", &json!([{ "from": FIRST, "to": FIRST, "value": "0x1" }])).unwrap();
    assert!(filled["raw"].as_str().unwrap().starts_with("0x02"), "{filled}");
    assert!(filled["tx"].as_object().unwrap().contains_key("gasPrice") && filled["tx"]["gasPrice"].is_null(), "{filled}");
    assert_eq!((&filled["tx"]["gas"], &filled["tx"]["nonce"], &filled["tx"]["r"]), (&json!("0x5208"), &json!("0x0"), &json!("0x0")));
    let legacy = client.call("eth_fillTransaction", &json!([{ "from": FIRST, "to": FIRST, "gasPrice": "0x77359400" }])).unwrap();
    assert_eq!(legacy["tx"]["gasPrice"], "0x77359400");

    client.call("eth_sendTransaction", &json!([{ "from": FIRST, "to": FIRST, "value": "0x1" }])).unwrap();
    for method in ["txpool_content", "txpool_inspect"] {
        let pool = client.call(method, &json!([])).unwrap();
        assert_eq!(pool["pending"].as_object().unwrap().keys().collect::<Vec<_>>(), [FIRST], "{method}");
    }
    assert!(client.call("txpool_contentFrom", &json!([FIRST.to_lowercase()])).unwrap()["pending"]["0"].is_object());
}

#[test]
fn a_malformed_transaction_says_what_of_it_is() {
    let node = Dev::start([""; 0]).unwrap();
    let mut client = client(&node);
    for (raw, text) in [
        ("0x", "typed transaction too short"),
        ("0x02", "typed transaction too short"),
        ("0x00c0", "transaction type not supported"),
        ("0x7f00", "transaction type not supported"),
        ("0x80", "rlp: expected input list for types.LegacyTx"),
        ("0xc0", "rlp: too few elements for types.LegacyTx"),
        ("0xc501020304", "rlp: value size exceeds available input length"),
        ("0xc3010203", "rlp: too few elements for types.LegacyTx"),
        ("0x02c0", "rlp: too few elements for types.DynamicFeeTx"),
    ] {
        assert_eq!(refusal(&mut client, "eth_sendRawTransaction", &json!([raw])), (-32000, text.to_owned()), "{raw}");
    }
}
