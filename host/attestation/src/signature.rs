use alloy_primitives::{Address, B256, Bytes, keccak256};
use secp256k1::{Message, SECP256K1, ecdsa};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

/// Half of the order of secp256k1's group: s is at most that, so that a signature has one form (EIP-2).
const S_MAX: [u8; 32] = [
    0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x5d, 0x57, 0x6e, 0x73, 0x57, 0xa4,
    0x50, 0x1d, 0xdf, 0xe9, 0x2f, 0x46, 0x68, 0x1b, 0x20, 0xa0,
];

/// Nobody can have signed that.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Not 65 bytes.
    #[error("a signature of {0} bytes: r, s and v take 65")]
    Length(usize),
    /// Neither 0 or 1 nor 27 or 28.
    #[error("v is {0}: it is 27 or 28")]
    V(u8),
    /// Somebody negated it.
    #[error("s is more than half of the group's order: only the lower of the two that check is taken")]
    HighS,
    /// r or s is 0 or too large, or r is of no point.
    #[error("the signature is of no key")]
    NoKey,
}

/// A signature with low s: r, and s with the parity of R's y in its highest bit (EIP-2098). That is 64 bytes, which cost 1,024 gas
/// as calldata; r, s and v in a word each cost 1,164.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signature([u8; 64]);

impl Signature {
    /// Of r and s, and whether R's y is odd.
    ///
    /// # Errors
    /// Where s is high.
    pub fn new(r_s: [u8; 64], y_is_odd: bool) -> Result<Self, SignatureError> {
        if r_s[32..] > S_MAX[..] {
            return Err(SignatureError::HighS);
        }
        let mut compact = r_s;
        compact[32] |= u8::from(y_is_odd) << 7;
        Ok(Self(compact))
    }

    /// Of the form that EIP-2098 gives it.
    ///
    /// # Errors
    /// Where s is high.
    pub fn from_compact(mut compact: [u8; 64]) -> Result<Self, SignatureError> {
        let y_is_odd = compact[32] >> 7 == 1;
        compact[32] &= 0x7f;
        Self::new(compact, y_is_odd)
    }

    /// Of r, s and v.
    ///
    /// # Errors
    /// Where v is none, or s is high.
    pub fn from_rsv(rsv: [u8; 65]) -> Result<Self, SignatureError> {
        let [r_s @ .., v] = rsv;
        match v {
            0 | 27 => Self::new(r_s, false),
            1 | 28 => Self::new(r_s, true),
            _ => Err(SignatureError::V(v)),
        }
    }

    /// As EIP-2098 has it.
    #[must_use]
    pub fn compact(&self) -> [u8; 64] {
        self.0
    }

    /// r, s and v, which is 27 or 28.
    #[must_use]
    pub fn rsv(&self) -> [u8; 65] {
        let mut rsv = [0; 65];
        rsv[..64].copy_from_slice(&self.0);
        rsv[32] &= 0x7f;
        rsv[64] = 27 + (self.0[32] >> 7);
        rsv
    }

    /// Whose signature of a digest it is.
    ///
    /// # Errors
    /// Where it is nobody's.
    pub fn signer(&self, digest: B256) -> Result<Address, SignatureError> {
        let [r_s @ .., v] = self.rsv();
        let parity = if v == 28 { ecdsa::RecoveryId::One } else { ecdsa::RecoveryId::Zero };
        let signature = ecdsa::RecoverableSignature::from_compact(&r_s, parity).map_err(|_| SignatureError::NoKey)?;
        let key = SECP256K1.recover_ecdsa(Message::from_digest(digest.0), &signature).map_err(|_| SignatureError::NoKey)?;
        let [_, point @ ..] = key.serialize_uncompressed();
        Ok(address(&point))
    }
}

/// The address of a key of this point (x and y): the last 20 bytes of the point's Keccak-256.
#[must_use]
pub fn address(point: &[u8; 64]) -> Address {
    Address::from_word(keccak256(point))
}

/// Written as r, s and v: the form that every library takes.
impl Serialize for Signature {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        Bytes::copy_from_slice(&self.rsv()).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Signature {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        let rsv = <[u8; 65]>::try_from(&bytes[..]).map_err(|_| SignatureError::Length(bytes.len()));
        rsv.and_then(Self::from_rsv).map_err(D::Error::custom)
    }
}
