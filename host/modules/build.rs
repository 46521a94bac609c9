//! Builds the guest modules for wasm32-wasip2, the same bytes wherever the sources are.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

const MODULES: [&str; 5] = ["authority", "bft", "evm", "kv", "solo"];
/// Copies and comparisons in single instructions. Not wide-arithmetic, though the engine takes it: LLVM before 23 reads the upper
/// half of a 128-bit result before it is computed (llvm-project 199910), which shows as wrong sums.
const TARGET_FEATURES: &str = "-Ctarget-feature=+simd128,+bulk-memory";

fn main() {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let root = manifest.ancestors().nth(2).expect("host/modules is two folders down").to_owned();
    let guests = root.join("guest-modules");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    // Relative, so that a target folder that two checkouts share watches the sources of the one being built.
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../wit");
    for entry in ["Cargo.toml", "Cargo.lock", "authority", "bft", "evm", "keccak", "kv", "sdk", "solo"] {
        println!("cargo::rerun-if-changed=../../guest-modules/{entry}");
    }

    // Beside the host's own target folder, so that it survives as that does. OUT_DIR is target/PROFILE/build/NAME/out.
    let target = out.ancestors().nth(4).expect("out is four folders down").join("guest-modules");
    build(&guests, &target);
    for module in MODULES {
        let built = target.join("wasm32-wasip2/release").join(format!("subnode_{module}.wasm"));
        fs::copy(&built, out.join(format!("{module}.wasm"))).unwrap_or_else(|error| panic!("copy {}: {error}", built.display()));
    }
}

fn build(guests: &Path, target: &Path) {
    let cargo = env::var_os("CARGO").expect("cargo sets it");
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| env::home_dir().map(|home| home.join(".cargo")));
    let mut flags = vec![TARGET_FEATURES.to_owned()];
    if let Some(home) = cargo_home {
        // Panic messages name source files of dependencies.
        flags.push(format!("--remap-path-prefix={}=cargo", home.display()));
    }
    let mut command = Command::new(cargo);
    // What the host's build sets must not reach the guests'.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_")
            && text != "CARGO_HOME"
            && !text.starts_with("CARGO_NET")
            && !text.starts_with("CARGO_HTTP")
            && !text.starts_with("CARGO_REGISTR")
        {
            command.env_remove(&name);
        }
    }
    for name in ["RUSTFLAGS", "RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER", "RUSTC", "TARGET", "HOST", "OPT_LEVEL", "DEBUG", "PROFILE"] {
        command.env_remove(name);
    }
    let status = command
        .current_dir(guests)
        .args(["build", "--release", "--locked", "--target", "wasm32-wasip2"])
        .args(MODULES.iter().flat_map(|module| ["-p".to_owned(), format!("subnode-{module}")]))
        .arg("--target-dir")
        .arg(target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .status()
        .expect("cargo runs");
    assert!(
        status.success(),
        "the guest modules do not build; if target wasm32-wasip2 is missing, run `make setup` (or `rustup target add wasm32-wasip2`)"
    );
}
