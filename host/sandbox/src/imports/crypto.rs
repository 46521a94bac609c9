use rayon::prelude::*;
use revm_precompile::{Crypto, DefaultCrypto};
use secp256k1::{
    Message, SECP256K1,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use sha2::Digest;
use subnode_scheduler::Share;
use tokio::sync::oneshot;
use wasmtime::component::{Linker, WasmList};

use super::{Bytes, Cx, bounded, charge, charge_bytes};
use crate::{
    bindings::runtime::subnode::chain::{
        crypto::{Point, Recovery},
        types::Word256,
    },
    fault::HostFault,
    guest::GuestState,
    turns::end_turn,
};

const TEXTS_MAX: usize = 65_536;
const RECOVERIES_MAX: usize = 65_536;
/// Recoveries that are worth another thread: it takes some 20 us to wake, each of them 40.
const RECOVERIES_APART: usize = 8;
/// Recoveries of a turn, while others wait for theirs.
const RECOVERIES_A_TURN: usize = 2;
const NUMBER_BYTES_MAX: usize = 1 << 20;

// Fuel of one operation: its time here, at the thousand instructions a microsecond that guests were measured at.
const HASH_FUEL: u64 = 300;
const RECOVER_FUEL: u64 = 30_000;
const RECOVER_NS: u64 = 40_000;
const VERIFY_FUEL: u64 = 60_000;
const BN254_ADD_FUEL: u64 = 3_000;
const BN254_MUL_FUEL: u64 = 40_000;
const BN254_PAIR_FUEL: u64 = 500_000;
const BLS_ADD_FUEL: u64 = 5_000;
const BLS_G1_MUL_FUEL: u64 = 60_000;
const BLS_G2_MUL_FUEL: u64 = 120_000;
const BLS_PAIR_FUEL: u64 = 600_000;
const BLS_MAP_FUEL: u64 = 80_000;
const KZG_FUEL: u64 = 1_000_000;

fn recover(item: &Recovery) -> Option<Point> {
    let mut compact = [0; 64];
    compact[..32].copy_from_slice(&item.r.to_bytes());
    compact[32..].copy_from_slice(&item.s.to_bytes());
    let id = if item.odd { RecoveryId::One } else { RecoveryId::Zero };
    let signature = RecoverableSignature::from_compact(&compact, id).ok()?;
    let key = SECP256K1.recover_ecdsa(Message::from_digest(item.digest.to_bytes()), &signature).ok()?;
    let bytes = key.serialize_uncompressed();
    let half = |at: usize| Word256::from_bytes(std::array::from_fn(|i| bytes[at + i]));
    Some(Point { x: half(1), y: half(33) })
}

/// Recovers a list, on all cores if no other chain wants them: a block's worth takes a tenth of a second on one.
async fn recover_many(list: Vec<Recovery>, share: &Share) -> Result<Vec<Option<Point>>, HostFault> {
    if list.len() < RECOVERIES_APART || !share.is_alone() {
        let mut recovered = Vec::with_capacity(list.len());
        for some in list.chunks(RECOVERIES_A_TURN) {
            if !recovered.is_empty() {
                end_turn().await;
            }
            recovered.extend(some.iter().map(recover));
        }
        return Ok(recovered);
    }
    share.charge(RECOVER_NS * list.len() as u64);
    let (done, recovered) = oneshot::channel();
    rayon::spawn(move || {
        // Whoever asked may have timed out meanwhile.
        drop(done.send(list.par_iter().with_min_len(RECOVERIES_APART).map(recover).collect()));
    });
    recovered.await.map_err(|_| HostFault::Instance("signature recovery ended early".into()))
}

/// Splits packed items of `N` bytes, or none where the length is no multiple.
fn items<const N: usize>(packed: &[u8]) -> Option<impl ExactSizeIterator<Item = &[u8; N]>> {
    let (chunks, rest) = packed.as_chunks::<N>();
    rest.is_empty().then(|| chunks.iter())
}

fn part<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    std::array::from_fn(|i| bytes.get(at + i).copied().unwrap_or_default())
}

