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
//! | `chain_show` | `name`; optional `about` | one, and what its runtime says about it, if `about` is true |
//! | `chain_create` | `name`, `genesis` (text); optional `id`, `runtime`, `consensus`, `consensusConfig`, `sealing`, `history` (heights; 0 keeps all) or `historyBytes`, `controls`, `poolBytes`, `slice`, `memoryBytes`, `storageBytes`, `bandwidthBytes`, `stopped` | the chain |
//! | `chain_start`, `chain_stop`, `chain_pause`, `chain_resume` | `name` | the chain |
//! | `chain_repair` | `name`: its tables are damaged | the chain, which gets the next state that its committee vouches for |
//! | `chain_vote` | `name`: it was imported, and its old host votes no more | the chain |
//! | `chain_state` | `name`, `kind` (`standing`, `test`), `value` (`open`, `frozen` or `closed`; any text; null withdraws) | the chain, to whose committee this node states it |
//! | `chain_resize` | `name`; optional `slice`, `memoryBytes`, `storageBytes`, `bandwidthBytes`, `history` or `historyBytes` | the chain |
//! | `chain_upgrade` | `name`; `runtime`, `consensus`, or both; with a committee `at` (a height) | the chain |
//! | `chain_delete` | `name`, `force` | null |
//! | `chain_logs` | `name`, `after` (a line's number) | the lines that are kept |
//! | `module_add` | `component` (base64) | the module's `name` |
//! | `chain_export` | `name` | `export`, `header` (base64), `height`, `bytes` |
//! | `chain_exportFrame` | `export`, `index` (from 1) | `frame` (base64), or null after the end |
//! | `chain_import` | `name`, `header`, and optionally what `chain_create` takes of slices | `import`, `nextChunk` |
//! | `chain_importFrame` | `import`, `frame` | null, or the chain after the last |
//! | `attestation_show`, `_list`, `_proofs`, `_anchor` | `name`; `_show` also `height` | what the committee attests (`attestation.rs`) |
//!
//! A slice is `large`, `medium`, `small`, `test` or a number of parts, and brings memory, storage and bandwidth along unless they are
//! given. Errors have code -32000, and their text says what to do.

mod attestation;
mod failure;
mod line;
mod params;

use std::{
    io,
    os::unix::fs::{FileTypeExt, PermissionsExt},
    path::Path,
    sync::Arc,
};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::{Value, json};
use subnode_node::{ChainInfo, ControlError, Desired, LogBook, Resize, Supervisor, Upgrade, Wanted};
use subnode_types::{Boxed, boxed};
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{UnixListener, UnixStream},
    sync::Semaphore,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use self::{
    failure::{Failure, METHOD_NOT_FOUND, PARSE_ERROR, REFUSED, invalid},
    line::{error_line, finish_line},
    params::{
        Component, Create, Deleted, ExportFrame, ImportBegin, ImportFrame, Logs, Name, Resized, Shown, Stated, Upgraded, bytes_of,
        chain_name, params, refuse,
    },
};
use crate::{ServeError, connection::DRAINS_WITHIN, describe};

/// Longest request: the largest frame of an archive, in base64.
const LINE_BYTES_MAX: u64 = 120 << 20;
/// Open connections; further ones wait.
const CONNECTIONS_MAX: usize = 64;

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
        "chain_show" => {
            let Shown { name, about } = params(given)?;
            let info = supervisor.show(&chain_name(&name)?)?;
            Ok(if about { describe::in_full(&info).await } else { describe::chain(&info) })
        }
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
        "chain_state" => {
            let Stated { name, kind, value } = params(given)?;
            let (kind, value) = kind.statement(value)?;
            described(supervisor.state(&chain_name(&name)?, kind, value).await)
        }
        "chain_resize" => {
            let resized: Resized = params(given)?;
            refuse(&resized.unknown)?;
            let resize = Resize { slice: resized.slice.request()?, retention: resized.slice.retention()? };
            described(supervisor.resize(&chain_name(&resized.name)?, &resize).await)
        }
        "chain_upgrade" => {
            let Upgraded { name, runtime, consensus, at } = params(given)?;
            if runtime.is_none() && consensus.is_none() {
                return Err(invalid("name a runtime, a consensus, or both"));
            }
            described(supervisor.upgrade(&chain_name(&name)?, &Upgrade { runtime, consensus, at }).await)
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
        other => attestation::call(admin, other, given)
            .unwrap_or_else(|| Err(Failure { code: METHOD_NOT_FOUND, message: format!("there is no method {other:?}") })),
    }
}

#[cfg(test)]
mod tests;
