//! One instance of either world, usable until its first fault.

use std::{
    future::Future,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use subnode_types::ChainName;
use wasmtime::{Engine, Store};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, ResourceTable, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

use crate::{CallError, GuestFault, Lent, Limits, engine::YIELD_FUEL, fault::classify, limits::Limiter, output::Output};

/// What an instance's host functions work on.
pub(crate) struct GuestState {
    wasi: WasiCtx,
    resources: ResourceTable,
    pub(crate) limiter: Limiter,
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
    chain: ChainName,
    faulted: bool,
}

impl Shell {
    /// `seed` is all the randomness the guest will see.
    pub(crate) fn new(engine: &Engine, chain: ChainName, limits: Limits, seed: &[u8]) -> Self {
        let clock = BlockClock::default();
        let output = Output::new(chain.clone());
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
        let state = GuestState { wasi, resources: ResourceTable::new(), limiter: Limiter::new(&limits), lent: None };
        let mut store = Store::new(engine, state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(limits.transfer_bytes);
        Self { store, limits, clock, output, chain, faulted: false }
    }

    /// Fuel for one call or for instantiation, given out in portions after each of which other work may run.
    pub(crate) fn refuel(&mut self) -> Result<(), CallError> {
        let refuelled = self.store.set_fuel(self.limits.fuel).and_then(|()| self.store.fuel_async_yield_interval(Some(YIELD_FUEL)));
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
        state.limiter.memory_refused = false;
        state.lent = lent;
        // Until the call has returned, an instance that is dropped midway must not be used again.
        self.faulted = true;
        Ok(())
    }

    /// Ends a call: what it returned or whose fault it is, and the fuel it burnt.
    pub(crate) fn end<T>(&mut self, result: Result<T, wasmtime::Error>) -> (Result<T, CallError>, u64) {
        self.store.data_mut().lent = None;
        let burnt = self.limits.fuel.saturating_sub(self.store.get_fuel().unwrap_or_default());
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
        let fault = classify(error, self.limits.fuel, limiter.memory_refused, self.limits.memory_bytes);
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

    pub(crate) fn wall(&self) -> Duration {
        self.limits.wall
    }

    pub(crate) fn chain(&self) -> &ChainName {
        &self.chain
    }
}

/// Ends a call that waits: a guest that sleeps burns no fuel.
pub(crate) async fn within<T>(wall: Duration, call: impl Future<Output = wasmtime::Result<T>>) -> wasmtime::Result<T> {
    // A timer is only made for a call that does not return at its first poll, as nearly all do.
    let mut call = std::pin::pin!(call);
    let first = std::future::poll_fn(|cx| std::task::Poll::Ready(call.as_mut().poll(cx))).await;
    if let std::task::Poll::Ready(result) = first {
        return result;
    }
    match tokio::time::timeout(wall, call).await {
        Ok(result) => result,
        Err(_) => Err(crate::HostFault::Timeout(wall).into()),
    }
}
