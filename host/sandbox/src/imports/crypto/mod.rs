mod hash;
mod modexp;
mod pairing;

use rayon::prelude::*;
use revm_precompile::{Crypto, DefaultCrypto};
use secp256k1::{
    Message, SECP256K1,
    ecdsa::{RecoverableSignature, RecoveryId},
};
use subnode_scheduler::Share;
use tokio::sync::oneshot;
use wasmtime::component::{Linker, WasmList};

use super::{Bytes, Cx, Instance, bounded, charge, charge_bytes, charged_copy, copy, offer, slice};
use crate::{
    bindings::runtime::subnode::chain::{
        crypto::{Point, Recovery},
        types::Word256,
    },
    fault::HostFault,
    guest::GuestState,
    turns::pause,
};

const RECOVERIES_MAX: usize = 65_536;
/// Recoveries that are worth another thread: it takes some 20 us to wake, each of them 40.
const RECOVERIES_APART: usize = 8;
/// Recoveries of each core, after which another chain may want the cores: 1 ms.
const RECOVERIES_AT_ONCE: usize = 32;
const NUMBER_BYTES_MAX: usize = 1 << 20;
/// What Ed25519 signs is hashed in one go: 0.8 ms.
const MESSAGE_BYTES_MAX: usize = 512 << 10;
/// What a step of an exponentiation takes besides its multiplications, as many words' products.
const MODEXP_STEP_FUEL: u64 = 32;
/// Points of a sum of products that are added up at once: a millisecond.
const G1_AT_ONCE: usize = 16;
const G2_AT_ONCE: usize = 8;

// Fuel of one operation: its time here, at the thousand instructions a microsecond that guests were measured at.
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

