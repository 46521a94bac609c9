use wasmtime::component::Linker;

use super::{Bytes, Cx, bounded, charge, charge_bytes, charge_memory, copy, forget_answer, lent, offer};
use crate::{ListLimit, POOL_NAME_BYTES_MAX, Pooled, Ready, Word256, guest::GuestState, lent::PoolReader, packed};

const NEXT_MAX: u32 = 256;
const LIST_MAX: u32 = 4096;
/// Bytes of a list of transactions: it ends with the one that reaches this. As for rows, they are copied in one go.
const LIST_BYTES_MAX: usize = 4 << 20;
/// Fuel of one look-up under the pool's lock.
const LOOK_UP_FUEL: u64 = 500;
/// Fuel of ranking, for each sender.
const RANK_FUEL: u64 = 100;
/// Fuel of a transaction in a packed list, besides its bytes.
const PACKED_FUEL: u64 = 50;

fn pool<'a>(cx: &'a mut Cx<'_>) -> wasmtime::Result<Option<&'a mut Box<dyn PoolReader>>> {
    Ok(lent(cx)?.pool.as_mut())
}

fn name(cx: &mut Cx<'_>, name: &Bytes) -> wasmtime::Result<Vec<u8>> {
    bounded("name bytes", name.len(), POOL_NAME_BYTES_MAX)?;
    charge(cx, LOOK_UP_FUEL)?;
    Ok(copy(cx, name))
}

fn next(cx: &mut Cx<'_>, limit: u32, found: &mut dyn FnMut(Ready<'_>)) -> wasmtime::Result<()> {
    bounded("transactions", limit as usize, NEXT_MAX as usize)?;
    rank(cx, 0)?;
    if let Some(pool) = pool(cx)? {
        pool.next(ListLimit { count: limit as usize, bytes: LIST_BYTES_MAX }, found);
    }
    Ok(())
}

/// Orders what `next` offers, unless that was done in this call before.
fn rank(cx: &mut Cx<'_>, floor: u64) -> wasmtime::Result<()> {
    let senders = pool(cx)?.map_or(0, |pool| pool.rank(floor));
    charge(cx, LOOK_UP_FUEL + RANK_FUEL * senders as u64)
}

/// Charges for transactions that were copied. A list is bounded, so that little is there before it is charged.
fn charge_all(cx: &mut Cx<'_>, found: &[Pooled]) -> wasmtime::Result<()> {
    let bytes = found.iter().map(|pooled| pooled.id.len() + pooled.sender.len() + pooled.data.len()).sum();
    charge_answer(cx, 100 * found.len() as u64, bytes)
}

fn charge_answer(cx: &mut Cx<'_>, base: u64, bytes: usize) -> wasmtime::Result<()> {
    forget_answer(cx);
    let GuestState { tenant, answered, .. } = cx.data_mut();
    charge_memory(tenant, answered, bytes)?;
    charge_bytes(cx, base, bytes)
}

fn list(cx: &mut Cx<'_>, limit: u32) -> wasmtime::Result<ListLimit> {
    bounded("transactions", limit as usize, LIST_MAX as usize)?;
    charge(cx, LOOK_UP_FUEL)?;
    Ok(ListLimit { count: limit as usize, bytes: LIST_BYTES_MAX })
}

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("subnode:chain/pool@0.1.4")?;
    offer(&mut instance, "next", |cx, (limit,): (u32,)| {
        let mut found = Vec::new();
        let pooled = |ready: Ready<'_>| Pooled {
            id: ready.id.to_vec(),
            sender: ready.sender.to_vec(),
            sequence: ready.sequence,
            data: ready.data.to_vec(),
            ready: true,
        };
        next(cx, limit, &mut |ready| found.push(pooled(ready)))?;
        charge_all(cx, &found)?;
        Ok((found,))
    })?;
    offer(&mut instance, "next-packed", |cx, (limit,): (u32,)| {
        let (mut count, mut packed) = (0, Vec::new());
        next(cx, limit, &mut |ready| {
            count += 1;
            packed::push_ready(&mut packed, ready);
        })?;
        charge_answer(cx, PACKED_FUEL * count, packed.len())?;
        Ok((packed,))
    })?;
    offer(&mut instance, "skip-sender", |cx, (sender,): (Bytes,)| {
        let sender = name(cx, &sender)?;
        if let Some(pool) = pool(cx)? {
            pool.skip_sender(&sender);
        }
        Ok(())
    })?;
    offer(&mut instance, "rank", |cx, (floor,): (u64,)| rank(cx, floor))?;
    offer(&mut instance, "discard", |cx, (id,): (Bytes,)| {
        let id = name(cx, &id)?;
        if let Some(pool) = pool(cx)? {
            pool.discard(&id);
        }
        Ok(())
    })?;
    offer(&mut instance, "reserve", |cx, (sender, sequence, cost, funds): (Bytes, u64, Word256, Word256)| {
        let sender = name(cx, &sender)?;
        let others = pool(cx)?.and_then(|pool| pool.reserve(&sender, sequence, cost.to_bytes(), funds.to_bytes()));
        Ok((others.map(Word256::from_bytes),))
    })?;
    offer(&mut instance, "get", |cx, (id,): (Bytes,)| {
        let id = name(cx, &id)?;
        let found = pool(cx)?.and_then(|pool| pool.get(&id));
        charge_all(cx, found.as_slice())?;
        Ok((found,))
    })?;
    offer(&mut instance, "by-sender", |cx, (sender, limit): (Bytes, u32)| {
        let limit = list(cx, limit)?;
        let sender = name(cx, &sender)?;
        let found = pool(cx)?.map_or_else(Vec::new, |pool| pool.by_sender(&sender, limit));
        charge_all(cx, &found)?;
        Ok((found,))
    })?;
    offer(&mut instance, "all", |cx, (limit,): (u32,)| {
        let limit = list(cx, limit)?;
        let found = pool(cx)?.map_or_else(Vec::new, |pool| pool.all(limit));
        charge_all(cx, &found)?;
        Ok((found,))
    })?;
    offer(&mut instance, "next-sequence", |cx, (sender,): (Bytes,)| {
        let sender = name(cx, &sender)?;
        Ok((pool(cx)?.and_then(|pool| pool.next_sequence(&sender)),))
    })?;
    offer(&mut instance, "counts", |cx, (): ()| {
        charge(cx, LOOK_UP_FUEL)?;
        Ok((pool(cx)?.map_or(crate::Occupancy { ready: 0, waiting: 0 }, |pool| pool.counts()),))
    })?;
    offer(&mut instance, "since", |cx, (mark,): (u64,)| {
        charge(cx, LOOK_UP_FUEL)?;
        let found = pool(cx)?.map_or((Vec::new(), mark), |pool| pool.since(mark, LIST_MAX as usize));
        charge_answer(cx, 0, found.0.len() * POOL_NAME_BYTES_MAX)?;
        Ok((found,))
    })
}
