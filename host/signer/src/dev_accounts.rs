use secp256k1::{Message, SECP256K1, SecretKey};
use subnode_sandbox::{Accounts, Signature, Word256};

/// Keys under names.
#[derive(Default)]
pub struct DevAccounts {
    keys: Vec<(Vec<u8>, SecretKey)>,
}

/// Bytes that are no secret key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a secp256k1 secret key")]
pub struct KeyError;

impl DevAccounts {
    /// Keeps these keys under these names.
    ///
    /// # Errors
    /// Where one is no key.
    pub fn new(keys: impl IntoIterator<Item = (Vec<u8>, [u8; 32])>) -> Result<Self, KeyError> {
        let keys = keys
            .into_iter()
            .map(|(name, secret)| Ok((name, SecretKey::from_byte_array(secret).map_err(|_| KeyError)?)))
            .collect::<Result<_, _>>()?;
        Ok(Self { keys })
    }
}

impl Accounts for DevAccounts {
    fn names(&self) -> Vec<Vec<u8>> {
        self.keys.iter().map(|(name, _)| name.clone()).collect()
    }

    fn sign(&self, name: &[u8], digest: &[u8; 32]) -> Option<Signature> {
        let (_, key) = self.keys.iter().find(|(known, _)| known == name)?;
        let signature = SECP256K1.sign_ecdsa_recoverable(Message::from_digest(*digest), key);
        let (id, compact) = signature.serialize_compact();
        let half = |at: usize| Word256::from_bytes(std::array::from_fn(|i| compact[at + i]));
        Some(Signature { r: half(0), s: half(32), odd: i32::from(id) & 1 == 1 })
    }
}
