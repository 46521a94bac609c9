//! A verifiable random function: ECVRF-EDWARDS25519-SHA512-TAI of RFC 9381, with validation of the public key (section 5.4.5).
//!
//! Whoever has a secret key finds one output for an input, and can show that there is no other. Everyone else sees nothing but random bytes until then.
//! The names in the code are those of the RFC's section 5.
//!
//! A proof's nonce comes from the secret key and from a point of 32 bytes as an ed25519 signature's comes from the secret key and from the text, so the same
//! key must sign no text of 32 bytes: [`Voter`](crate::Voter) does not.

use curve25519_dalek::{EdwardsPoint, Scalar, edwards::CompressedEdwardsY, traits::IsIdentity};
use ed25519_dalek::{SigningKey, hazmat::ExpandedSecretKey};
use sha2::{Digest, Sha512};

/// Bytes of a proof: a point, a challenge, a scalar.
pub const PROOF_BYTES: usize = 80;
/// What the RFC calls this suite.
const SUITE: u8 = 3;
/// Which of the suite's hashes: each ends with a zero byte besides.
const ENCODE_TO_CURVE: u8 = 1;
const CHALLENGE: u8 = 2;
const PROOF_TO_HASH: u8 = 3;
/// Bytes of a challenge.
const CHALLENGE_BYTES: usize = 16;

/// What a key makes of an input, and what shows it.
pub(crate) fn prove(key: &SigningKey, alpha: &[u8]) -> Option<([u8; PROOF_BYTES], [u8; 64])> {
    let y = key.verifying_key().to_bytes();
    let secret = ExpandedSecretKey::from(&key.to_bytes());
    let h = encode_to_curve(&y, alpha)?;
    let gamma = h * secret.scalar;
    let nonce = Sha512::new_with_prefix(secret.hash_prefix).chain_update(h.compress().0);
    let k = Scalar::from_bytes_mod_order_wide(&nonce.finalize().into());
    let c = challenge(&y, [h, gamma, EdwardsPoint::mul_base(&k), h * k]);
    let s = k + scalar(c) * secret.scalar;
    let mut proof = [0; PROOF_BYTES];
    proof[..32].copy_from_slice(&gamma.compress().0);
    proof[32..48].copy_from_slice(&c);
    proof[48..].copy_from_slice(s.as_bytes());
    Some((proof, output(gamma)))
}

/// What the owner of a public key makes of an input, if this shows it.
pub(crate) fn verify(public: &[u8; 32], alpha: &[u8], proof: &[u8; PROOF_BYTES]) -> Option<[u8; 64]> {
    // A key of small order has several outputs for an input.
    let y = point(public).filter(|key| !key.is_small_order())?;
    let (gamma, rest) = proof.split_first_chunk::<32>()?;
    let gamma = point(gamma)?;
    let (c, s) = rest.split_first_chunk::<CHALLENGE_BYTES>()?;
    let s = Scalar::from_canonical_bytes(s.try_into().ok()?).into_option()?;
    let h = encode_to_curve(public, alpha)?;
    let less = -scalar(*c);
    let u = EdwardsPoint::vartime_double_scalar_mul_basepoint(&less, &y, &s);
    let v = h * s + gamma * less;
    (challenge(public, [h, gamma, u, v]) == *c).then(|| output(gamma))
}

/// What a proof that holds shows.
pub(crate) fn proven(proof: &[u8; PROOF_BYTES]) -> Option<[u8; 64]> {
    Some(output(point(proof.first_chunk()?)?))
}

/// A point, written as RFC 8032 has it: there is one way to write each.
fn point(bytes: &[u8; 32]) -> Option<EdwardsPoint> {
    CompressedEdwardsY(*bytes).decompress().filter(|point| point.compress().0 == *bytes)
}

/// A point of the large subgroup that nobody knows the logarithm of (section 5.4.1.1). None after 256 attempts, of which every other one finds a point.
fn encode_to_curve(salt: &[u8; 32], alpha: &[u8]) -> Option<EdwardsPoint> {
    let begun = Sha512::new_with_prefix([SUITE, ENCODE_TO_CURVE]).chain_update(salt).chain_update(alpha);
    (0..=u8::MAX).find_map(|attempt| {
        let hash: [u8; 64] = begun.clone().chain_update([attempt, 0]).finalize().into();
        point(hash.first_chunk()?).map(|point| point.mul_by_cofactor()).filter(|point| !point.is_identity())
    })
}

fn challenge(y: &[u8; 32], points: [EdwardsPoint; 4]) -> [u8; CHALLENGE_BYTES] {
    let mut hash = Sha512::new_with_prefix([SUITE, CHALLENGE]).chain_update(y);
    points.iter().for_each(|point| hash.update(point.compress().0));
    let hash: [u8; 64] = hash.chain_update([0]).finalize().into();
    std::array::from_fn(|index| hash[index])
}

