//! How modules are known.

use std::{fmt, str::FromStr};

use sha2::{Digest, Sha256};
use subnode_types::Hex;

/// SHA-256 of a component's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModuleHash([u8; 32]);

impl ModuleHash {
    /// The hash of these bytes.
    #[must_use]
    pub fn of(component: &[u8]) -> Self {
        Self(Sha256::digest(component).into())
    }

    /// A hash that is known.
    #[must_use]
    pub fn from_bytes(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The hash itself.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// A text is no hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a module's hash is 64 digits of 0-9 and a-f")]
pub struct NoHash;

impl FromStr for ModuleHash {
    type Err = NoHash;

    fn from_str(text: &str) -> Result<Self, NoHash> {
        let (digits, rest) = text.as_bytes().as_chunks::<2>();
        let mut hash = [0; 32];
        if digits.len() != hash.len() || !rest.is_empty() {
            return Err(NoHash);
        }
        let value = |digit: u8| match digit {
            b'0'..=b'9' => Ok(digit - b'0'),
            // One module has one name.
            b'a'..=b'f' => Ok(digit - b'a' + 10),
            _ => Err(NoHash),
        };
        for (byte, [high, low]) in hash.iter_mut().zip(digits) {
            *byte = value(*high)? << 4 | value(*low)?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for ModuleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Hex(&self.0).fmt(f)
    }
}

impl fmt::Debug for ModuleHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_read_as_it_is_written_and_in_no_other_way() {
        let hash = ModuleHash::of(b"module");
        let text = hash.to_string();
        assert_eq!(text.parse(), Ok(hash));
        for other in [&text[1..], &format!("{text}0"), &text.to_uppercase(), &format!("../{}", &text[3..]), ""] {
            assert_eq!(other.parse::<ModuleHash>(), Err(NoHash), "{other}");
        }
    }
}
