use std::{fmt, num::NonZeroU64, str::FromStr};

/// When blocks are sealed. Reads and prints as `instant`, `manual`, or a time as `2s` or `500ms`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sealing {
    /// As soon as a transaction is ready.
    #[default]
    Instant,
    /// Every so many milliseconds, with or without transactions.
    Interval(NonZeroU64),
    /// When asked.
    Manual,
}

/// A text that says no way of sealing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("sealing {0:?}: use \"instant\", \"manual\", or a time as \"2s\" or \"500ms\"")]
pub struct SealingError(String);

impl Sealing {
    /// The same in the words of the consensus modules that come with Subnode.
    #[must_use]
    pub fn consensus_config(self) -> String {
        match self {
            Self::Instant => "instant".to_owned(),
            Self::Interval(ms) => format!("interval {ms}"),
            Self::Manual => "manual".to_owned(),
        }
    }
}

impl FromStr for Sealing {
    type Err = SealingError;

    fn from_str(text: &str) -> Result<Self, SealingError> {
        let interval = |number: &str, scale: u64| number.trim().parse::<u64>().ok()?.checked_mul(scale).and_then(NonZeroU64::new);
        let parsed = match text {
            "instant" => Some(Self::Instant),
            "manual" => Some(Self::Manual),
            text => match (text.strip_suffix("ms"), text.strip_suffix('s')) {
                (Some(number), _) => interval(number, 1).map(Self::Interval),
                (None, Some(number)) => interval(number, 1000).map(Self::Interval),
                (None, None) => None,
            },
        };
        parsed.ok_or_else(|| SealingError(text.chars().take(64).collect()))
    }
}

impl fmt::Display for Sealing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Instant => f.write_str("instant"),
            Self::Manual => f.write_str("manual"),
            Self::Interval(ms) if ms.get() % 1000 == 0 => write!(f, "{}s", ms.get() / 1000),
            Self::Interval(ms) => write!(f, "{ms}ms"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ways_of_sealing_read_as_they_print() {
        for text in ["instant", "manual", "2s", "500ms"] {
            assert_eq!(text.parse::<Sealing>().map(|sealing| sealing.to_string()), Ok(text.to_owned()));
        }
        for bad in ["", "2h", "0s", "-1s", "99999999999999999999s"] {
            assert!(bad.parse::<Sealing>().is_err(), "{bad:?} was taken");
        }
    }
}
