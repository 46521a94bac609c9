//! Modular exponentiation that pauses. A single multiplication of the longest numbers takes minutes, so even that is done in pieces.

use num_bigint::BigUint;

use crate::turns::pause;

/// Products of two words that a piece of a multiplication takes, and as many for its reduction: half a millisecond.
const PIECE_PRODUCTS: usize = 300_000;
const WORD_BITS: usize = 64;
/// Exponents of more bits are worth a table of powers.
const TABLE_EXPONENT_BITS: u64 = 64;

/// `base ^ exponent mod modulus`, as long as `modulus`; zeros where the modulus is zero (EIP-198).
pub(super) async fn modexp(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
    let value = BigUint::from_bytes_be(modulus);
    if value <= BigUint::from(1_u8) {
        return vec![0; modulus.len()];
    }
    let power = Modulus::new(value).power(&BigUint::from_bytes_be(base), &BigUint::from_bytes_be(exponent)).await;
    let power = power.to_bytes_be();
    let mut padded = vec![0; modulus.len() - power.len()];
    padded.extend(power);
    padded
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
    use revm_precompile::{Crypto, DefaultCrypto};

    use super::*;

    /// Outside a turn nothing pauses twice.
    fn ours(base: &[u8], exponent: &[u8], modulus: &[u8]) -> Vec<u8> {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(modexp(base, exponent, modulus))
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
        let number = |seed: u8, len: usize| -> Vec<u8> { (0..len).map(|i| (i as u8).wrapping_mul(31).wrapping_add(seed) | 1).collect() };
        for (base, exponent, modulus) in [(20_000, 1, 16_384), (8_192, 2, 20_001), (60_000, 1, 8), (3, 40, 5_000)] {
            let (base, exponent, mut modulus) = (number(3, base), number(5, exponent), number(7, modulus));
            assert_eq!(ours(&base, &exponent, &modulus), theirs(&base, &exponent, &modulus));
            *modulus.last_mut().expect("not empty") = 4;
            assert_eq!(ours(&base, &exponent, &modulus), theirs(&base, &exponent, &modulus), "even");
        }
    }

    proptest! {
        #[test]
        fn powers_are_those_of_the_precompile(
            base in prop::collection::vec(any::<u8>(), 0..48),
            exponent in prop::collection::vec(any::<u8>(), 0..24),
            modulus in prop::collection::vec(any::<u8>(), 1..48),
        ) {
            prop_assert_eq!(ours(&base, &exponent, &modulus), theirs(&base, &exponent, &modulus));
        }
    }
}
