//! One instance of either world, usable until its first fault.

use std::{
    future::Future,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use wasmtime::{Engine, Store};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::{
    CallError, GuestFault, HostFault, Lease, Lent, Limits, Membership, Tenant,
    fault::{MemoryRefused, classify},
    limits::Limiter,
    output::Output,
    turns::{self, YIELD_FUEL},
};

/// What an instance's host functions work on.
pub(crate) struct GuestState {
    wasi: WasiCtx,
    resources: ResourceTable,
    pub(crate) limiter: Limiter,
    /// Fuel for host functions that is not taken from the store yet.
    pub(crate) owed_fuel: u64,
    /// Whether so much was taken since a host function last looked that the turn's time may be over.
    pub(crate) burnt_much: bool,
    pub(crate) tenant: Tenant,
    /// Set for the length of a call.
    pub(crate) lent: Option<Lent>,
    /// Memory of what a host function has answered. It is given back when the next one answers, or the call ends.
    pub(crate) answered: Vec<Lease>,
    /// Set for instances of a consensus.
    pub(crate) membership: Option<Membership>,
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

/// Handles of WASI that an instance has at once: streams and clocks, some of each. The host keeps some 100 bytes of each.
const HANDLES_MAX: usize = 1_024;

/// The time of the block a guest works on.
#[derive(Clone, Default)]
pub(crate) struct BlockClock(Arc<AtomicU64>);

impl BlockClock {
    fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::Relaxed);
    }
}

impl HostWallClock for BlockClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl HostMonotonicClock for BlockClock {
    fn resolution(&self) -> u64 {
        1_000_000
    }

    fn now(&self) -> u64 {
        self.0.load(Ordering::Relaxed).saturating_mul(1_000_000)
    }
}

/// An instance, and what its calls need.
struct Instance<E> {
    store: Store<GuestState>,
    exports: E,
}

/// What an instance is asked for: a future that borrows it.
pub(crate) type Asked<'a, T> = Pin<Box<dyn Future<Output = wasmtime::Result<T>> + Send + 'a>>;

/// An instance of either world, with the exports `E`.
pub(crate) struct Guest<E> {
    /// None after a fault, and while a call has it: one that is given up midway takes it along.
    instance: Option<Box<Instance<E>>>,
    limits: Limits,
    clock: BlockClock,
    output: Output,
    tenant: Tenant,
    fuel_burnt: u64,
}

