use wasmtime::component::Linker;

use super::{Bytes, Cx, bounded, charge, charge_bytes, copy, lent};
use crate::{Pooled, guest::GuestState, lent::PoolReader};

const NEXT_MAX: u32 = 256;
const LIST_MAX: u32 = 4096;
const NAME_BYTES_MAX: usize = 64;
/// Fuel of one look-up under the pool's lock.
const LOOK_UP_FUEL: u64 = 500;

fn pool<'a>(cx: &'a mut Cx<'_>) -> wasmtime::Result<Option<&'a mut Box<dyn PoolReader>>> {
    Ok(lent(cx)?.pool.as_mut())
}

fn name(cx: &mut Cx<'_>, name: &Bytes) -> wasmtime::Result<Vec<u8>> {
    bounded("name bytes", name.len(), NAME_BYTES_MAX)?;
    charge(cx, LOOK_UP_FUEL)?;
    Ok(copy(cx, name))
}

fn charge_all(cx: &mut Cx<'_>, found: &[Pooled]) -> wasmtime::Result<()> {
    charge_bytes(cx, 100 * found.len() as u64, found.iter().map(|pooled| pooled.data.len()).sum())
}

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("subnode:chain/pool@0.1.0")?;
    instance.func_wrap("next", |mut cx: Cx<'_>, (limit,): (u32,)| {
        bounded("transactions", limit as usize, NEXT_MAX as usize)?;
        charge(&mut cx, LOOK_UP_FUEL)?;
        let found = pool(&mut cx)?.map_or_else(Vec::new, |pool| pool.next(limit as usize));
        charge_all(&mut cx, &found)?;
        Ok((found,))
    })?;
    instance.func_wrap("skip-sender", |mut cx: Cx<'_>, (sender,): (Bytes,)| {
        let sender = name(&mut cx, &sender)?;
        if let Some(pool) = pool(&mut cx)? {
            pool.skip_sender(&sender);
        }
        Ok(())
    })?;
    instance.func_wrap("get", |mut cx: Cx<'_>, (id,): (Bytes,)| {
        let id = name(&mut cx, &id)?;
        let found = pool(&mut cx)?.and_then(|pool| pool.get(&id));
        charge_all(&mut cx, found.as_slice())?;
        Ok((found,))
    })?;
    instance.func_wrap("by-sender", |mut cx: Cx<'_>, (sender, limit): (Bytes, u32)| {
        bounded("transactions", limit as usize, LIST_MAX as usize)?;
        let sender = name(&mut cx, &sender)?;
        let found = pool(&mut cx)?.map_or_else(Vec::new, |pool| pool.by_sender(&sender, limit as usize));
        charge_all(&mut cx, &found)?;
        Ok((found,))
    })?;
    instance.func_wrap("all", |mut cx: Cx<'_>, (limit,): (u32,)| {
        bounded("transactions", limit as usize, LIST_MAX as usize)?;
        charge(&mut cx, LOOK_UP_FUEL)?;
        let found = pool(&mut cx)?.map_or_else(Vec::new, |pool| pool.all(limit as usize));
        charge_all(&mut cx, &found)?;
        Ok((found,))
    })?;
    instance.func_wrap("next-sequence", |mut cx: Cx<'_>, (sender,): (Bytes,)| {
        let sender = name(&mut cx, &sender)?;
        Ok((pool(&mut cx)?.and_then(|pool| pool.next_sequence(&sender)),))
    })?;
    instance.func_wrap("counts", |mut cx: Cx<'_>, (): ()| {
        charge(&mut cx, LOOK_UP_FUEL)?;
        Ok((pool(&mut cx)?.map_or(crate::Occupancy { ready: 0, waiting: 0 }, |pool| pool.counts()),))
    })?;
    instance.func_wrap("since", |mut cx: Cx<'_>, (mark,): (u64,)| {
        charge(&mut cx, LOOK_UP_FUEL)?;
        let found = pool(&mut cx)?.map_or((Vec::new(), mark), |pool| pool.since(mark, LIST_MAX as usize));
        charge_bytes(&mut cx, 0, found.0.len() * 32)?;
        Ok((found,))
    })
}
