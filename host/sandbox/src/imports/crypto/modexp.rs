//! Modular exponentiation that pauses.
//!
//! Short numbers are raised by the precompile's own code, some bytes of the exponent at a time. A single multiplication of the longest numbers
//! takes minutes, so of long numbers even that is done in pieces, by a library that gives multiplications away one by one.

use num_bigint::BigUint;
use revm_precompile::{Crypto as _, DefaultCrypto};

use crate::turns::pause;

/// Numbers of as many bytes are raised by the precompile's code: of longer ones, an even modulus alone takes it milliseconds.
const SHORT_BYTES_MAX: usize = 256;
/// Fuel, a thousand a microsecond, of the bytes of an exponent that are taken at once.
const PIECE_FUEL: u64 = 250_000;
/// Products of two words that a piece of a multiplication takes, and as many for its reduction: half a millisecond.
const PIECE_PRODUCTS: usize = 300_000;
const WORD_BITS: usize = 64;
/// Exponents of more bits are worth a table of powers.
const TABLE_EXPONENT_BITS: u64 = 64;

/// `base ^ exponent mod modulus`, as long as `modulus`; zeros where the modulus is zero (EIP-198). A byte of the exponent is worth `byte_fuel`.
pub(super) async fn modexp(base: &[u8], exponent: &[u8], modulus: &[u8], byte_fuel: u64) -> Vec<u8> {
    let value = BigUint::from_bytes_be(modulus);
    if value <= BigUint::from(1_u8) {
        return vec![0; modulus.len()];
    }
    let power = if base.len().max(modulus.len()) <= SHORT_BYTES_MAX {
        let bytes = usize::try_from(PIECE_FUEL / byte_fuel.max(1)).unwrap_or(usize::MAX).max(1);
        short_power(base, exponent, modulus, &value, bytes).await
    } else {
        Modulus::new(value).power(&BigUint::from_bytes_be(base), &BigUint::from_bytes_be(exponent)).await
    };
    let power = power.to_bytes_be();
    let mut padded = vec![0; modulus.len() - power.len()];
    padded.extend(power);
    padded
}

/// Left to right, so many bytes of the exponent at a time: the power so far is raised by as many, and multiplied by what the next are worth.
async fn short_power(base: &[u8], exponent: &[u8], modulus: &[u8], value: &BigUint, bytes: usize) -> BigUint {
    let raised = |base: &[u8], exponent: &[u8]| {
        // It has no input that it refuses.
        BigUint::from_bytes_be(&DefaultCrypto.modexp(base, exponent, modulus).unwrap_or_default())
    };
    let (first, rest) = exponent.split_at(exponent.len() % bytes);
    let one = BigUint::from(1_u8);
    // 2 ^ (8 * bytes)
    let shift = [&[1], vec![0; bytes].as_slice()].concat();
    let mut power = raised(base, first);
    for piece in rest.chunks(bytes) {
        pause().await;
        let shifted = if power == one { one.clone() } else { raised(&power.to_bytes_be(), &shift) };
        power = shifted * raised(base, piece) % value;
    }
    pause().await;
    power
}

struct Modulus {
    value: BigUint,
    /// 32-bit digits of a factor that are multiplied and reduced at once.
    piece_digits: usize,
}

impl Modulus {
    fn new(value: BigUint) -> Self {
        let words = usize::try_from(value.bits()).unwrap_or(usize::MAX).div_ceil(WORD_BITS);
        Self { value, piece_digits: 2 * (PIECE_PRODUCTS / words).max(1) }
    }

    async fn multiply(&self, a: &BigUint, b: &BigUint) -> BigUint {
        let mut product = BigUint::ZERO;
        for piece in b.to_u32_digits().rchunks(self.piece_digits) {
            product = ((product << (32 * piece.len())) + a * BigUint::from_slice(piece)) % &self.value;
            pause().await;
        }
        product
    }

    /// Left to right, some bits of the exponent at a time.
    async fn power(&self, base: &BigUint, exponent: &BigUint) -> BigUint {
        let bits = exponent.bits();
        let window = if bits > TABLE_EXPONENT_BITS { 4 } else { 1 };
        let mut powers = vec![BigUint::from(1_u8), self.multiply(&BigUint::from(1_u8), base).await];
        while powers.len() < 1 << window {
            let next = self.multiply(&powers[powers.len() - 1], &powers[1]).await;
            powers.push(next);
        }
        let mut power = BigUint::from(1_u8);
        for at in (0..bits.div_ceil(window)).rev() {
            for _ in 0..window {
                power = self.multiply(&power, &power).await;
            }
            let index = (0..window).filter(|bit| exponent.bit(at * window + bit)).map(|bit| 1 << bit).sum::<usize>();
            if index > 0 {
                power = self.multiply(&power, &powers[index]).await;
            }
        }
        power
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Outside a turn nothing pauses twice. Few bytes of the exponent at a time.
    fn ours(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(modexp(base, exponent, modulus, PIECE_FUEL / 3))
    }

    fn theirs(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
        let power = DefaultCrypto.modexp(base, exponent, modulus).expect("it does not fail");
        let mut padded = vec![0; modulus.len() - power.len()];
        padded.extend(power);
        padded
    }

    #[test]
    fn pieces_of_long_numbers_make_the_same_power() {
        // Long enough that a multiplication has several pieces.
        let number = |seed: u8, len: usize| -> Vec<u8> {
            (0..=255_u8).cycle().take(len).map(|byte| byte.wrapping_mul(31).wrapping_add(seed) | 1).collect()
        };
        for (base, exponent, modulus) in [(20_000, 1, 16_384), (8_192, 2, 20_001), (60_000, 1, 8), (3, 40, 5_000), (256, 700, 256)] {
            let (base, exponent, mut modulus) = (number(3, base), number(5, exponent), number(7, modulus));
            assert_eq!(ours(&base, &exponent, &modulus), theirs(&base, &exponent, &modulus));
            *modulus.last_mut().expect("not empty") = 4;
            assert_eq!(ours(&base, &exponent, &modulus), theirs(&base, &exponent, &modulus), "even");
        }
    }

    proptest! {
        #[test]
        fn powers_are_those_of_the_precompile(
            base in prop::collection::vec(any::<u8>(), 0..300),
            exponent in prop::collection::vec(any::<u8>(), 0..24),
            modulus in prop::collection::vec(any::<u8>(), 1..300),
            shape in 0_usize..4,
        ) {
            // Numbers that begin or end in zeros, and short ones, are the odd cases.
            let cut = |mut number: Vec<u8>| {
                let len = number.len();
                match shape {
                    1 => number.truncate(3),
                    2 => number.iter_mut().take(len / 2).for_each(|byte| *byte = 0),
                    3 => number.iter_mut().skip(len / 2).for_each(|byte| *byte = 0),
                    _ => {}
                }
                number
            };
            let (base, exponent, modulus) = (cut(base), cut(exponent), cut(modulus));
            prop_assert_eq!(ours(&base, &exponent, &modulus), theirs(&base, &exponent, &modulus));
        }
    }
}
