//! revm's precompiles, their heavy arithmetic done by the host.
#![cfg_attr(test, allow(dead_code, reason = "in the module's own tests revm computes itself"))]

use revm::precompile::{
    Crypto, PrecompileHalt,
    bls12_381::{G1Point, G1PointScalar, G2Point, G2PointScalar},
};

use crate::{
    bindings::subnode::chain::crypto as host,
    host::{Recovery, from_word, recover},
};

/// Makes every precompile use the host. Idempotent.
pub fn install() {
    // Already installed in this instance: that is this provider too.
    #[cfg(not(test))]
    let _ = revm::precompile::install_crypto(HostCrypto);
}

#[derive(Debug)]
struct HostCrypto;

fn fixed<const N: usize>(bytes: Option<Vec<u8>>, error: PrecompileHalt) -> Result<[u8; N], PrecompileHalt> {
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(error)
}

fn malformed(what: &'static str) -> PrecompileHalt {
    PrecompileHalt::Other(what.into())
}

fn g1((x, y): &G1Point) -> Vec<u8> {
    [x.as_slice(), y].concat()
}

fn g2((x0, x1, y0, y1): &G2Point) -> Vec<u8> {
    [x0.as_slice(), x1, y0, y1].concat()
}

impl Crypto for HostCrypto {
    fn sha256(&self, input: &[u8]) -> [u8; 32] {
        from_word(host::sha256(input)).0
    }

    fn bn254_g1_add(&self, p1: &[u8], p2: &[u8]) -> Result<[u8; 64], PrecompileHalt> {
        fixed(host::bn254_add(p1, p2), PrecompileHalt::Bn254AffineGFailedToCreate)
    }

    fn bn254_g1_mul(&self, point: &[u8], scalar: &[u8]) -> Result<[u8; 64], PrecompileHalt> {
        fixed(host::bn254_mul(point, scalar), PrecompileHalt::Bn254AffineGFailedToCreate)
    }

    fn bn254_pairing_check(&self, pairs: &[(&[u8], &[u8])]) -> Result<bool, PrecompileHalt> {
        let packed: Vec<u8> = pairs.iter().flat_map(|(g1, g2)| [*g1, *g2].concat()).collect();
        host::bn254_pairing(&packed).ok_or(PrecompileHalt::Bn254PairLength)
    }

    fn secp256k1_ecrecover(&self, sig: &[u8; 64], recid: u8, msg: &[u8; 32]) -> Result<[u8; 32], PrecompileHalt> {
        let item = Recovery {
            digest: msg.into(),
            r: alloy_primitives::U256::from_be_slice(&sig[..32]),
            s: alloy_primitives::U256::from_be_slice(&sig[32..]),
            odd: recid == 1,
        };
        recover(&item).map(|address| address.into_word().0).ok_or(PrecompileHalt::Secp256k1RecoverFailed)
    }

    fn modexp(&self, base: &[u8], exp: &[u8], modulus: &[u8]) -> Result<Vec<u8>, PrecompileHalt> {
        Ok(host::modexp(base, exp, modulus))
    }

    fn secp256r1_verify_signature(&self, msg: &[u8; 32], sig: &[u8; 64], pk: &[u8; 64]) -> bool {
        host::verify_p256(msg, sig, pk)
    }

    fn verify_kzg_proof(&self, z: &[u8; 32], y: &[u8; 32], commitment: &[u8; 48], proof: &[u8; 48]) -> Result<(), PrecompileHalt> {
        if host::verify_kzg(z, y, commitment, proof) { Ok(()) } else { Err(PrecompileHalt::BlobVerifyKzgProofFailed) }
    }

    fn bls12_381_g1_add(&self, a: G1Point, b: G1Point) -> Result<[u8; 96], PrecompileHalt> {
        fixed(host::bls_g1_add(&g1(&a), &g1(&b)), malformed("bls12-381 g1 add"))
    }

    fn bls12_381_g1_msm(&self, pairs: &mut dyn Iterator<Item = Result<G1PointScalar, PrecompileHalt>>) -> Result<[u8; 96], PrecompileHalt> {
        let mut packed = Vec::new();
        for pair in pairs {
            let (point, scalar) = pair?;
            packed.extend(g1(&point));
            packed.extend_from_slice(scalar.as_slice());
        }
        fixed(host::bls_g1_msm(&packed), malformed("bls12-381 g1 msm"))
    }

    fn bls12_381_g2_add(&self, a: G2Point, b: G2Point) -> Result<[u8; 192], PrecompileHalt> {
        fixed(host::bls_g2_add(&g2(&a), &g2(&b)), malformed("bls12-381 g2 add"))
    }

    fn bls12_381_g2_msm(
        &self,
        pairs: &mut dyn Iterator<Item = Result<G2PointScalar, PrecompileHalt>>,
    ) -> Result<[u8; 192], PrecompileHalt> {
        let mut packed = Vec::new();
        for pair in pairs {
            let (point, scalar) = pair?;
            packed.extend(g2(&point));
            packed.extend_from_slice(scalar.as_slice());
        }
        fixed(host::bls_g2_msm(&packed), malformed("bls12-381 g2 msm"))
    }

    fn bls12_381_pairing_check(&self, pairs: &[(G1Point, G2Point)]) -> Result<bool, PrecompileHalt> {
        let packed: Vec<u8> = pairs.iter().flat_map(|(a, b)| [g1(a), g2(b)].concat()).collect();
        host::bls_pairing(&packed).ok_or(malformed("bls12-381 pairing"))
    }

    fn bls12_381_fp_to_g1(&self, fp: &[u8; 48]) -> Result<[u8; 96], PrecompileHalt> {
        fixed(host::bls_map_g1(fp), malformed("bls12-381 map to g1"))
    }

    fn bls12_381_fp2_to_g2(&self, fp2: ([u8; 48], [u8; 48])) -> Result<[u8; 192], PrecompileHalt> {
        fixed(host::bls_map_g2(&[fp2.0, fp2.1].concat()), malformed("bls12-381 map to g2"))
    }
}