fn g1(bytes: &[u8]) -> ([u8; 48], [u8; 48]) {
    (part(bytes, 0), part(bytes, 48))
}

fn g2(bytes: &[u8]) -> ([u8; 48], [u8; 48], [u8; 48], [u8; 48]) {
    (part(bytes, 0), part(bytes, 48), part(bytes, 96), part(bytes, 144))
}

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut crypto = linker.instance("subnode:chain/crypto@0.1.0")?;
    crypto.func_wrap("keccak256", |mut cx: Cx<'_>, (data,): (Bytes,)| {
        // Keccak absorbs 136 bytes in a third of a microsecond.
        charge(&mut cx, HASH_FUEL + data.len() as u64 * 2)?;
        let hash = alloy_primitives::keccak256(data.as_le_slice(&cx));
        Ok((Word256::from_bytes(hash.0),))
    })?;
    crypto.func_wrap("keccak256-word", |mut cx: Cx<'_>, (word,): (Word256,)| {
        charge(&mut cx, HASH_FUEL)?;
        Ok((Word256::from_bytes(alloy_primitives::keccak256(word.to_bytes()).0),))
    })?;
    crypto.func_wrap("keccak256-pair", |mut cx: Cx<'_>, (first, second): (Word256, Word256)| {
        charge(&mut cx, HASH_FUEL)?;
        let mut bytes = [0; 64];
        bytes[..32].copy_from_slice(&first.to_bytes());
        bytes[32..].copy_from_slice(&second.to_bytes());
        Ok((Word256::from_bytes(alloy_primitives::keccak256(bytes).0),))
    })?;
    crypto.func_wrap("sha256", |mut cx: Cx<'_>, (data,): (Bytes,)| {
        charge(&mut cx, HASH_FUEL + data.len() as u64 * 2)?;
        let hash: [u8; 32] = sha2::Sha256::digest(data.as_le_slice(&cx)).into();
        Ok((Word256::from_bytes(hash),))
    })?;
    crypto.func_wrap("keccak256-many", |mut cx: Cx<'_>, (texts,): (WasmList<WasmList<u8>>,)| {
        bounded("texts", texts.len(), TEXTS_MAX)?;
        let texts: Vec<Bytes> = texts.iter(&mut cx)?.collect::<wasmtime::Result<_>>()?;
        let bytes: usize = texts.iter().map(WasmList::len).sum();
        charge(&mut cx, (HASH_FUEL * texts.len() as u64).saturating_add(bytes as u64 * 2))?;
        let hashes: Vec<_> = texts.iter().map(|text| Word256::from_bytes(alloy_primitives::keccak256(text.as_le_slice(&cx)).0)).collect();
        Ok((hashes,))
    })?;
    crypto.func_wrap("recover", |mut cx: Cx<'_>, (item,): (Recovery,)| {
        charge(&mut cx, RECOVER_FUEL)?;
        Ok((recover(&item),))
    })?;
    crypto.func_wrap_async("recover-many", |mut cx: Cx<'_>, (list,): (WasmList<Recovery>,)| {
        Box::new(async move {
            bounded("signatures", list.len(), RECOVERIES_MAX)?;
            charge(&mut cx, RECOVER_FUEL * list.len() as u64)?;
            let list: Vec<Recovery> = list.iter(&mut cx)?.collect::<wasmtime::Result<_>>()?;
            let share = cx.data().tenant.share().clone();
            Ok((recover_many(list, &share).await?,))
        })
    })?;
    crypto.func_wrap("verify-p256", |mut cx: Cx<'_>, (digest, signature, key): (Bytes, Bytes, Bytes)| {
        charge(&mut cx, VERIFY_FUEL)?;
        let holds = match (digest.as_le_slice(&cx).try_into(), signature.as_le_slice(&cx).try_into(), key.as_le_slice(&cx).try_into()) {
            (Ok(digest), Ok(signature), Ok(key)) => DefaultCrypto.secp256r1_verify_signature(digest, signature, key),
            _ => false,
        };
        Ok((holds,))
    })?;
    crypto.func_wrap("verify-ed25519", |mut cx: Cx<'_>, (message, signature, key): (Bytes, Bytes, Bytes)| {
        charge(&mut cx, VERIFY_FUEL + message.len() as u64 * 2)?;
        let holds = match (signature.as_le_slice(&cx).try_into(), key.as_le_slice(&cx).try_into()) {
            (Ok(signature), Ok(key)) => ed25519_dalek::VerifyingKey::from_bytes(key).is_ok_and(|key| {
                let signature = ed25519_dalek::Signature::from_bytes(signature);
                key.verify_strict(message.as_le_slice(&cx), &signature).is_ok()
            }),
            _ => false,
        };
        Ok((holds,))
    })?;
    crypto.func_wrap("modexp", |mut cx: Cx<'_>, (base, exponent, modulus): (Bytes, Bytes, Bytes)| {
        for (what, number) in [("base bytes", &base), ("exponent bytes", &exponent), ("modulus bytes", &modulus)] {
            bounded(what, number.len(), NUMBER_BYTES_MAX)?;
        }
        // A multiplication of n words costs n^2, and the exponent has 8 bits a byte (the shape of EIP-2565's price).
        let words = (base.len().max(modulus.len()) as u64).div_ceil(8);
        charge(&mut cx, 1_000 + words.saturating_mul(words).saturating_mul((exponent.len() as u64 * 12).max(1)))?;
        let result = DefaultCrypto.modexp(base.as_le_slice(&cx), exponent.as_le_slice(&cx), modulus.as_le_slice(&cx));
        Ok((result.unwrap_or_default(),))
    })?;
    crypto.func_wrap("verify-kzg", |mut cx: Cx<'_>, (z, y, commitment, proof): (Bytes, Bytes, Bytes, Bytes)| {
        charge(&mut cx, KZG_FUEL)?;
        let (z, y) = (z.as_le_slice(&cx).try_into(), y.as_le_slice(&cx).try_into());
        let (commitment, proof) = (commitment.as_le_slice(&cx).try_into(), proof.as_le_slice(&cx).try_into());
        let holds = match (z, y, commitment, proof) {
            (Ok(z), Ok(y), Ok(commitment), Ok(proof)) => DefaultCrypto.verify_kzg_proof(z, y, commitment, proof).is_ok(),
            _ => false,
        };
        Ok((holds,))
    })?;
    link_bn254(&mut crypto)?;
    link_bls(&mut crypto)
}

