//! Exports chains to files and imports them. The node gives out and takes one frame at a time. The files belong to
//! the user of this command.
//!
//! An export is written to `FILE.partial`, and the node's number for the export to `FILE.partial.json`. Both are
//! gone once the file is whole. After an interruption of either side, the export goes on with the frame after the
//! last whole one, as long as the node keeps the export. Otherwise it starts again.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufReader, BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Value, json};
use subnode_storage::{ArchiveReader, FrameKind};
use subnode_types::ChainName;

use crate::{
    client::{Client, Refusal},
    output::progress,
};

/// A finished export.
pub struct Exported {
    pub height: u64,
    pub file_bytes: u64,
}

fn beside(file: &Path, suffix: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// An export that was begun.
struct Begun {
    export: u64,
    height: u64,
    bytes: u64,
    /// Frames after the header that the partial file has.
    frames: u64,
}

/// Copies a chain to a file.
pub fn export(client: &mut Client, chain: &ChainName, file: &Path) -> anyhow::Result<Exported> {
    if file.exists() {
        bail!("{} exists; choose another file with --output", file.display());
    }
    let (partial, note) = (beside(file, ".partial"), beside(file, ".partial.json"));
    let resumed = resume(chain, &partial, &note);
    let begun = match &resumed {
        // Only the node knows whether it still has it.
        Some(begun) if frame(client, begun.export, begun.frames + 1).is_ok() => {
            eprintln!("going on with {} after {} frames", partial.display(), begun.frames);
            resumed
        }
        _ => None,
    };
    let begun = match begun {
        Some(begun) => begun,
        None => begin(client, chain, &partial, &note)?,
    };
    let opened = OpenOptions::new().append(true).open(&partial).with_context(|| format!("open {}", partial.display()))?;
    let mut writer = BufWriter::new(opened);
    let bar = progress::bytes(begun.bytes, "exporting");
    let mut index = begun.frames;
    loop {
        index += 1;
        let Some(bytes) = frame(client, begun.export, index)? else { break };
        writer.write_all(&bytes).with_context(|| format!("write {}", partial.display()))?;
        // What the file says is there must be, when it is gone on with.
        writer.flush().with_context(|| format!("write {}", partial.display()))?;
        bar.set_position(begun.bytes.min(index << 20));
    }
    bar.finish_and_clear();
    let whole = writer.into_inner().context("write the file")?;
    whole.sync_all()?;
    let file_bytes = whole.metadata()?.len();
    fs::rename(&partial, file)?;
    fs::remove_file(&note)?;
    Ok(Exported { height: begun.height, file_bytes })
}

fn begin(client: &mut Client, chain: &ChainName, partial: &Path, note: &Path) -> anyhow::Result<Begun> {
    let begun = client.call("chain_export", &json!({ "name": chain.as_str() }))?;
    let number = |key: &str| begun[key].as_u64().with_context(|| format!("the node's answer has no {key}"));
    let (export, height, bytes) = (number("export")?, number("height")?, number("bytes")?);
    let header = BASE64_STANDARD.decode(begun["header"].as_str().unwrap_or_default())?;
    fs::write(partial, header).with_context(|| format!("write {}", partial.display()))?;
    fs::write(note, json!({ "chain": chain.as_str(), "export": export, "height": height, "bytes": bytes }).to_string())?;
    Ok(Begun { export, height, bytes, frames: 0 })
}

/// What an earlier call left, cut to its last whole frame.
fn resume(chain: &ChainName, partial: &Path, note: &Path) -> Option<Begun> {
    let note: Value = serde_json::from_slice(&fs::read(note).ok()?).ok()?;
    if note["chain"].as_str() != Some(chain.as_str()) {
        return None;
    }
    let file = OpenOptions::new().read(true).write(true).open(partial).ok()?;
    let (mut archive, header) = ArchiveReader::new(BufReader::new(&file)).ok()?;
    let (mut frames, mut whole) = (0, header.encode().len() as u64);
    while let Ok(frame) = archive.next() {
        frames += 1;
        whole += frame.encode().len() as u64;
        // The reader stops at the end of the file, or at what was cut short.
    }
    file.set_len(whole).ok()?;
    Some(Begun { export: note["export"].as_u64()?, height: note["height"].as_u64()?, bytes: note["bytes"].as_u64()?, frames })
}

fn frame(client: &mut Client, export: u64, index: u64) -> anyhow::Result<Option<Vec<u8>>> {
    let answer = client.call("chain_exportFrame", &json!({ "export": export, "index": index }))?;
    answer["frame"].as_str().map(|frame| BASE64_STANDARD.decode(frame).context("the node's frame is not base64")).transpose()
}

/// Makes a chain of a file.
pub fn import(client: &mut Client, file: &Path, mut params: Value) -> anyhow::Result<Value> {
    let named = || format!("{}", file.display());
    let mut opened = File::open(file).with_context(named)?;
    let bar = progress::bytes(opened.metadata()?.len(), "checking");
    // The whole file first: a node is not asked to begin what cannot be finished.
    let (mut archive, header) = ArchiveReader::new(bar.wrap_read(BufReader::new(&opened))).with_context(named)?;
    while archive.next().with_context(named)?.kind() != FrameKind::End {}
    bar.finish_and_clear();

    params["header"] = json!(BASE64_STANDARD.encode(header.encode()));
    let begun = client.call("chain_import", &params)?;
    let next_chunk = begun["nextChunk"].as_u64().unwrap_or_default();
    if next_chunk > 0 {
        eprintln!("going on after {next_chunk} chunks");
    }
    opened.seek(SeekFrom::Start(0))?;
    let bar = progress::bytes(opened.metadata()?.len(), "importing");
    let (mut archive, _) = ArchiveReader::new(bar.wrap_read(BufReader::new(&opened))).with_context(named)?;
    loop {
        let frame = archive.next().with_context(named)?;
        if frame.chunk_index().is_some_and(|index| u64::from(index) < next_chunk) {
            continue;
        }
        let sent = client.call("chain_importFrame", &json!({ "import": begun["import"], "frame": BASE64_STANDARD.encode(frame.encode()) }));
        let sent = sent.map_err(|error| match error.downcast::<Refusal>() {
            Ok(refusal) => anyhow::Error::from(refusal).context(named()),
            Err(error) => error,
        })?;
        if frame.kind() == FrameKind::End {
            bar.finish_and_clear();
            return Ok(sent);
        }
    }
}
