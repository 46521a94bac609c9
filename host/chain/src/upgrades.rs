//! The modules that the chain goes over to at a height.

use subnode_chain_core::{Role, Upgrade};
use subnode_sandbox::{Module, ModuleHash};

/// See the module.
pub(crate) struct Upgrades {
    /// Those that the chain went over to last, and those that are still to come.
    /// Bound: one of 49 bytes for each role.
    known: Vec<Upgrade>,
    /// What runs: the runtime and the consensus.
    running: [ModuleHash; 2],
}

impl Upgrades {
    pub(crate) fn new(known: Vec<Upgrade>, runtime: &Module, consensus: &Module) -> Self {
        Self { known, running: [runtime.hash(), consensus.hash()] }
    }

    /// A block was committed that declares these.
    pub(crate) fn declared(&mut self, upgrades: &[Upgrade]) {
        for upgrade in upgrades {
            self.known.retain(|known| known.role != upgrade.role);
            self.known.push(*upgrade);
        }
    }

    /// A module that decides the block on a head of this height, and does not run.
    pub(crate) fn due(&self, height: u64) -> Option<Upgrade> {
        let runs = |upgrade: &Upgrade| {
            let running = match upgrade.role {
                Role::Runtime => &self.running[0],
                Role::Consensus => &self.running[1],
            };
            *running.as_bytes() == upgrade.sha256
        };
        self.known.iter().find(|upgrade| upgrade.height <= height + 1 && !runs(upgrade)).copied()
    }
}
