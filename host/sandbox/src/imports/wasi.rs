//! WASI as far as Rust's standard library needs it. It is wasmtime's own but for two kinds of functions, as none of its own burn fuel: those that
//! take lists would copy any length, and those that answer at once a guest could call without end and outlast its turn.

use wasmtime::component::{Linker, Resource, WasmList};
use wasmtime_wasi::{
    WasiView as _,
    clocks::WasiClocksView as _,
    p2::{
        DynOutputStream, DynPollable,
        bindings::{
            clocks::{monotonic_clock, wall_clock},
            io::{poll::Host as _, streams::StreamError},
            random::{insecure, insecure_seed, random},
        },
    },
    random::WasiRandomView as _,
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
/// Fuel of a call that answers at once: some 150 ns.
const ANSWER_FUEL: u64 = 150;

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
    link_clocks(linker)?;
    link_random(linker)?;
    linker.allow_shadowing(false);
    Ok(())
}

fn link_clocks(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut wall = linker.instance("wasi:clocks/wall-clock@0.2.12")?;
    offer(&mut wall, "now", |cx, (): ()| {
        charge(cx, ANSWER_FUEL)?;
        Ok((wall_clock::Host::now(&mut cx.data_mut().clocks())?,))
    })?;
    offer(&mut wall, "resolution", |cx, (): ()| {
        charge(cx, ANSWER_FUEL)?;
        Ok((wall_clock::Host::resolution(&mut cx.data_mut().clocks())?,))
    })?;
    let mut monotonic = linker.instance("wasi:clocks/monotonic-clock@0.2.12")?;
    offer(&mut monotonic, "now", |cx, (): ()| {
        charge(cx, ANSWER_FUEL)?;
        Ok((monotonic_clock::Host::now(&mut cx.data_mut().clocks())?,))
    })?;
    offer(&mut monotonic, "resolution", |cx, (): ()| {
        charge(cx, ANSWER_FUEL)?;
        Ok((monotonic_clock::Host::resolution(&mut cx.data_mut().clocks())?,))
    })?;
    offer(&mut monotonic, "subscribe-instant", |cx, (when,): (u64,)| {
        charge(cx, CALL_FUEL)?;
        Ok((monotonic_clock::Host::subscribe_instant(&mut cx.data_mut().clocks(), when)?,))
    })?;
    offer(&mut monotonic, "subscribe-duration", |cx, (duration,): (u64,)| {
        charge(cx, CALL_FUEL)?;
        Ok((monotonic_clock::Host::subscribe_duration(&mut cx.data_mut().clocks(), duration)?,))
    })
}

fn link_random(linker: &mut Linker<GuestState>) -> wasmtime::Result<()> {
    let mut random = linker.instance("wasi:random/random@0.2.12")?;
    offer(&mut random, "get-random-bytes", |cx, (len,): (u64,)| {
        charge(cx, ANSWER_FUEL.saturating_add(len.saturating_mul(BYTE_FUEL)))?;
        Ok((random::Host::get_random_bytes(cx.data_mut().random(), len)?,))
    })?;
    offer(&mut random, "get-random-u64", |cx, (): ()| {
        charge(cx, ANSWER_FUEL)?;
        Ok((random::Host::get_random_u64(cx.data_mut().random())?,))
    })?;
    let mut insecure = linker.instance("wasi:random/insecure@0.2.12")?;
    offer(&mut insecure, "get-insecure-random-bytes", |cx, (len,): (u64,)| {
        charge(cx, ANSWER_FUEL.saturating_add(len.saturating_mul(BYTE_FUEL)))?;
        Ok((insecure::Host::get_insecure_random_bytes(cx.data_mut().random(), len)?,))
    })?;
    offer(&mut insecure, "get-insecure-random-u64", |cx, (): ()| {
        charge(cx, ANSWER_FUEL)?;
        Ok((insecure::Host::get_insecure_random_u64(cx.data_mut().random())?,))
    })?;
    let mut seed = linker.instance("wasi:random/insecure-seed@0.2.12")?;
    offer(&mut seed, "insecure-seed", |cx, (): ()| {
        charge(cx, ANSWER_FUEL)?;
        Ok((insecure_seed::Host::insecure_seed(cx.data_mut().random())?,))
    })
}
