use secp256k1::{Message, PublicKey, SECP256K1, SecretKey};

use crate::KeyError;

/// What a digest of an attestation is signed about, where statements have their kinds and subjects: no statement has this kind.
const MATTER: (u16, [u8; 32]) = (u16::MAX, [0; 32]);

/// The secp256k1 key with which a node attests blocks to outsiders. It is not derived from the key that votes: whoever learns one has not the other.
pub struct AttestKey(SecretKey);

/// A signature: r and s, and whether R's y is odd. s is the lower of the two that check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AttestSignature {
    /// r and s.
    pub r_s: [u8; 64],
    /// Whether R's y is odd.
    pub y_is_odd: bool,
}

impl AttestKey {
    /// Of its secret.
    ///
    /// # Errors
    /// Where it is none: 0, or as much as the group's order or more.
    pub fn from_secret(secret: [u8; 32]) -> Result<Self, KeyError> {
        SecretKey::from_byte_array(secret).map(Self).map_err(|_| KeyError)
    }

    /// The key's point, x and y. Its Keccak-256 ends with the address.
    #[must_use]
    pub fn point(&self) -> [u8; 64] {
        let [_, point @ ..] = PublicKey::from_secret_key(SECP256K1, &self.0).serialize_uncompressed();
        point
    }

    fn sign(&self, digest: [u8; 32]) -> AttestSignature {
        let (id, r_s) = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(digest), &self.0).serialize_compact();
        AttestSignature { r_s, y_is_odd: i32::from(id) & 1 == 1 }
    }
}

impl crate::Guard {
    /// Whether a digest may be signed at a height, which it then is: one at each height, and none before the last.
    pub(crate) fn attest(&mut self, key: &AttestKey, height: u64, digest: [u8; 32]) -> Option<AttestSignature> {
        self.statements.sign(MATTER, height, digest)?;
        Some(key.sign(digest))
    }
}
