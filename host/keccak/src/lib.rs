//! Keccak-256 of many texts at once, as Ethereum defines it: FIPS 202's permutation with the original padding.
//!
//! The lanes of vector registers hash texts side by side: eight texts where the processor has AVX-512, four where it
//! has AVX2. The crate finds out at run time. On other processors the assembly of alloy-primitives hashes texts one by
//! one.
//!
//! | a hash of 110 bytes | ns |
//! |---|---|
//! | alone | 280 |
//! | of four, AVX2 | 120 |
//! | of eight, AVX-512 | 70 |
//!
//! Not here: a single text whose length is neither 32 nor 64 bytes (alloy-primitives hashes those), charging for hashes
//! and dividing long work (`sandbox`).

mod lanes;
#[cfg(target_arch = "x86_64")]
mod vector;

/// Bytes that a permutation absorbs.
const RATE_BYTES: usize = 136;
/// From this number of texts on, hashing in a vector is faster than hashing one by one.
const VECTOR_TEXTS_MIN: usize = 3;

/// A hash.
pub type Hash = [u8; 32];

/// The hash of one or two 32-byte words. A word and the hash are four little-endian numbers each. The words go into the
/// permutation without the buffers that a hasher of texts needs.
#[must_use]
pub fn keccak256_words<const WORDS: usize>(words: &[[u64; 4]; WORDS]) -> [u64; 4] {
    const { assert!(4 * WORDS < RATE_BYTES / 8, "longer than a block") };
    let mut state = [0; 25];
    state[..4 * WORDS].copy_from_slice(words.as_flattened());
    state[4 * WORDS] = 0x01;
    state[RATE_BYTES / 8 - 1] ^= 0x80 << 56;
    // The block is in the state already. Absorbing zeros adds the permutation.
    sha3_asm::sha3_absorb(&mut state, &[0; RATE_BYTES], RATE_BYTES);
    std::array::from_fn(|word| state[word])
}

/// The hashes of texts, in their order.
#[must_use]
pub fn keccak256_many(texts: &[&[u8]]) -> Vec<Hash> {
    #[cfg(target_arch = "x86_64")]
    if texts.len() >= VECTOR_TEXTS_MIN {
        if let Some(permute) = vector::avx512() {
            return lanes::hash::<8>(texts, permute);
        }
        if let Some(permute) = vector::avx2() {
            return lanes::hash::<4>(texts, permute);
        }
    }
    texts.iter().map(|text| alloy_primitives::keccak256(text).0).collect()
}

/// The end of a text, padded to a whole block.
fn last_block(rest: &[u8]) -> [u8; RATE_BYTES] {
    let mut block = [0; RATE_BYTES];
    block[..rest.len()].copy_from_slice(rest);
    block[rest.len()] = 0x01;
    block[RATE_BYTES - 1] |= 0x80;
    block
}

/// The hash: the first words of the permutation's state.
fn digest(word: impl Fn(usize) -> u64) -> Hash {
    let mut hash = [0; 32];
    for (index, bytes) in hash.as_chunks_mut::<8>().0.iter_mut().enumerate() {
        *bytes = word(index).to_le_bytes();
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts() -> Vec<Vec<u8>> {
        // All lengths around the first blocks' ends, in an order that has lanes end at different times.
        let lengths = (0..700).map(|index| index * 271 % 700).chain([4_096, 0, 100_000]);
        lengths.map(|len: usize| (0..len).map(|at| (at * 7 + len) as u8).collect()).collect()
    }

    #[test]
    fn words_hash_as_their_bytes() {
        let word = |seed: u64| std::array::from_fn(|index| seed.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(index as u32 * 13));
        let hash = |words: &[[u64; 4]]| {
            let bytes: Vec<u8> = words.iter().flatten().flat_map(|word| word.to_le_bytes()).collect();
            alloy_primitives::keccak256(bytes).0
        };
        for seed in 0..200 {
            let (one, two) = (word(seed), word(seed + 1));
            assert_eq!(digest(|index| keccak256_words(&[one])[index]), hash(&[one]));
            assert_eq!(digest(|index| keccak256_words(&[one, two])[index]), hash(&[one, two]));
        }
    }

    #[test]
    fn many_texts_hash_as_each_alone() {
        let texts = texts();
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        let alone: Vec<Hash> = texts.iter().map(|text| alloy_primitives::keccak256(text).0).collect();
        for count in (0..20).chain([texts.len()]) {
            assert_eq!(keccak256_many(&texts[..count]), alone[..count], "{count} texts");
        }
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn vectors_of_each_width_hash_as_each_alone() {
        let texts = texts();
        let texts: Vec<&[u8]> = texts.iter().map(Vec::as_slice).collect();
        let alone: Vec<Hash> = texts.iter().map(|text| alloy_primitives::keccak256(text).0).collect();
        for (width, hashes) in [
            (8, vector::avx512().map(|permute| lanes::hash::<8>(&texts, permute))),
            (4, vector::avx2().map(|permute| lanes::hash::<4>(&texts, permute))),
        ] {
            match hashes {
                Some(hashes) => assert_eq!(hashes, alone, "{width} lanes"),
                None => eprintln!("this processor has no vectors of {width} lanes: not tested"),
            }
        }
    }
}
