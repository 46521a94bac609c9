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

#[cfg(test)]
mod tests {
    use revm_precompile::{
        Crypto as _, DefaultCrypto,
        bls12_381::{G1Point, G2Point},
    };

    use super::*;

    /// Outside a turn nothing pauses twice.
    fn now<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().expect("a runtime").block_on(work)
    }

    fn hex(digits: &str) -> Vec<u8> {
        let digit = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).expect("hexadecimal");
        (0..digits.len()).step_by(2).map(digit).collect()
    }

    /// Lists of pairs that are worth a look, from points of both groups: none, one that holds, more than are taken at once, and damaged ones.
    fn lists(first: &[Vec<u8>], second: &[Vec<u8>]) -> Vec<Vec<u8>> {
        let all: Vec<Vec<u8>> = first.iter().flat_map(|a| second.iter().map(|b| [a.as_slice(), b].concat())).collect();
        let mut lists = vec![Vec::new(), all.concat()];
        for count in 1..2 * PAIRS_AT_ONCE + 2 {
            lists.push(all[0].repeat(count));
            // A point and its opposite: the product is one.
            lists.push([all[0].as_slice(), &[first[1].as_slice(), &second[0]].concat()].concat().repeat(count));
        }
        lists.extend(all);
        let whole = lists[1].clone();
        for at in (0..whole.len()).step_by(31) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x81;
            lists.push(damaged);
        }
        lists.push(whole[1..].to_vec());
        lists
    }

    #[test]
    fn pairs_of_bn254_are_checked_as_by_the_precompile() {
        let one = |number: u8| [vec![0; 31], vec![number]].concat();
        let generator = [one(1), one(2)].concat();
        let minus_one = hex("30644e72e131a029b85045b68181585d2833e84879b9709143e1f593f0000000");
        let opposite = DefaultCrypto.bn254_g1_mul(&generator, &minus_one).expect("a point").to_vec();
        let second = hex(concat!(
            "198e9393920d483a7260bfb731fb5d25f1aa493335a9e71297e485b7aef312c2",
            "1800deef121f1e76426a00665e5c4479674322d4f75edadd46debd5cd992f6ed",
            "090689d0585ff075ec9e99ad690c3395bc4b313370b38ef355acdadcd122975b",
            "12c85ea5db8c6deb4aab71808dcb408fe3d1e7690c43d37b4ce6cc0166fa7daa",
        ));
        let beyond_the_field = vec![0xff; 64];
        let mut held = 0;
        for list in lists(&[generator, opposite, vec![0; 64], beyond_the_field], &[second, vec![0; 128], vec![1; 128]]) {
            let expected = list.as_chunks::<BN254_PAIR_BYTES>();
            let pairs: Vec<(&[u8], &[u8])> = expected.0.iter().map(|pair| pair.split_at(64)).collect();
            let expected = if expected.1.is_empty() { DefaultCrypto.bn254_pairing_check(&pairs).ok() } else { None };
            assert_eq!(now(bn254(&list)), expected, "{} pairs", pairs.len());
            held += u32::from(expected == Some(true));
        }
        assert!(held > 5, "too few of the lists hold");
    }

    #[test]
    fn pairs_of_bls12_381_are_checked_as_by_the_precompile() {
        let generator = hex(concat!(
            "17f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb",
            "08b3f481e3aaa0f1a09e30ed741d8ae4fcf5e095d5d00af600db18cb2c04b3edd03cc744a2888ae40caa232946c5e7e1",
        ));
        let opposite = hex(concat!(
            "17f1d3a73197d7942695638c4fa9ac0fc3688c4f9774b905a14e3a3f171bac586c55e83ff97a1aeffb3af00adb22c6bb",
            "114d1d6855d545a8aa7d76c8cf2e21f267816aef1db507c96655b9d5caac42364e6f38ba0ecb751bad54dcd6b939c2ca",
        ));
        let second = hex(concat!(
            "024aa2b2f08f0a91260805272dc51051c6e47ad4fa403b02b4510b647ae3d1770bac0326a805bbefd48056c8c121bdb8",
            "13e02b6052719f607dacd3a088274f65596bd0d09920b61ab5da61bbdc7f5049334cf11213945d57e5ac7d055d042b7e",
            "0ce5d527727d6e118cc9cdc6da2e351aadfd9baa8cbdd3a76d429a695160d12c923ac9cc3baca289e193548608b82801",
            "0606c4a02ea734cc32acd2b02bc28b99cb3e287e85a763af267492ab572e99ab3f370d275cec1da1aaa9075ff05f79be",
        ));
        // What the library would take for infinity.
        let flagged = [vec![0x40], vec![0; 95]].concat();
        let part = |bytes: &[u8], index: usize| -> [u8; 48] { std::array::from_fn(|at| bytes[48 * index + at]) };
        let mut held = 0;
        for list in lists(&[generator, opposite, vec![0; 96], flagged, vec![0xff; 96]], &[second, vec![0; 192], vec![1; 192]]) {
            let split = list.as_chunks::<BLS_PAIR_BYTES>();
            let pair = |pair: &[u8; BLS_PAIR_BYTES]| -> (G1Point, G2Point) {
                ((part(pair, 0), part(pair, 1)), (part(pair, 2), part(pair, 3), part(pair, 4), part(pair, 5)))
            };
            let pairs: Vec<_> = split.0.iter().map(pair).collect();
            let expected = if split.1.is_empty() { DefaultCrypto.bls12_381_pairing_check(&pairs).ok() } else { None };
            assert_eq!(now(bls(&list)), expected, "{} pairs", pairs.len());
            held += u32::from(expected == Some(true));
        }
        assert!(held > 5, "too few of the lists hold");
    }
}
