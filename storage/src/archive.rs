//! A chain as one file: what backup and moving between hosts are made of.
//!
//! ```text
//! magic "subnode\x1a" · format, 4 bytes · frames: header, chunk 0, chunk 1, ..., end
//! frame   kind, 1 byte · length, 4 bytes · CRC-32 of kind and payload, 4 bytes · payload
//! header  whatever its owner says of the chain
//! chunk   index, 4 bytes · raw length, 4 bytes · LZ4 block of rows: key length, value length (4 bytes each), key, value
//! end     chunks, 4 bytes · rows, 8 bytes · raw bytes, 8 bytes · CRC-32 of the chunks' checksums, 4 bytes
//! ```
//!
//! Numbers are big-endian. Rows are in key order, so a row cannot come twice. Checksums find damage, not malice: a file is as
//! trustworthy as whoever gives it.

use std::{io::Read, sync::Arc};

use crate::{
    StoreError, key,
    rows::{self, Dump, Op, Purpose, Rows, VALUE_BYTES_MAX},
};

const MAGIC: [u8; 8] = *b"subnode\x1a";
/// The format that this release writes, and the newest it reads.
const FORMAT: u32 = 1;
/// Raw bytes after which a chunk is full.
const CHUNK_BYTES: usize = 1 << 20;
/// Longest payload, and most that a chunk unpacks to.
const FRAME_BYTES_MAX: usize = VALUE_BYTES_MAX;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    /// The first.
    Header,
    /// Rows.
    Chunk,
    /// The last.
    End,
}

/// A piece of an archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    kind: FrameKind,
    payload: Vec<u8>,
}

/// Why an archive is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Some other file.
    #[error("not an exported chain: it does not start as one")]
    Foreign,
    /// Written by a later release.
    #[error("exported in format {found}, and this release knows formats up to {FORMAT}; use a newer release")]
    Newer {
        /// Its format.
        found: u32,
    },
    /// It ends too early.
    #[error("truncated: it ends within frame {frame}; export it again, or resume the copy")]
    Truncated {
        /// Counted from 0, the header.
        frame: u64,
    },
    /// A checksum does not match, or a frame is not what it must be.
    #[error("damaged at frame {frame}: {what}; copy it again from its source")]
    Damaged {
        /// Counted from 0, the header.
        frame: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The file cannot be read.
    #[error("cannot be read: {0}")]
    Io(std::io::Error),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] StoreError),
}

impl Frame {
    /// The first frame of an archive.
    #[must_use]
    pub fn header(about: Vec<u8>) -> Self {
        Self { kind: FrameKind::Header, payload: about }
    }

    /// What it is.
    #[must_use]
    pub fn kind(&self) -> FrameKind {
        self.kind
    }

    /// What is in it.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Place of a chunk among the chunks.
    #[must_use]
    pub fn chunk_index(&self) -> Option<u32> {
        let (index, _) = self.payload.split_first_chunk::<4>()?;
        (self.kind == FrameKind::Chunk).then(|| u32::from_be_bytes(*index))
    }

    /// A frame from its bytes, header's excepted.
    ///
    /// # Errors
    /// Where they are not one whole frame.
    pub fn decode(bytes: &[u8]) -> Result<Self, ArchiveError> {
        let mut archive = ArchiveReader { reader: bytes, frames: 0 };
        let frame = archive.next()?;
        if archive.reader.is_empty() { Ok(frame) } else { Err(ArchiveError::Damaged { frame: 0, what: "bytes behind it" }) }
    }

    fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&[self.kind as u8]);
        hasher.update(&self.payload);
        hasher.finalize()
    }

    /// Its bytes in a file. A header brings the file's first bytes along.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.payload.len() + 24);
        if self.kind == FrameKind::Header {
            bytes.extend_from_slice(&MAGIC);
            bytes.extend_from_slice(&FORMAT.to_be_bytes());
        }
        bytes.push(self.kind as u8);
        bytes.extend_from_slice(&u32::try_from(self.payload.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend_from_slice(&self.checksum().to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }
}

/// Reads an archive frame by frame.
pub struct ArchiveReader<R> {
    reader: R,
    frames: u64,
}

impl<R: Read> ArchiveReader<R> {
    /// Starts at the first byte; the header.
    ///
    /// # Errors
    /// [`ArchiveError`] says what is wrong with it.
    pub fn new(mut reader: R) -> Result<(Self, Frame), ArchiveError> {
        let mut start = [0; 12];
        fill(&mut reader, &mut start, 0).map_err(|error| match error {
            ArchiveError::Truncated { .. } => ArchiveError::Foreign,
            other => other,
        })?;
        let Some((_, format)) = start.split_first_chunk::<8>().filter(|(magic, _)| **magic == MAGIC) else {
            return Err(ArchiveError::Foreign);
        };
        let found = format.try_into().map(u32::from_be_bytes).unwrap_or_default();
        if found > FORMAT {
            return Err(ArchiveError::Newer { found });
        }
        let mut archive = Self { reader, frames: 0 };
        let header = archive.next()?;
        if header.kind != FrameKind::Header {
            return Err(ArchiveError::Damaged { frame: 0, what: "no header" });
        }
        Ok((archive, header))
    }

    /// The next frame.
    ///
    /// # Errors
    /// [`ArchiveError`] says what is wrong with it.
    #[expect(clippy::should_implement_trait, reason = "an iterator would have to say None, and an archive ends with a frame")]
    pub fn next(&mut self) -> Result<Frame, ArchiveError> {
        let frame = self.frames;
        let damaged = |what| ArchiveError::Damaged { frame, what };
        let mut head = [0; 9];
        fill(&mut self.reader, &mut head, frame)?;
        let [kind, l0, l1, l2, l3, c0, c1, c2, c3] = head;
        let kind = [FrameKind::Header, FrameKind::Chunk, FrameKind::End].into_iter().find(|known| *known as u8 == kind);
        let len = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
        if len > FRAME_BYTES_MAX {
            return Err(damaged("a frame that is too long"));
        }
        // As it comes: an archive that ends here takes no memory for what it lacks.
        let mut payload = Vec::new();
        let read = self.reader.by_ref().take(len as u64).read_to_end(&mut payload).map_err(ArchiveError::Io)?;
        if read < len {
            return Err(ArchiveError::Truncated { frame });
        }
        let read = Frame { kind: kind.ok_or_else(|| damaged("a frame of no kind"))?, payload };
        if read.checksum() != u32::from_be_bytes([c0, c1, c2, c3]) {
            return Err(damaged("its checksum does not match"));
        }
        self.frames += 1;
        Ok(read)
    }
}

fn fill(reader: &mut impl Read, bytes: &mut [u8], frame: u64) -> Result<(), ArchiveError> {
    reader.read_exact(bytes).map_err(|error| match error.kind() {
        std::io::ErrorKind::UnexpectedEof => ArchiveError::Truncated { frame },
        _ => ArchiveError::Io(error),
    })
}

/// How far an archive is, on either side.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Progress {
    chunks: u32,
    rows: u64,
    bytes: u64,
    checksum: u32,
}

impl Progress {
    fn advance(&mut self, rows: u64, bytes: u64, chunk_checksum: u32) {
        let mut hasher = crc32fast::Hasher::new_with_initial(self.checksum);
        hasher.update(&chunk_checksum.to_be_bytes());
        *self = Self { chunks: self.chunks + 1, rows: self.rows + rows, bytes: self.bytes + bytes, checksum: hasher.finalize() };
    }

    /// Bytes of the rows themselves.
    fn live_bytes(&self) -> u64 {
        self.bytes.saturating_sub(self.rows.saturating_mul(ROW_LENGTHS_BYTES))
    }

    fn encode(&self) -> Vec<u8> {
        [&self.chunks.to_be_bytes()[..], &self.rows.to_be_bytes(), &self.bytes.to_be_bytes(), &self.checksum.to_be_bytes()].concat()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (chunks, rest) = bytes.split_first_chunk::<4>()?;
        let (rows, rest) = rest.split_first_chunk::<8>()?;
        let (bytes, rest) = rest.split_first_chunk::<8>()?;
        Some(Self {
            chunks: u32::from_be_bytes(*chunks),
            rows: u64::from_be_bytes(*rows),
            bytes: u64::from_be_bytes(*bytes),
            checksum: u32::from_be_bytes(rest.try_into().ok()?),
        })
    }
}

/// A chain's rows as of one moment, frame by frame.
pub struct Export {
    dump: Box<dyn Dump>,
    progress: Progress,
    ended: bool,
}

impl Export {
    pub(crate) fn new(dump: Box<dyn Dump>) -> Self {
        Self { dump, progress: Progress::default(), ended: false }
    }

    /// Raw bytes that were exported.
    pub fn bytes(&self) -> u64 {
        self.progress.bytes
    }

    /// The next chunk, or the end; none after it.
    ///
    /// # Errors
    /// Where the store cannot be read.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, StoreError> {
        if self.ended {
            return Ok(None);
        }
        let rows = self.dump.next(CHUNK_BYTES)?;
        if rows.is_empty() {
            self.ended = true;
            return Ok(Some(Frame { kind: FrameKind::End, payload: self.progress.encode() }));
        }
        let mut raw = Vec::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
        for (key, value) in &rows {
            rows::put_row(&mut raw, key, value);
        }
        let mut payload = self.progress.chunks.to_be_bytes().to_vec();
        payload.extend_from_slice(&u32::try_from(raw.len()).unwrap_or(u32::MAX).to_be_bytes());
        payload.extend_from_slice(&lz4_flex::block::compress(&raw));
        let frame = Frame { kind: FrameKind::Chunk, payload };
        if frame.payload.len() > FRAME_BYTES_MAX || raw.len() > FRAME_BYTES_MAX {
            return Err(StoreError::Io(format!("a row of {} bytes is too large to export", raw.len())));
        }
        self.progress.advance(rows.len() as u64, raw.len() as u64, frame.checksum());
        Ok(Some(frame))
    }
}

/// A chain that is being filled from an archive. What was appended survives the process.
pub struct Import {
    rows: Arc<dyn Rows>,
    progress: Progress,
    /// Of the header: an archive is resumed by itself only.
    header: u32,
    limit_bytes: u64,
}