impl<E: Send + Sync + 'static> Guest<E> {
    /// A fresh instance. `seed` is all the randomness it will see.
    pub(crate) async fn new(
        engine: &Engine,
        tenant: &Tenant,
        limits: Limits,
        seed: &[u8],
        membership: Option<Membership>,
        instantiate: impl for<'a> FnOnce(&'a mut Store<GuestState>) -> Asked<'a, E> + Send + 'static,
    ) -> Result<Self, CallError> {
        let clock = BlockClock::default();
        let output = Output::new(tenant.clone());
        let seed = if seed.is_empty() { vec![0] } else { seed.to_vec() };
        let wasi = WasiCtxBuilder::new()
            .stdout(output.clone())
            .stderr(output.clone())
            .secure_random(Deterministic::new(seed.clone()))
            .insecure_random(Deterministic::new(seed))
            .insecure_random_seed(0)
            // A guest's request for more is answered by a trap: randomness is made byte by byte.
            .max_random_size(256)
            .wall_clock(clock.clone())
            .monotonic_clock(clock.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let mut state = GuestState {
            wasi,
            resources: ResourceTable::new(),
            limiter: Limiter::new(tenant.clone(), &limits),
            owed_fuel: 0,
            burnt_much: false,
            tenant: tenant.clone(),
            lent: None,
            answered: Vec::new(),
            membership,
        };
        state.resources.set_max_capacity(HANDLES_MAX);
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits.transfer_bytes);
        let mut guest = Self { instance: None, limits, clock, output, tenant: tenant.clone(), fuel_burnt: 0 };
        guest.prepare(&mut store, 0, None)?;
        let call = Box::pin(async move {
            let exports = instantiate(&mut store).await;
            (store, exports)
        });
        let (mut store, exports) = turns::run(&guest.tenant, guest.limits.wall, call).await?;
        let exports = exports.map_err(|error| instance_error(error, &store));
        let exports = guest.finish(&mut store, exports)?;
        guest.instance = Some(Box::new(Instance { store, exports }));
        Ok(guest)
    }

    /// A call that sees the time `now_ms`. Only one that returns leaves the instance to be used again.
    pub(crate) async fn call<T: Send + 'static>(
        &mut self,
        now_ms: u64,
        lent: Option<Lent>,
        ask: impl for<'a> FnOnce(&'a E, &'a mut Store<GuestState>) -> Asked<'a, T> + Send + 'static,
    ) -> Result<T, CallError> {
        let Some(mut instance) = self.instance.take() else {
            return Err(GuestFault::Trap("the instance has faulted before".into()).into());
        };
        self.prepare(&mut instance.store, now_ms, lent)?;
        let call = Box::pin(async move {
            let result = ask(&instance.exports, &mut instance.store).await;
            (instance, result)
        });
        let (mut instance, result) = turns::run(&self.tenant, self.limits.wall, call).await?;
        let result = self.finish(&mut instance.store, result)?;
        self.instance = Some(instance);
        Ok(result)
    }

    /// Fuel for one call or for instantiation, given out in portions after each of which other work may run; the time; what is lent.
    fn prepare(&self, store: &mut Store<GuestState>, now_ms: u64, lent: Option<Lent>) -> Result<(), CallError> {
        let refuelled = store.set_fuel(self.limits.fuel).and_then(|()| store.fuel_async_yield_interval(Some(YIELD_FUEL)));
        refuelled.map_err(|error| self.fault(store, &error))?;
        self.clock.set(now_ms);
        self.output.refill();
        let state = store.data_mut();
        state.owed_fuel = 0;
        state.limiter.refused = None;
        state.lent = lent;
        Ok(())
    }

    /// What a call returned or whose fault it is, and counts the fuel it burnt.
    fn finish<T>(&mut self, store: &mut Store<GuestState>, result: wasmtime::Result<T>) -> Result<T, CallError> {
        let state = store.data_mut();
        (state.lent, state.answered) = (None, Vec::new());
        let left = store.get_fuel().unwrap_or_default().saturating_sub(store.data().owed_fuel);
        let burnt = self.limits.fuel.saturating_sub(left);
        self.tenant.share().count_fuel(burnt);
        self.fuel_burnt = self.fuel_burnt.saturating_add(burnt);
        let value = result.map_err(|error| self.fault(store, &error))?;
        // Whatever it made of that, another host would have had the memory: what it returns is no verdict.
        match &store.data().limiter.refused {
            Some(MemoryRefused::Slice(fault)) => Err(fault.clone().into()),
            Some(MemoryRefused::Instance) | None => Ok(value),
        }
    }

    fn fault(&self, store: &Store<GuestState>, error: &wasmtime::Error) -> CallError {
        let limiter = &store.data().limiter;
        let fault = classify(error, self.limits.fuel, limiter.refused.as_ref(), self.limits.memory_bytes);
        // A panic's message is its last line of output.
        match (fault, self.output.flush()) {
            (CallError::Guest(GuestFault::Trap(trap)), Some(line)) => GuestFault::Trap(format!("{trap}: {line}")).into(),
            (fault, _) => fault,
        }
    }

    /// Fuel burnt since the last time this was asked.
    pub(crate) fn take_fuel_burnt(&mut self) -> u64 {
        std::mem::take(&mut self.fuel_burnt)
    }

    /// Bytes that a call may hand over.
    pub(crate) fn transfer_bytes(&self) -> usize {
        self.limits.transfer_bytes
    }

    /// Whether it has faulted and must be dropped.
    pub(crate) fn faulted(&self) -> bool {
        self.instance.is_none()
    }

    /// Linear memory it uses.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.instance.as_ref().map_or(0, |instance| instance.store.data().limiter.memory_bytes())
    }
}

/// An instance that does not come up is the guest's doing if its start trapped, and the host's if there is no room.
fn instance_error(error: wasmtime::Error, store: &Store<GuestState>) -> wasmtime::Error {
    let trapped = error.downcast_ref::<wasmtime::Trap>().is_some() || store.data().limiter.refused.is_some();
    if trapped { error } else { HostFault::Instance(format!("{error:#}")).into() }
}
