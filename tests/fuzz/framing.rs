//! Bodies of requests and messages of WebSockets: each answer is JSON-RPC, within its bound, and made with memory that the request accounts for.

use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use subnode_chain::Session;
use subnode_devnet::Devnet;
use subnode_fuzzer::{Fuzz, alone, kind, kind_of_message, peak_of_process};
use subnode_rpc::RpcLimits;

use crate::on_this_thread;

const LIMITS: RpcLimits = RpcLimits { request_bytes: 512 << 10, batch_calls: 50, response_bytes: 64 << 10, ..RpcLimits::DEFAULT };

/// Memory of a request while it is answered: the guest's copies of its parameters and what is read of them, for each byte.
const MEMORY_PER_BYTE: usize = 4;
/// And whatever it says: two of the longest answer, and the calls of a batch.
const MEMORY_BESIDE: usize = 1 << 20;
/// What an answer has around what the request or the runtime give it.
const ENVELOPE_BYTES: usize = 192;

/// Methods that read, and what their parameters are made of. None makes blocks, which takes as long as it is asked for.
pub(crate) const WORDS: [&str; 44] = [
    "{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"eth_chainId\"}",
    "\"jsonrpc\":\"2.0\"",
    "\"jsonrpc\":\"1.0\"",
    "\"id\":",
    "\"method\":",
    "\"params\":",
    "\"eth_chainId\"",
    "\"eth_blockNumber\"",
    "\"eth_getBalance\"",
    "\"eth_getBlockByNumber\"",
    "\"eth_getLogs\"",
    "\"eth_call\"",
    "\"eth_feeHistory\"",
    "\"eth_sendRawTransaction\"",
    "\"eth_newFilter\"",
    "\"eth_getFilterChanges\"",
    "\"eth_subscribe\"",
    "\"eth_unsubscribe\"",
    "\"newHeads\"",
    "\"logs\"",
    "\"latest\"",
    "\"earliest\"",
    "\"0x\"",
    "\"0x1\"",
    "\"0xffffffffffffffff\"",
    "\"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266\"",
    "{",
    "}",
    "[",
    "]",
    "{}",
    "[]",
    ",",
    ":",
    "\"",
    "\\u0000",
    "\\ud800",
    "\\",
    "null",
    "true",
    "-1",
    "1e999999",
    "123456789012345678901234567890",
    "0.1e-5",
];

fn call(method: &str, params: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#)
}

/// Requests that are right, and those that want much of whoever reads them.
pub(crate) fn samples(bytes: usize) -> Vec<Vec<u8>> {
    let account = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266";
    let right = [
        call("eth_chainId", "[]"),
        call("eth_getBalance", &format!(r#"["{account}","latest"]"#)),
        call("eth_getBlockByNumber", r#"["earliest",true]"#),
        call("eth_getLogs", r#"[{"fromBlock":"0x0","toBlock":"latest"}]"#),
        call("eth_call", &format!(r#"[{{"to":"{account}","data":"0x01"}},"latest"]"#)),
        call("eth_subscribe", r#"["newHeads"]"#),
        format!("[{},{}]", call("eth_chainId", "[]"), call("eth_blockNumber", "[]")),
        r#"{"jsonrpc":"2.0","method":"eth_chainId"}"#.into(),
        r#"{"id":1,"id":2,"method":"eth_chainId","method":"eth_chainId"}"#.into(),
    ];
    let filled = |begin: &str, piece: &str, end: &str| [begin, &piece.repeat(bytes / piece.len()), end].concat();
    let much = [
        filled("[", "0,", "0]"),
        filled("[", "[],", "{}]"),
        filled("", "[", ""),
        filled(r#"{"id":1,"method":"eth_chainId","params":"#, "[", ""),
        filled("\"", "\u{7f}", "\""),
        filled("[\"", "\u{7f}", "\",5]"),
        filled(r#"{"id":1,"method":""#, "\\u0001", "\"}"),
        filled(r#"{"id":""#, "x", r#"","method":"eth_chainId"}"#),
        filled(r#"{"id":"#, "9", r#","method":"eth_chainId"}"#),
        filled("{\"", "k", "\":1}"),
        filled("", " ", ""),
        filled("{", "\"a\":1,", "\"a\":1}"),
    ];
    right.into_iter().chain(much).map(String::into_bytes).collect()
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Answer<'a> {
    jsonrpc: &'a str,
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow, default, deserialize_with = "present")]
    result: Option<&'a RawValue>,
    #[serde(borrow, default)]
    error: Option<Failure<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Failure<'a> {
    code: i64,
    message: String,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// The kind of an answer that is right by itself.
fn checked(answer: &str) -> u64 {
    let Answer { jsonrpc, id, result, error } = serde_json::from_str(answer).unwrap_or_else(|error| panic!("{error}: {answer:.500}"));
    assert_eq!(jsonrpc, "2.0");
    assert!(!id.get().starts_with(['{', '[', 't', 'f']), "an id {:.100}", id.get());
    match (result, error) {
        (Some(result), None) => kind(result.get().as_bytes().first()),
        (None, Some(Failure { code, message, data })) => kind((code, kind_of_message(&message), data.is_some())),
        _ => panic!("a result or an error: {answer:.500}"),
    }
}

/// The kind of what a request is answered with: a JSON-RPC response, or a list of some.
pub(crate) fn checked_all(answer: &[u8]) -> u64 {
    let text = std::str::from_utf8(answer).expect("an answer is UTF-8");
    if !text.starts_with('[') {
        return checked(text);
    }
    let answers: Vec<&RawValue> = serde_json::from_str(text).unwrap();
    assert!((1..=RpcLimits::DEFAULT.batch_calls).contains(&answers.len()), "{} answers", answers.len());
    let kinds: Vec<u64> = answers.iter().map(|answer| checked(answer.get())).collect();
    kind((&kinds[..kinds.len().min(2)], kinds.len().min(4)))
}

#[test]
fn fuzzed_requests_are_answered_with_json_rpc_within_their_bounds() {
    let _alone = alone();
    let runtime = on_this_thread();
    let net = runtime.block_on(Devnet::builder().manual_sealing().answer_before_mining().spawn()).unwrap();
    let chain = net.chain(0).chain();
    let (session, mut notifications) = Session::new(16, 1 << 16);
    let one = |body: &[u8], session: Option<&Session>| {
        let (answer, peak) = peak_of_process(|| runtime.block_on(subnode_rpc::answer(chain, body, session, &LIMITS)));
        assert!(peak <= MEMORY_PER_BYTE * body.len() + MEMORY_BESIDE, "{peak} bytes of memory for {} of a request", body.len());
        let Some(answer) = answer else { return 0 };
        let most = LIMITS.response_bytes + body.len() + ENVELOPE_BYTES * LIMITS.batch_calls;
        assert!(answer.len() <= most, "an answer of {} bytes to {}", answer.len(), body.len());
        checked_all(&answer)
    };
    Fuzz::new("framing", LIMITS.request_bytes).samples(samples(LIMITS.request_bytes - 100)).words(WORDS).run(|body| {
        let kind = one(body, None);
        while notifications.try_recv().is_ok() {}
        kind ^ one(body, Some(&session)).rotate_left(1)
    });
}
