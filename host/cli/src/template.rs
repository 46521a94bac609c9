//! The project that `subnode module new` makes: one of this repository's modules to begin from, with everything
//! that its build needs.

use crate::args::ModuleWorld;

const CONSENSUS: &str = include_str!("../../../guest-modules/leader/src/lib.rs");
const RUNTIME: &str = include_str!("../../../guest-modules/kv/src/lib.rs");
/// The contract and the SDK, each at its place in the project.
const CARRIED: [(&str, &str); 30] = [
    ("wit/authors.wit", include_str!("../../../wit/authors.wit")),
    ("wit/consensus.wit", include_str!("../../../wit/consensus.wit")),
    ("wit/crypto.wit", include_str!("../../../wit/crypto.wit")),
    ("wit/declare.wit", include_str!("../../../wit/declare.wit")),
    ("wit/genesis-stream.wit", include_str!("../../../wit/genesis-stream.wit")),
    ("wit/host.wit", include_str!("../../../wit/host.wit")),
    ("wit/keys.wit", include_str!("../../../wit/keys.wit")),
    ("wit/notes.wit", include_str!("../../../wit/notes.wit")),
    ("wit/pool.wit", include_str!("../../../wit/pool.wit")),
    ("wit/runtime.wit", include_str!("../../../wit/runtime.wit")),
    ("wit/signing.wit", include_str!("../../../wit/signing.wit")),
    ("wit/state.wit", include_str!("../../../wit/state.wit")),
    ("wit/types.wit", include_str!("../../../wit/types.wit")),
    ("subnode/sdk/src/codec.rs", include_str!("../../../guest-modules/sdk/src/codec.rs")),
    ("subnode/sdk/src/committee.rs", include_str!("../../../guest-modules/sdk/src/committee.rs")),
    ("subnode/sdk/src/consensus.rs", include_str!("../../../guest-modules/sdk/src/consensus.rs")),
    ("subnode/sdk/src/consensus_bindings.rs", include_str!("../../../guest-modules/sdk/src/consensus_bindings.rs")),
    ("subnode/sdk/src/early.rs", include_str!("../../../guest-modules/sdk/src/early.rs")),
    ("subnode/sdk/src/lib.rs", include_str!("../../../guest-modules/sdk/src/lib.rs")),
    ("subnode/sdk/src/member/message.rs", include_str!("../../../guest-modules/sdk/src/member/message.rs")),
    ("subnode/sdk/src/member/mod.rs", include_str!("../../../guest-modules/sdk/src/member/mod.rs")),
    ("subnode/sdk/src/member/rules.rs", include_str!("../../../guest-modules/sdk/src/member/rules.rs")),
    ("subnode/sdk/src/member/seat.rs", include_str!("../../../guest-modules/sdk/src/member/seat.rs")),
    ("subnode/sdk/src/member/tests.rs", include_str!("../../../guest-modules/sdk/src/member/tests.rs")),
    ("subnode/sdk/src/member/views.rs", include_str!("../../../guest-modules/sdk/src/member/views.rs")),
    ("subnode/sdk/src/native.rs", include_str!("../../../guest-modules/sdk/src/native.rs")),
    ("subnode/sdk/src/pace.rs", include_str!("../../../guest-modules/sdk/src/pace.rs")),
    ("subnode/sdk/src/runtime.rs", include_str!("../../../guest-modules/sdk/src/runtime.rs")),
    ("subnode/GUIDE.md", include_str!("../../../guest-modules/README.md")),
    (".cargo/config.toml", include_str!("../../../guest-modules/.cargo/config.toml")),
];
/// What the workspace says of dependencies, for the crates of a project without one.
const WORKSPACE: &str = include_str!("../../../guest-modules/Cargo.toml");

/// The line of a dependency in the workspace.
fn dependency(name: &str) -> String {
    let line = WORKSPACE.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(" = ")));
    line.unwrap_or_default().to_owned()
}

/// The files of a project, by their paths in it.
pub fn project(name: &str, world: ModuleWorld) -> Vec<(String, String)> {
    let (source, description, needs) = match world {
        ModuleWorld::Consensus => (CONSENSUS, "A consensus for Subnode", ["serde"].as_slice()),
        ModuleWorld::Runtime => (RUNTIME, "A runtime for Subnode", ["serde", "serde_json"].as_slice()),
    };
    let needs: Vec<_> = needs.iter().map(|need| dependency(need)).collect();
    let manifest = format!(
        r#"[package]
name = "{name}"
description = "{description}"
version = "0.1.0"
edition = "2024"

[lib]
crate-type = ["cdylib"]

[dependencies]
{}
subnode-sdk = {{ path = "subnode/sdk" }}

[profile.release]
lto = "fat"
codegen-units = 1
panic = "abort"
strip = "symbols"

[workspace]
"#,
        needs.join("\n")
    );
    let sdk = format!(
        r#"[package]
name = "subnode-sdk"
description = "What a module needs to implement a world of subnode:chain"
version = "{}"
edition = "2024"

[dependencies]
{}
{}
{}
"#,
        env!("CARGO_PKG_VERSION"),
        dependency("postcard"),
        dependency("serde"),
        dependency("wit-bindgen"),
    );
    let mut files = vec![
        ("Cargo.toml".to_owned(), manifest),
        ("src/lib.rs".to_owned(), source.to_owned()),
        ("subnode/sdk/Cargo.toml".to_owned(), sdk),
        ("README.md".to_owned(), readme(name, world)),
        (".gitignore".to_owned(), "target\n".to_owned()),
    ];
    files.extend(CARRIED.map(|(path, text)| (path.to_owned(), text.to_owned())));
    files
}

fn readme(name: &str, world: ModuleWorld) -> String {
    let built = name.replace('-', "_");
    let wasm = format!("target/wasm32-wasip2/release/{built}.wasm");
    let run = match world {
        ModuleWorld::Consensus => format!("subnode testnet --dir net --consensus {wasm}"),
        ModuleWorld::Runtime => format!("subnode testnet --dir net --runtime {wasm}"),
    };
    format!(
        "# {name}\n\n\
         ```\n\
         cargo build --release          needs: rustup target add wasm32-wasip2\n\
         subnode module check {wasm}\n\
         {run}\n\
         ```\n\n\
         - `src/lib.rs`: the module, a simple one to begin from.\n\
         - `subnode/GUIDE.md`: the worlds, what they promise, and how a module is made.\n\
         - `wit/`: the contract. `subnode/sdk`: the boilerplate. Both come with Subnode {}; change neither.\n",
        env!("CARGO_PKG_VERSION")
    )
}
