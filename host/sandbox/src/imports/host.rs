use wasmtime::component::Linker;

use super::{charge, charge_bytes, charge_memory, forget_answer, lent, offer};
use crate::{ChainStatus, fault::BoundBroken, guest::GuestState};

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut host = linker.instance("subnode:chain/host@0.1.4")?;
    offer(&mut host, "status", |cx, (): ()| {
        charge(cx, 500)?;
        match &lent(cx)?.status {
            Some(status) => Ok::<(ChainStatus,), wasmtime::Error>((status.clone(),)),
            None => Err(BoundBroken("status outside a query or an admission".into()).into()),
        }
    })?;
    offer(&mut host, "cursor", |cx, (id,): (u64,)| {
        let found = lent(cx)?.query.as_ref().and_then(|query| (query.cursor)(id));
        forget_answer(cx);
        let GuestState { tenant, answered, .. } = cx.data_mut();
        charge_memory(tenant, answered, found.as_ref().map_or(0, Vec::len))?;
        charge_bytes(cx, 500, found.as_ref().map_or(0, Vec::len))?;
        Ok((found,))
    })
}
