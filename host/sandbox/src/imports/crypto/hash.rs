//! Hashing. A long text is hashed in pieces, and a list of texts some at a time, with a pause between.

use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll},
};

use sha2::Digest as _;
use wasmtime::component::WasmList;

use super::super::{Bytes, Cx, Instance, bounded, charge, pause_if_burnt, slice, take_burnt_much};
use crate::{bindings::runtime::subnode::chain::types::Word256, turns::pause};

const TEXTS_MAX: usize = 65_536;
/// Fuel of a hash, at a thousand instructions a microsecond. Keccak absorbs 136 bytes in a third of a microsecond.
const HASH_FUEL: u64 = 300;
const BYTE_FUEL: u64 = 2;
/// Bytes that are hashed at once: some 70 us.
const PIECE_BYTES: usize = 32 << 10;
/// Texts of a list that are hashed at once.
const TEXTS_AT_ONCE: usize = 256;

fn fuel(texts: usize, bytes: usize) -> u64 {
    HASH_FUEL.saturating_mul(texts as u64).saturating_add(BYTE_FUEL.saturating_mul(bytes as u64))
}

/// The hash of a text in the guest's memory.
async fn keccak256(cx: &mut Cx<'_>, text: &Bytes) -> Word256 {
    if text.len() <= PIECE_BYTES {
        return Word256::from_bytes(alloy_primitives::keccak256(slice(cx, text)).0);
    }
    let mut hasher = alloy_primitives::Keccak256::new();
    for start in (0..text.len()).step_by(PIECE_BYTES) {
        hasher.update(piece(cx, text, start));
        pause().await;
    }
    Word256::from_bytes(hasher.finalize().0)
}

type Answer<'a> = Box<dyn Future<Output = wasmtime::Result<(Word256,)>> + Send + 'a>;

thread_local! {
    /// The answer of [`Hashed`], from the moment it is computed until wasmtime polls for it, which it does before anything else.
    static HASH: Cell<Option<Word256>> = const { Cell::new(None) };
}

/// A hash that is there already, on the thread that has just computed it. It has no size, so boxing it takes no memory: half of all that
/// awaiting an answer costs, and a twentieth of such a call.
struct Hashed;

impl Future for Hashed {
    type Output = wasmtime::Result<(Word256,)>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Ready(Ok((HASH.take().expect("a hash is fetched once, on the thread that computed it"),)))
    }
}

/// The hash of one or two words, the most frequent of all.
fn hash_of_words<const WORDS: usize>(mut cx: Cx<'_>, words: [Word256; WORDS]) -> Answer<'_> {
    if let Err(error) = charge(&mut cx, HASH_FUEL) {
        return Box::new(std::future::ready(Err(error)));
    }
    let [a, b, c, d] = subnode_keccak::keccak256_words(&words.map(|word| [word.a, word.b, word.c, word.d]));
    let hash = Word256 { a, b, c, d };
    if take_burnt_much(&mut cx) {
        return Box::new(async move {
            pause().await;
            Ok((hash,))
        });
    }
    HASH.set(Some(hash));
    Box::new(Hashed)
}

fn piece<'a>(cx: &'a Cx<'_>, text: &'a Bytes, start: usize) -> &'a [u8] {
    let bytes = slice(cx, text);
    &bytes[start..bytes.len().min(start + PIECE_BYTES)]
}

/// How many of the texts, from the first on, are hashed at once.
fn at_once(texts: &[Bytes]) -> usize {
    let mut bytes = 0;
    let fit = texts.iter().take(TEXTS_AT_ONCE).take_while(|text| {
        bytes += text.len();
        bytes <= PIECE_BYTES
    });
    fit.count()
}

async fn keccak256_many(cx: &mut Cx<'_>, texts: &[Bytes]) -> Vec<Word256> {
    let mut hashes = Vec::with_capacity(texts.len());
    let mut rest = texts;
    while let [first, ..] = rest {
        let count = at_once(rest);
        if count == 0 {
            hashes.push(keccak256(cx, first).await);
            rest = &rest[1..];
            continue;
        }
        let (some, others) = rest.split_at(count);
        let slices: Vec<&[u8]> = some.iter().map(|text| slice(cx, text)).collect();
        hashes.extend(subnode_keccak::keccak256_many(&slices).into_iter().map(Word256::from_bytes));
        rest = others;
        pause().await;
    }
    hashes
}

pub(super) fn link(crypto: &mut Instance<'_>) -> wasmtime::Result<()> {
    crypto.func_wrap_async("keccak256", |mut cx: Cx<'_>, (text,): (Bytes,)| {
        Box::new(async move {
            charge(&mut cx, fuel(1, text.len()))?;
            let hash = keccak256(&mut cx, &text).await;
            pause_if_burnt(&mut cx).await;
            Ok((hash,))
        })
    })?;
    crypto.func_wrap_async("keccak256-word", |cx: Cx<'_>, (word,): (Word256,)| hash_of_words(cx, [word]))?;
    crypto.func_wrap_async("keccak256-pair", |cx: Cx<'_>, pair: (Word256, Word256)| hash_of_words(cx, [pair.0, pair.1]))?;
    crypto.func_wrap_async("keccak256-many", |mut cx: Cx<'_>, (texts,): (WasmList<WasmList<u8>>,)| {
        Box::new(async move {
            bounded("texts", texts.len(), TEXTS_MAX)?;
            let texts: Vec<Bytes> = texts.iter(&mut cx)?.collect::<wasmtime::Result<_>>()?;
            charge(&mut cx, fuel(texts.len(), texts.iter().map(WasmList::len).fold(0, usize::saturating_add)))?;
            Ok((keccak256_many(&mut cx, &texts).await,))
        })
    })?;
    crypto.func_wrap_async("sha256", |mut cx: Cx<'_>, (text,): (Bytes,)| {
        Box::new(async move {
            charge(&mut cx, fuel(1, text.len()))?;
            let mut hasher = sha2::Sha256::new();
            for start in (0..text.len()).step_by(PIECE_BYTES) {
                hasher.update(piece(&cx, &text, start));
                pause().await;
            }
            Ok((Word256::from_bytes(hasher.finalize().into()),))
        })
    })
}
