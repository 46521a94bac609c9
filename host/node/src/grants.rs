//! Slices granted out of the machine: to chains, and to imports that are to become chains.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
};

use subnode_scheduler::{Capacity, Grant, Ledger};
use subnode_types::{ChainName, Slice};

use crate::{ControlError, slot::lock};

/// Slices granted out of the machine. Their sums never pass what the machine has.
pub(crate) struct Grants {
    inner: Mutex<Inner>,
}

struct Inner {
    ledger: Ledger,
    /// Imports that hold a slice, by name, and the number of whichever holds it.
    /// Bound: 8 imports, as `transfers` has it, of some 100 bytes each.
    held: BTreeMap<ChainName, u64>,
    next: u64,
}

impl Grants {
    pub(crate) fn new(capacity: Capacity) -> Arc<Self> {
        Arc::new(Self { inner: Mutex::new(Inner { ledger: Ledger::new(capacity), held: BTreeMap::new(), next: 0 }) })
    }

    /// What the node has to give, and what is granted of it.
    pub(crate) fn granted(&self) -> (Capacity, Grant) {
        let inner = lock(&self.inner);
        (inner.ledger.capacity(), inner.ledger.granted())
    }

    /// Grants a slice, in place of the one that the chain has.
    pub(crate) fn grant(&self, name: &ChainName, slice: Slice) -> Result<(), ControlError> {
        grant(&mut lock(&self.inner), name, slice)
    }

    pub(crate) fn release(&self, name: &ChainName) {
        lock(&self.inner).ledger.release(name);
    }

    /// Grants a slice to an import. An earlier import under this name loses the slice to this one.
    pub(crate) fn hold(self: &Arc<Self>, name: &ChainName, slice: Slice) -> Result<Hold, ControlError> {
        let mut inner = lock(&self.inner);
        grant(&mut inner, name, slice)?;
        inner.next += 1;
        let number = inner.next;
        inner.held.insert(name.clone(), number);
        Ok(Hold { grants: self.clone(), name: name.clone(), number })
    }

    /// Whether an import holds the slice of this name.
    pub(crate) fn is_held(&self, name: &ChainName) -> bool {
        lock(&self.inner).held.contains_key(name)
    }
}

fn grant(inner: &mut Inner, name: &ChainName, slice: Slice) -> Result<(), ControlError> {
    inner.ledger.grant(name, slice).map_err(|refused| ControlError::Refused { name: name.clone(), refused })
}

/// The slice of an import, given back when this is dropped.
pub(crate) struct Hold {
    grants: Arc<Grants>,
    name: ChainName,
    number: u64,
}

impl Hold {
    /// Whether no later import under this name holds the slice.
    pub(crate) fn is_current(&self) -> bool {
        lock(&self.grants.inner).held.get(&self.name) == Some(&self.number)
    }

    /// Leaves the slice to the chain that the import has become. Whether it was still this import's.
    pub(crate) fn hand_over(&self) -> bool {
        let mut inner = lock(&self.grants.inner);
        let is_ours = inner.held.get(&self.name) == Some(&self.number);
        if is_ours {
            inner.held.remove(&self.name);
        }
        is_ours
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        if self.hand_over() {
            self.grants.release(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use subnode_types::Parts;

    use super::*;

    fn capacity() -> Capacity {
        Capacity { parts: Parts::new(8).expect("some"), memory_bytes: 100, storage_bytes: 100, bandwidth_bytes: 100 }
    }

    fn slice(bytes: u64) -> Slice {
        Slice { cpu: Parts::ONE, memory_bytes: bytes, storage_bytes: bytes, bandwidth_bytes: bytes }
    }

    #[test]
    fn an_import_holds_its_slice_until_it_ends_and_gives_none_back_that_another_has() {
        let (grants, a, b) = (Grants::new(capacity()), "a".parse().expect("a name"), "b".parse().expect("a name"));
        let first = grants.hold(&a, slice(60)).expect("fits");
        assert!(matches!(grants.grant(&b, slice(60)), Err(ControlError::Refused { .. })), "the import has it");
        let second = grants.hold(&a, slice(50)).expect("takes the place of the first");
        assert!(second.is_current() && !first.is_current());
        drop(first);
        assert_eq!((grants.granted().1.storage_bytes, grants.is_held(&a)), (50, true));
        assert!(second.hand_over());
        drop(second);
        assert_eq!((grants.granted().1.storage_bytes, grants.is_held(&a)), (50, false), "the chain has it");
        grants.release(&a);
        drop(grants.hold(&b, slice(100)).expect("fits"));
        assert_eq!(grants.granted().1.storage_bytes, 0);
    }
}
