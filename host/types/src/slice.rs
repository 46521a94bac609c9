use std::{fmt, num::NonZeroU32, str::FromStr};

/// Parts that a node is divided into, unless it is told otherwise.
pub const PARTS_OF_A_NODE: u32 = 128;

/// A share of a node's cores, in parts of [`PARTS_OF_A_NODE`] or of what the node was told.
///
/// Parses from a number or a class of the field: `large` (the whole of 128), `medium` and `test` (4), `small` (1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Parts(NonZeroU32);

/// A text that is no number of parts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid slice {0:?}: use large, medium, small, test, or a number of parts of 1 or more")]
pub struct PartsError(String);

impl Parts {
    /// One part.
    pub const ONE: Self = Self(NonZeroU32::MIN);

    /// So many parts; none for 0.
    #[must_use]
    pub fn new(count: u32) -> Option<Self> {
        NonZeroU32::new(count).map(Self)
    }

    /// How many.
    #[must_use]
    pub fn get(self) -> u32 {
        self.0.get()
    }

    /// This share of a whole that is divided into `parts`, rounded down.
    #[must_use]
    pub fn of(self, whole: u64, parts: Self) -> u64 {
        u64::try_from(u128::from(whole) * u128::from(self.get()) / u128::from(parts.get())).unwrap_or(u64::MAX)
    }
}

impl FromStr for Parts {
    type Err = PartsError;

    fn from_str(text: &str) -> Result<Self, PartsError> {
        let count = match text {
            "large" => 128,
            "medium" | "test" => 4,
            "small" => 1,
            number => number.parse().unwrap_or_default(),
        };
        Self::new(count).ok_or_else(|| PartsError(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Parts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a chain may use of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slice {
    /// Of the cores, when others want them too.
    pub cpu: Parts,
    /// Of memory: instances, pool, caches, what waits.
    pub memory_bytes: u64,
    /// Of the disk: live bytes of its tables.
    pub storage_bytes: u64,
    /// Of the ports, per second.
    pub bandwidth_bytes: u64,
}

impl Slice {
    /// All of a machine that serves nobody else.
    pub const WHOLE: Self = Self { cpu: Parts::ONE, memory_bytes: u64::MAX, storage_bytes: u64::MAX, bandwidth_bytes: u64::MAX };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_parse_from_classes_and_numbers() {
        for (text, count) in [("large", 128), ("medium", 4), ("test", 4), ("small", 1), ("7", 7)] {
            assert_eq!(text.parse(), Parts::new(count).ok_or(PartsError(String::new())), "{text}");
        }
        for bad in ["", "0", "-1", "tiny", "1.5", "4294967296"] {
            assert!(bad.parse::<Parts>().is_err(), "{bad:?} was taken");
        }
    }

    #[test]
    fn a_part_of_the_whole_rounds_down_and_does_not_overflow() {
        let parts = Parts::new(128).unwrap_or(Parts::ONE);
        assert_eq!(Parts::ONE.of(1000, parts), 7);
        assert_eq!(parts.of(u64::MAX, parts), u64::MAX);
    }
}
