//! `subnode module`: what a module is.

use anyhow::Context;
use serde_json::json;
use subnode_sandbox::{ModuleHash, Sandbox, SandboxOptions, World};

use crate::args::{ModuleArgs, ModuleCommand};

pub fn run(args: &ModuleArgs) -> anyhow::Result<()> {
    match &args.command {
        ModuleCommand::Hash { modules, json } => hash(modules, *json),
        ModuleCommand::Check { file } => {
            let bytes = std::fs::read(file).with_context(|| format!("read {}", file.display()))?;
            let sandbox = Sandbox::new(&SandboxOptions { instances: 1, cache_dir: None })?;
            let module = sandbox.load(&bytes).with_context(|| format!("{} is no module", file.display()))?;
            let world = match module.world() {
                World::Runtime => "runtime",
                World::Consensus => "consensus",
            };
            println!("{}  {world}  {}", module.hash(), file.display());
            Ok(())
        }
    }
}

fn hash(names: &[String], as_json: bool) -> anyhow::Result<()> {
    let mut hashes = Vec::new();
    if names.is_empty() {
        hashes.extend(subnode_modules::ALL.map(|(name, bytes)| (name.to_owned(), ModuleHash::of(bytes))));
    }
    for name in names {
        let hash = match subnode_modules::by_name(name) {
            Some(bytes) => ModuleHash::of(bytes),
            None => ModuleHash::of(&std::fs::read(name).with_context(|| format!("{name:?} is neither an embedded module nor a file"))?),
        };
        hashes.push((name.clone(), hash));
    }
    if as_json {
        let map: serde_json::Map<_, _> = hashes.into_iter().map(|(name, hash)| (name, json!(hash.to_string()))).collect();
        println!("{}", serde_json::Value::Object(map));
    } else {
        for (name, hash) in hashes {
            println!("{hash}  {name}");
        }
    }
    Ok(())
}
