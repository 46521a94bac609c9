//! The host side of what modules import. Every length from a guest is checked before anything of it is copied.

mod authors;
mod crypto;
mod declare;
mod genesis_stream;
mod host;
mod keys;
mod notes;
mod pool;
mod signing;
mod state;
mod wasi;

use wasmtime::{
    Engine, StoreContextMut, Trap,
    component::{ComponentNamedList, Lift, Linker, LinkerInstance, Lower, WasmList},
};

use crate::{HostFault, Lease, Tenant, fault::BoundBroken, guest::GuestState, lent::Lent, turns::pause};

type Cx<'a> = StoreContextMut<'a, GuestState>;
type Bytes = WasmList<u8>;
type Instance<'a> = LinkerInstance<'a, GuestState>;

/// A linker that offers what modules may import, and WASI that denies.
pub(crate) fn linker(engine: &Engine) -> wasmtime::Result<Linker<GuestState>> {
    let mut linker = Linker::new(engine);
    wasi::link(&mut linker)?;
    state::link(&mut linker)?;
    crypto::link(&mut linker)?;
    pool::link(&mut linker)?;
    keys::link(&mut linker)?;
    host::link(&mut linker)?;
    signing::link(&mut linker)?;
    authors::link(&mut linker)?;
    genesis_stream::link(&mut linker)?;
    notes::link(&mut linker)?;
    declare::link(&mut linker)?;
    Ok(linker)
}

/// Offers a function that is done within a millisecond, but for copying what it answers. After it the turn ends if its time is over.
///
/// What may take longer is linked with `func_wrap_async` itself, and pauses between pieces of its work.
fn offer<P, R>(
    instance: &mut Instance<'_>,
    name: &str,
    function: impl Fn(&mut Cx<'_>, P) -> wasmtime::Result<R> + Send + Sync + 'static,
) -> wasmtime::Result<()>
where
    P: ComponentNamedList + Lift + 'static,
    R: ComponentNamedList + Lower + Send + 'static,
{
    instance.func_wrap_async(name, move |mut cx: Cx<'_>, params: P| {
        let answer = function(&mut cx, params);
        let burnt_much = take_burnt_much(&mut cx);
        Box::new(async move {
            if burnt_much {
                pause().await;
            }
            answer
        })
    })
}

/// Whether a host function has to look if its turn's time is over. Looking costs as much as a tenth of the shortest of them.
fn take_burnt_much(cx: &mut Cx<'_>) -> bool {
    std::mem::take(&mut cx.data_mut().burnt_much)
}

/// Ends the turn if its time is over, in a function whose work consists of many short pieces.
async fn pause_if_burnt(cx: &mut Cx<'_>) {
    if take_burnt_much(cx) {
        pause().await;
    }
}

/// Fuel for host functions is gathered until it is worth taking: the store's meter costs more than the shortest of them.
const GATHERED_FUEL_MAX: u64 = 20_000;

/// Burns fuel for work the host does in the guest's stead, before it is done.
///
/// To wasmtime each such charge is the beginning of a new interval after which the guest hands the thread back: a guest that calls often would
/// never do so by itself. Hence [`offer`] and [`pause`].
fn charge(cx: &mut Cx<'_>, fuel: u64) -> wasmtime::Result<()> {
    let state = cx.data_mut();
    state.owed_fuel = state.owed_fuel.saturating_add(fuel);
    if state.owed_fuel < GATHERED_FUEL_MAX {
        return Ok(());
    }
    state.burnt_much = true;
    let charged = std::mem::take(&mut state.owed_fuel);
    match cx.get_fuel()?.checked_sub(charged) {
        Some(left) => cx.set_fuel(left),
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

/// Answers of fewer bytes are not charged to the chain's memory: there is one of them for each call that runs.
const CHARGED_FROM_BYTES: usize = 64 << 10;

/// What the last host function answered has been copied to the guest.
fn forget_answer(cx: &mut Cx<'_>) {
    cx.data_mut().answered.clear();
}

/// Charges the chain's memory for bytes that are about to be kept for an answer, until [`forget_answer`].
fn charge_memory(tenant: &Tenant, answered: &mut Vec<Lease>, bytes: usize) -> Result<(), HostFault> {
    if bytes >= CHARGED_FROM_BYTES {
        answered.push(tenant.lease(bytes as u64)?);
    }
    Ok(())
}

fn bounded(what: &str, len: usize, max: usize) -> wasmtime::Result<()> {
    if len <= max { Ok(()) } else { Err(BoundBroken(format!("{what}: {len}, at most {max}")).into()) }
}

fn lent<'a>(cx: &'a mut Cx<'_>) -> wasmtime::Result<&'a mut Lent> {
    cx.data_mut().lent.as_mut().ok_or_else(|| BoundBroken("host function called outside a call".into()).into())
}

fn slice<'a>(cx: &'a Cx<'_>, bytes: &'a Bytes) -> &'a [u8] {
    bytes.as_le_slice(cx)
}

/// The same of any length, charged to the chain's memory as long as the lease lives.
fn charged_copy(cx: &Cx<'_>, bytes: &Bytes) -> wasmtime::Result<(Vec<u8>, Option<Lease>)> {
    let memory = if bytes.len() >= CHARGED_FROM_BYTES { Some(cx.data().tenant.lease(bytes.len() as u64)?) } else { None };
    Ok((copy(cx, bytes), memory))
}

fn copy(cx: &Cx<'_>, bytes: &Bytes) -> Vec<u8> {
    slice(cx, bytes).to_vec()
}
