//! `subnode chain`: an operator's requests to a running node.

use std::{
    io::{IsTerminal, Write},
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail};
use base64::{Engine, prelude::BASE64_STANDARD};
use clap::ValueEnum;
use serde_json::{Value, json};
use subnode_types::{ByteSize, ChainName};

use crate::{
    args::{ChainArgs, ChainCommand, CreateArgs, History, SliceArgs},
    client::Client,
    commands::transfer,
    output::table::table,
};

pub fn run(args: ChainArgs) -> anyhow::Result<()> {
    let mut client = Client::connect(&args.node)?;
    let json_wanted = args.node.json;
    let name = |name: &ChainName| json!({ "name": name.as_str() });
    let (result, said) = match &args.command {
        ChainCommand::List => {
            let chains = client.call("chain_list", &json!({}))?;
            if json_wanted {
                println!("{chains}");
            } else {
                print!("{}", list(&chains));
            }
            return Ok(());
        }
        ChainCommand::Show { name: chain } => {
            let chain = client.call("chain_show", &json!({ "name": chain.as_str(), "about": true }))?;
            println!("{}", if json_wanted { chain.to_string() } else { show(&chain) });
            return Ok(());
        }
        ChainCommand::Logs { name: chain, follow } => return logs(&mut client, chain, *follow, json_wanted),
        ChainCommand::Export { name: chain, output } => {
            let output = output.clone().unwrap_or_else(|| format!("{chain}.subnode").into());
            let exported = transfer::export(&mut client, chain, &output)?;
            if json_wanted {
                println!("{}", json!({ "file": output, "height": exported.height, "bytes": exported.file_bytes }));
            } else {
                println!("exported {chain} at height {} to {} ({})", exported.height, output.display(), ByteSize(exported.file_bytes));
            }
            return Ok(());
        }
        ChainCommand::Create(create) => (client_create(&mut client, create)?, "created"),
        ChainCommand::Start { name: chain } => (client.call("chain_start", &name(chain))?, "started"),
        ChainCommand::Stop { name: chain } => (client.call("chain_stop", &name(chain))?, "stopped"),
        ChainCommand::Pause { name: chain } => (client.call("chain_pause", &name(chain))?, "paused"),
        ChainCommand::Repair { name: chain } => (client.call("chain_repair", &name(chain))?, "gets the next state from other nodes"),
        ChainCommand::Vote { name: chain } => (client.call("chain_vote", &name(chain))?, "votes"),
        ChainCommand::Resume { name: chain } => (client.call("chain_resume", &name(chain))?, "resumed"),
        ChainCommand::Standing { name: chain, standing, .. } => {
            let value = standing.as_ref().and_then(ValueEnum::to_possible_value).map(|value| value.get_name().to_owned());
            let withdrawn = value.is_none();
            let stated = client.call("chain_state", &json!({ "name": chain.as_str(), "kind": "standing", "value": value }))?;
            (stated, if withdrawn { "asks for no other standing" } else { "is asked to, by this node" })
        }
        ChainCommand::Resize { name: chain, slice } => {
            let mut params = sliced(slice);
            params["name"] = json!(chain.as_str());
            (client.call("chain_resize", &params)?, "resized")
        }
        ChainCommand::Upgrade { name: chain, runtime, consensus, at } => {
            let mut params = name(chain);
            params["at"] = json!(at);
            for (key, given) in [("runtime", runtime), ("consensus", consensus)] {
                if let Some(given) = given {
                    params[key] = json!(module(&mut client, given)?);
                }
            }
            let done = if at.is_some() { "is asked to go over to it, by this node" } else { "upgraded" };
            (client.call("chain_upgrade", &params)?, done)
        }
        ChainCommand::Import { name: chain, file, slice, stopped } => {
            let mut params = sliced(slice);
            params["name"] = json!(chain.as_str());
            params["stopped"] = json!(stopped);
            (transfer::import(&mut client, file, params)?, "imported")
        }
        ChainCommand::Delete { name: chain, force } => {
            let force = *force || confirmed(&mut client, chain)?;
            client.call("chain_delete", &json!({ "name": chain.as_str(), "force": force }))?;
            println!("{}", if json_wanted { json!({ "deleted": chain.as_str() }).to_string() } else { format!("deleted {chain}") });
            return Ok(());
        }
    };
    if json_wanted {
        println!("{result}");
    } else {
        println!("{said} {}: {}", result["name"].as_str().unwrap_or_default(), summary(&result));
    }
    Ok(())
}

