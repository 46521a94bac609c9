//! How chains move in and out: exports and imports that operators ask for.

use std::{sync::Arc, time::Instant};

use serde::{Deserialize, Serialize};
use subnode_storage::{ArchiveError, ArchiveReader, Frame};
use subnode_types::{Boxed, ChainName, boxed};

use crate::{
    ChainInfo, ControlError, Desired, Origin, Supervisor,
    blocking::blocking,
    registry::{Reserved, Tables},
    transfers::{Exporting, Importing},
};

/// What the header of an archive says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct About {
    /// The chain's name where it was exported.
    pub name: String,
    /// Its height then.
    pub height: u64,
    /// The id of its last block.
    pub block_id: Vec<u8>,
    /// Live bytes of its tables.
    pub bytes: u64,
    /// What it should be, encoded.
    desired: Vec<u8>,
    /// Modules that not every node has.
    modules: Vec<Vec<u8>>,
    /// Tells two exports of one height apart.
    nonce: u64,
}

/// An export that has begun.
pub struct ExportBegun {
    /// To ask for frames with.
    pub export: u64,
    /// The first frame, as it stands in a file.
    pub header: Vec<u8>,
    /// What it says.
    pub about: About,
}

/// An import that has begun, or goes on.
pub struct ImportBegun {
    /// To bring frames with.
    pub import: u64,
    /// The chunk that is wanted next.
    pub next_chunk: u32,
}

impl About {
    /// What a header says.
    ///
    /// # Errors
    /// Where it is of another program.
    pub fn decode(header: &Frame) -> Result<Self, ArchiveError> {
        postcard::from_bytes(header.payload()).map_err(|_| ArchiveError::Damaged { frame: 0, what: "its header does not decode" })
    }
}

impl Supervisor {
    /// Begins to export a chain as of now. It goes on meanwhile.
    ///
    /// # Errors
    /// Where there is no such chain, or it cannot be read.
    pub fn begin_export<'a>(&'a self, name: &'a ChainName) -> Boxed<'a, Result<ExportBegun, ControlError>> {
        boxed(async move {
            let info = self.show(name)?;
            let tables = match &info.chain {
                Some(chain) => chain.store().clone(),
                None => self.store().open(name, info.desired.retention)?,
            };
            let head = tables.head().ok_or_else(|| ControlError::State {
                name: name.clone(),
                state: info.state.name(),
                remedy: "it has no blocks yet; start it first",
            })?;
            let modules = [&info.desired.runtime, &info.desired.consensus].map(|module| self.parts.modules.added(module));
            let [runtime, consensus] = modules;
            let about = About {
                name: name.to_string(),
                height: head.height,
                block_id: info.chain.as_ref().map(|chain| chain.head().id).unwrap_or_default(),
                bytes: tables.live_bytes(),
                desired: Desired { spec: Vec::new(), ..info.desired }.encode(),
                modules: [runtime?, consensus?].into_iter().flatten().collect(),
                nonce: rand_nonce(),
            };
            let export = blocking(move || tables.export()).await?;
            let header = Frame::header(postcard::to_stdvec(&about).unwrap_or_default()).encode();
            let exporting = Exporting { export: Some(export), last: (0, Vec::new()) };
            let number = self.transfers.keep_export(exporting)?;
            Ok(ExportBegun { export: number, header, about })
        })
    }

