//! EIP-6110: deposits of validators, read from the deposit contract's logs.

use alloy_primitives::{Address, B256, Bytes, Log, b256};

/// EIP-6110.
pub const REQUEST_TYPE: u8 = 0;

/// `DepositEvent(bytes,bytes,bytes,bytes,bytes)`.
const DEPOSIT_EVENT: B256 = b256!("649bbc62d0e31342afea4e5cd82d4049e7e1ee912fc0889aa790803be39038c5");

/// Where the event's five fields are in its data, and how long: public key, withdrawal credentials, amount, signature, index.
const FIELDS: [(usize, usize); 5] = [(160, 48), (256, 32), (320, 8), (384, 96), (512, 8)];
const DATA_LEN: usize = 576;

/// The deposits among `logs`, one after the other. An event of another layout makes the block invalid.
pub fn requests<'a>(contract: Address, logs: impl Iterator<Item = &'a Log>) -> Result<Bytes, String> {
    let mut out = Vec::new();
    for log in logs.filter(|log| log.address == contract && log.topics().first() == Some(&DEPOSIT_EVENT)) {
        let data = &log.data.data;
        let word = |at: usize| {
            let bytes: [u8; 32] = data[at..at + 32].try_into().unwrap_or_default();
            usize::try_from(alloy_primitives::U256::from_be_bytes(bytes)).unwrap_or(usize::MAX)
        };
        let fits =
            data.len() == DATA_LEN && FIELDS.iter().enumerate().all(|(i, (offset, len))| word(i * 32) == *offset && word(*offset) == *len);
        if !fits {
            return Err("invalid deposit event".into());
        }
        for (offset, len) in FIELDS {
            out.extend_from_slice(&data[offset + 32..offset + 32 + len]);
        }
    }
    Ok(out.into())
}
