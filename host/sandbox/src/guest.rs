//! One instance of either world, usable until its first fault.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use wasmtime::{Engine, Store};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::{
    CallError, GuestFault, Lent, Limits, Tenant,
    fault::classify,
    limits::Limiter,
    output::Output,
    turns::{self, TURN_FUEL, TurnMeter},
};

/// What an instance's host functions work on.
pub(crate) struct GuestState {
    wasi: WasiCtx,
    resources: ResourceTable,
    pub(crate) limiter: Limiter,
    pub(crate) turns: TurnMeter,
    /// Fuel for host functions that is not taken from the store yet.
    pub(crate) owed_fuel: u64,
    pub(crate) tenant: Tenant,
    /// Set for the length of a call.
    pub(crate) lent: Option<Lent>,
}

impl WasiView for GuestState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.resources }
    }
}

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

/// What surrounds the instance of a module.
pub(crate) struct Shell {
    pub(crate) store: Store<GuestState>,
    limits: Limits,
    clock: BlockClock,
    output: Output,
    tenant: Tenant,
    faulted: bool,
}

impl Shell {
    /// `seed` is all the randomness the guest will see.
    pub(crate) fn new(engine: &Engine, tenant: Tenant, limits: Limits, seed: &[u8]) -> Self {
        let clock = BlockClock::default();
        let output = Output::new(tenant.chain().clone());
        let seed = if seed.is_empty() { vec![0] } else { seed.to_vec() };
        let wasi = WasiCtxBuilder::new()
            .stdout(output.clone())
            .stderr(output.clone())
            .secure_random(Deterministic::new(seed.clone()))
            .insecure_random(Deterministic::new(seed))
            .insecure_random_seed(0)
            // A guest's request for more is answered by a trap, not by an allocation of the host.
            .max_random_size(4096)
            .wall_clock(clock.clone())
            .monotonic_clock(clock.clone())
            .allow_tcp(false)
            .allow_udp(false)
            .allow_ip_name_lookup(false)
            .build();
        let state = GuestState {
            wasi,
            resources: ResourceTable::new(),
            limiter: Limiter::new(tenant.clone(), &limits),
            turns: TurnMeter::default(),
            owed_fuel: 0,
            tenant: tenant.clone(),
            lent: None,
        };
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits.transfer_bytes);
        Self { store, limits, clock, output, tenant, faulted: false }
    }

    /// Fuel for one call or for instantiation, given out in portions after each of which other work may run.
    pub(crate) fn refuel(&mut self) -> Result<(), CallError> {
        let refuelled = self.store.set_fuel(self.limits.fuel).and_then(|()| self.store.fuel_async_yield_interval(Some(TURN_FUEL)));
        let state = self.store.data_mut();
        state.owed_fuel = 0;
        state.turns.begin(self.limits.fuel);
        refuelled.map_err(|error| self.fault(&error))
    }

    /// Prepares a call that sees the time `now_ms`.
    pub(crate) fn begin(&mut self, now_ms: u64, lent: Option<Lent>) -> Result<(), CallError> {
        if self.faulted {
            return Err(GuestFault::Trap("the instance has faulted before".into()).into());
        }
        self.refuel()?;
        self.clock.set(now_ms);
        self.output.refill();
        let state = self.store.data_mut();
        state.limiter.refused = None;
        state.lent = lent;
        // Until the call has returned, an instance that is dropped midway must not be used again.
        self.faulted = true;
        Ok(())
    }

    /// Ends a call: what it returned or whose fault it is, and the fuel it burnt.
    pub(crate) fn end<T>(&mut self, result: Result<T, wasmtime::Error>) -> (Result<T, CallError>, u64) {
        self.store.data_mut().lent = None;
        let left = self.store.get_fuel().unwrap_or_default().saturating_sub(self.store.data().owed_fuel);
        let burnt = self.limits.fuel.saturating_sub(left);
        self.tenant.share().count_fuel(burnt);
        let result = match result {
            Ok(value) => {
                self.faulted = false;
                Ok(value)
            }
            Err(error) => Err(self.fault(&error)),
        };
        (result, burnt)
    }

    pub(crate) fn fault(&mut self, error: &wasmtime::Error) -> CallError {
        self.faulted = true;
        let limiter = &self.store.data().limiter;
        let fault = classify(error, self.limits.fuel, limiter.refused.as_ref(), self.limits.memory_bytes);
        // A panic's message is its last line of output.
        match (fault, self.output.flush()) {
            (CallError::Guest(GuestFault::Trap(trap)), Some(line)) => GuestFault::Trap(format!("{trap}: {line}")).into(),
            (fault, _) => fault,
        }
    }

    pub(crate) fn faulted(&self) -> bool {
        self.faulted
    }

    pub(crate) fn memory_bytes(&self) -> usize {
        self.store.data().limiter.memory_bytes()
    }

    /// How a call is run: on whose account, which turns, and for how long at most.
    pub(crate) fn run_as(&self) -> RunAs {
        RunAs { tenant: self.tenant.clone(), turns: self.store.data().turns.counter(), wall: self.limits.wall }
    }
}

/// What it takes to run a call.
pub(crate) struct RunAs {
    tenant: Tenant,
    turns: Arc<AtomicU64>,
    wall: Duration,
}

impl RunAs {
    /// Runs it.
    pub(crate) async fn run<T>(self, call: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
        turns::run(&self.tenant, self.turns, self.wall, call).await
    }
}
