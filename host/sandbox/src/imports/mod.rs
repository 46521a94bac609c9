//! The host side of what modules import. Every length from a guest is checked before anything of it is copied.

mod crypto;
mod host;
mod keys;
mod pool;
mod signing;
mod state;

use wasmtime::{
    Engine, StoreContextMut, Trap,
    component::{Linker, WasmList},
};

use crate::{fault::BoundBroken, guest::GuestState, lent::Lent};

type Cx<'a> = StoreContextMut<'a, GuestState>;
type Bytes = WasmList<u8>;

/// A linker that offers what modules may import, and WASI that denies.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    state::link(&mut linker)?;
    crypto::link(&mut linker)?;
    pool::link(&mut linker)?;
    keys::link(&mut linker)?;
    host::link(&mut linker)?;
    signing::link(&mut linker)?;
    Ok(linker)
}

/// Fuel for host functions is gathered until it is worth taking: the store's meter costs more than the shortest of them.
const GATHERED_FUEL_MAX: u64 = 20_000;

/// Burns fuel for work the host does in the guest's stead, before it is done.
fn charge(cx: &mut Cx<'_>, fuel: u64) -> wasmtime::Result<()> {
    let state = cx.data_mut();
    state.owed_fuel = state.owed_fuel.saturating_add(fuel);
    if state.owed_fuel < GATHERED_FUEL_MAX {
        return Ok(());
    }
    let charged = std::mem::take(&mut state.owed_fuel);
    match cx.get_fuel()?.checked_sub(charged) {
        Some(left) => {
            let interval = cx.data_mut().turns.interval(left, charged);
            cx.fuel_async_yield_interval(Some(interval))?;
            cx.set_fuel(left)
        }
        None => {
            cx.set_fuel(0)?;
            Err(Trap::OutOfFuel.into())
        }
    }
}

/// Fuel for handling bytes: about what a guest would burn to copy them.
fn charge_bytes(cx: &mut Cx<'_>, base: u64, bytes: usize) -> wasmtime::Result<()> {
    charge(cx, base.saturating_add(bytes as u64 / 8))
}

fn bounded(what: &str, len: usize, max: usize) -> wasmtime::Result<()> {
    if len <= max { Ok(()) } else { Err(BoundBroken(format!("{what}: {len}, at most {max}")).into()) }
}

fn lent<'a>(cx: &'a mut Cx<'_>) -> wasmtime::Result<&'a mut Lent> {
    cx.data_mut().lent.as_mut().ok_or_else(|| BoundBroken("host function called outside a call".into()).into())
}

fn copy(cx: &Cx<'_>, bytes: &Bytes) -> Vec<u8> {
    bytes.as_le_slice(cx).to_vec()
}
