//! `subnode module`: shows what a module is, checks it, and makes a project to begin one.

use std::path::Path;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use subnode_devnet::module_cache_dir;
use subnode_sandbox::{Description, Limits, Module, ModuleHash, Sandbox, SandboxOptions, World};
use subnode_simulator::{ConsensusCheck, Modules, RuntimeCheck, Scenario, check_consensus, check_runtime};

use crate::{
    args::{ModuleArgs, ModuleCheckArgs, ModuleCommand, ModuleWorld},
    output::coloured,
    template,
};

/// Instances at once: simulated committees on each core, and their queries.
const INSTANCES: u32 = 256;

pub fn run(args: &ModuleArgs) -> anyhow::Result<()> {
    match &args.command {
        ModuleCommand::Hash { modules, json } => hash(modules, *json),
        ModuleCommand::New { name, world } => new(name, *world),
        ModuleCommand::Inspect { module, json } => inspect(module, *json),
        ModuleCommand::Check(args) => check(args),
    }
}

/// The bytes of an embedded module, or of a file.
fn component(name: &str) -> anyhow::Result<Vec<u8>> {
    match subnode_modules::by_name(name) {
        Some(bytes) => Ok(bytes.to_vec()),
        None => std::fs::read(name).with_context(|| format!("{name:?} is neither an embedded module nor a file")),
    }
}

fn load(bytes: &[u8], name: &str) -> anyhow::Result<(Sandbox, Module)> {
    let sandbox = Sandbox::new(&SandboxOptions { instances: INSTANCES, cache_dir: module_cache_dir() })?;
    let module = sandbox.load(bytes).with_context(|| format!("{name} is no module"))?;
    Ok((sandbox, module))
}

fn hash(names: &[String], as_json: bool) -> anyhow::Result<()> {
    let mut hashes = Vec::new();
    if names.is_empty() {
        hashes.extend(subnode_modules::ALL.map(|(name, bytes)| (name.to_owned(), ModuleHash::of(bytes))));
    }
    for name in names {
        hashes.push((name.clone(), ModuleHash::of(&component(name)?)));
    }
    if as_json {
        let map: serde_json::Map<_, _> = hashes.into_iter().map(|(name, hash)| (name, json!(hash.to_string()))).collect();
        println!("{}", Value::Object(map));
    } else {
        for (name, hash) in hashes {
            println!("{hash}  {name}");
        }
    }
    Ok(())
}

fn world(module: &Module) -> &'static str {
    match module.world() {
        World::Runtime => "runtime",
        World::Consensus => "consensus",
    }
}

fn inspect(name: &str, as_json: bool) -> anyhow::Result<()> {
    let bytes = component(name)?;
    let described = Description::of(&bytes).with_context(|| format!("{name} cannot be inspected"))?;
    // What implements no world can be looked at all the same.
    let loaded = load(&bytes, name).map(|(_, module)| world(&module));
    let hash = ModuleHash::of(&bytes);
    let Description { imports, exports, memory_bytes, core_modules, code_bytes, producers } = described;
    if as_json {
        let producers: Vec<_> =
            producers.iter().map(|(kind, name, version)| json!({ "kind": kind, "name": name, "version": version })).collect();
        let text = json!({
            "world": loaded.as_ref().ok(),
            "problem": loaded.as_ref().err().map(|error| format!("{error:#}")),
            "sha256": hash.to_string(),
            "bytes": bytes.len(),
            "codeBytes": code_bytes,
            "coreModules": core_modules,
            "memoryBytes": memory_bytes.0,
            "memoryBytesMax": memory_bytes.1,
            "imports": imports,
            "exports": exports,
            "producers": producers,
        });
        println!("{text}");
        return Ok(());
    }
    let world = match loaded {
        Ok(world) => format!("{world} of subnode:chain@0.1"),
        Err(error) => format!("none: {error:#}"),
    };
    println!("world      {world}");
    println!("sha256     {hash}");
    println!("size       {} bytes, {code_bytes} of them code in {core_modules} core modules", bytes.len());
    let most =
        memory_bytes.1.map_or_else(|| "as much as its chain's slice allows".to_owned(), |most| format!("{} KiB at most", most >> 10));
    println!("memory     {} KiB at start, {most}", memory_bytes.0 >> 10);
    for (title, names) in [("imports", imports), ("exports", exports)] {
        for (index, name) in names.iter().enumerate() {
            println!("{:<10} {name}", if index == 0 { title } else { "" });
        }
    }
    for (kind, name, version) in producers {
        println!("{kind:<10} {name} {version}");
    }
    Ok(())
}

