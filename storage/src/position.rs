use crate::StoreError;

/// Key of the head in [`crate::Table::Meta`].
pub(crate) const HEAD_KEY: &[u8] = b"head";

/// Key of the row of [`crate::Table::Meta`] that says how many bytes old values take, where a retention asks.
pub(crate) const OLD_BYTES_KEY: &[u8] = b"old";

/// The last block, and anything its owner keeps with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// Height of the block.
    pub height: u64,
    /// Opaque here.
    pub data: Vec<u8>,
}

/// Where a chain is.
#[derive(Clone, Default)]
pub(crate) struct Position {
    pub(crate) version: u64,
    /// Oldest version that can be read.
    pub(crate) oldest: u64,
    /// Bytes of all rows, keys and values.
    pub(crate) live_bytes: u64,
    pub(crate) head: Option<Head>,
}

impl Position {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut row = Vec::new();
        if let Some(head) = &self.head {
            for number in [self.version, self.oldest, self.live_bytes, head.height] {
                row.extend_from_slice(&number.to_be_bytes());
            }
            row.extend_from_slice(&head.data);
        }
        row
    }

    pub(crate) fn decode(row: &[u8]) -> Option<Self> {
        let (version, rest) = row.split_first_chunk::<8>()?;
        let (oldest, rest) = rest.split_first_chunk::<8>()?;
        let (live_bytes, rest) = rest.split_first_chunk::<8>()?;
        let (height, data) = rest.split_first_chunk::<8>()?;
        Some(Self {
            version: u64::from_be_bytes(*version),
            oldest: u64::from_be_bytes(*oldest),
            live_bytes: u64::from_be_bytes(*live_bytes),
            head: Some(Head { height: u64::from_be_bytes(*height), data: data.to_vec() }),
        })
    }
}

/// The row of [`crate::Table::Meta`] that has the version which ended a height.
pub(crate) fn height_key(height: u64) -> Vec<u8> {
    let mut key = b"v".to_vec();
    key.extend_from_slice(&height.to_be_bytes());
    key
}

/// Whether a row of [`crate::Table::Meta`] is such a one.
pub(crate) fn is_height_key(key: &[u8]) -> bool {
    key.len() == 9 && key.first() == Some(&b'v')
}

pub(crate) fn decode_number(row: &[u8]) -> Result<u64, StoreError> {
    row.try_into().map(u64::from_be_bytes).map_err(|_| StoreError::Corrupt("number of the wrong length".into()))
}
