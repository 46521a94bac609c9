use wasmtime::component::{Linker, WasmList};

use super::{
    Bytes, CHARGED_FROM_BYTES, Cx, bounded, charge, charge_bytes, charge_memory, copy, forget_answer, lent, offer, pause_if_burnt,
};
use crate::{
    Entry, Lent, Scanned, Table,
    bindings::runtime::subnode::chain::state::Unavailable,
    fault::{BoundBroken, HostFault},
    guest::GuestState,
};

const KEY_BYTES_MAX: usize = 256;
const KEYS_MAX: usize = 4096;
const SCAN_ROWS_MAX: usize = 4096;
/// Bytes of a list of rows: they are copied to the guest in one go, which takes half a millisecond for each MiB of new memory. A single row may
/// be longer.
const ROWS_BYTES_MAX: usize = 4 << 20;
/// Rows that are read at once: from disk, 2 us each. A view reads fewer where they are long, and passes so many old values at most.
const ROWS_AT_ONCE: usize = 64;
/// Fuel of one read: what it costs on the machine fuel was calibrated on, from memory.
const READ_FUEL: u64 = 500;
const SCAN_FUEL: u64 = 2_000;

fn key(cx: &Cx<'_>, key: &Bytes) -> wasmtime::Result<Vec<u8>> {
    bounded("key bytes", key.len(), KEY_BYTES_MAX)?;
    if key.len() == 0 {
        return Err(BoundBroken("empty key".into()).into());
    }
    Ok(copy(cx, key))
}

/// What a block does may depend on the state alone: of the other tables, nodes may have more or less.
fn readable(table: Table, lent: &Lent) -> Result<(), BoundBroken> {
    if table == Table::State || lent.query.is_some() {
        Ok(())
    } else {
        Err(BoundBroken("another table than the state outside a query".into()))
    }
}

fn read(cx: &mut Cx<'_>, table: Table, key: &[u8], range: Option<(u32, u32)>) -> wasmtime::Result<Option<Vec<u8>>> {
    let (mut value, mut row_bytes, mut refused) = (None, 0, Ok(()));
    lent(cx)?;
    let GuestState { lent: Some(lent), tenant, answered, .. } = cx.data_mut() else { return Ok(None) };
    readable(table, lent)?;
    lent.state.read(table, key, &mut |bytes| {
        row_bytes = bytes.len();
        let part = match range {
            None => bytes,
            Some((offset, len)) => {
                let start = bytes.len().min(offset as usize);
                &bytes[start..bytes.len().min(start.saturating_add(len as usize))]
            }
        };
        // Before it is copied.
        refused = charge_memory(tenant, answered, part.len());
        value = refused.is_ok().then(|| part.to_vec());
    })?;
    refused?;
    // The store has read the row, whatever part of it was asked for.
    charge_bytes(cx, READ_FUEL, row_bytes)?;
    Ok(value)
}

/// Reads rows, some at a time.
async fn scan(cx: &mut Cx<'_>, table: Table, mut start: Vec<u8>, end: Option<&[u8]>, limit: usize) -> wasmtime::Result<Vec<Entry>> {
    let mut rows: Vec<Entry> = Vec::new();
    let mut bytes_read = 0;
    while rows.len() < limit {
        let lent = lent(cx)?;
        readable(table, lent)?;
        let Scanned { rows: some, next, passed } = lent.state.scan(table, &start, end, (limit - rows.len()).min(ROWS_AT_ONCE))?;
        let bytes: usize = some.iter().map(|row| row.key.len() + row.value.len()).sum();
        charge_bytes(cx, READ_FUEL / 4 * (some.len() + passed) as u64, bytes)?;
        rows.extend(some);
        bytes_read += bytes;
        if rows.len() > 1 {
            bounded("bytes of rows", bytes_read, ROWS_BYTES_MAX)?;
        }
        if bytes_read >= CHARGED_FROM_BYTES {
            let GuestState { tenant, answered, .. } = cx.data_mut();
            answered.push(tenant.lease(bytes as u64)?);
        }
        let Some(next) = next else { break };
        start = next;
        pause_if_burnt(cx).await;
    }
    Ok(rows)
}

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut state = linker.instance("subnode:chain/state@0.1.4")?;
    offer(&mut state, "get", |cx, (table, name): (Table, Bytes)| {
        let name = key(cx, &name)?;
        forget_answer(cx);
        Ok((read(cx, table, &name, None)?,))
    })?;
    offer(&mut state, "get-part", |cx, (table, name, offset, len): (Table, Bytes, u32, u32)| {
        let name = key(cx, &name)?;
        forget_answer(cx);
        Ok((read(cx, table, &name, Some((offset, len)))?,))
    })?;
    state.func_wrap_async("get-many", |mut cx: Cx<'_>, (table, names): (Table, WasmList<Bytes>)| {
        Box::new(async move {
            bounded("keys", names.len(), KEYS_MAX)?;
            let names: Vec<Bytes> = names.iter(&mut cx)?.collect::<wasmtime::Result<_>>()?;
            forget_answer(&mut cx);
            let (mut values, mut bytes) = (Vec::with_capacity(names.len()), 0);
            for name in &names {
                let name = key(&cx, name)?;
                let value = read(&mut cx, table, &name, None)?;
                bytes += value.as_ref().map_or(0, Vec::len);
                values.push(value);
                if values.len() > 1 {
                    bounded("bytes of values", bytes, ROWS_BYTES_MAX)?;
                }
                pause_if_burnt(&mut cx).await;
            }
            Ok((values,))
        })
    })?;
    state.func_wrap_async("scan", |mut cx: Cx<'_>, (table, start, end, limit): (Table, Bytes, Option<Bytes>, u32)| {
        Box::new(async move {
            bounded("key bytes", start.len(), KEY_BYTES_MAX)?;
            bounded("key bytes", end.as_ref().map_or(0, WasmList::len), KEY_BYTES_MAX)?;
            bounded("rows", limit as usize, SCAN_ROWS_MAX)?;
            charge(&mut cx, SCAN_FUEL)?;
            forget_answer(&mut cx);
            let (start, end) = (copy(&cx, &start), end.map(|end| copy(&cx, &end)));
            Ok((scan(&mut cx, table, start, end.as_deref(), limit as usize).await?,))
        })
    })?;
    offer(&mut state, "seek", |cx, (height,): (u64,)| {
        charge(cx, READ_FUEL)?;
        let lent = lent(cx)?;
        if lent.query.is_none() {
            return Err(BoundBroken("seek outside a query".into()).into());
        }
        let found: Result<_, HostFault> = lent.state.seek(height);
        Ok((found?.map_err(|heights| Unavailable { oldest: heights.oldest, newest: heights.newest }),))
    })
}
