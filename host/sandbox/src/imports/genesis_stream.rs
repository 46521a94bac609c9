use wasmtime::component::Linker;

use super::{Bytes, Cx, bounded, charge, charge_bytes, copy, lent, offer, pause_if_burnt};
use crate::{
    Entry,
    fault::BoundBroken,
    guest::GuestState,
    lent::GenesisStream,
    packed::{self, split_rows},
};

/// Bytes of the spec that are read at once: 50 us from memory.
const READ_BYTES_MAX: usize = 256 << 10;
/// Bytes of rows that are handed over at once: to copy and to hash them takes a millisecond.
const ROWS_BYTES_MAX: usize = 1 << 20;
/// Rows that are handed over at once: to unpack them takes a millisecond, and a megabyte beside their bytes.
const ROWS_MAX: usize = 8_192;
/// Bytes of sorted entries that are returned at once: some 500 reads of a sorted file, half a millisecond.
const SORTED_BYTES: usize = 64 << 10;
/// Fuel of a row: what it costs to keep it until it is written, in order, and to write it.
const ROW_FUEL: u64 = 1_000;
/// Fuel of a call.
const CALL_FUEL: u64 = 2_000;

fn stream<'a>(cx: &'a mut Cx<'_>) -> wasmtime::Result<&'a mut dyn GenesisStream> {
    match &mut lent(cx)?.genesis {
        Some(stream) => Ok(&mut **stream),
        None => Err(BoundBroken("genesis-stream outside genesis".into()).into()),
    }
}

/// Rows from a guest, paid for.
fn rows(cx: &mut Cx<'_>, packed: &Bytes) -> wasmtime::Result<Vec<Entry>> {
    bounded("bytes of rows", packed.len(), ROWS_BYTES_MAX)?;
    charge_bytes(cx, CALL_FUEL, packed.len())?;
    let packed = copy(cx, packed);
    let rows = split_rows(&packed, ROWS_MAX)?;
    charge(cx, ROW_FUEL.saturating_mul(rows.len() as u64))?;
    Ok(rows)
}

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut genesis = linker.instance("subnode:chain/genesis-stream@0.1.4")?;
    offer(&mut genesis, "spec-size", |cx, (): ()| Ok((lent(cx)?.genesis.as_ref().map_or(0, |stream| stream.spec_size()),)))?;
    offer(&mut genesis, "read-spec", |cx, (len,): (u32,)| {
        bounded("bytes of the spec", len as usize, READ_BYTES_MAX)?;
        charge_bytes(cx, CALL_FUEL, len as usize)?;
        Ok((stream(cx)?.read_spec(len as usize)?,))
    })?;
    genesis.func_wrap_async("put-rows", |mut cx: Cx<'_>, (packed,): (Bytes,)| {
        Box::new(async move {
            let rows = rows(&mut cx, &packed)?;
            stream(&mut cx)?.put_rows(rows).await?;
            pause_if_burnt(&mut cx).await;
            Ok(())
        })
    })?;
    genesis.func_wrap_async("sort", |mut cx: Cx<'_>, (packed,): (Bytes,)| {
        Box::new(async move {
            let entries = rows(&mut cx, &packed)?;
            let stream = stream(&mut cx)?;
            if stream.is_sorted() {
                return Err(BoundBroken("sort after next-sorted".into()).into());
            }
            stream.sort(entries).await?;
            pause_if_burnt(&mut cx).await;
            Ok(())
        })
    })?;
    genesis.func_wrap_async("next-sorted", |mut cx: Cx<'_>, (): ()| {
        Box::new(async move {
            let entries = stream(&mut cx)?.next_sorted(SORTED_BYTES).await?;
            let mut answer = Vec::with_capacity(SORTED_BYTES);
            for entry in &entries {
                packed::push_row(&mut answer, &entry.key, &entry.value);
            }
            charge_bytes(&mut cx, CALL_FUEL + ROW_FUEL * entries.len() as u64, answer.len())?;
            pause_if_burnt(&mut cx).await;
            Ok((answer,))
        })
    })
}