type Instance<'a> = wasmtime::component::LinkerInstance<'a, GuestState>;

fn link_bn254(crypto: &mut Instance<'_>) -> wasmtime::Result<()> {
    crypto.func_wrap("bn254-add", |mut cx: Cx<'_>, (a, b): (Bytes, Bytes)| {
        charge(&mut cx, BN254_ADD_FUEL)?;
        let (a, b) = (a.as_le_slice(&cx), b.as_le_slice(&cx));
        let sum = (a.len() == 64 && b.len() == 64).then(|| DefaultCrypto.bn254_g1_add(a, b).ok()).flatten();
        Ok((sum.map(Vec::from),))
    })?;
    crypto.func_wrap("bn254-mul", |mut cx: Cx<'_>, (point, scalar): (Bytes, Bytes)| {
        charge(&mut cx, BN254_MUL_FUEL)?;
        let (point, scalar) = (point.as_le_slice(&cx), scalar.as_le_slice(&cx));
        let product = (point.len() == 64 && scalar.len() == 32).then(|| DefaultCrypto.bn254_g1_mul(point, scalar).ok()).flatten();
        Ok((product.map(Vec::from),))
    })?;
    crypto.func_wrap("bn254-pairing", |mut cx: Cx<'_>, (pairs,): (Bytes,)| {
        charge(&mut cx, BN254_PAIR_FUEL.saturating_mul(1 + pairs.len() as u64 / 192))?;
        let holds = items::<192>(pairs.as_le_slice(&cx)).and_then(|pairs| {
            let pairs: Vec<(&[u8], &[u8])> = pairs.map(|pair| pair.split_at(64)).collect();
            DefaultCrypto.bn254_pairing_check(&pairs).ok()
        });
        Ok((holds,))
    })
}

