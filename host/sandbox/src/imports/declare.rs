use wasmtime::component::{Linker, WasmList};

use super::{Bytes, bounded, charge, copy, lent, offer, slice};
use crate::{DeclaredUpgrade, bindings::runtime::subnode::chain::declare::NextModule, fault::BoundBroken, guest::GuestState};

/// Fuel of a call, and of an address.
const CALL_FUEL: u64 = 1_000;
const ADDRESS_FUEL: u64 = 100;
/// As many as a committee has members.
const ATTESTERS_MAX: usize = 128;
const ADDRESS_BYTES: usize = 20;
const HASH_BYTES: usize = 32;

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut declare = linker.instance("subnode:chain/declare@0.1.4")?;
    offer(&mut declare, "attesters", |cx, (addresses,): (WasmList<Bytes>,)| {
        bounded("attest addresses", addresses.len(), ATTESTERS_MAX)?;
        charge(cx, CALL_FUEL + ADDRESS_FUEL * addresses.len() as u64)?;
        let addresses: Vec<Bytes> = addresses.iter(&mut *cx)?.collect::<wasmtime::Result<_>>()?;
        let longest = addresses.iter().map(WasmList::len).max().unwrap_or_default();
        bounded("bytes of an attest address", longest, ADDRESS_BYTES)?;
        // A shorter one is for whoever takes the block to refuse.
        let attesters = addresses.iter().map(|address| copy(cx, address)).collect();
        if let Some(declared) = &lent(cx)?.declared {
            declared.set(|declared| declared.attesters = Some(attesters));
        }
        Ok(())
    })?;
    offer(&mut declare, "upgrade", |cx, (module,): (NextModule,)| {
        bounded("bytes of a module's hash", module.sha256.len(), HASH_BYTES)?;
        charge(cx, CALL_FUEL)?;
        let NextModule { role, height, sha256, size } = module;
        if let Some(declared) = &lent(cx)?.declared {
            // A shorter hash is for whoever takes the block to refuse.
            declared.set(|declared| declared.upgrades[role as usize] = Some(DeclaredUpgrade { height, sha256, size }));
        }
        Ok(())
    })?;
    offer(&mut declare, "seed", |cx, (seed,): (Bytes,)| {
        charge(cx, CALL_FUEL)?;
        let wrong = || BoundBroken(format!("bytes of a seed: {}, and it has 32", seed.len()));
        let seed = slice(cx, &seed).try_into().map_err(|_| wrong())?;
        if let Some(declared) = &lent(cx)?.declared {
            declared.set(|declared| declared.seed = Some(seed));
        }
        Ok(())
    })
}
