//! Which contents are being got: of several chains that want one, one gets it.

use std::{collections::BTreeSet, sync::Mutex};

use subnode_sandbox::ModuleHash;

use crate::slot::lock;

/// Modules that are got at this moment, each for one chain.
#[derive(Default)]
pub(crate) struct Claims {
    /// Bound: 32 bytes for each chain that waits for a module.
    modules: Mutex<BTreeSet<ModuleHash>>,
}

/// Whoever has it gets the module, until it is dropped.
pub(crate) struct Claim<'a> {
    claims: &'a Claims,
    module: ModuleHash,
}

impl Claims {
    /// None where another chain has it.
    pub(crate) fn claim(&self, module: ModuleHash) -> Option<Claim<'_>> {
        // Made only where it is had: one that is dropped gives the module free.
        lock(&self.modules).insert(module).then(|| Claim { claims: self, module })
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        lock(&self.claims.modules).remove(&self.module);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_chain_gets_a_module_and_the_others_leave_it_alone() {
        let (claims, module) = (Claims::default(), ModuleHash::of(b"module"));
        let claim = claims.claim(module).expect("free");
        for _ in 0..2 {
            assert!(claims.claim(module).is_none(), "whoever asks in vain changes nothing");
        }
        drop(claim);
        assert!(claims.claim(module).is_some());
    }
}
