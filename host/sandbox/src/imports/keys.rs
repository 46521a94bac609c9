use wasmtime::component::Linker;

use super::{Bytes, Cx, bounded, charge, copy, lent};
use crate::{bindings::runtime::subnode::chain::types::Word256, guest::GuestState};

/// Fuel of a signature: some 40 us.
const SIGN_FUEL: u64 = 40_000;
const NAME_BYTES_MAX: usize = 64;

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut keys = linker.instance("subnode:chain/keys@0.1.0")?;
    keys.func_wrap("accounts", |mut cx: Cx<'_>, (): ()| {
        charge(&mut cx, 1_000)?;
        Ok((lent(&mut cx)?.query.as_ref().map_or_else(Vec::new, |query| query.accounts.names()),))
    })?;
    keys.func_wrap("sign", |mut cx: Cx<'_>, (account, digest): (Bytes, Word256)| {
        bounded("name bytes", account.len(), NAME_BYTES_MAX)?;
        charge(&mut cx, SIGN_FUEL)?;
        let account = copy(&cx, &account);
        let digest = digest.to_bytes();
        Ok((lent(&mut cx)?.query.as_ref().and_then(|query| query.accounts.sign(&account, &digest)),))
    })
}