/// Asks whoever is at the terminal, and ends where they say no. Where nobody is, the node decides: it refuses what runs.
fn confirmed(client: &mut Client, chain: &ChainName) -> anyhow::Result<bool> {
    if !std::io::stdin().is_terminal() {
        return Ok(false);
    }
    let shown = client.call("chain_show", &json!({ "name": chain.as_str() }))?;
    eprint!("Delete {chain}, which is {}, and all it has? [y/N] ", summary(&shown));
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().read_line(&mut answer)?;
    if matches!(answer.trim(), "y" | "Y" | "yes") { Ok(true) } else { bail!("{chain} is kept") }
}

/// What is kept of the past of the state.
fn history(kept: &Value) -> String {
    if kept["bytes"].is_u64() { bytes(&kept["bytes"]) } else { kept.as_str().map_or_else(|| kept.to_string(), ToOwned::to_owned) }
}

fn sliced(slice: &SliceArgs) -> Value {
    let mut params = json!({});
    let mut set = |key: &str, value: Option<Value>| {
        if let Some(value) = value {
            params[key] = value;
        }
    };
    set("slice", slice.slice.map(|parts| json!(parts.get())));
    set("memoryBytes", slice.memory.map(|size| json!(size.0)));
    set("storageBytes", slice.storage.map(|size| json!(size.0)));
    set("bandwidthBytes", slice.bandwidth.map(|size| json!(size.0)));
    match slice.history {
        None => {}
        Some(History::Heights(heights)) => set("history", Some(json!(heights))),
        Some(History::Bytes(size)) => set("historyBytes", Some(json!(size))),
    }
    params
}

/// The name of a module on the node, where a file is sent first.
fn module(client: &mut Client, given: &str) -> anyhow::Result<String> {
    if !crate::config::is_file(given) {
        return Ok(given.to_owned());
    }
    let component = std::fs::read(Path::new(given)).with_context(|| super::no_module(given))?;
    let added = client.call("module_add", &json!({ "component": BASE64_STANDARD.encode(component) }))?;
    Ok(added["name"].as_str().unwrap_or_default().to_owned())
}

fn client_create(client: &mut Client, create: &CreateArgs) -> anyhow::Result<Value> {
    let genesis = match &create.genesis {
        Some(path) => std::fs::read_to_string(path).with_context(|| format!("read the genesis {}", path.display()))?,
        None if create.runtime == "evm" => {
            bail!("the evm runtime needs --genesis, a geth-style genesis file (`subnode config genesis` prints one)")
        }
        None => String::new(),
    };
    let mut params = sliced(&create.slice);
    params["name"] = json!(create.name.as_str());
    params["id"] = json!(create.id);
    params["genesis"] = json!(genesis);
    params["runtime"] = json!(module(client, &create.runtime)?);
    params["consensus"] = json!(module(client, &create.consensus)?);
    params["sealing"] = json!(create.sealing.to_string());
    params["controls"] = json!(create.controls);
    params["stopped"] = json!(create.stopped);
    client.call("chain_create", &params)
}

fn bytes(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".into(), |bytes| ByteSize(bytes).to_string())
}

fn number(value: &Value) -> String {
    value.as_u64().map_or_else(|| "-".into(), |number| number.to_string())
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or("-").to_owned()
}

/// Why a chain does not run, or runs and makes no blocks.
fn reason(chain: &Value) -> Option<String> {
    let stuck = || chain["stats"]["stuck"].as_str().map(|reason| format!("makes no blocks: {reason}"));
    chain["reason"].as_str().map(ToOwned::to_owned).or_else(stuck)
}

/// A line about a chain.
fn summary(chain: &Value) -> String {
    let height = chain.get("height").map(|height| format!(" at height {height}")).unwrap_or_default();
    let slice = &chain["slice"];
    let reason = reason(chain).map(|reason| format!(" ({reason})")).unwrap_or_default();
    format!(
        "{}{height}{reason}, {} parts, memory {}, storage {}",
        text(&chain["state"]),
        number(&slice["parts"]),
        bytes(&slice["memoryBytes"]),
        bytes(&slice["storageBytes"])
    )
}

