//! What two nodes tell each other first, on a stream that stays open: the protocol's version, the network, their chains. Chains that come and
//! go later are told on the same stream.
//!
//! Whoever calls knows whom, and speaks first. Whoever is called answers once it has admitted the caller, and tells of the chains alone that the
//! caller has: a caller that is refused learns the reason, and nobody learns of chains that it does not know.

use std::collections::BTreeSet;

use bytes::Bytes;
use quinn::{Connection, RecvStream, SendStream, VarInt};

use crate::frame::{ChainKey, FrameError, read_frame, write_frame};

/// Of the protocol. A node speaks one.
pub(crate) const VERSION: u16 = 1;
/// Chains that a node tells of.
pub(crate) const CHAINS_MAX: usize = 4096;
/// Longest name of a network.
pub(crate) const NETWORK_BYTES_MAX: usize = 64;
const HELLO_BYTES_MAX: usize = 3 + NETWORK_BYTES_MAX + 32 * CHAINS_MAX;

/// Why a connection is closed, as the other side is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    Shutdown = 1,
    Version = 2,
    Network = 3,
    NoSharedChain = 4,
    Duplicate = 5,
    Misbehaved = 6,
    Full = 7,
}

impl Reason {
    pub(crate) fn close(self, connection: &Connection, text: &str) {
        connection.close(VarInt::from_u32(self as u32), text.as_bytes());
    }
}

/// Why two nodes do not talk.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("it speaks version {0} of the protocol, this node {VERSION}")]
    Version(u16),
    #[error("it is of the network {theirs:?}, this node of {ours:?}")]
    Network { theirs: String, ours: String },
    #[error("a greeting that makes no sense")]
    Malformed,
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("the connection ended: {0}")]
    Gone(#[from] quinn::ConnectionError),
}

impl HandshakeError {
    /// What the other side is told: not the network's name, if it does not know it.
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Network { .. } => "this node is of another network".into(),
            Self::Version(_) | Self::Malformed | Self::Frame(_) | Self::Gone(_) => self.to_string(),
        }
    }
}

/// What a node says of itself.
pub(crate) struct Hello {
    pub(crate) network: String,
    /// Bound: [`CHAINS_MAX`] keys of 32 bytes, 128 KiB as they are sent.
    pub(crate) chains: BTreeSet<ChainKey>,
}

impl Hello {
    pub(crate) fn encode(&self) -> Bytes {
        let mut bytes = VERSION.to_be_bytes().to_vec();
        bytes.push(u8::try_from(self.network.len()).unwrap_or_default());
        bytes.extend_from_slice(self.network.as_bytes());
        bytes.extend(encode_chains(&self.chains));
        bytes.into()
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, HandshakeError> {
        let (version, rest) = bytes.split_first_chunk::<2>().ok_or(HandshakeError::Malformed)?;
        let version = u16::from_be_bytes(*version);
        if version != VERSION {
            return Err(HandshakeError::Version(version));
        }
        let (length, rest) = rest.split_first().ok_or(HandshakeError::Malformed)?;
        let (network, chains) = rest.split_at_checked(usize::from(*length)).ok_or(HandshakeError::Malformed)?;
        let network = std::str::from_utf8(network).map_err(|_| HandshakeError::Malformed)?;
        Ok(Self { network: network.to_owned(), chains: decode_chains(chains)? })
    }

    /// Greets whoever was called, and hears what it says.
    pub(crate) async fn call(&self, connection: &Connection) -> Result<(Self, SendStream, RecvStream), HandshakeError> {
        let (mut send, mut receive) = connection.open_bi().await?;
        self.tell(&mut send).await?;
        let theirs = self.hear(&mut receive).await?;
        Ok((theirs, send, receive))
    }

    /// Hears the greeting of a caller, which is to be [answered](Self::tell) with the stream.
    pub(crate) async fn answer(&self, connection: &Connection) -> Result<(Self, SendStream, RecvStream), HandshakeError> {
        let (send, mut receive) = connection.accept_bi().await?;
        let theirs = self.hear(&mut receive).await?;
        Ok((theirs, send, receive))
    }

    /// Tells the other side.
    pub(crate) async fn tell(&self, send: &mut SendStream) -> Result<(), FrameError> {
        // What keeps the rest in order goes before the rest.
        drop(send.set_priority(1));
        write_frame(send, self.encode()).await
    }

    async fn hear(&self, receive: &mut RecvStream) -> Result<Self, HandshakeError> {
        let theirs = read_frame(receive, HELLO_BYTES_MAX).await?.ok_or(HandshakeError::Malformed)?;
        let theirs = Self::decode(&theirs)?;
        if theirs.network == self.network {
            Ok(theirs)
        } else {
            Err(HandshakeError::Network { theirs: theirs.network, ours: self.network.clone() })
        }
    }
}

fn encode_chains(chains: &BTreeSet<ChainKey>) -> Vec<u8> {
    chains.iter().take(CHAINS_MAX).flat_map(|chain| chain.0).collect()
}

fn decode_chains(bytes: &[u8]) -> Result<BTreeSet<ChainKey>, HandshakeError> {
    let (keys, rest) = bytes.as_chunks::<32>();
    if !rest.is_empty() || keys.len() > CHAINS_MAX {
        return Err(HandshakeError::Malformed);
    }
    Ok(keys.iter().map(|key| ChainKey(*key)).collect())
}

/// Tells of the chains there are now.
pub(crate) async fn tell_chains(stream: &mut SendStream, chains: &BTreeSet<ChainKey>) -> Result<(), FrameError> {
    write_frame(stream, encode_chains(chains).into()).await
}

/// The other side's chains, once they are others; none at the end.
pub(crate) async fn hear_chains(stream: &mut RecvStream) -> Result<Option<BTreeSet<ChainKey>>, HandshakeError> {
    match read_frame(stream, 32 * CHAINS_MAX).await? {
        Some(bytes) => decode_chains(&bytes).map(Some),
        None => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings_round_trip_and_others_are_refused() {
        let hello = Hello { network: "main".into(), chains: [ChainKey([1; 32]), ChainKey([2; 32])].into() };
        let bytes = hello.encode();
        let read = Hello::decode(&bytes).expect("a greeting");
        assert_eq!((read.network, read.chains), (hello.network, hello.chains));
        for length in 0..bytes.len() - 64 {
            assert!(Hello::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(Hello::decode(&bytes[..bytes.len() - 1]).is_err());
        let newer = [&[0, 2], &bytes[2..]].concat();
        assert!(matches!(Hello::decode(&newer), Err(HandshakeError::Version(2))));
    }
}
