//! What goes over the wire: streams that say which chain and purpose they are for, and frames with a length before them. A length is checked
//! before anything is allocated for it.

use bytes::{Bytes, BytesMut};
use quinn::{ReadExactError, RecvStream, SendStream};
use subnode_types::Purpose;

/// Which chain, among all of a network: 32 bytes that its validators agree on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainKey(pub [u8; 32]);

/// Longest frame of a purpose. A vote is hundreds of bytes, a certificate of a hundred validators ten thousand; longer things go in parts.
#[must_use]
pub const fn frame_bytes_max(purpose: Purpose) -> usize {
    match purpose {
        Purpose::Consensus => 256 << 10,
        // A statement of 4 KiB, or that 128 members are there.
        Purpose::Statements => 16 << 10,
        Purpose::Transactions | Purpose::Blocks | Purpose::Snapshot => 1 << 20,
        Purpose::Content => 256 << 10,
    }
}

/// Longest question: one names a block, a part of it, a piece of a state or a part of a content.
pub const QUESTION_BYTES_MAX: usize = 4 << 10;

/// Of a purpose's streams: a higher one is sent first.
const fn priority(purpose: Purpose) -> i32 {
    -(purpose as i32)
}

/// What a peer sent is not what it should be, or its connection is gone.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("a frame of {0} bytes, at most {1}")]
    TooLong(usize, usize),
    #[error("a stream for purpose {0}, which there is not")]
    Purpose(u8),
    #[error("a stream that ends in the midst of a frame")]
    Truncated,
    #[error("a header or a frame that does not end in time")]
    Late,
    #[error("the connection ended: {0}")]
    Gone(String),
}

impl FrameError {
    /// Whether the peer broke the protocol, and not the network its connection.
    pub(crate) fn is_fault(&self) -> bool {
        !matches!(self, Self::Gone(_) | Self::Late)
    }
}

impl From<ReadExactError> for FrameError {
    fn from(error: ReadExactError) -> Self {
        match error {
            ReadExactError::FinishedEarly(_) => Self::Truncated,
            ReadExactError::ReadError(error) => Self::Gone(error.to_string()),
        }
    }
}

impl From<quinn::WriteError> for FrameError {
    fn from(error: quinn::WriteError) -> Self {
        Self::Gone(error.to_string())
    }
}

/// What a stream begins with.
pub(crate) async fn write_header(stream: &mut SendStream, chain: ChainKey, purpose: Purpose) -> Result<(), FrameError> {
    let mut header = [0; 33];
    header[..32].copy_from_slice(&chain.0);
    header[32] = purpose as u8;
    Ok(stream.write_all(&header).await?)
}

pub(crate) async fn read_header(stream: &mut RecvStream) -> Result<(ChainKey, Purpose), FrameError> {
    let mut header = [0; 33];
    stream.read_exact(&mut header).await?;
    let (chain, purpose) = header.split_at(32);
    let mut key = [0; 32];
    key.copy_from_slice(chain);
    Ok((ChainKey(key), Purpose::ALL.get(usize::from(purpose[0])).copied().ok_or(FrameError::Purpose(purpose[0]))?))
}

pub(crate) async fn write_frame(stream: &mut SendStream, frame: Bytes) -> Result<(), FrameError> {
    let length = u32::try_from(frame.len()).map_err(|_| FrameError::TooLong(frame.len(), u32::MAX as usize))?;
    let mut chunks = [Bytes::copy_from_slice(&length.to_be_bytes()), frame];
    Ok(stream.write_all_chunks(&mut chunks).await?)
}

/// The length of the next frame; none where the stream ends before one.
pub(crate) async fn read_length(stream: &mut RecvStream, max: usize) -> Result<Option<usize>, FrameError> {
    let mut length = [0; 4];
    match stream.read_exact(&mut length).await {
        Err(ReadExactError::FinishedEarly(0)) => return Ok(None),
        read => read?,
    }
    let length = u32::from_be_bytes(length) as usize;
    if length <= max { Ok(Some(length)) } else { Err(FrameError::TooLong(length, max)) }
}

/// What follows a length. Whoever calls has room for it.
pub(crate) async fn read_bytes(stream: &mut RecvStream, length: usize) -> Result<Bytes, FrameError> {
    let mut frame = BytesMut::with_capacity(length);
    while frame.len() < length {
        let chunk = stream.read_chunk(length - frame.len(), true).await.map_err(|error| FrameError::Gone(error.to_string()))?;
        frame.extend_from_slice(&chunk.ok_or(FrameError::Truncated)?.bytes);
    }
    Ok(frame.freeze())
}

/// The next frame; none where the stream ends before one.
pub(crate) async fn read_frame(stream: &mut RecvStream, max: usize) -> Result<Option<Bytes>, FrameError> {
    match read_length(stream, max).await? {
        Some(length) => read_bytes(stream, length).await.map(Some),
        None => Ok(None),
    }
}

/// Has streams of more urgent purposes sent first.
pub(crate) fn set_priority(stream: &SendStream, purpose: Purpose) {
    // A stream that is gone says so when it is written to.
    drop(stream.set_priority(priority(purpose)));
}
