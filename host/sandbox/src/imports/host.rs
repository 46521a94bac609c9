use wasmtime::component::Linker;

use super::{Cx, charge, charge_bytes, lent};
use crate::{ChainStatus, fault::BoundBroken, guest::GuestState};

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut host = linker.instance("subnode:chain/host@0.1.0")?;
    host.func_wrap("status", |mut cx: Cx<'_>, (): ()| {
        charge(&mut cx, 500)?;
        match &lent(&mut cx)?.query {
            Some(query) => Ok::<(ChainStatus,), wasmtime::Error>((query.status.clone(),)),
            None => Err(BoundBroken("status outside a query".into()).into()),
        }
    })?;
    host.func_wrap("cursor", |mut cx: Cx<'_>, (id,): (u64,)| {
        let found = lent(&mut cx)?.query.as_ref().and_then(|query| (query.cursor)(id));
        charge_bytes(&mut cx, 500, found.as_ref().map_or(0, Vec::len))?;
        Ok((found,))
    })
}
