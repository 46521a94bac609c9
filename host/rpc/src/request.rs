//! Reads requests: calls, and lists of calls. What a request is read into takes no more memory than its text, however many values that has, and
//! what is said of a request that is none repeats nothing of it.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

/// A call.
#[derive(Deserialize)]
#[serde(expecting = "a request object")]
pub(crate) struct Request<'a> {
    /// None where it is missing, which makes a notification of the request. A null is an id.
    #[serde(borrow, default, deserialize_with = "present")]
    pub(crate) id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) jsonrpc: Option<&'a RawValue>,
    #[serde(borrow, default)]
    pub(crate) method: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    pub(crate) params: Option<&'a RawValue>,
}

fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

/// Why a text is no request.
pub(crate) enum NoRequest {
    /// It is no JSON.
    Syntax(serde_json::Error),
    /// It is JSON of another shape. The text says what is wrong with it.
    Shape(String),
}

impl<'a> Request<'a> {
    /// Reads a call. The text has no space before it.
    pub(crate) fn read(text: &'a str) -> Result<Self, NoRequest> {
        if !text.starts_with('{') {
            // What serde says of a string of the wrong place has the whole string in it, each control character six times as long.
            serde_json::from_str::<IgnoredAny>(text).map_err(NoRequest::Syntax)?;
            return Err(NoRequest::Shape("expected a request object".into()));
        }
        serde_json::from_str(text)
            .map_err(|error| if error.is_data() { NoRequest::Shape(error.to_string()) } else { NoRequest::Syntax(error) })
    }
}

/// The calls of a batch.
pub(crate) struct Batch<'a> {
    /// The first of them, as many as a batch may have.
    pub(crate) calls: Vec<&'a RawValue>,
    /// How many there are.
    pub(crate) count: usize,
}

impl<'a> Batch<'a> {
    /// Reads a batch, of which no more than `calls_max` calls are kept: of a list of digits, each would take eight times its text.
    pub(crate) fn read(text: &'a str, calls_max: usize) -> Result<Self, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(text);
        let batch = UpTo(calls_max).deserialize(&mut deserializer)?;
        deserializer.end()?;
        Ok(batch)
    }
}

/// Reads a list, and keeps so much of it.
struct UpTo(usize);

impl<'de> DeserializeSeed<'de> for UpTo {
    type Value = Batch<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Batch<'de>, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for UpTo {
    type Value = Batch<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of calls")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Batch<'de>, A::Error> {
        let mut calls = Vec::new();
        while calls.len() < self.0 {
            match list.next_element()? {
                Some(call) => calls.push(call),
                None => return Ok(Batch { count: calls.len(), calls }),
            }
        }
        let mut count = calls.len();
        while list.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        Ok(Batch { calls, count })
    }
}
