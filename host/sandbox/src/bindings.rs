//! The only generated bindings. Imports are linked by hand (`imports`), so that a guest's lists are bounded before they are copied.
#![allow(missing_docs, unreachable_pub, clippy::large_futures, reason = "generated; the items are documented in wit/")]

pub mod runtime {
    wasmtime::component::bindgen!({
        world: "runtime",
        path: "../../wit",
        exports: { default: async },
    });
}

pub mod consensus {
    wasmtime::component::bindgen!({
        world: "consensus",
        path: "../../wit",
        exports: { default: async },
    });
}
