//! A fork's precompiles, of which a call may move some to other addresses.

use std::collections::BTreeMap;

use alloy_primitives::Address;
use revm::{
    context::{Cfg, ContextTr},
    handler::{EthPrecompiles, PrecompileProvider},
    interpreter::{CallInputs, InterpreterResult},
    primitives::{AddressSet, hardfork::SpecId},
};

/// Which precompile is where.
pub struct Precompiled {
    fork: EthPrecompiles,
    moved: Option<Moved>,
}

/// Precompiles that are not where their fork has them.
struct Moved {
    /// All addresses that have one.
    addresses: AddressSet,
    /// Those that have another's.
    origins: BTreeMap<Address, Address>,
}

impl Precompiled {
    pub fn new(fork: SpecId) -> Self {
        Self { fork: EthPrecompiles::new(fork), moved: None }
    }

    pub fn addresses(&self) -> &AddressSet {
        self.moved.as_ref().map_or_else(|| self.fork.warm_addresses(), |moved| &moved.addresses)
    }

    fn moved(&mut self) -> &mut Moved {
        self.moved.get_or_insert_with(|| Moved { addresses: self.fork.warm_addresses().clone(), origins: BTreeMap::new() })
    }

    /// Has the precompile of an address at another one too; false where there is none.
    pub fn move_to(&mut self, from: Address, to: Address) -> bool {
        let found = self.fork.contains(&from);
        if found {
            let moved = self.moved();
            moved.addresses.insert(to);
            moved.origins.insert(to, from);
        }
        found
    }

    /// Leaves no precompile at an address.
    pub fn remove(&mut self, address: Address) {
        if self.addresses().contains(&address) {
            self.moved().addresses.remove(&address);
        }
    }
}

impl<CTX: ContextTr<Cfg: Cfg<Spec = SpecId>>> PrecompileProvider<CTX> for Precompiled {
    type Output = InterpreterResult;

    fn set_spec(&mut self, spec: SpecId) -> bool {
        PrecompileProvider::<CTX>::set_spec(&mut self.fork, spec)
    }

    fn run(&mut self, context: &mut CTX, inputs: &CallInputs) -> Result<Option<InterpreterResult>, String> {
        let Some(moved) = &self.moved else { return self.fork.run(context, inputs) };
        if !moved.addresses.contains(&inputs.bytecode_address) {
            return Ok(None);
        }
        let Some(origin) = moved.origins.get(&inputs.bytecode_address) else { return self.fork.run(context, inputs) };
        let inputs = CallInputs { bytecode_address: *origin, ..inputs.clone() };
        self.fork.run(context, &inputs)
    }

    /// Those of the fork, wherever its precompiles are: what a call moves is as cold as any address (geth's rule).
    fn warm_addresses(&self) -> &AddressSet {
        self.fork.warm_addresses()
    }

    fn contains(&self, address: &Address) -> bool {
        self.moved.as_ref().map_or_else(|| self.fork.contains(address), |moved| moved.addresses.contains(address))
    }
}
