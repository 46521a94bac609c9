//! Synced writes of a committee on simulated disks: of each block, how many each member waits for.

use anyhow::Context;
use subnode_sandbox::{Sandbox, SandboxOptions};
use subnode_simulator::{Modules, Plan};

use crate::{
    options::Length,
    report::{Cell, Report},
};

/// Simulated time, of which a block takes some 200 ms.
const TIME_MS: u64 = 4_000;

/// Prints the table.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub(crate) fn run(length: Length) -> anyhow::Result<()> {
    let sandbox = Sandbox::new(&SandboxOptions { instances: 512, cache_dir: subnode_devnet::module_cache_dir() })?;
    let load = |name| anyhow::Ok(sandbox.load(subnode_modules::by_name(name).context("embedded")?)?);
    let mut report =
        Report::new("Synced writes of a block (simulated)", &["module", "members", "heights", "writes of a height and member"]);
    for name in ["authority", "bft"] {
        let modules = Modules { runtime: load("kv")?, consensus: load(name)? };
        for members in [4, 16, 100] {
            let time_ms = if members == 100 { length.of(500, TIME_MS, TIME_MS) } else { TIME_MS };
            let plan = Plan { disk_ms: 1, troubled_ms: time_ms, ..Plan::calm(members, modules.clone()) };
            let ran = subnode_simulator::run(0, plan).map_err(anyhow::Error::msg)?;
            let writes = ran.writes.0 as f64 / ran.writes.1 as f64;
            report.row(&[
                name.into(),
                members.to_string().as_str().into(),
                ran.height.to_string().as_str().into(),
                Cell::Result(writes, 2, ""),
            ]);
        }
    }
    report.finish();
    Ok(())
}
