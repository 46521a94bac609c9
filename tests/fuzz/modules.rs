//! Components with bytes changed: the host refuses them, or loads them and calls whatever they do their own fault.

use std::time::Duration;

use subnode_fuzzer::{Fuzz, alone, kind_of_message, peak_of_process};
use subnode_sandbox::{CallError, Description, HostFault, Lent, Limits, RuntimeGuest, Sandbox, SandboxOptions, Tenant, World};
use subnode_scheduler::Cores;
use subnode_tests::module::module;
use subnode_types::Parts;

use crate::{answers::NoState, on_this_thread};

const LIMITS: Limits = Limits { memory_bytes: 16 << 20, fuel: 5_000_000, transfer_bytes: 1 << 20, wall: Duration::from_secs(10) };
/// Memory of loading a module on all threads that compile it, for each byte and besides: compiling takes some hundred times the shortest functions.
const MEMORY_PER_BYTE: usize = 1_000;
const MEMORY_BESIDE: usize = 32 << 20;

/// The kind of what a component comes to: why it is none, or what its genesis ends with.
async fn tried(sandbox: &Sandbox, component: &[u8]) -> u64 {
    let described = Description::of(component);
    let (loaded, peak) = peak_of_process(|| sandbox.load(component));
    assert!(peak <= MEMORY_PER_BYTE * component.len() + MEMORY_BESIDE, "{peak} bytes of memory to load {}", component.len());
    let module = match loaded {
        Ok(module) => module,
        Err(error) => return kind_of_message(&error.to_string()),
    };
    assert!(described.is_ok(), "what is loaded can be described");
    if module.world() != World::Runtime {
        return 1;
    }
    let tenant = Tenant::new("smith".parse().unwrap(), &Cores::new(1), Parts::ONE, 64 << 20);
    let answered = match RuntimeGuest::new(&module, &tenant, LIMITS, &[]).await.unwrap() {
        Ok(mut guest) => guest
            .genesis(b"spec", Lent { state: Box::new(NoState), pool: None, status: None, query: None, genesis: None })
            .await
            .map(|_| ()),
        Err(fault) => Err(fault),
    };
    match answered {
        Ok(()) => 2,
        Err(CallError::Guest(fault)) => kind_of_message(&fault.to_string()),
        // More tables or memories than an instance has room for, or more memory than the chain has.
        Err(CallError::Host(fault @ (HostFault::Instance(_) | HostFault::Memory { .. }))) => kind_of_message(&fault.to_string()),
        Err(CallError::Host(fault)) => panic!("the host's fault: {fault}"),
    }
}

#[test]
fn fuzzed_modules_are_refused_or_run_within_their_limits() {
    let _alone = alone();
    let runtime = on_this_thread();
    let sandbox = Sandbox::new(&SandboxOptions { instances: 64, cache_dir: None }).unwrap();
    let small = ["runtime", "consensus"].map(|world| module(world, &[], "").unwrap());
    Fuzz::new("modules", 8 << 10).samples(small).run(|component| runtime.block_on(tried(&sandbox, component)));
}
