//! WASI as far as Rust's standard library needs it. It is wasmtime's own but for the functions that take lists: those would copy any
//! length, and none of it would burn fuel.

use wasmtime::component::{Linker, Resource, WasmList};
use wasmtime_wasi::{
    WasiView as _,
    p2::{
        DynOutputStream, DynPollable,
        bindings::io::{poll::Host as _, streams::StreamError},
    },
};

use super::{Bytes, Cx, bounded, charge, copy, offer, pause_if_burnt};
use crate::guest::GuestState;

/// wasi:io: what `blocking-write-and-flush` may be asked, and more than `check-write` permits.
const WRITE_BYTES_MAX: usize = 4096;
/// Handles that a guest waits for: it has clocks, and streams that are ready.
const POLLABLES_MAX: usize = 64;
/// Fuel of a call, and of each handle or byte: output is looked at byte by byte.
const CALL_FUEL: u64 = 1_000;
const BYTE_FUEL: u64 = 4;

pub(super) fn link(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_async(linker)?;
    linker.allow_shadowing(true);
    let mut streams = linker.instance("wasi:io/streams@0.2.12")?;
    for name in ["[method]output-stream.write", "[method]output-stream.blocking-write-and-flush"] {
        offer(&mut streams, name, |cx, (stream, text): (Resource<DynOutputStream>, Bytes)| {
            bounded("bytes written", text.len(), WRITE_BYTES_MAX)?;
            charge(cx, CALL_FUEL + BYTE_FUEL * text.len() as u64)?;
            let text = copy(cx, &text);
            // Streams of a guest take what they are given, or drop it.
            let written = cx.data_mut().ctx().table.get_mut(&stream)?.write(text.into());
            Ok((written.map_err(|_| StreamError::Closed),))
        })?;
    }
    let mut polls = linker.instance("wasi:io/poll@0.2.12")?;
    polls.func_wrap_async("poll", |mut cx: Cx<'_>, (handles,): (WasmList<Resource<DynPollable>>,)| {
        Box::new(async move {
            bounded("handles to wait for", handles.len(), POLLABLES_MAX)?;
            charge(&mut cx, CALL_FUEL * (1 + handles.len() as u64))?;
            let handles = handles.iter(&mut cx)?.collect::<wasmtime::Result<Vec<_>>>()?;
            pause_if_burnt(&mut cx).await;
            Ok((cx.data_mut().ctx().table.poll(handles).await?,))
        })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}
