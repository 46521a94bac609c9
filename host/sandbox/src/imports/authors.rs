use wasmtime::component::Linker;

use super::{Bytes, charge, offer, slice};
use crate::guest::GuestState;

/// Fuel of a call.
const CALL_FUEL: u64 = 1_000;

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut authors = linker.instance("subnode:chain/authors@0.1.4")?;
    offer(&mut authors, "author", |cx, (id,): (Bytes,)| {
        charge(cx, CALL_FUEL)?;
        let author = cx.data().membership.as_ref().and_then(|membership| membership.authors.as_ref()?.author(slice(cx, &id)));
        Ok((author.map(|author| author.0.to_vec()),))
    })
}
