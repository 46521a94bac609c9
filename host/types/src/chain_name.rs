use std::{fmt, str::FromStr, sync::Arc};

/// The name of a chain on its node: 1 to 64 of `a-z 0-9 - _`, starting with a letter or digit.
///
/// It is part of URLs, of metric labels and of a column family's name, hence the small alphabet.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChainName(Arc<str>);

/// A string that names no chain.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid chain name {0:?}: use 1 to 64 of a-z, 0-9, - and _, starting with a letter or digit")]
pub struct ChainNameError(String);

/// Longest name.
const LEN_MAX: usize = 64;

impl ChainName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ChainName {
    type Err = ChainNameError;

    fn from_str(text: &str) -> Result<Self, ChainNameError> {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'_';
        let starts_well = text.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
        if starts_well && text.len() <= LEN_MAX && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(ChainNameError(text.chars().take(LEN_MAX + 1).collect()))
        }
    }
}

impl fmt::Display for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for ChainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_small_and_plain() {
        for good in ["a", "dev", "chain-1", "0x_", &"a".repeat(64)] {
            assert_eq!(good.parse::<ChainName>().map(|name| name.to_string()), Ok(good.to_owned()));
        }
        for bad in ["", "-a", "A", "a b", "a/b", "é", &"a".repeat(65)] {
            assert!(bad.parse::<ChainName>().is_err(), "{bad:?} was taken");
        }
    }
}