/// What there is under a name that an archive is to be imported to.
pub(crate) enum Begun {
    /// Nothing, or the start of this archive.
    Here(Import),
    /// The start of another one.
    Another,
    /// Rows, and nothing that says of which archive: of a process that died after the last row and before the chain was registered.
    Unknown,
}

impl Begun {
    pub(crate) fn here(self) -> Option<Import> {
        match self {
            Self::Here(import) => Some(import),
            Self::Another | Self::Unknown => None,
        }
    }
}

/// Bytes of a row's lengths in an archive: of its key and of its value.
const ROW_LENGTHS_BYTES: u64 = 8;

impl Import {
    /// Starts, or goes on where the same archive was left.
    pub(crate) fn open(rows: Arc<dyn Rows>, header: &Frame) -> Result<Begun, StoreError> {
        let corrupt = || StoreError::Corrupt("an import's progress does not decode".into());
        let checksum = header.checksum();
        let progress = match rows.get(&key::PROGRESS)? {
            None if !rows.is_empty()? => return Ok(Begun::Unknown),
            None => Progress::default(),
            Some(row) => {
                let (known, rest) = row.split_first_chunk::<4>().ok_or_else(corrupt)?;
                if u32::from_be_bytes(*known) != checksum {
                    return Ok(Begun::Another);
                }
                Progress::decode(rest).ok_or_else(corrupt)?
            }
        };
        Ok(Begun::Here(Self { rows, progress, header: checksum, limit_bytes: u64::MAX }))
    }

    /// Live bytes that no chunk may pass: the slice of the chain to be.
    pub fn set_limit_bytes(&mut self, bytes: u64) {
        self.limit_bytes = bytes;
    }

    /// The chunk that is wanted next.
    pub fn next_chunk(&self) -> u32 {
        self.progress.chunks
    }

    /// Appends the next chunk; durable when it resolves.
    ///
    /// # Errors
    /// Where it is not the next, or damaged, does not fit, or the store fails: nothing was written then.
    ///
    /// # Cancel safety
    /// Not cancel safe: dropped midway, the chunk may be written without this import knowing. Open it anew then.
    pub async fn append(&mut self, chunk: &Frame) -> Result<(), ArchiveError> {
        let frame = u64::from(self.progress.chunks) + 1;
        let damaged = |what| ArchiveError::Damaged { frame, what };
        if chunk.chunk_index() != Some(self.progress.chunks) {
            return Err(damaged("not the chunk that comes next"));
        }
        let (raw_len, packed) = chunk.payload[4..].split_first_chunk::<4>().ok_or_else(|| damaged("too short"))?;
        let raw_len = u32::from_be_bytes(*raw_len) as usize;
        if raw_len > FRAME_BYTES_MAX {
            return Err(damaged("it unpacks to too much"));
        }
        let raw = lz4_flex::block::decompress(packed, raw_len).map_err(|_| damaged("it does not unpack"))?;
        let mut ops = decode_rows(&raw).ok_or_else(|| damaged("its rows do not decode"))?;
        if !ops.is_sorted_by(|(one, _), (next, _)| one < next) {
            return Err(damaged("its rows are out of order"));
        }
        let mut progress = self.progress.clone();
        progress.advance(ops.len() as u64, raw.len() as u64, chunk.checksum());
        let [live, wanted] = [&self.progress, &progress].map(Progress::live_bytes);
        if wanted > self.limit_bytes {
            return Err(StoreError::SliceFull { live, wanted, limit: self.limit_bytes }.into());
        }
        ops.push((key::PROGRESS.to_vec(), Some([&self.header.to_be_bytes()[..], &progress.encode()].concat())));
        self.rows.write(ops, Purpose::Data).await?;
        self.progress = progress;
        Ok(())
    }

    /// Checks that everything is there.
    ///
    /// # Errors
    /// Where something is missing.
    pub fn check_end(&self, end: &Frame) -> Result<(), ArchiveError> {
        let frame = u64::from(self.progress.chunks) + 1;
        let whole = end.kind == FrameKind::End && Progress::decode(&end.payload).as_ref() == Some(&self.progress);
        if whole { Ok(()) } else { Err(ArchiveError::Damaged { frame, what: "its end does not match its chunks" }) }
    }

    /// Ends the import, if everything is there. The chain can be registered afterwards; if it is not, the next import begins anew.
    ///
    /// # Errors
    /// Where something is missing, or the store fails.
    pub async fn finish(self, end: &Frame) -> Result<(), ArchiveError> {
        self.check_end(end)?;
        self.rows.write(vec![(key::PROGRESS.to_vec(), None)], Purpose::Data).await?;
        Ok(())
    }
}

fn decode_rows(mut raw: &[u8]) -> Option<Vec<Op>> {
    let mut ops = Vec::new();
    while !raw.is_empty() {
        let (key, value, rest) = rows::split_row(raw).ok()??;
        if !key::is_row(key) {
            return None;
        }
        ops.push((key.to_vec(), Some(value.to_vec())));
        raw = rest;
    }
    Some(ops)
}
