//! The operator's interface: JSON-RPC 2.0 on a Unix socket, a request and an answer a line.
//!
//! Who may open the socket is up to its permissions (0600), and the kernel says whose each connection is: only the user that runs
//! the node, and root, are answered.
//!
//! | method | parameters | result |
//! |---|---|---|
//! | `node_status` | | capacity, what is granted, memory, the store |
//! | `node_health` | | `healthy`, and a list of `problems` |
//! | `node_peers` | | this `node`, and the `peers` that are connected to it |
//! | `chain_list` | | all chains |
//! | `chain_show` | `name` | one |
//! | `chain_create` | `name`, `genesis` (text); optional `id`, `runtime`, `consensus`, `consensusConfig`, `sealing`, `history` (heights; 0 keeps all) or `historyBytes`, `controls`, `poolBytes`, `slice`, `memoryBytes`, `storageBytes`, `bandwidthBytes`, `stopped` | the chain |
//! | `chain_start`, `chain_stop`, `chain_pause`, `chain_resume` | `name` | the chain |
//! | `chain_repair` | `name`: its tables are damaged | the chain, which gets the next state that its committee vouches for |
//! | `chain_vote` | `name`: it was imported, and its old host votes no more | the chain |
//! | `chain_resize` | `name`; optional `slice`, `memoryBytes`, `storageBytes`, `bandwidthBytes`, `history` or `historyBytes` | the chain |
//! | `chain_upgrade` | `name`; `runtime`, `consensus`, or both | the chain |
//! | `chain_delete` | `name`, `force` | null |
//! | `chain_logs` | `name`, `after` (a line's number) | the lines that are kept |
//! | `module_add` | `component` (base64) | the module's `name` |
//! | `chain_export` | `name` | `export`, `header` (base64), `height`, `bytes` |
//! | `chain_exportFrame` | `export`, `index` (from 1) | `frame` (base64), or null after the end |
//! | `chain_import` | `name`, `header`, and optionally what `chain_create` takes of slices | `import`, `nextChunk` |
//! | `chain_importFrame` | `import`, `frame` | null, or the chain after the last |
//!
//! A slice is `large`, `medium`, `small`, `test` or a number of parts, and brings memory, storage and bandwidth along unless they are
//! given. Errors have code -32000, and their text says what to do.

mod line;

use std::{
    collections::BTreeMap,
    io,
    num::NonZeroU64,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use subnode_chain::CHECKPOINT_EVERY;
use subnode_node::{ChainInfo, ControlError, Desired, LogBook, Origin, Resize, SliceRequest, Supervisor, Upgrade, Wanted};
use subnode_storage::Retention;
use subnode_types::{Boxed, ChainName, Parts, Sealing, Slice, boxed};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::line::{error_line, finish_line};
use crate::{ServeError, connection::DRAINS_WITHIN, describe};

/// Longest request: the largest frame of an archive, in base64.
const LINE_BYTES_MAX: u64 = 120 << 20;
/// Open connections; further ones wait.
const CONNECTIONS_MAX: usize = 64;

const PARSE_ERROR: i32 = -32700;
const METHOD_NOT_FOUND: i32 = -32601;
const INVALID_PARAMS: i32 = -32602;
const REFUSED: i32 = -32000;

/// What the operator's interface answers from.
#[derive(Clone)]
pub struct Admin {
    /// The chains.
    pub supervisor: Arc<Supervisor>,
    /// What they logged.
    pub logs: Arc<LogBook>,
}

/// Makes the socket, in place of one that a node left behind. Nobody else may open it.
///
/// # Errors
/// Where it cannot be made, another node listens on it, or something else than a socket is there.
pub fn bind_admin(path: &Path) -> io::Result<UnixListener> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::Error::new(io::ErrorKind::AddrInUse, "another node listens on it"));
    }
    match std::fs::symlink_metadata(path) {
        Ok(there) if there.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(io::Error::new(io::ErrorKind::AlreadyExists, "something else than a socket is there")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves operators until `shutdown`, then finishes the requests being answered.
///
/// # Errors
/// Where the listener fails.
///
/// # Cancel safety
/// Not cancel safe: dropping it breaks open connections off. Spawn it and await it.
pub fn serve_admin(admin: Admin, listener: UnixListener, shutdown: CancellationToken) -> Boxed<'static, Result<(), ServeError>> {
    boxed(async move {
        let (connections, places) = (TaskTracker::new(), Arc::new(Semaphore::new(CONNECTIONS_MAX)));
        while let Some(accepted) = shutdown.run_until_cancelled(accept(&listener, &places)).await {
            let (stream, place) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, mostly: others must close first.
                    tracing::warn!(%error, "cannot accept an operator's connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    continue;
                }
            };
            let (admin, shutdown) = (admin.clone(), shutdown.clone());
            connections.spawn(async move {
                if let Err(error) = converse(&admin, stream, &shutdown).await {
                    tracing::debug!(%error, "an operator's connection ended");
                }
                drop(place);
            });
        }
        connections.close();
        if tokio::time::timeout(DRAINS_WITHIN, connections.wait()).await.is_err() {
            tracing::warn!("operators' requests that were not answered within {DRAINS_WITHIN:?} are waited for no longer");
        }
        Ok(())
    })
}

