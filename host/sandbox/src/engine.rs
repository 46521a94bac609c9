//! The engine and its configuration. Blocks have a second engine of the same configuration ([`crate::block_slots`]).

use wasmtime::{Config, Enabled, Engine, InstanceAllocationStrategy, PoolingAllocationConfig, component::Linker};

use crate::{guest::GuestState, imports};

/// Stack a guest may use. revm recurses with the EVM's call depth in its own frames on the heap, so this is ample.
const WASM_STACK_BYTES: usize = 1 << 20;
/// Stack of the fiber a guest runs on: its own, and room for the host functions it calls (pairings, database reads).
const FIBER_STACK_BYTES: usize = WASM_STACK_BYTES + (1 << 20);
/// Largest memory that any guest can have; [`crate::Limits`] sets what it gets.
const MEMORY_BYTES_MAX: usize = 1 << 30;
/// What the slots of an engine keep.
#[derive(Clone, Copy)]
pub(crate) struct Slots {
    pub(crate) instances: u32,
    /// Bytes of each that stay resident while nobody uses it.
    pub(crate) resident_bytes: usize,
    /// How many are kept so.
    pub(crate) unused_max: u32,
}

/// An engine with such slots, and what its guests may import.
pub(crate) fn start(slots: Slots) -> wasmtime::Result<(Engine, Linker<GuestState>)> {
    let engine = Engine::new(&config(slots))?;
    let linker = imports::linker(&engine)?;
    Ok((engine, linker))
}

fn config(slots: Slots) -> Config {
    let Slots { instances, resident_bytes, unused_max } = slots;
    let mut config = Config::new();
    // Metering. Deterministic for one engine version; a chain's own gas is its consensus rule.
    config.consume_fuel(true);
    // Halves the cost of a host call; nothing here uses the component model's own concurrency.
    config.concurrency_support(false);
    // Same result on every host: canonical NaNs, and none of the proposals that leave results to the host.
    config.cranelift_nan_canonicalization(true);
    config.wasm_relaxed_simd(false);
    // 256-bit arithmetic in four multiplications instead of sixteen.
    config.wasm_wide_arithmetic(true);
    config.max_wasm_stack(WASM_STACK_BYTES);
    config.async_stack_size(FIBER_STACK_BYTES);
    // A trap's text reaches logs; the frames behind it are the module author's business and cost time to collect.
    config.wasm_backtrace_max_frames(None);
    config.generate_address_map(false);
    let mut pool = PoolingAllocationConfig::default();
    pool.total_component_instances(instances)
        // A wasip2 component is its module and up to three adapters.
        .total_core_instances(instances.saturating_mul(4))
        .total_memories(instances)
        .total_tables(instances.saturating_mul(2))
        .total_stacks(instances)
        .max_memory_size(MEMORY_BYTES_MAX)
        .table_elements(100_000)
        .max_component_instance_size(1 << 20)
        .max_core_instance_size(1 << 20)
        .linear_memory_keep_resident(resident_bytes)
        .table_keep_resident(64 << 10)
        // Where the kernel tells which pages were written, only those are reset and kept.
        .pagemap_scan(Enabled::Auto)
        .max_unused_warm_slots(unused_max);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool));
    config
}
