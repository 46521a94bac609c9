//! The permutation on vectors: FIPS 202, section 3.

use std::arch::x86_64::{
    __m256i, __m512i, _mm_cvtsi32_si128, _mm256_andnot_si256, _mm256_or_si256, _mm256_set1_epi64x, _mm256_sll_epi64, _mm256_srl_epi64,
    _mm256_xor_si256, _mm512_rolv_epi64, _mm512_set1_epi64, _mm512_ternarylogic_epi64, _mm512_xor_si512,
};

use crate::lanes::States;

/// Section 3.2.5: the bits of a linear feedback shift register, at the positions 2^j - 1.
const ROUND_CONSTANTS: [u64; 24] = {
    let mut constants = [0; 24];
    let mut register: u8 = 1;
    let mut round = 0;
    while round < 24 {
        let mut j = 0;
        while j < 7 {
            if register & 1 == 1 {
                constants[round] |= 1 << ((1 << j) - 1);
            }
            register = register << 1 ^ if register & 0x80 == 0 { 0 } else { 0x71 };
            j += 1;
        }
        round += 1;
    }
    constants
};

/// Section 3.2.2: by how much the word at x + 5 y is rotated.
const ROTATIONS: [i32; 25] = {
    let mut rotations = [0; 25];
    let (mut x, mut y) = (1, 0);
    let mut t = 0;
    while t < 24 {
        rotations[x + 5 * y] = (t + 1) * (t + 2) / 2 % 64;
        (x, y) = (y, (2 * x + 3 * y) % 5);
        t += 1;
    }
    rotations
};

/// The 24 rounds on 25 vectors. A macro, since the operations of a processor's own can be called where they are known to be there alone.
macro_rules! rounds {
    ($a:ident, $xor:ident, $xor3:ident, $chi:ident, $rotate:ident, $every:ident) => {
        for constant in ROUND_CONSTANTS {
            let mut c = [$a[0]; 5];
            for x in 0..5 {
                c[x] = $xor3($xor3($a[x], $a[x + 5], $a[x + 10]), $a[x + 15], $a[x + 20]);
            }
            let mut b = $a;
            for x in 0..5 {
                let d = $xor(c[(x + 4) % 5], $rotate(c[(x + 1) % 5], 1));
                for y in 0..5 {
                    b[y + 5 * ((2 * x + 3 * y) % 5)] = $rotate($xor($a[x + 5 * y], d), ROTATIONS[x + 5 * y]);
                }
            }
            for y in 0..5 {
                for x in 0..5 {
                    $a[x + 5 * y] = $chi(b[x + 5 * y], b[(x + 1) % 5 + 5 * y], b[(x + 2) % 5 + 5 * y]);
                }
            }
            $a[0] = $xor($a[0], $every(constant));
        }
    };
}

/// The permutation of eight states, where the processor has what it takes.
#[expect(unsafe_code, reason = "the processor was asked")]
pub(crate) fn avx512() -> Option<impl Fn(&mut States<8>)> {
    // SAFETY: the processor has AVX-512F.
    is_x86_feature_detected!("avx512f").then_some(|states: &mut States<8>| unsafe { permute_eight(states) })
}

/// The same of four states.
#[expect(unsafe_code, reason = "the processor was asked")]
pub(crate) fn avx2() -> Option<impl Fn(&mut States<4>)> {
    // SAFETY: the processor has AVX2.
    is_x86_feature_detected!("avx2").then_some(|states: &mut States<4>| unsafe { permute_four(states) })
}

#[target_feature(enable = "avx512f")]
#[expect(unsafe_code, reason = "a vector is its words")]
fn permute_eight(states: &mut States<8>) {
    // SAFETY: both are 25 times eight words, of which any bits are valid.
    let mut a: [__m512i; 25] = unsafe { std::mem::transmute(*states) };
    let xor = |x, y| _mm512_xor_si512(x, y);
    // The tables of x ^ y ^ z, and of x ^ (!y & z).
    let xor3 = |x, y, z| _mm512_ternarylogic_epi64::<0b1001_0110>(x, y, z);
    let chi = |x, y, z| _mm512_ternarylogic_epi64::<0b1101_0010>(x, y, z);
    let rotate = |x, by: i32| _mm512_rolv_epi64(x, _mm512_set1_epi64(i64::from(by)));
    let every = |word: u64| _mm512_set1_epi64(word.cast_signed());
    rounds!(a, xor, xor3, chi, rotate, every);
    // SAFETY: as above.
    unsafe {
        *states = std::mem::transmute::<[__m512i; 25], States<8>>(a);
    }
}

#[target_feature(enable = "avx2")]
#[expect(unsafe_code, reason = "a vector is its words")]
fn permute_four(states: &mut States<4>) {
    // SAFETY: both are 25 times four words, of which any bits are valid.
    let mut a: [__m256i; 25] = unsafe { std::mem::transmute(*states) };
    let xor = |x, y| _mm256_xor_si256(x, y);
    let xor3 = |x, y, z| _mm256_xor_si256(x, _mm256_xor_si256(y, z));
    let chi = |x, y, z| _mm256_xor_si256(x, _mm256_andnot_si256(y, z));
    // Shifting by 64 leaves nothing, so a rotation by 0 is one too.
    let rotate = |x, by: i32| _mm256_or_si256(_mm256_sll_epi64(x, _mm_cvtsi32_si128(by)), _mm256_srl_epi64(x, _mm_cvtsi32_si128(64 - by)));
    let every = |word: u64| _mm256_set1_epi64x(word.cast_signed());
    rounds!(a, xor, xor3, chi, rotate, every);
    // SAFETY: as above.
    unsafe {
        *states = std::mem::transmute::<[__m256i; 25], States<4>>(a);
    }
}