fn link_bls(crypto: &mut Instance<'_>) -> wasmtime::Result<()> {
    crypto.func_wrap("bls-g1-add", |mut cx: Cx<'_>, (a, b): (Bytes, Bytes)| {
        charge(&mut cx, BLS_ADD_FUEL)?;
        let (a, b) = (a.as_le_slice(&cx), b.as_le_slice(&cx));
        let sum = (a.len() == 96 && b.len() == 96).then(|| DefaultCrypto.bls12_381_g1_add(g1(a), g1(b)).ok()).flatten();
        Ok((sum.map(Vec::from),))
    })?;
    crypto.func_wrap("bls-g2-add", |mut cx: Cx<'_>, (a, b): (Bytes, Bytes)| {
        charge(&mut cx, BLS_ADD_FUEL * 2)?;
        let (a, b) = (a.as_le_slice(&cx), b.as_le_slice(&cx));
        let sum = (a.len() == 192 && b.len() == 192).then(|| DefaultCrypto.bls12_381_g2_add(g2(a), g2(b)).ok()).flatten();
        Ok((sum.map(Vec::from),))
    })?;
    crypto.func_wrap("bls-g1-msm", |mut cx: Cx<'_>, (list,): (Bytes,)| {
        charge(&mut cx, BLS_G1_MUL_FUEL.saturating_mul(1 + list.len() as u64 / 128))?;
        let sum = items::<128>(list.as_le_slice(&cx)).and_then(|items| {
            let mut pairs = items.map(|item| Ok((g1(item), part::<32>(item, 96))));
            DefaultCrypto.bls12_381_g1_msm(&mut pairs).ok()
        });
        Ok((sum.map(Vec::from),))
    })?;
    crypto.func_wrap("bls-g2-msm", |mut cx: Cx<'_>, (list,): (Bytes,)| {
        charge(&mut cx, BLS_G2_MUL_FUEL.saturating_mul(1 + list.len() as u64 / 224))?;
        let sum = items::<224>(list.as_le_slice(&cx)).and_then(|items| {
            let mut pairs = items.map(|item| Ok((g2(item), part::<32>(item, 192))));
            DefaultCrypto.bls12_381_g2_msm(&mut pairs).ok()
        });
        Ok((sum.map(Vec::from),))
    })?;
    crypto.func_wrap("bls-pairing", |mut cx: Cx<'_>, (pairs,): (Bytes,)| {
        charge(&mut cx, BLS_PAIR_FUEL.saturating_mul(1 + pairs.len() as u64 / 288))?;
        let holds = items::<288>(pairs.as_le_slice(&cx)).and_then(|pairs| {
            let pairs: Vec<_> = pairs.map(|pair| (g1(pair), g2(&pair[96..]))).collect();
            DefaultCrypto.bls12_381_pairing_check(&pairs).ok()
        });
        Ok((holds,))
    })?;
    crypto.func_wrap("bls-map-g1", |mut cx: Cx<'_>, (fp,): (Bytes,)| {
        charge_bytes(&mut cx, BLS_MAP_FUEL, fp.len())?;
        let point = fp.as_le_slice(&cx).try_into().ok().and_then(|fp| DefaultCrypto.bls12_381_fp_to_g1(fp).ok());
        Ok((point.map(Vec::from),))
    })?;
    crypto.func_wrap("bls-map-g2", |mut cx: Cx<'_>, (fp2,): (Bytes,)| {
        charge_bytes(&mut cx, BLS_MAP_FUEL * 2, fp2.len())?;
        let fp2 = fp2.as_le_slice(&cx);
        let point = (fp2.len() == 96).then(|| DefaultCrypto.bls12_381_fp2_to_g2((part(fp2, 0), part(fp2, 48))).ok()).flatten();
        Ok((point.map(Vec::from),))
    })
}
