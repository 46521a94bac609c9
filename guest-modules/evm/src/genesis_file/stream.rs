//! The same file, read from its start to its end with one account in memory at most, and of that not its storage.

use std::{collections::BTreeMap, fmt, io::Read};

use alloy_primitives::{Address, B256, Bytes, KECCAK256_EMPTY, U256};
use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Head, head, missing, no_file, not_json};
use crate::state;

/// Takes the accounts of a file in its order: slots and code of an account come before it.
pub trait Sink {
    /// The hash under which code is kept.
    fn code(&mut self, code: &Bytes) -> B256;
    fn slot(&mut self, address: Address, slot: U256, word: U256);
    fn account(&mut self, address: Address, account: state::Account);
}

/// A sink that notes which of some addresses have code.
pub struct Watched<S, const N: usize> {
    sink: S,
    watched: [(Address, bool); N],
}

impl<S: Sink, const N: usize> Watched<S, N> {
    pub fn new(sink: S, watched: [Address; N]) -> Self {
        Self { sink, watched: watched.map(|address| (address, false)) }
    }

    pub fn has_code(&self, address: Address) -> bool {
        self.watched.contains(&(address, true))
    }

    pub fn into_inner(self) -> S {
        self.sink
    }
}

impl<S: Sink, const N: usize> Sink for Watched<S, N> {
    fn code(&mut self, code: &Bytes) -> B256 {
        self.sink.code(code)
    }

    fn slot(&mut self, address: Address, slot: U256, word: U256) {
        self.sink.slot(address, slot, word);
    }

    fn account(&mut self, address: Address, account: state::Account) {
        for (watched, has_code) in &mut self.watched {
            if *watched == address {
                *has_code = account.code_hash != KECCAK256_EMPTY;
            }
        }
        self.sink.account(address, account);
    }
}

/// Reads a file: its accounts go to the sink.
pub fn read(reader: impl Read, sink: &mut impl Sink) -> Result<Head, String> {
    let mut json = serde_json::Deserializer::from_reader(reader);
    let mut place = Place::default();
    let keys = Keys { sink, place: &mut place }.deserialize(&mut json);
    let keys = keys.and_then(|keys| json.end().map(|()| keys)).map_err(|error| match &place {
        Place { key: Some(key), account, field } if error.is_data() => {
            let reason = error.to_string();
            let reason = reason.rfind(" at line ").map_or(reason.as_str(), |end| &reason[..end]);
            let path = [Some(key.clone()), account.map(|address| format!("{address:?}")), field.map(str::to_owned)];
            format!("{}: {reason}", path.into_iter().flatten().collect::<Vec<_>>().join("."))
        }
        Place { key: None, .. } => no_file(&error),
        _ => not_json(error),
    })?;
    let Found { keys, alloc } = keys;
    missing(|key| if key == "alloc" { alloc } else { keys.contains_key(key) })?;
    head(keys)
}

/// What is being read, for errors.
#[derive(Default)]
struct Place {
    /// Of the file.
    key: Option<String>,
    account: Option<Address>,
    field: Option<&'static str>,
}

/// What a file has.
struct Found {
    keys: BTreeMap<String, Box<RawValue>>,
    alloc: bool,
}

/// The keys of the file.
struct Keys<'a, S> {
    sink: &'a mut S,
    place: &'a mut Place,
}

impl<'de, S: Sink> DeserializeSeed<'de> for Keys<'_, S> {
    type Value = Found;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Found, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Keys<'_, S> {
    type Value = Found;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = Found { keys: BTreeMap::new(), alloc: false };
        while let Some(key) = map.next_key::<String>()? {
            if key == "alloc" {
                self.place.key = Some(key);
                if found.alloc {
                    return Err(A::Error::custom("there twice"));
                }
                found.alloc = true;
                map.next_value_seed(Alloc { sink: &mut *self.sink, place: &mut *self.place })?;
                self.place.key = None;
            } else {
                found.keys.insert(key, map.next_value()?);
            }
        }
        Ok(found)
    }
}

/// The accounts.
struct Alloc<'a, S> {
    sink: &'a mut S,
    place: &'a mut Place,
}

impl<'de, S: Sink> DeserializeSeed<'de> for Alloc<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Alloc<'_, S> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(address) = map.next_key::<Address>()? {
            self.place.account = Some(address);
            map.next_value_seed(Entry { address, sink: &mut *self.sink, place: &mut *self.place })?;
            *self.place = Place { key: self.place.key.take(), ..Place::default() };
        }
        Ok(())
    }
}

/// One account.
struct Entry<'a, S> {
    address: Address,
    sink: &'a mut S,
    place: &'a mut Place,
}

/// The keys of an account that mean something; others are notes.
#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Balance,
    Nonce,
    Code,
    Storage,
    #[serde(other)]
    Note,
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Nonce {
    #[serde(with = "alloy_serde::quantity::opt")]
    nonce: Option<u64>,
}

impl<'de, S: Sink> DeserializeSeed<'de> for Entry<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Entry<'_, S> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("struct Account")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { address, sink, place } = self;
        let (mut balance, mut nonce, mut code_hash, mut storage) = (None, None, None, false);
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Balance => balance = Some(once::<U256, A>(place, "balance", balance.is_some(), &mut map)?),
                Field::Nonce => nonce = Some(once::<Nonce, A>(place, "nonce", nonce.is_some(), &mut map)?.nonce),
                Field::Code => {
                    let code = once::<Option<Bytes>, A>(place, "code", code_hash.is_some(), &mut map)?;
                    code_hash = Some(sink.code(&code.unwrap_or_default()));
                }
                Field::Storage => {
                    place.field = Some("storage");
                    if storage {
                        return Err(A::Error::duplicate_field("storage"));
                    }
                    storage = true;
                    map.next_value_seed(Storage { address, sink: &mut *sink })?;
                }
                Field::Note => drop(map.next_value::<IgnoredAny>()?),
            }
            place.field = None;
        }
        let balance = balance.ok_or_else(|| A::Error::missing_field("balance"))?;
        let code_hash = code_hash.unwrap_or(KECCAK256_EMPTY);
        sink.account(address, state::Account { nonce: nonce.flatten().unwrap_or_default(), balance, code_hash, ..Default::default() });
        Ok(())
    }
}

/// A field's value, where there was none before.
fn once<'de, T: Deserialize<'de>, A: MapAccess<'de>>(
    place: &mut Place,
    field: &'static str,
    before: bool,
    map: &mut A,
) -> Result<T, A::Error> {
    if before {
        return Err(A::Error::duplicate_field(field));
    }
    place.field = Some(field);
    map.next_value()
}

/// The storage of an account, which may be null.
struct Storage<'a, S> {
    address: Address,
    sink: &'a mut S,
}

impl<'de, S: Sink> DeserializeSeed<'de> for Storage<'_, S> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de, S: Sink> Visitor<'de> for Storage<'_, S> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a map")
    }

    fn visit_none<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some((slot, word)) = map.next_entry::<Word, Word>()? {
            self.sink.slot(self.address, slot.0, word.0);
        }
        Ok(())
    }
}

/// 32 bytes at most, as geth's files write them.
struct Word(U256);

impl<'de> Deserialize<'de> for Word {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = Bytes::deserialize(deserializer)?;
        U256::try_from_be_slice(&bytes)
            .filter(|_| bytes.len() <= 32)
            .map(Self)
            .ok_or_else(|| D::Error::custom("input too long to be a B256"))
    }
}

#[cfg(test)]
mod tests;
