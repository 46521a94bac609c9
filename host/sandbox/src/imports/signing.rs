use subnode_types::NodeId;
use wasmtime::component::Linker;

use super::{Bytes, bounded, charge, charge_bytes, copy, offer, slice};
use crate::{bindings::consensus::subnode::chain::signing::Position, convert, guest::GuestState};

/// Fuel of a signature, some 20 us, and of checking one, some 40 us.
const SIGN_FUEL: u64 = 20_000;
const VERIFY_FUEL: u64 = 40_000;
const TEXT_BYTES_MAX: usize = 64 << 10;

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut signing = linker.instance("subnode:chain/signing@0.1.4")?;
    offer(&mut signing, "key", |cx, (): ()| {
        charge(cx, 1_000)?;
        Ok((cx.data().membership.as_ref().and_then(|membership| membership.signer.key()).map(|key| key.0.to_vec()),))
    })?;
    offer(&mut signing, "sign", |cx, (at, text): (Position, Bytes)| {
        bounded("bytes to sign", text.len(), TEXT_BYTES_MAX)?;
        charge_bytes(cx, SIGN_FUEL, text.len())?;
        let text = copy(cx, &text);
        let signed = cx.data().membership.as_ref().and_then(|membership| membership.signer.sign(convert::position(at), &text));
        Ok((signed.map(|signature| signature.to_vec()),))
    })?;
    offer(&mut signing, "verify", |cx, (key, at, text, signature): (Bytes, Position, Bytes, Bytes)| {
        bounded("bytes signed", text.len(), TEXT_BYTES_MAX)?;
        charge_bytes(cx, VERIFY_FUEL, text.len())?;
        let (Ok(key), Ok(signature)) = (slice(cx, &key).try_into(), slice(cx, &signature).try_into()) else {
            return Ok((false,));
        };
        let text = slice(cx, &text);
        let verified = cx
            .data()
            .membership
            .as_ref()
            .is_some_and(|membership| membership.signer.verify(NodeId(key), convert::position(at), text, signature));
        Ok((verified,))
    })
}
