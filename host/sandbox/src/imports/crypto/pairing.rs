//! Products of pairings, of which a block has gas for hundreds: some pairs at a time, with a pause between.

use ark_bn254::{Bn254, Fq, Fq2, G1Affine, G2Affine};
use ark_ec::{
    AffineRepr as _,
    pairing::{MillerLoopOutput, Pairing as _},
    short_weierstrass::{Affine, SWCurveConfig},
};
use ark_ff::{One as _, PrimeField};
use blst::min_pk::{PublicKey, Signature};

use crate::turns::pause;

/// Pairs whose Miller loops are computed at once: half a millisecond.
const PAIRS_AT_ONCE: usize = 3;

/// Length of a pair on alt_bn128: a point of G1 and one of G2.
const BN254_PAIR_BYTES: usize = 64 + 128;
/// Length of a pair on BLS12-381.
const BLS_PAIR_BYTES: usize = 96 + 192;

/// EIP-197: whether the product of the pairings is one; none where something is no point.
pub(super) async fn bn254(packed: &[u8]) -> Option<bool> {
    let (pairs, []) = packed.as_chunks::<BN254_PAIR_BYTES>() else { return None };
    let mut product = MillerLoopOutput::<Bn254>(<Bn254 as ark_ec::pairing::Pairing>::TargetField::one());
    for some in pairs.chunks(PAIRS_AT_ONCE) {
        let points: Vec<(G1Affine, G2Affine)> = some.iter().map(bn254_pair).collect::<Option<_>>()?;
        // A pairing with the point at infinity is one.
        let (first, second): (Vec<_>, Vec<_>) = points.into_iter().filter(|(a, b)| !a.is_zero() && !b.is_zero()).unzip();
        product.0 *= Bn254::multi_miller_loop(first, second).0;
        pause().await;
    }
    Some(Bn254::final_exponentiation(product)?.0.is_one())
}

fn bn254_pair(pair: &[u8; BN254_PAIR_BYTES]) -> Option<(G1Affine, G2Affine)> {
    let field = |index: usize| field::<Fq, 32>(pair, 32 * index);
    let first = point(field(0)?, field(1)?)?;
    // The imaginary part comes first.
    let second = point(Fq2::new(field(3)?, field(2)?), Fq2::new(field(5)?, field(4)?))?;
    Some((first, second))
}

/// A field element of `N` bytes, big-endian, smaller than the field's modulus.
fn field<F: PrimeField, const N: usize>(bytes: &[u8], at: usize) -> Option<F> {
    let mut little_endian: [u8; N] = bytes.get(at..)?.first_chunk().copied()?;
    little_endian.reverse();
    F::deserialize_uncompressed(little_endian.as_slice()).ok()
}

/// A point of the group that pairings are defined on. Two zeros stand for infinity.
fn point<P: SWCurveConfig>(x: P::BaseField, y: P::BaseField) -> Option<Affine<P>> {
    if x == P::BaseField::default() && y == P::BaseField::default() {
        return Some(Affine::identity());
    }
    let point = Affine::<P>::new_unchecked(x, y);
    (point.is_on_curve() && point.is_in_correct_subgroup_assuming_on_curve()).then_some(point)
}

/// EIP-2537, with field elements of 48 bytes: the same on BLS12-381.
pub(super) async fn bls(packed: &[u8]) -> Option<bool> {
    let (pairs, []) = packed.as_chunks::<BLS_PAIR_BYTES>() else { return None };
    let mut product = blst::Pairing::new(false, &[]);
    let mut is_empty = true;
    for some in pairs.chunks(PAIRS_AT_ONCE) {
        for pair in some {
            let (first, second) = pair.split_at(96);
            if let (Some(first), Some(second)) = (bls_first(first)?, bls_second(second)?) {
                product.raw_aggregate((&second).into(), (&first).into());
                is_empty = false;
            }
        }
        if !is_empty {
            // Computes the loops of the pairs it has gathered.
            product.commit();
        }
        pause().await;
    }
    Some(is_empty || product.as_fp12().final_exp() == blst::blst_fp12::default())
}

/// A point of G1; the inner none is infinity.
fn bls_first(bytes: &[u8]) -> Option<Option<PublicKey>> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Some(None);
    }
    if has_flags(bytes) {
        return None;
    }
    let point = PublicKey::deserialize(bytes).ok()?;
    point.validate().ok()?;
    Some(Some(point))
}

/// A point of G2; the inner none is infinity.
fn bls_second(bytes: &[u8]) -> Option<Option<Signature>> {
    if bytes.iter().all(|byte| *byte == 0) {
        return Some(None);
    }
    let (parts, []) = bytes.as_chunks::<48>() else { return None };
    let [x0, x1, y0, y1] = parts else { return None };
    // The library has the imaginary parts first.
    let swapped = [*x1, *x0, *y1, *y0].concat();
    if has_flags(&swapped) {
        return None;
    }
    let point = Signature::deserialize(&swapped).ok()?;
    point.validate(true).ok()?;
    Some(Some(point))
}

/// Whether the three bits are set that mean compression, infinity and a sign to the library. A field element has 381 bits.
fn has_flags(bytes: &[u8]) -> bool {
    bytes.first().is_some_and(|first| first & 0xe0 != 0)
}