fn scalar(challenge: [u8; CHALLENGE_BYTES]) -> Scalar {
    Scalar::from(u128::from_le_bytes(challenge))
}

fn output(gamma: EdwardsPoint) -> [u8; 64] {
    let hash = Sha512::new_with_prefix([SUITE, PROOF_TO_HASH]).chain_update(gamma.mul_by_cofactor().compress().0);
    hash.chain_update([0]).finalize().into()
}

#[cfg(test)]
mod tests {
    use curve25519_dalek::constants::EIGHT_TORSION;

    use super::*;

    /// RFC 9381, appendix B.3, examples 16 to 18: secret key, public key, input, proof, output.
    const VECTORS: [[&str; 5]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "8657106690b5526245a92b003bb079ccd1a92130477671f6fc01ad16f26f723f26f8a57ccaed74ee1b190bed1f479d9727d2d0f9b005a6e456a35d4fb0daab1268a1b0db10836d9826a528ca76567805",
            "90cf1df3b703cce59e2a35b925d411164068269d7b2d29f3301c03dd757876ff66b71dda49d2de59d03450451af026798e8f81cd2e333de5cdf4f3e140fdd8ae",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "f3141cd382dc42909d19ec5110469e4feae18300e94f304590abdced48aed5933bf0864a62558b3ed7f2fea45c92a465301b3bbf5e3e54ddf2d935be3b67926da3ef39226bbc355bdc9850112c8f4b02",
            "eb4440665d3891d668e7e0fcaf587f1b4bd7fbfe99d0eb2211ccec90496310eb5e33821bc613efb94db5e5b54c70a848a0bef4553a41befc57663b56373a5031",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "9bc0f79119cc5604bf02d23b4caede71393cedfbb191434dd016d30177ccbf8096bb474e53895c362d8628ee9f9ea3c0e52c7a5c691b6c18c9979866568add7a2d41b00b05081ed0f58ee5e31b3a970e",
            "645427e5d00c62a23fb703732fa5d892940935942101e456ecca7bb217c61c452118fec1219202a0edcf038bb6373241578be7217ba85a2687f7a0310b2df19f",
        ],
    ];

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal")).collect()
    }

    fn array<const N: usize>(hex: &str) -> [u8; N] {
        bytes(hex).try_into().expect("as long as that")
    }

    #[test]
    fn the_vectors_of_the_rfc_hold() {
        for [secret, public, alpha, proof, output] in VECTORS {
            let (key, alpha, output) = (SigningKey::from_bytes(&array(secret)), bytes(alpha), array(output));
            assert_eq!(key.verifying_key().to_bytes(), array(public));
            assert_eq!(prove(&key, &alpha), Some((array(proof), output)));
            assert_eq!(verify(&array(public), &alpha, &array(proof)), Some(output));
            assert_eq!(proven(&array(proof)), Some(output));
        }
    }

    #[test]
    fn a_proof_of_anything_else_is_refused() {
        let [_, public, alpha, proof, _] = VECTORS[2];
        let (public, alpha, proof): ([u8; 32], _, [u8; PROOF_BYTES]) = (array(public), bytes(alpha), array(proof));
        assert_eq!(verify(&public, &[alpha.as_slice(), &[0]].concat(), &proof), None, "another input");
        assert_eq!(verify(&array(VECTORS[1][1]), &alpha, &proof), None, "another key");
        for bit in 0..PROOF_BYTES * 8 {
            let mut other = proof;
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(verify(&public, &alpha, &other), None, "bit {bit}");
        }
        // The same scalar, written as a larger number: s + q.
        let order = bytes("edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010");
        let mut other = proof;
        let mut carry = 0;
        for (byte, more) in other[48..].iter_mut().zip(order) {
            let sum = u16::from(*byte) + u16::from(more) + carry;
            (*byte, carry) = (sum.to_le_bytes()[0], sum >> 8);
        }
        assert_eq!((carry, verify(&public, &alpha, &other)), (0, None));
    }

    #[test]
    fn a_key_of_small_order_shows_nothing() {
        for key in EIGHT_TORSION {
            let public = key.compress().0;
            // With such a key the challenge times the key is one of eight points: one of some attempts would hold.
            let h = encode_to_curve(&public, b"input").expect("a point");
            let held = (0..64_u64).any(|k| {
                let k = Scalar::from(k);
                let c = challenge(&public, [h, key, EdwardsPoint::mul_base(&k), h * k]);
                let mut proof = [0; PROOF_BYTES];
                proof[..32].copy_from_slice(&public);
                proof[32..48].copy_from_slice(&c);
                proof[48..].copy_from_slice(k.as_bytes());
                verify(&public, b"input", &proof).is_some()
            });
            assert!(!held, "{key:?}");
        }
        // y = p + 1 is another way to write the neutral point.
        let mut other = [0xff; 32];
        (other[0], other[31]) = (0xee, 0x7f);
        assert_eq!(point(&other), None);
    }
}
