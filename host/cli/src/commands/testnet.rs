//! `subnode testnet`: a network of nodes, written to a directory and run on this machine.

use std::{
    fmt::Write as _,
    io::IsTerminal,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, bail};
use serde_json::{Value, json};
use subnode_devnet::DevGenesis;
use subnode_types::Sealing;
use tokio::process::{Child, Command};

use crate::{
    args::{NodeArgs, TestnetArgs},
    client::Client,
    commands::key::{self, Known},
    config, shutdown,
};

/// How often the status line is written anew.
const SHOWN_EVERY: Duration = Duration::from_secs(1);

pub async fn run(args: TestnetArgs) -> anyhow::Result<()> {
    let shutdown = shutdown::token()?;
    if args.dir.join("node1").exists() {
        eprintln!("{} is there already and taken as it is", args.dir.display());
    } else {
        write(&args).with_context(|| format!("write the network to {}", args.dir.display()))?;
        eprintln!("wrote {} nodes and {} chains to {}", args.nodes, args.chains, args.dir.display());
    }
    if args.write_only {
        println!("run each node with: subnode run --config {}/nodeN/subnode.toml", args.dir.display());
        return Ok(());
    }
    let nodes = found(&args.dir)?;
    let program = std::env::current_exe()?;
    let mut running = Vec::new();
    for node in &nodes {
        let log = std::fs::File::create(node.join("log"))?;
        let mut command = Command::new(&program);
        command.arg("run").arg("--config").arg(node.join("subnode.toml")).stdin(std::process::Stdio::null());
        // In a group of its own: Ctrl-C is for this process, which stops the nodes in turn.
        command.stdout(log.try_clone()?).stderr(log).process_group(0).kill_on_drop(true);
        running.push(command.spawn()?);
    }
    for (index, node) in nodes.iter().enumerate() {
        // Of its configuration, which may be one of before, with another port.
        let listen = config::load(&node.join("subnode.toml"))?.rpc.listen;
        println!("node{}: http://{listen}  log {}", index + 1, node.join("log").display());
    }
    let ended = shutdown.run_until_cancelled(watch(&nodes, &mut running)).await;
    for child in &mut running {
        stop(child).await;
    }
    ended.unwrap_or(Ok(()))
}

/// Directories of nodes that are there.
fn found(dir: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let nodes: Vec<_> =
        (1..).map(|number| dir.join(format!("node{number}"))).take_while(|node| node.join("subnode.toml").exists()).collect();
    if nodes.is_empty() {
        bail!("{} has no node1/subnode.toml", dir.display());
    }
    Ok(nodes)
}

async fn stop(child: &mut Child) {
    if let Some(id) = child.id().and_then(|id| rustix::process::Pid::from_raw(i32::try_from(id).ok()?))
        && let Err(error) = rustix::process::kill_process(id, rustix::process::Signal::TERM)
    {
        tracing::debug!(%error, "a node has ended by itself");
    }
    drop(child.wait().await);
}

/// Shows how far the nodes are, until all have ended. The others go on without one that ends, as a committee does.
async fn watch(nodes: &[PathBuf], running: &mut [Child]) -> anyhow::Result<()> {
    let live = std::io::stdout().is_terminal();
    let mut ended = vec![false; nodes.len()];
    loop {
        tokio::time::sleep(SHOWN_EVERY).await;
        for ((child, node), ended) in running.iter_mut().zip(nodes).zip(&mut ended) {
            if let Some(status) = child.try_wait()?.filter(|_| !std::mem::replace(ended, true)) {
                let how =
                    if status.code().is_some() { format!("{} says why", node.join("log").display()) } else { "the others go on".into() };
                eprintln!("{} ended: {status}; {how}", node.display());
            }
        }
        if ended.iter().all(|ended| *ended) {
            bail!("all nodes have ended");
        }
        if live {
            let sockets: Vec<_> = nodes.iter().map(|node| node.join("data/subnode.sock")).collect();
            let line = tokio::task::spawn_blocking(move || line(&sockets)).await?;
            print!("\r\x1b[K{line}");
            std::io::Write::flush(&mut std::io::stdout())?;
        }
    }
}