async fn accept(listener: &UnixListener, places: &Arc<Semaphore>) -> io::Result<(UnixStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = places.clone().acquire_owned().await.map_err(io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, place))
}

async fn converse(admin: &Admin, mut stream: UnixStream, shutdown: &CancellationToken) -> io::Result<()> {
    let peer = stream.peer_cred()?.uid();
    let (reader, mut writer) = stream.split();
    if peer != 0 && peer != rustix::process::geteuid().as_raw() {
        tracing::warn!(user = peer, "an operator's connection by another user was refused");
        let refusal = error_line(&Value::Null, REFUSED, "this socket is for the user that runs the node, and root");
        return writer.write_all(&refusal).await;
    }
    let mut reader = BufReader::new(reader);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut reader).take(LINE_BYTES_MAX);
        let Some(read) = shutdown.run_until_cancelled(bounded.read_until(b'\n', &mut line)).await else { return Ok(()) };
        if read? == 0 {
            return Ok(());
        }
        if line.last() != Some(&b'\n') && line.len() as u64 >= LINE_BYTES_MAX {
            let refusal = error_line(&Value::Null, PARSE_ERROR, "request too long");
            return writer.write_all(&refusal).await;
        }
        let answer = Box::pin(answer(admin, &line)).await;
        writer.write_all(&answer).await?;
    }
}

#[derive(Deserialize)]
struct Request {
    #[serde(default)]
    id: Value,
    method: String,
    #[serde(default)]
    params: Value,
}

async fn answer(admin: &Admin, line: &[u8]) -> Vec<u8> {
    let request: Request = match serde_json::from_slice(line) {
        Ok(request) => request,
        Err(error) => return error_line(&Value::Null, PARSE_ERROR, &format!("parse error: {error}")),
    };
    match Box::pin(call(admin, &request.method, request.params)).await {
        Ok(result) => finish_line(json!({ "jsonrpc": "2.0", "id": request.id, "result": result })),
        Err(Failure { code, message }) => error_line(&request.id, code, &message),
    }
}

struct Failure {
    code: i32,
    message: String,
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        Self { code: REFUSED, message: error.to_string() }
    }
}

fn invalid(message: impl Into<String>) -> Failure {
    Failure { code: INVALID_PARAMS, message: message.into() }
}

fn params<T: DeserializeOwned>(params: Value) -> Result<T, Failure> {
    let params = if params.is_null() { json!({}) } else { params };
    serde_json::from_value(params).map_err(|error| invalid(format!("invalid parameters: {error}")))
}

fn chain_name(name: &str) -> Result<ChainName, Failure> {
    name.parse().map_err(|error| invalid(format!("{error}")))
}

fn bytes_of(base64: &str) -> Result<Vec<u8>, Failure> {
    BASE64_STANDARD.decode(base64).map_err(|error| invalid(format!("not base64: {error}")))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Name {
    name: String,
}

/// Parameters that a method does not have. Where others are flattened, serde leaves it to us to refuse them.
/// Bound: what [`LINE_BYTES_MAX`] bytes of a line hold; operators alone send lines.
type Unknown = BTreeMap<String, Value>;

fn refuse(unknown: &Unknown) -> Result<(), Failure> {
    match unknown.keys().next() {
        Some(key) => Err(invalid(format!("invalid parameters: there is no `{key}`"))),
        None => Ok(()),
    }
}

/// Parts of a slice, each of which may be left out.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SliceParams {
    slice: Option<Value>,
    memory_bytes: Option<u64>,
    storage_bytes: Option<u64>,
    bandwidth_bytes: Option<u64>,
    history: Option<u64>,
    history_bytes: Option<NonZeroU64>,
}