    /// A frame of an export, counted from 1: the next, or the last one again. None after the end.
    ///
    /// # Errors
    /// Where the export is not there any more, or the store cannot be read.
    pub fn export_frame(&self, export: u64, index: u64) -> Boxed<'_, Result<Option<Vec<u8>>, ControlError>> {
        boxed(async move {
            let exporting = self.transfers.export(export)?;
            let mut exporting = exporting.lock_owned().await;
            if index == exporting.last.0 && index > 0 {
                return Ok(Some(exporting.last.1.clone()));
            }
            if index != exporting.last.0 + 1 {
                return Err(ControlError::NoTransfer("export"));
            }
            let mut whole = exporting.export.take().ok_or(ControlError::NoTransfer("export"))?;
            let (whole, frame) = blocking(move || whole.next_frame().map(|frame| (whole, frame))).await?;
            exporting.export = Some(whole);
            let Some(frame) = frame else {
                self.transfers.end_export(export);
                return Ok(None);
            };
            exporting.last = (index, frame.encode());
            Ok(Some(exporting.last.1.clone()))
        })
    }

    /// Begins to import a chain under a name, or goes on with it. `desired` is what it shall be, given what it was where it was
    /// exported.
    ///
    /// # Errors
    /// Where the name is taken, the header is of something else, or its slice does not fit.
    pub fn begin_import<'a>(
        &'a self,
        name: &'a ChainName,
        header: &'a [u8],
        desired: impl FnOnce(Desired) -> Desired + Send + 'a,
    ) -> Boxed<'a, Result<ImportBegun, ControlError>> {
        boxed(async move {
            self.not_stopping()?;
            let (_, header) = ArchiveReader::new(header)?;
            let about = About::decode(&header)?;
            let strange = ArchiveError::Damaged { frame: 0, what: "its record is of another release" };
            let was = Desired::decode(&about.desired).ok_or(strange)?;
            let desired = desired(Desired { id: None, origin: Origin::Operator, silent: true, ..was });
            if self.registry.slot(name).is_some() {
                return Err(ControlError::Exists(name.clone()));
            }
            let (used, wanted) = (about.bytes, desired.slice.storage_bytes);
            if wanted < used {
                return Err(ControlError::LessThanInUse { name: name.clone(), what: "storage", used, wanted });
            }
            let modules = self.parts.modules.clone();
            let names = [desired.runtime.clone(), desired.consensus.clone()];
            blocking(move || {
                for module in &about.modules {
                    modules.add(module)?;
                }
                for name in &names {
                    modules.load(name)?;
                }
                Ok::<_, ControlError>(())
            })
            .await?;
            self.transfers.forget(name);
            self.transfers.check_room()?;
            let hold = self.registry.hold(name, desired.slice)?;
            let (store, chain) = (self.store().clone(), name.clone());
            let import = blocking(move || store.import(&chain, &header)).await?;
            let mut import = import.ok_or_else(|| ControlError::Exists(name.clone()))?;
            // What the header says of its size is only said.
            import.set_limit_bytes(desired.slice.storage_bytes);
            let next_chunk = import.next_chunk();
            let number = self.transfers.keep_import(Importing { name: name.clone(), desired, import: Some(import), hold })?;
            Ok(ImportBegun { import: number, next_chunk })
        })
    }

    /// Brings the next frame of an import: a chunk, durable when this resolves, or the end, after which the chain runs.
    ///
    /// # Errors
    /// Where it is not the next, or damaged. The import can go on with the right one.
    pub fn import_frame<'a>(self: &'a Arc<Self>, import: u64, frame: &'a [u8]) -> Boxed<'a, Result<Option<ChainInfo>, ControlError>> {
        boxed(async move {
            let importing = self.transfers.import(import)?;
            let mut importing = importing.lock_owned().await;
            let frame = Frame::decode(frame)?;
            // Taken, as it is no good any more where whoever asks is gone before the answer.
            let Some(mut filled) = importing.import.take() else { return Err(ControlError::NoTransfer("import")) };
            if frame.chunk_index().is_some() {
                let appended = filled.append(&frame).await;
                importing.import = Some(filled);
                appended?;
                return Ok(None);
            }
            let (name, desired) = (importing.name.clone(), importing.desired.clone());
            let reserved = filled.check_end(&frame).map_err(ControlError::from);
            // Before the store forgets that it is an import: one whose chain is refused can go on.
            let reserved = reserved.and_then(|()| self.registry.reserve(&name, desired, Tables::Imported(&importing.hold)));
            let (slot, changing) = match reserved {
                Ok(Reserved::New(slot, changing)) => (slot, changing),
                Ok(Reserved::Existing(_)) => return Err(ControlError::Exists(name)),
                Err(refused) => {
                    importing.import = Some(filled);
                    return Err(refused);
                }
            };
            importing.hold.hand_over();
            self.transfers.end_import(import);
            if let Err(error) = filled.finish(&frame).await {
                self.registry.remove(&name);
                return Err(error.into());
            }
            self.make(&slot, changing).await.map(Some)
        })
    }
}

/// A number that no other export is likely to have.
fn rand_nonce() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(Instant::now())
}