/// Recovers a list, on all cores while no other chain wants them: a block's worth takes a tenth of a second on one.
async fn recover_many(list: Vec<Recovery>, share: &Share) -> Result<Vec<Option<Point>>, HostFault> {
    let mut recovered = Vec::with_capacity(list.len());
    let mut rest = list.into_iter();
    while rest.len() > 0 {
        if rest.len() < RECOVERIES_APART || !share.is_alone() {
            recovered.extend(rest.next().map(|item| recover(&item)));
            pause().await;
            continue;
        }
        let some: Vec<Recovery> = rest.by_ref().take(RECOVERIES_AT_ONCE * rayon::current_num_threads()).collect();
        share.charge(RECOVER_NS * some.len() as u64);
        let (done, keys) = oneshot::channel();
        rayon::spawn(move || {
            // Whoever asked may have timed out meanwhile.
            drop(done.send(some.par_iter().with_min_len(RECOVERIES_APART).map(recover).collect::<Vec<_>>()));
        });
        recovered.extend(keys.await.map_err(|_| HostFault::Instance("signature recovery ended early".into()))?);
    }
    Ok(recovered)
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

/// The sum of products of points and scalars, 128 bytes each; none where the length is no multiple or something is no point.
async fn g1_msm(packed: &[u8]) -> Option<[u8; 96]> {
    let (items, []) = packed.as_chunks::<128>() else { return None };
    let mut sum = None;
    for some in items.chunks(G1_AT_ONCE) {
        let mut pairs = some.iter().map(|item| Ok((g1(item), part::<32>(item, 96))));
        let next = DefaultCrypto.bls12_381_g1_msm(&mut pairs).ok()?;
        sum = Some(sum.map_or(Some(next), |sum: [u8; 96]| DefaultCrypto.bls12_381_g1_add(g1(&sum), g1(&next)).ok())?);
        pause().await;
    }
    sum
}

/// The same in G2, 224 bytes each.
async fn g2_msm(packed: &[u8]) -> Option<[u8; 192]> {
    let (items, []) = packed.as_chunks::<224>() else { return None };
    let mut sum = None;
    for some in items.chunks(G2_AT_ONCE) {
        let mut pairs = some.iter().map(|item| Ok((g2(item), part::<32>(item, 192))));
        let next = DefaultCrypto.bls12_381_g2_msm(&mut pairs).ok()?;
        sum = Some(sum.map_or(Some(next), |sum: [u8; 192]| DefaultCrypto.bls12_381_g2_add(g2(&sum), g2(&next)).ok())?);
        pause().await;
    }
    sum
}

/// Whether an ed25519 signature is that of a key over a message: the strict rule, by which all implementations agree.
pub(super) fn is_signed(key: &[u8; 32], message: &[u8], signature: &[u8; 64]) -> bool {
    let signature = ed25519_dalek::Signature::from_bytes(signature);
    ed25519_dalek::VerifyingKey::from_bytes(key).is_ok_and(|key| key.verify_strict(message, &signature).is_ok())
}

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut crypto = linker.instance("subnode:chain/crypto@0.1.4")?;
    hash::link(&mut crypto)?;
    offer(&mut crypto, "recover", |cx, (item,): (Recovery,)| {
        charge(cx, RECOVER_FUEL)?;
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
    offer(&mut crypto, "verify-p256", |cx, (digest, signature, key): (Bytes, Bytes, Bytes)| {
        charge(cx, VERIFY_FUEL)?;
        let holds = match (slice(cx, &digest).try_into(), slice(cx, &signature).try_into(), slice(cx, &key).try_into()) {
            (Ok(digest), Ok(signature), Ok(key)) => DefaultCrypto.secp256r1_verify_signature(digest, signature, key),
            _ => false,
        };
        Ok((holds,))
    })?;
    offer(&mut crypto, "verify-ed25519", |cx, (message, signature, key): (Bytes, Bytes, Bytes)| {
        bounded("bytes signed", message.len(), MESSAGE_BYTES_MAX)?;
        charge(cx, VERIFY_FUEL + message.len() as u64 * 2)?;
        let holds = match (slice(cx, &signature).try_into(), slice(cx, &key).try_into()) {
            (Ok(signature), Ok(key)) => is_signed(key, slice(cx, &message), signature),
            _ => false,
        };
        Ok((holds,))
    })?;
    crypto.func_wrap_async("modexp", |mut cx: Cx<'_>, (base, exponent, modulus): (Bytes, Bytes, Bytes)| {
        Box::new(async move {
            for (what, number) in [("base bytes", &base), ("exponent bytes", &exponent), ("modulus bytes", &modulus)] {
                bounded(what, number.len(), NUMBER_BYTES_MAX)?;
            }
            // A multiplication of n words costs n^2 and something besides, and the exponent has 8 bits a byte (the shape of EIP-2565's
            // price).
            let words = (base.len().max(modulus.len()) as u64).div_ceil(8);
            let byte_fuel = words.saturating_mul(words).saturating_add(MODEXP_STEP_FUEL).saturating_mul(12);
            let fuel = byte_fuel.saturating_mul(exponent.len() as u64).saturating_add(1_000 + words * words);
            charge(&mut cx, fuel)?;
            let [base, exponent, modulus] = [&base, &exponent, &modulus].map(|number| copy(&cx, number));
            Ok((modexp::modexp(&base, &exponent, &modulus, byte_fuel).await,))
        })
    })?;
    offer(&mut crypto, "verify-kzg", |cx, (z, y, commitment, proof): (Bytes, Bytes, Bytes, Bytes)| {
        charge(cx, KZG_FUEL)?;
        let (z, y) = (slice(cx, &z).try_into(), slice(cx, &y).try_into());
        let (commitment, proof) = (slice(cx, &commitment).try_into(), slice(cx, &proof).try_into());
        let holds = match (z, y, commitment, proof) {
            (Ok(z), Ok(y), Ok(commitment), Ok(proof)) => DefaultCrypto.verify_kzg_proof(z, y, commitment, proof).is_ok(),
            _ => false,
        };
        Ok((holds,))
    })?;
    link_bn254(&mut crypto)?;
    link_bls(&mut crypto)
}

fn link_bn254(crypto: &mut Instance<'_>) -> wasmtime::Result<()> {
    offer(crypto, "bn254-add", |cx, (a, b): (Bytes, Bytes)| {
        charge(cx, BN254_ADD_FUEL)?;
        let (a, b) = (slice(cx, &a), slice(cx, &b));
        let sum = (a.len() == 64 && b.len() == 64).then(|| DefaultCrypto.bn254_g1_add(a, b).ok()).flatten();
        Ok((sum.map(Vec::from),))
    })?;
    offer(crypto, "bn254-mul", |cx, (point, scalar): (Bytes, Bytes)| {
        charge(cx, BN254_MUL_FUEL)?;
        let (point, scalar) = (slice(cx, &point), slice(cx, &scalar));
        let product = (point.len() == 64 && scalar.len() == 32).then(|| DefaultCrypto.bn254_g1_mul(point, scalar).ok()).flatten();
        Ok((product.map(Vec::from),))
    })?;
    crypto.func_wrap_async("bn254-pairing", |mut cx: Cx<'_>, (pairs,): (Bytes,)| {
        Box::new(async move {
            charge(&mut cx, BN254_PAIR_FUEL.saturating_mul(1 + pairs.len() as u64 / 192))?;
            let (pairs, _memory) = charged_copy(&cx, &pairs)?;
            Ok((pairing::bn254(&pairs).await,))
        })
    })
}

