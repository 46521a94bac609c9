//! The public JSON-RPC cases of the methods that execute something, asked of the guest itself. All of them, and the compiled guest, are in
//! `tests/conformance`.

use std::{env, fs, path::PathBuf};

use serde_json::{Value, json};

use super::{chain, imports};
use crate::{bindings::exports::RpcError, bindings::subnode::chain::types::BlockRef, rpc};

/// Cases that are left out: they are of blocks before Paris, which a chain here does not have.
const EXCLUDED: [&str; 4] =
    ["ethSimulate-blockhash-simple", "ethSimulate-empty-with-block-num-set-firstblock", "trace-contract-call", "trace-legacy-transfer"];

/// Where the cases are; none where they are not there.
fn folder() -> Option<PathBuf> {
    let beside = || concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/fixtures").into();
    let folder = env::var_os("SUBNODE_FIXTURES").map_or_else(beside, PathBuf::from).join("rpc-compat");
    folder.is_dir().then_some(folder)
}

/// Asks the guest.
pub fn ask(head: &BlockRef, method: &str, params: &Value) -> Result<Value, RpcError> {
    imports::with(|tables| tables.at = head.height);
    let answer = rpc::query(head, method, params.to_string().as_bytes())?;
    Ok(serde_json::from_slice(&answer.json.expect("an answer")).expect("JSON"))
}

/// A value with nothing in it but what kind of value is where.
fn form(value: &Value) -> Value {
    match value {
        Value::Null => Value::Null,
        Value::Bool(_) => json!("bool"),
        Value::Number(_) => json!("number"),
        Value::String(text) => json!(if text.starts_with("0x") { "hexadecimal" } else { "text" }),
        Value::Array(items) => items.iter().map(form).collect(),
        Value::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), form(value))).collect(),
    }
}

/// Why an answer is not the expected one.
fn differs(expected: &Value, answer: &Result<Value, RpcError>, form_alone: bool) -> Option<String> {
    match (expected.get("error"), answer) {
        (None, Ok(answer)) if form_alone => {
            (form(answer) != form(&expected["result"])).then(|| format!("{answer}, not of the form of {}", expected["result"]))
        }
        (None, Ok(answer)) => difference("", answer, &expected["result"]),
        (Some(expected), Err(error)) => {
            let data: Value = error.data.as_ref().map(|data| serde_json::from_slice(data).expect("JSON")).unwrap_or_default();
            let same = form_alone || (expected["code"] == json!(error.code) && expected["data"] == data);
            (!same).then(|| format!("error {} ({}), not {expected}", error.code, error.message))
        }
        (None, Err(error)) => Some(format!("error {} ({})", error.code, error.message)),
        (Some(expected), Ok(answer)) => Some(format!("{answer}, not error {expected}")),
    }
}

/// The first place where two values differ.
fn difference(path: &str, answer: &Value, expected: &Value) -> Option<String> {
    match (answer, expected) {
        (Value::Object(a), Value::Object(b)) => {
            let keys: std::collections::BTreeSet<_> = a.keys().chain(b.keys()).collect();
            keys.into_iter().find_map(|key| difference(&format!("{path}.{key}"), &answer[key], &expected[key]))
        }
        (Value::Array(a), Value::Array(b)) if a.len() == b.len() => {
            (0..a.len()).find_map(|index| difference(&format!("{path}[{index}]"), &a[index], &b[index]))
        }
        (a, b) if a == b => None,
        (a, b) => Some(format!("{path}: {a}, not {b}")),
    }
}

#[test]
fn public_cases_of_tracing_and_simulation_are_answered_as_expected() {
    let Some(folder) = folder() else { return };
    let head = chain::import(&folder);
    let mut failed = Vec::new();
    let mut passed = 0;
    for method in ["eth_call", "eth_estimateGas", "eth_simulateV1", "debug_traceTransaction"] {
        let mut cases: Vec<_> = fs::read_dir(folder.join(method)).expect("cases").map(|case| case.expect("a case").path()).collect();
        cases.sort();
        for case in cases {
            let text = fs::read_to_string(&case).expect("a case");
            let name = case.file_stem().expect("a name").to_string_lossy().into_owned();
            if EXCLUDED.contains(&name.as_str()) {
                continue;
            }
            let form_alone = text.lines().any(|line| line.starts_with("//") && line.contains("speconly"));
            let mut answer = None;
            for line in text.lines() {
                if let Some(request) = line.strip_prefix(">> ") {
                    let request: Value = serde_json::from_str(request).expect("JSON");
                    answer = Some(ask(&head, request["method"].as_str().expect("a method"), &request["params"]));
                } else if let Some(expected) = line.strip_prefix("<< ") {
                    let expected: Value = serde_json::from_str(expected).expect("JSON");
                    match differs(&expected, answer.as_ref().expect("a request"), form_alone) {
                        None => passed += 1,
                        Some(difference) => failed.push(format!("{name}: {difference}")),
                    }
                }
            }
        }
    }
    assert!(failed.is_empty(), "{passed} passed, {} failed:\n{}", failed.len(), failed.join("\n"));
    assert!(passed > 50, "only {passed} cases");
}

#[test]
fn traced_blocks_use_the_gas_that_their_receipts_say() {
    let Some(folder) = folder() else { return };
    let head = chain::import(&folder);
    let mut transactions = 0;
    let first = crate::spec::Spec::load().genesis_number + 1;
    for number in first..=head.height {
        let block = json!(format!("{number:#x}"));
        let receipts = ask(&head, "eth_getBlockReceipts", &json!([block])).expect("receipts");
        let receipts = receipts.as_array().expect("receipts");
        transactions += receipts.len();
        let all = json!({ "callTracer": {}, "prestateTracer": { "diffMode": true }, "4byteTracer": null });
        let traces =
            ask(&head, "debug_traceBlockByNumber", &json!([block, { "tracer": "muxTracer", "tracerConfig": all }])).expect("traces");
        let steps = ask(&head, "debug_traceBlockByNumber", &json!([block, { "limit": 1 }])).expect("traces");
        let replays = ask(&head, "trace_replayBlockTransactions", &json!([block, ["trace", "stateDiff", "vmTrace"]])).expect("replays");
        assert_eq!(traces.as_array().map(Vec::len), Some(receipts.len()));
        for (position, receipt) in receipts.iter().enumerate() {
            let traced = &traces[position]["result"];
            assert_eq!(traced["callTracer"]["gasUsed"], receipt["gasUsed"], "block {number}, transaction {position}");
            assert_eq!(traced["callTracer"].get("error").is_none(), receipt["status"] == "0x1");
            assert_eq!(json!(format!("{:#x}", steps[position]["result"]["gas"].as_u64().expect("a number"))), receipt["gasUsed"]);
            assert_eq!(steps[position]["result"]["failed"], json!(receipt["status"] == "0x0"));
            assert_eq!(replays[position]["transactionHash"], receipt["transactionHash"]);
            let sender = receipt["from"].as_str().expect("an address");
            assert!(replays[position]["stateDiff"][sender]["nonce"]["*"].is_object(), "block {number}, transaction {position}");
            assert!(traced["prestateTracer"]["post"][sender]["nonce"].is_number());
        }
    }
    assert!(transactions > 10, "only {transactions} transactions");
}
