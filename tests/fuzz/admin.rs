//! Lines on the operator's socket: each is answered with one line of JSON-RPC, and an error's is short whatever was asked.

use std::{path::Path, sync::Arc};

use serde_json::{Value, json};
use subnode_devnet::{Signers, default_options, module_cache_dir};
use subnode_fuzzer::{Fuzz, alone, kind, kind_of_message};
use subnode_node::{LogBook, Modules, Supervisor, SupervisorParts};
use subnode_rpc::{Admin, bind_admin, serve_admin};
use subnode_sandbox::{Sandbox, SandboxOptions};
use subnode_scheduler::Capacity;
use subnode_storage::MemoryStore;
use subnode_types::{PARTS_OF_A_NODE, Parts, Sealing};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::UnixStream,
};
use tokio_util::sync::CancellationToken;

use crate::on_this_thread;

/// What an error says, with its envelope, and besides the request's id.
const ERROR_BYTES_MAX: usize = 16 << 10;
/// What anything else is answered with on a node of a few chains.
const RESULT_BYTES_MAX: usize = 2 << 20;

const METHODS: [&str; 21] = [
    "node_status",
    "node_health",
    "node_peers",
    "chain_list",
    "chain_show",
    "chain_create",
    "chain_start",
    "chain_stop",
    "chain_pause",
    "chain_resume",
    "chain_repair",
    "chain_vote",
    "chain_resize",
    "chain_upgrade",
    "chain_delete",
    "chain_logs",
    "module_add",
    "chain_export",
    "chain_exportFrame",
    "chain_import",
    "chain_importFrame",
];

fn samples() -> Vec<Vec<u8>> {
    let all = json!({
        "name": "a", "runtime": "kv", "consensus": "solo", "genesis": "{}", "consensusConfig": "manual", "sealing": "500ms", "history": 5,
        "controls": true, "poolBytes": 1000, "checkpointEvery": 3, "slice": 4, "memoryBytes": 1, "storageBytes": 1, "bandwidthBytes": 1,
        "stopped": true, "id": 7,
    });
    let params = [json!({}), json!({ "name": "a" }), all, json!({ "name": "a", "force": true, "after": 1, "component": "AGFzbQ==" })];
    let more = [json!({ "export": 1, "index": 1, "import": 1, "frame": "AAAA", "name": "b", "header": "AAAA" })];
    let request = |method: &str, params: &Value| json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params }).to_string();
    let requests = METHODS.iter().flat_map(|method| params.iter().chain(&more).map(move |params| request(method, params)));
    let long = "\u{7f}\"".repeat(20_000);
    let much = [
        "[".repeat(40_000),
        "[0,".repeat(20_000),
        request(&long, &Value::Null),
        request("chain_show", &json!({ "name": long })),
        request("chain_create", &json!({ "name": "c", "sealing": long })),
        request("chain_create", &json!({ "name": "c", "runtime": long })),
        request("chain_resize", &json!({ "name": "a", "slice": long })),
        request("chain_resize", &json!({ "name": "a", long.clone(): 1 })),
        request("chain_show", &json!(long)),
        format!("{}\n{{\"id\":2,\"method\":\"chain_list\"}}\n\n{{\"method\":5}}", request("node_health", &Value::Null)),
    ];
    requests.chain(much).map(|request| (request + "\n").into_bytes()).collect()
}

async fn supervisor(added: &Path) -> Arc<Supervisor> {
    let sandbox = Sandbox::new(&SandboxOptions { instances: 64, cache_dir: module_cache_dir() }).unwrap();
    let capacity =
        Capacity { parts: Parts::new(PARTS_OF_A_NODE).unwrap(), memory_bytes: 1 << 30, storage_bytes: 1 << 30, bandwidth_bytes: 1 << 30 };
    let parts = SupervisorParts {
        store: Arc::new(MemoryStore::default()),
        modules: Modules::new(sandbox, &subnode_modules::ALL, added.to_owned()),
        capacity,
        options: default_options(Sealing::Instant, subnode_chain::TimeSource::Wall),
        accounts: Arc::new(Signers::default()),
        disk_free_bytes_min: 0,
        peering: None,
    };
    Box::pin(Supervisor::start(parts, Vec::new())).await.unwrap()
}

/// The kind of an answer to a line.
fn checked(line: &[u8], answer: &[u8]) -> u64 {
    let value: Value = serde_json::from_slice(answer).unwrap_or_else(|error| panic!("{error}: {:.500}", String::from_utf8_lossy(answer)));
    assert_eq!(value["jsonrpc"], "2.0");
    let error = &value["error"];
    if error.is_null() {
        assert!(answer.len() <= RESULT_BYTES_MAX + line.len(), "a result of {} bytes", answer.len());
        return kind(value["result"].is_null());
    }
    // An id of control characters is as long as it was in the request, where each was written out.
    let id = value["id"].to_string().len();
    assert!(answer.len() <= ERROR_BYTES_MAX + id && id <= 4 + line.len(), "an error of {} bytes to {}", answer.len(), line.len());
    kind((error["code"].as_i64().unwrap(), kind_of_message(error["message"].as_str().unwrap())))
}

#[test]
fn fuzzed_lines_are_answered_line_by_line() {
    let _alone = alone();
    let runtime = on_this_thread();
    let dir = tempfile::tempdir().unwrap();
    let (path, shutdown) = (dir.path().join("admin.sock"), CancellationToken::new());
    let supervisor = runtime.block_on(supervisor(&dir.path().join("modules")));
    let admin = Admin { supervisor: supervisor.clone(), logs: Arc::new(LogBook::default()) };
    let listener = runtime.block_on(async { bind_admin(&path) }).unwrap();
    let serving = runtime.spawn(serve_admin(admin, listener, shutdown.clone()));
    Fuzz::new("admin", 64 << 10).samples(samples()).words(METHODS).words(["\n", "\"name\":", "\"a\"", "{", "}", "[", "null", "-1"]).run(
        |input| {
            let mut lines: Vec<&[u8]> = input.split(|byte| *byte == b'\n').collect();
            // What follows the last end of a line is a line if it is something.
            lines.pop_if(|rest| rest.is_empty());
            let heard = runtime.block_on(async {
                let mut stream = UnixStream::connect(&path).await.unwrap();
                let (mut reader, mut writer) = stream.split();
                let mut heard = Vec::new();
                let told = async {
                    writer.write_all(input).await.unwrap();
                    writer.shutdown().await.unwrap();
                };
                tokio::join!(told, async { reader.read_to_end(&mut heard).await.unwrap() });
                heard
            });
            let answers: Vec<&[u8]> = heard.strip_suffix(b"\n").map_or_else(Vec::new, |heard| heard.split(|byte| *byte == b'\n').collect());
            assert_eq!(answers.len(), lines.len(), "an answer for each line");
            kind(lines.iter().zip(answers).take(3).map(|(line, answer)| checked(line, answer)).collect::<Vec<_>>())
        },
    );
    shutdown.cancel();
    runtime.block_on(serving).unwrap().unwrap();
    runtime.block_on(supervisor.shut_down());
}
