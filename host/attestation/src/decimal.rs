//! Numbers of 64 bits in JSON, as EIP-712 has them: decimal digits in a string. A number of JSON loses digits beyond 2^53 in JavaScript.

use serde::{Deserialize, Deserializer, Serializer, de::Error};

/// Digits of `u64::MAX`.
const DIGITS_MAX: usize = 20;

pub(crate) fn serialize<S: Serializer>(number: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(number)
}

pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let text = String::deserialize(deserializer)?;
    // `parse` takes a sign and leading zeros; one number has one form here.
    let plain = text.len() <= DIGITS_MAX && text.bytes().all(|digit| digit.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    let number = if plain { text.parse().ok() } else { None };
    number.ok_or_else(|| D::Error::custom(format!("{:?} is no number: decimal digits of at most {}", shortened(&text), u64::MAX)))
}

fn shortened(text: &str) -> String {
    text.chars().take(32).collect()
}