fn check(args: &ModuleCheckArgs) -> anyhow::Result<()> {
    let bytes = component(&args.module)?;
    let (sandbox, module) = load(&bytes, &args.module)?;
    let (mut failed, mut failed_beside_liars) = (0, 0);
    let mut tell = |scenario: Scenario| {
        let failures = if scenario.byzantine { &mut failed_beside_liars } else { &mut failed };
        *failures += usize::from(scenario.outcome.is_err());
        show(&scenario, args.json);
    };
    tell(Scenario::new("loads", Ok(format!("{} {}", world(&module), module.hash()))));
    match module.world() {
        World::Consensus => {
            if args.spec.is_some() {
                bail!("--spec is for runtimes, and {} is a consensus", args.module);
            }
            let kv = subnode_modules::by_name("kv").context("kv is embedded")?;
            let modules = Modules { runtime: sandbox.load(kv)?, consensus: module };
            check_consensus(&modules, ConsensusCheck { seeds: args.seeds, byzantine: args.byzantine, single: args.single }, &mut tell);
        }
        World::Runtime => {
            if args.byzantine || args.single {
                bail!("--byzantine and --single are for consensus modules, and {} is a runtime", args.module);
            }
            let spec = args.spec.as_ref().map(|file| std::fs::read(file).with_context(|| format!("read {}", file.display())));
            let limits: Limits = subnode_devnet::default_options(subnode_types::Sealing::Manual, subnode_chain::TimeSource::Wall).block;
            let check = RuntimeCheck { spec: spec.transpose()?.unwrap_or_default(), limits, seed: 0 };
            check_runtime(&module, &check, &mut tell).map_err(anyhow::Error::msg)?;
        }
    }
    match (failed, failed_beside_liars) {
        (0, 0) => Ok(()),
        (0, _) => bail!(
            "the module holds while nobody lies, and not beside a member that lies ({failed_beside_liars} of the scenarios). A consensus whose \
             members trust each other, as the one that `subnode module new` makes, is checked without --byzantine"
        ),
        _ => bail!("{} of the scenarios do not hold", failed + failed_beside_liars),
    }
}

fn show(scenario: &Scenario, as_json: bool) {
    if as_json {
        let (ok, text) = match &scenario.outcome {
            Ok(seen) => (true, seen),
            Err(reason) => (false, reason),
        };
        println!("{}", json!({ "scenario": scenario.name, "ok": ok, "detail": text }));
    } else if coloured() {
        let colour = if scenario.outcome.is_ok() { 32 } else { 31 };
        println!("\x1b[{colour}m{scenario}\x1b[0m");
    } else {
        println!("{scenario}");
    }
}

fn new(name: &str, world: ModuleWorld) -> anyhow::Result<()> {
    let plain = name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.chars().all(|one| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '-');
    if !plain {
        bail!("{name:?} is no name of a module: use lower case letters, digits and hyphens, a letter first");
    }
    let dir = Path::new(name);
    if dir.exists() {
        bail!("{name} is there already; choose another name");
    }
    for (path, text) in template::project(name, world) {
        let file = dir.join(path);
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        }
        std::fs::write(&file, text).with_context(|| format!("write {}", file.display()))?;
    }
    let built = name.replace('-', "_");
    println!("made {name}/: its README.md says what is where, src/lib.rs is yours\n");
    println!("  cd {name}");
    println!("  cargo build --release");
    println!("  subnode module check target/wasm32-wasip2/release/{built}.wasm");
    Ok(())
}
