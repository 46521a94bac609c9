//! All that an operator can ask of a chain, each with the chain as it is before and after.

use anyhow::ensure;
use rand::{RngCore, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};

use crate::{
    operator::{Home, Node, Operator},
    transfer::Sender,
};

/// The chain that is asked for.
pub const CHAIN: &str = "a";
/// A module to upgrade to, and a chain to import, in a node's directory.
const MODULE: &str = "mine.wasm";
const ARCHIVE: &str = "moved.subnode";

/// One request of an operator's.
pub struct Operation {
    /// Arguments of `subnode`.
    pub arguments: &'static [&'static str],
    /// Calls that bring the chain to where it is before.
    before: &'static [&'static str],
    /// The chain afterwards: its state, none where there is no chain.
    pub state: Option<&'static str>,
}

/// All of them.
pub const OPERATIONS: [Operation; 10] = [
    Operation {
        arguments: &["chain", "create", CHAIN, "--genesis", "genesis.json", "--slice", "3", "--sealing", "10ms"],
        before: &[],
        state: Some("running"),
    },
    Operation { arguments: &["chain", "stop", CHAIN], before: &["create"], state: Some("stopped") },
    Operation { arguments: &["chain", "start", CHAIN], before: &["create", "stop"], state: Some("running") },
    Operation { arguments: &["chain", "pause", CHAIN], before: &["create"], state: Some("paused") },
    Operation { arguments: &["chain", "resume", CHAIN], before: &["create", "pause"], state: Some("running") },
    Operation { arguments: &["chain", "resize", CHAIN, "--slice", "5"], before: &["create"], state: Some("running") },
    Operation { arguments: &["chain", "upgrade", CHAIN, "--runtime", MODULE], before: &["create"], state: Some("running") },
    Operation { arguments: &["chain", "export", CHAIN, "--output", "copy.subnode"], before: &["create"], state: Some("running") },
    Operation { arguments: &["chain", "import", CHAIN, ARCHIVE, "--slice", "3"], before: &[], state: Some("running") },
    Operation { arguments: &["chain", "delete", CHAIN, "--force"], before: &["create"], state: None },
];

/// Makes what the operations need of files.
///
/// # Errors
/// Where one cannot be made.
pub fn furnish(home: &Home, node: &mut Node) -> anyhow::Result<()> {
    std::fs::write(home.path(MODULE), crate::module::renamed(subnode_modules::EVM))?;
    create(&mut node.operator)?;
    // Of several chunks, that there is a midst of it.
    let (mut client, mut sender, mut random) = (node.chain(CHAIN)?, Sender::new(0), StdRng::seed_from_u64(7));
    for _ in 0..30 {
        let mut data = vec![0; 100_000];
        random.fill_bytes(&mut data);
        sender.send(&mut client, data)?;
    }
    let sent = sender.nonce;
    node.operator.wait(CHAIN, |chain| chain["stats"]["transactions"].as_u64() >= Some(sent))?;
    home.succeeds(&["chain", "export", CHAIN, "--output", ARCHIVE])?;
    node.operator.call("chain_delete", json!({ "name": CHAIN, "force": true })).map(drop)
}

fn create(operator: &mut Operator) -> anyhow::Result<()> {
    operator.create(CHAIN, json!({ "slice": 3, "sealing": "10ms" })).map(drop)
}

impl Operation {
    /// Brings the chain to where it is before; the chain there.
    ///
    /// # Errors
    /// Where the node refuses.
    pub fn prepare(&self, home: &Home, operator: &mut Operator) -> anyhow::Result<Value> {
        drop(std::fs::remove_file(home.path("copy.subnode")));
        if operator.show(CHAIN).is_ok() {
            operator.call("chain_delete", json!({ "name": CHAIN, "force": true }))?;
        }
        for step in self.before {
            match *step {
                "create" => create(operator)?,
                step => operator.call(&format!("chain_{step}"), json!({ "name": CHAIN })).map(drop)?,
            }
        }
        Ok(facts(operator))
    }

    /// Whether this is what the operation leads to.
    ///
    /// # Errors
    /// Where it is not, with what is.
    pub fn check(&self, home: &Home, facts: &Value) -> anyhow::Result<()> {
        ensure!(facts["state"].as_str() == self.state, "{:?}: {facts}", self.arguments);
        match self.arguments[1] {
            "resize" => ensure!(facts["parts"] == 5, "{facts}"),
            "upgrade" => ensure!(facts["runtime"].as_str().is_some_and(|name| name.starts_with("sha256:")), "{facts}"),
            "export" => ensure!(home.path("copy.subnode").exists(), "there is no file"),
            "delete" => {}
            _ => ensure!((facts["parts"].as_u64(), facts["runtime"].as_str()) == (Some(3), Some("evm")), "{facts}"),
        }
        Ok(())
    }

    /// Asks again for what an interruption left undone, and checks that it is done then.
    ///
    /// # Errors
    /// Where it is not.
    pub fn complete(&self, home: &Home, operator: &mut Operator, before: &Value) -> anyhow::Result<()> {
        let now = facts(operator);
        if self.check(home, &now).is_ok() {
            return Ok(());
        }
        ensure!(now == *before, "{:?} led from {before} to {now}", self.arguments);
        home.succeeds(self.arguments)?;
        self.check(home, &facts(operator))
    }
}

/// What an operation may change of the chain, or null where there is none.
pub fn facts(operator: &mut Operator) -> Value {
    let shown = operator.show(CHAIN).unwrap_or_default();
    json!({ "state": shown["state"], "parts": shown["slice"]["parts"], "runtime": shown["runtime"] })
}
