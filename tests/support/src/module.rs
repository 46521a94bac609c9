//! Modules that do what no module should, written in WebAssembly text around the contract's own types.

use anyhow::Context;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::{
    Resolve, WorldItem, WorldKey,
    abi::{AbiVariant, WasmType},
};

/// The folder of the contract.
pub const WIT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit");

/// A component of `world` whose exports all return zeros, which decodes as "fine, nothing to say" (and for `genesis` as
/// an empty block with an id), except that those of `misbehaving` run a body first. `items` are further items of the
/// module.
///
/// # Errors
/// Where a body does not assemble.
pub fn module(world: &str, misbehaving: &[(&str, &str)], items: &str) -> anyhow::Result<Vec<u8>> {
    importing_module(world, "", misbehaving, items)
}

/// The same with imports, whose types are those of the canonical ABI.
///
/// # Errors
/// Where a body or an import does not assemble.
pub fn importing_module(world: &str, imports: &str, misbehaving: &[(&str, &str)], items: &str) -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let (package, _) = resolve.push_path(WIT)?;
    let id = resolve.select_world(&[package], Some(world))?;
    let mut functions = String::new();
    for (key, item) in &resolve.worlds[id].exports {
        let (WorldKey::Name(name), WorldItem::Function(function)) = (key, item) else { continue };
        let signature = resolve.wasm_signature(AbiVariant::GuestExport, function);
        let types = |types: &[WasmType]| {
            types.iter().map(|of| if matches!(of, WasmType::I64 | WasmType::PointerOrI64) { " i64" } else { " i32" }).collect::<String>()
        };
        let misbehaviour = misbehaving.iter().find(|(export, _)| export == name).map_or("", |(_, body)| body);
        functions += &format!(
            "(func (export \"{name}\") (param{}) (result{}) {misbehaviour} (i32.const 1024))\n",
            types(&signature.params),
            types(&signature.results)
        );
    }
    let text = format!(
        r#"(module
            {imports}
            (memory (export "memory") 64)
            (global $next (mut i32) (i32.const 65536))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (global.set $next (i32.and (i32.add (global.get $next) (i32.const 15)) (i32.const -16)))
                (global.get $next)
                (global.set $next (i32.add (global.get $next) (local.get 3))))
            ;; Where a result is a block, its id is here: 32 bytes at 2048.
            (data (i32.const 1048) "\00\08\00\00\20\00\00\00")
            {functions}
            {items})"#
    );
    let mut core = wat::parse_str(&text).with_context(|| text.clone())?;
    embed_component_metadata(&mut core, &resolve, id, StringEncoding::UTF8)?;
    ComponentEncoder::default().module(&core)?.validate(true).encode()
}

/// A consensus that starts well, and traps at its first timer, 10 ms later.
///
/// # Errors
/// Where it does not assemble.
pub fn failing_consensus() -> anyhow::Result<Vec<u8>> {
    // One effect, at 3000: set-timer(0, 10).
    let start = r"(i32.store (i32.const 1028) (i32.const 3000)) (i32.store (i32.const 1032) (i32.const 1))
        (i32.store8 (i32.const 3000) (i32.const 0)) (i64.store (i32.const 3008) (i64.const 0)) (i64.store (i32.const 3016) (i64.const 10))";
    module("consensus", &[("start", start), ("handle", "unreachable")], "")
}

/// A runtime that comes up, and traps when it is to build.
///
/// # Errors
/// Where it does not assemble.
pub fn failing_runtime() -> anyhow::Result<Vec<u8>> {
    module("runtime", &[("build", "unreachable")], "")
}

/// The same component with another hash.
#[must_use]
pub fn renamed(component: &[u8]) -> Vec<u8> {
    // A custom section of no content, named "test".
    [component, &[0, 5, 4], b"test"].concat()
}

/// Burns fuel for ever.
pub const LOOP: &str = "(loop (br 0)) unreachable";
/// Takes memory until it is refused, then panics as an allocator does.
pub const ALLOCATE: &str = "(loop (br_if 0 (i32.ne (memory.grow (i32.const 16)) (i32.const -1)))) unreachable";
/// Calls itself, which needs [`RECURSION`].
pub const RECURSE: &str = "(call $recurse)";
/// The function that calls itself.
pub const RECURSION: &str = "(func $recurse (call $recurse) (call $recurse))";
/// Returns `some` list of a gigabyte of its memory, where an answer is.
pub const GIGABYTE: &str = r"
    (drop (memory.grow (i32.const 3000)))
    (i32.store8 (i32.const 1032) (i32.const 1)) (i32.store (i32.const 1036) (i32.const 0)) (i32.store (i32.const 1040) (i32.const 1073741824))
    (return (i32.const 1024))";
/// As much of its memory as it really has, which is more than it may hand over.
pub const ALL_ITS_MEMORY: &str = r"
    (drop (memory.grow (i32.const 3000)))
    (i32.store8 (i32.const 1032) (i32.const 1)) (i32.store (i32.const 1036) (i32.const 0)) (i32.store (i32.const 1040) (i32.const 200000000))
    (return (i32.const 1024))";
/// Runs when it is instantiated.
pub const TRAP_AT_START: &str = "(func $start unreachable) (start $start)";