impl SliceParams {
    fn parts(&self) -> Result<Option<Parts>, Failure> {
        let text = match &self.slice {
            None | Some(Value::Null) => return Ok(None),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        };
        text.parse().map(Some).map_err(|error| invalid(format!("{error}")))
    }

    fn retention(&self) -> Result<Option<Retention>, Failure> {
        match (self.history, self.history_bytes) {
            (Some(_), Some(_)) => Err(invalid("history counts heights and historyBytes bytes; give one of them")),
            (None, Some(bytes)) => Ok(Some(Retention::within(bytes.get()))),
            (Some(0), None) => Ok(Some(Retention::Archive)),
            (heights, None) => Ok(heights.map(Retention::Last)),
        }
    }

    fn request(&self) -> Result<SliceRequest, Failure> {
        Ok(SliceRequest {
            parts: self.parts()?,
            memory_bytes: self.memory_bytes,
            storage_bytes: self.storage_bytes,
            bandwidth_bytes: self.bandwidth_bytes,
        })
    }

    /// The slice that is asked for, or the one that a node of this capacity gives by itself.
    fn slice(&self, supervisor: &Supervisor) -> Result<Slice, Failure> {
        let capacity = supervisor.granted().0;
        Ok(self.request()?.over(capacity.default_slice(), &capacity))
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    name: String,
    #[serde(default)]
    id: Option<NonZeroU64>,
    #[serde(default)]
    genesis: String,
    #[serde(default)]
    runtime: Option<String>,
    #[serde(default)]
    consensus: Option<String>,
    #[serde(default)]
    consensus_config: Option<String>,
    #[serde(default)]
    sealing: Option<String>,
    #[serde(default)]
    controls: bool,
    #[serde(default)]
    pool_bytes: Option<u64>,
    checkpoint_every: Option<u64>,
    #[serde(default)]
    stopped: bool,
    #[serde(flatten)]
    slice: SliceParams,
    #[serde(flatten)]
    unknown: Unknown,
}

/// Heights that a chain keeps unless told otherwise.
const KEPT_HEIGHTS: u64 = 10_000;
/// Most of a chain's pool unless told otherwise.
const POOL_BYTES: u64 = 64 << 20;

impl Create {
    fn desired(&self, supervisor: &Supervisor) -> Result<Desired, Failure> {
        let sealing: Sealing = match &self.sealing {
            None => Sealing::default(),
            Some(text) => text.parse().map_err(|error| invalid(format!("{error}")))?,
        };
        let slice = self.slice.slice(supervisor)?;
        Ok(Desired {
            id: self.id,
            origin: Origin::Operator,
            wanted: if self.stopped { Wanted::Stopped } else { Wanted::Running },
            runtime: self.runtime.clone().unwrap_or_else(|| "evm".into()),
            consensus: self.consensus.clone().unwrap_or_else(|| "solo".into()),
            spec: self.genesis.clone().into_bytes(),
            consensus_config: self.consensus_config.clone().unwrap_or_else(|| sealing.consensus_config()).into_bytes(),
            sealing,
            slice,
            retention: self.slice.retention()?.unwrap_or(Retention::Last(KEPT_HEIGHTS)),
            controls: self.controls,
            // Half of its memory at most is for what waits.
            pool_bytes: self.pool_bytes.unwrap_or(POOL_BYTES).min(slice.memory_bytes / 2),
            checkpoint_every: self.checkpoint_every.unwrap_or(CHECKPOINT_EVERY),
            silent: false,
        })
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Resized {
    name: String,
    #[serde(flatten)]
    slice: SliceParams,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Upgraded {
    name: String,
    #[serde(default)]
    runtime: Option<String>,
    #[serde(default)]
    consensus: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Deleted {
    name: String,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Logs {
    name: String,
    #[serde(default)]
    after: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Component {
    component: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ExportFrame {
    export: u64,
    index: u64,
}

#[derive(Deserialize)]
struct ImportBegin {
    name: String,
    header: String,
    #[serde(default)]
    stopped: Option<bool>,
    #[serde(flatten)]
    slice: SliceParams,
    #[serde(flatten)]
    unknown: Unknown,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ImportFrame {
    import: u64,
    frame: String,
}

fn described(info: Result<ChainInfo, ControlError>) -> Result<Value, Failure> {
    Ok(describe::chain(&info?))
}

async fn call(admin: &Admin, method: &str, given: Value) -> Result<Value, Failure> {
    let supervisor = &admin.supervisor;
    let named = |given: Value| chain_name(&params::<Name>(given)?.name);
    match method {
        "node_status" => Ok(describe::node(supervisor)),
        "node_health" => {
            let problems = describe::problems(supervisor);
            Ok(json!({ "healthy": problems.is_empty(), "problems": problems }))
        }
        "node_peers" => Ok(describe::peers(supervisor)),
        "chain_list" => Ok(supervisor.list().iter().map(describe::chain).collect()),
        "chain_show" => described(supervisor.show(&named(given)?)),
        "chain_create" => {
            let create: Create = params(given)?;
            refuse(&create.unknown)?;
            let desired = create.desired(supervisor)?;
            described(supervisor.create(&chain_name(&create.name)?, desired).await)
        }
        "chain_start" => described(supervisor.run(&named(given)?).await),
        "chain_stop" => described(supervisor.stop(&named(given)?).await),
        "chain_pause" => described(supervisor.pause(&named(given)?, true).await),
        "chain_resume" => described(supervisor.pause(&named(given)?, false).await),
        "chain_repair" => described(supervisor.repair(&named(given)?).await),
        "chain_vote" => described(supervisor.vote(&named(given)?).await),
        "chain_resize" => {
            let resized: Resized = params(given)?;
            refuse(&resized.unknown)?;
            let resize = Resize { slice: resized.slice.request()?, retention: resized.slice.retention()? };
            described(supervisor.resize(&chain_name(&resized.name)?, &resize).await)
        }
        "chain_upgrade" => {
            let Upgraded { name, runtime, consensus } = params(given)?;
            if runtime.is_none() && consensus.is_none() {
                return Err(invalid("name a runtime, a consensus, or both"));
            }
            described(supervisor.upgrade(&chain_name(&name)?, &Upgrade { runtime, consensus }).await)
        }
        "chain_delete" => {
            let Deleted { name, force } = params(given)?;
            supervisor.delete(&chain_name(&name)?, force).await?;
            admin.logs.forget(&name);
            Ok(Value::Null)
        }
        "chain_logs" => {
            let Logs { name, after } = params(given)?;
            let name = chain_name(&name)?;
            supervisor.show(&name)?;
            let lines = admin.logs.after(name.as_str(), after);
            Ok(lines
                .iter()
                .map(|line| json!({ "number": line.number, "timeMs": line.time_ms, "level": line.level, "text": line.text }))
                .collect())
        }
        "module_add" => {
            let component = bytes_of(&params::<Component>(given)?.component)?;
            Ok(json!({ "name": supervisor.add_module(component).await? }))
        }
        "chain_export" => {
            let begun = supervisor.begin_export(&named(given)?).await?;
            let header = BASE64_STANDARD.encode(begun.header);
            Ok(json!({ "export": begun.export, "header": header, "height": begun.about.height, "bytes": begun.about.bytes }))
        }
        "chain_exportFrame" => {
            let ExportFrame { export, index } = params(given)?;
            let frame = supervisor.export_frame(export, index).await?;
            Ok(json!({ "frame": frame.map(|frame| BASE64_STANDARD.encode(frame)) }))
        }
        "chain_import" => {
            let ImportBegin { name, header, stopped, slice, unknown } = params(given)?;
            refuse(&unknown)?;
            let (asked, retention) = (slice.slice(supervisor)?, slice.retention()?);
            let change = |was: Desired| Desired {
                slice: asked,
                retention: retention.unwrap_or(was.retention),
                wanted: if stopped.unwrap_or(false) { Wanted::Stopped } else { Wanted::Running },
                pool_bytes: was.pool_bytes.min(asked.memory_bytes / 2),
                ..was
            };
            let begun = supervisor.begin_import(&chain_name(&name)?, &bytes_of(&header)?, change).await?;
            Ok(json!({ "import": begun.import, "nextChunk": begun.next_chunk }))
        }
        "chain_importFrame" => {
            let ImportFrame { import, frame } = params(given)?;
            let done = supervisor.import_frame(import, &bytes_of(&frame)?).await?;
            Ok(done.as_ref().map_or(Value::Null, describe::chain))
        }
        unknown => Err(Failure { code: METHOD_NOT_FOUND, message: format!("there is no method {unknown:?}") }),
    }
}

#[cfg(test)]
mod tests;
