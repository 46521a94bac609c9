use wasmtime::component::Linker;

use super::{Bytes, Cx, bounded, charge, copy, lent, offer};
use crate::{Accounts, bindings::runtime::subnode::chain::types::Word256, guest::GuestState};

/// Fuel of a signature: some 40 us.
const SIGN_FUEL: u64 = 40_000;
const NAME_BYTES_MAX: usize = 64;

fn accounts<'a>(cx: &'a mut Cx<'_>) -> wasmtime::Result<Option<&'a dyn Accounts>> {
    Ok(lent(cx)?.query.as_ref().and_then(|query| query.accounts.as_deref()))
}

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut keys = linker.instance("subnode:chain/keys@0.1.4")?;
    offer(&mut keys, "accounts", |cx, (): ()| {
        charge(cx, 1_000)?;
        Ok((accounts(cx)?.map_or_else(Vec::new, |accounts| accounts.names()),))
    })?;
    offer(&mut keys, "sign", |cx, (account, digest): (Bytes, Word256)| {
        bounded("name bytes", account.len(), NAME_BYTES_MAX)?;
        charge(cx, SIGN_FUEL)?;
        let account = copy(cx, &account);
        let digest = digest.to_bytes();
        Ok((accounts(cx)?.and_then(|accounts| accounts.sign(&account, &digest)),))
    })
}
