//! Sponges side by side: each lane holds a text, and takes the next text as soon as it is free.

use crate::{Hash, RATE_BYTES, digest, last_block};

/// The words of `N` states: word by word, each of all lanes.
pub(crate) type States<const N: usize> = [[u64; N]; 25];

/// A text that a lane absorbs.
struct Absorbed<'a> {
    index: usize,
    rest: &'a [u8],
}

/// The hashes of texts, `N` at a time.
pub(crate) fn hash<const N: usize>(texts: &[&[u8]], permute: impl Fn(&mut States<N>)) -> Vec<Hash> {
    let mut hashes = vec![Hash::default(); texts.len()];
    let mut waiting = texts.iter().enumerate();
    let mut states = [[0; N]; 25];
    let mut lanes: [Option<Absorbed<'_>>; N] = std::array::from_fn(|_| None);
    loop {
        for (lane, absorbed) in lanes.iter_mut().enumerate() {
            if absorbed.is_none() {
                *absorbed = waiting.next().map(|(index, text)| Absorbed { index, rest: text });
                states.iter_mut().for_each(|word| word[lane] = 0);
            }
            if let Some(absorbed) = absorbed {
                match absorbed.rest.first_chunk::<RATE_BYTES>() {
                    Some(block) => absorb(&mut states, lane, block),
                    None => absorb(&mut states, lane, &last_block(absorbed.rest)),
                }
            }
        }
        if lanes.iter().all(Option::is_none) {
            return hashes;
        }
        permute(&mut states);
        for (lane, absorbed) in lanes.iter_mut().enumerate() {
            let Some(text) = absorbed else { continue };
            match text.rest.split_first_chunk::<RATE_BYTES>() {
                Some((_, rest)) => text.rest = rest,
                None => {
                    hashes[text.index] = digest(|word| states[word][lane]);
                    *absorbed = None;
                }
            }
        }
    }
}

fn absorb<const N: usize>(states: &mut States<N>, lane: usize, block: &[u8; RATE_BYTES]) {
    for (word, bytes) in states.iter_mut().zip(block.as_chunks::<8>().0) {
        word[lane] ^= u64::from_le_bytes(*bytes);
    }
}
