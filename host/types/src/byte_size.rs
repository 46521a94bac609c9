use std::{fmt, str::FromStr};

/// A number of bytes as people write it: `64MiB`, `1.5 GB`, `4096`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// A text that is no number of bytes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid size {0:?}: use a whole number of bytes, or one with a unit as 64MiB or 1.5GB")]
pub struct ByteSizeError(String);

const UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

impl FromStr for ByteSize {
    type Err = ByteSizeError;

    fn from_str(text: &str) -> Result<Self, ByteSizeError> {
        let error = || ByteSizeError(text.chars().take(64).collect());
        let (number, unit) = UNITS.iter().find_map(|(unit, bytes)| Some((text.strip_suffix(unit)?, *bytes))).unwrap_or((text, 1));
        let (whole, fraction) = number.trim().split_once('.').unwrap_or((number.trim(), ""));
        let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
        // A byte has no parts.
        let is_fraction_of_a_byte = unit == 1 && number.contains('.');
        if !digits(whole) || !digits(fraction) || whole.is_empty() || fraction.len() > 6 || is_fraction_of_a_byte {
            return Err(error());
        }
        let whole = whole.parse::<u128>().map_err(|_| error())?.saturating_mul(u128::from(unit));
        let scale = 10_u128.pow(u32::try_from(fraction.len()).unwrap_or_default());
        let fraction = if fraction.is_empty() { 0 } else { fraction.parse::<u128>().map_err(|_| error())? * u128::from(unit) / scale };
        u64::try_from(whole.saturating_add(fraction)).map(Self).map_err(|_| error())
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS[..4].iter().rev().find(|(_, bytes)| self.0 >= *bytes);
        match unit {
            None => f.pad(&format!("{} B", self.0)),
            Some((unit, bytes)) => {
                let tenths = u128::from(self.0) * 10 / u128::from(*bytes);
                // Three digits say enough.
                if tenths >= 1_000 || tenths % 10 == 0 {
                    f.pad(&format!("{} {unit}", tenths / 10))
                } else {
                    f.pad(&format!("{}.{} {unit}", tenths / 10, tenths % 10))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse_and_print() {
        for (text, bytes, printed) in [
            ("0", 0, "0 B"),
            ("4096", 4096, "4 KiB"),
            ("64MiB", 64 << 20, "64 MiB"),
            ("1.5 GiB", 3 << 29, "1.5 GiB"),
            ("2GB", 2_000_000_000, "1.8 GiB"),
            ("18446744073709551615", u64::MAX, "16777215 TiB"),
        ] {
            assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
            assert_eq!(ByteSize(bytes).to_string(), printed);
        }
        for bad in ["", "MiB", "-1", "1.2.3", "1e9", "64 mib", "99999999 TiB", ".5GB", "4.5", "4.5 B", "4."] {
            assert!(bad.parse::<ByteSize>().is_err(), "{bad:?} was taken");
        }
    }
}