fn list(chains: &Value) -> String {
    let rows: Vec<Vec<String>> = chains
        .as_array()
        .into_iter()
        .flatten()
        .map(|chain| {
            let (stats, slice) = (&chain["stats"], &chain["slice"]);
            vec![
                text(&chain["name"]),
                number(&chain["id"]),
                text(&chain["state"]),
                number(&chain["height"]),
                number(&slice["parts"]),
                format!("{} / {}", bytes(&stats["memoryBytes"]), bytes(&slice["memoryBytes"])),
                format!("{} / {}", bytes(&stats["storageBytes"]), bytes(&slice["storageBytes"])),
                number(&stats["poolReady"]),
                chain["failures"].to_string(),
                reason(chain).unwrap_or_default(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return "no chains; `subnode chain create NAME --genesis FILE` makes one\n".to_owned();
    }
    table(&["NAME", "ID", "STATE", "HEIGHT", "PARTS", "MEMORY", "STORAGE", "POOL", "FAILURES", "REASON"], &rows)
}

fn show(chain: &Value) -> String {
    let (stats, slice) = (&chain["stats"], &chain["slice"]);
    let mut rows = vec![
        vec!["name".to_owned(), text(&chain["name"])],
        vec!["id".to_owned(), number(&chain["id"])],
        vec!["state".to_owned(), text(&chain["state"])],
        vec!["runtime".to_owned(), text(&chain["runtime"])],
        vec!["consensus".to_owned(), text(&chain["consensus"])],
        vec!["sealing".to_owned(), text(&chain["sealing"])],
        vec!["history".to_owned(), history(&chain["history"])],
        vec!["slice".to_owned(), format!("{} parts", number(&slice["parts"]))],
        vec!["memory".to_owned(), format!("{} of {}", bytes(&stats["memoryBytes"]), bytes(&slice["memoryBytes"]))],
        vec!["storage".to_owned(), format!("{} of {}", bytes(&stats["storageBytes"]), bytes(&slice["storageBytes"]))],
        vec!["bandwidth".to_owned(), format!("{} a second", bytes(&slice["bandwidthBytes"]))],
        vec!["failures".to_owned(), chain["failures"].to_string()],
    ];
    if let Some(reason) = reason(chain) {
        rows.push(vec!["reason".to_owned(), reason]);
    }
    // In JSON, which has no control characters: the runtime wrote it.
    for (key, value) in chain["about"].as_object().into_iter().flatten() {
        rows.push(vec![Value::from(key.as_str()).to_string().trim_matches('"').to_owned(), value.to_string().trim_matches('"').to_owned()]);
    }
    if stats.is_object() {
        for (key, what) in [
            ("blocks", "blocks"),
            ("transactions", "transactions"),
            ("poolReady", "pool, ready"),
            ("poolWaiting", "pool, waiting"),
            ("queries", "queries"),
            ("guestFaults", "guest faults"),
            ("hostFaults", "host faults"),
            ("subscriptions", "subscriptions"),
        ] {
            rows.push(vec![what.to_owned(), number(&stats[key])]);
        }
        if stats["silent"] == true {
            let elsewhere = number(&stats["votesElsewhere"]);
            rows.push(vec![
                "votes".to_owned(),
                format!("not yet: it was imported and listens ({elsewhere} votes with its key from elsewhere)"),
            ]);
        }
        if let Some(sync) = stats["stateSync"].as_object() {
            rows.push(vec!["catching up".to_owned(), format!("{} of {} pieces of a later state", sync["pieces"], sync["of"])]);
        }
        for stated in stats["states"].as_array().into_iter().flatten() {
            rows.push(vec![
                "states".to_owned(),
                format!("kind {} of {}: {}", stated["kind"], text(&stated["subject"]), text(&stated["value"])),
            ]);
        }
        for member in stats["members"].as_array().into_iter().flatten().filter(|member| member["absent"] == true) {
            let seconds = member["heardMs"].as_u64().unwrap_or_default() / 1_000;
            rows.push(vec!["absent".to_owned(), format!("{}, not heard for {seconds} s", text(&member["node"]))]);
        }
        if stats["peers"].as_u64().is_some_and(|peers| peers > 0) {
            rows.push(vec!["peers".to_owned(), number(&stats["peers"])]);
        }
        rows.insert(3, vec!["height".to_owned(), number(&chain["height"])]);
    }
    rows.iter().map(|row| format!("{:<14}{}", row[0], row[1])).collect::<Vec<_>>().join("\n")
}

/// How often a log that is followed is asked for.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

fn logs(client: &mut Client, chain: &ChainName, follow: bool, as_json: bool) -> anyhow::Result<()> {
    let mut after = 0;
    loop {
        let lines = client.call("chain_logs", &json!({ "name": chain.as_str(), "after": after }))?;
        for line in lines.as_array().into_iter().flatten() {
            after = line["number"].as_u64().unwrap_or(after);
            if as_json {
                println!("{line}");
            } else {
                println!("{} {:>5} {}", time(line["timeMs"].as_u64().unwrap_or_default()), text(&line["level"]), text(&line["text"]));
            }
        }
        std::io::stdout().flush()?;
        if !follow {
            return Ok(());
        }
        std::thread::sleep(FOLLOW_EVERY);
    }
}

/// Time of day, UTC.
fn time(ms: u64) -> String {
    let seconds = ms / 1000 % 86_400;
    format!("{:02}:{:02}:{:02}.{:03}Z", seconds / 3600, seconds / 60 % 60, seconds % 60, ms % 1000)
}