fn link_bls(crypto: &mut Instance<'_>) -> wasmtime::Result<()> {
    offer(crypto, "bls-g1-add", |cx, (a, b): (Bytes, Bytes)| {
        charge(cx, BLS_ADD_FUEL)?;
        let (a, b) = (slice(cx, &a), slice(cx, &b));
        let sum = (a.len() == 96 && b.len() == 96).then(|| DefaultCrypto.bls12_381_g1_add(g1(a), g1(b)).ok()).flatten();
        Ok((sum.map(Vec::from),))
    })?;
    offer(crypto, "bls-g2-add", |cx, (a, b): (Bytes, Bytes)| {
        charge(cx, BLS_ADD_FUEL * 2)?;
        let (a, b) = (slice(cx, &a), slice(cx, &b));
        let sum = (a.len() == 192 && b.len() == 192).then(|| DefaultCrypto.bls12_381_g2_add(g2(a), g2(b)).ok()).flatten();
        Ok((sum.map(Vec::from),))
    })?;
    crypto.func_wrap_async("bls-g1-msm", |mut cx: Cx<'_>, (list,): (Bytes,)| {
        Box::new(async move {
            charge(&mut cx, BLS_G1_MUL_FUEL.saturating_mul(1 + list.len() as u64 / 128))?;
            let (list, _memory) = charged_copy(&cx, &list)?;
            Ok((g1_msm(&list).await.map(Vec::from),))
        })
    })?;
    crypto.func_wrap_async("bls-g2-msm", |mut cx: Cx<'_>, (list,): (Bytes,)| {
        Box::new(async move {
            charge(&mut cx, BLS_G2_MUL_FUEL.saturating_mul(1 + list.len() as u64 / 224))?;
            let (list, _memory) = charged_copy(&cx, &list)?;
            Ok((g2_msm(&list).await.map(Vec::from),))
        })
    })?;
    crypto.func_wrap_async("bls-pairing", |mut cx: Cx<'_>, (pairs,): (Bytes,)| {
        Box::new(async move {
            charge(&mut cx, BLS_PAIR_FUEL.saturating_mul(1 + pairs.len() as u64 / 288))?;
            let (pairs, _memory) = charged_copy(&cx, &pairs)?;
            Ok((pairing::bls(&pairs).await,))
        })
    })?;
    offer(crypto, "bls-map-g1", |cx, (fp,): (Bytes,)| {
        charge_bytes(cx, BLS_MAP_FUEL, fp.len())?;
        let point = slice(cx, &fp).try_into().ok().and_then(|fp| DefaultCrypto.bls12_381_fp_to_g1(fp).ok());
        Ok((point.map(Vec::from),))
    })?;
    offer(crypto, "bls-map-g2", |cx, (fp2,): (Bytes,)| {
        charge_bytes(cx, BLS_MAP_FUEL * 2, fp2.len())?;
        let fp2 = slice(cx, &fp2);
        let point = (fp2.len() == 96).then(|| DefaultCrypto.bls12_381_fp2_to_g2((part(fp2, 0), part(fp2, 48))).ok()).flatten();
        Ok((point.map(Vec::from),))
    })
}