/// The height of each chain on each node.
fn line(sockets: &[PathBuf]) -> String {
    let lists: Vec<Option<Value>> = sockets
        .iter()
        .map(|socket| {
            let args = NodeArgs { socket: Some(socket.clone()), config: PathBuf::new(), json: false };
            Client::connect(&args).and_then(|mut client| client.call("chain_list", &json!({}))).ok()
        })
        .collect();
    let names = lists
        .iter()
        .flatten()
        .find_map(|list| Some(list.as_array()?.iter().filter_map(|chain| chain["name"].as_str()).map(str::to_owned).collect::<Vec<_>>()));
    let of = |name: String| {
        let height = |list: &Option<Value>| {
            let chain = list.as_ref()?.as_array()?.iter().find(|chain| chain["name"] == name.as_str())?;
            Some(chain["stats"]["height"].as_u64()?.to_string())
        };
        let heights: Vec<_> = lists.iter().map(|list| height(list).unwrap_or_else(|| "-".into())).collect();
        format!("{name} {}", heights.join("/"))
    };
    names.unwrap_or_default().into_iter().map(of).collect::<Vec<_>>().join("  ")
}

fn write(args: &TestnetArgs) -> anyhow::Result<()> {
    let members = args.members.unwrap_or(args.nodes);
    if members > args.nodes {
        bail!("{members} members of {} nodes: --members is {} at most", args.nodes, args.nodes);
    }
    let addresses: Vec<_> = (0..args.nodes).map(|index| address(args.port, index)).collect::<anyhow::Result<_>>()?;
    let mut nodes = Vec::new();
    for (index, address) in addresses.into_iter().enumerate() {
        let dir = args.dir.join(format!("node{}", index + 1));
        std::fs::create_dir_all(&dir)?;
        nodes.push(Placed { known: key::new(&dir.join("node.key"))?, address });
    }
    for chain in 0..args.chains {
        std::fs::write(args.dir.join(format!("chain{}.json", chain + 1)), genesis(args, chain, &nodes[..members.into()])?)?;
    }
    for index in 0..args.nodes {
        let text = configuration(args, index, &nodes)?;
        std::fs::write(args.dir.join(format!("node{}/subnode.toml", index + 1)), text)?;
    }
    Ok(())
}

fn address(port: u16, index: u16) -> anyhow::Result<SocketAddr> {
    let port = port.checked_add(index).with_context(|| format!("no port is left after {port} for node {}", index + 1))?;
    Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
}

/// A node, and where it is.
struct Placed {
    known: Known,
    address: SocketAddr,
}

fn genesis(args: &TestnetArgs, chain: u16, placed: &[Placed]) -> anyhow::Result<Vec<u8>> {
    let mut members: Vec<_> = placed.iter().map(|placed| json!({ "key": format!("0x{}", placed.known.node), "power": 1 })).collect();
    if args.runtime != "evm" {
        // Whoever has the key of these bytes may change the committee: on a network of one's own, all who read this.
        let owner = subnode_network::NodeKey::from_secret([1; 32])?.id();
        return Ok(json!({ "owner": format!("0x{owner}"), "committee": members }).to_string().into_bytes());
    }
    for (member, placed) in members.iter_mut().zip(placed) {
        member["attester"] = json!(placed.known.attester);
    }
    let funded = super::known_accounts()?;
    let owner = funded.first().context("no account")?;
    let slow = matches!(args.sealing, Sealing::Interval(every_ms) if every_ms.get() >= 1000);
    // Blocks that come faster than one a second share it, or the chain's time would run ahead.
    let extension = json!({ "committee": { "owner": owner, "members": members }, "sharedSeconds": !slow });
    let genesis = super::genesis(DevGenesis::DEFAULT_CHAIN_ID + u64::from(chain), &funded, extension)?;
    Ok(genesis.to_json())
}

fn configuration(args: &TestnetArgs, index: u16, nodes: &[Placed]) -> anyhow::Result<String> {
    let listen = address(args.port, index)?;
    let mut text = format!(
        "data-dir = \"data\"\n\n[rpc]\nlisten = \"{listen}\"\n\n[network]\nlisten = \"{listen}\"\nname = \"testnet\"\nkey = \"node.key\"\n\n[network.peers]\n"
    );
    for (position, Placed { known, address }) in nodes.iter().enumerate() {
        if position != usize::from(index) {
            writeln!(text, "{} = \"{address}\"", known.node)?;
        }
    }
    // A file is meant from here, and read from the node's directory.
    let module = |name: &String| match std::path::absolute(name) {
        Ok(file) if file.is_file() => json!(file.display().to_string()),
        _ => json!(name),
    };
    for chain in 1..=args.chains {
        write!(
            text,
            "\n[[chain]]\nname = \"chain{chain}\"\nruntime = {}\nconsensus = {}\ngenesis = \"../chain{chain}.json\"\nsealing = \"{}\"\ncheckpoint-every = {}\nattest-every = {}\n",
            module(&args.runtime),
            module(&args.consensus),
            args.sealing,
            args.checkpoint_every,
            args.attest_every
        )?;
    }
    Ok(text)
}
