use std::collections::BTreeMap;

use subnode_types::{ChainName, Parts, Slice};

/// Parts of a chain that asks for none.
const DEFAULT_PARTS: u32 = 4;

/// What a node has to give.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capacity {
    /// Parts that its cores are divided into.
    pub parts: Parts,
    /// Memory of all chains.
    pub memory_bytes: u64,
    /// Disk of all chains.
    pub storage_bytes: u64,
    /// Of its ports, per second.
    pub bandwidth_bytes: u64,
}

impl Capacity {
    /// A slice of so many parts, with as much of all the rest.
    #[must_use]
    pub fn slice(&self, cpu: Parts) -> Slice {
        Slice {
            cpu,
            memory_bytes: cpu.of(self.memory_bytes, self.parts),
            storage_bytes: cpu.of(self.storage_bytes, self.parts),
            bandwidth_bytes: cpu.of(self.bandwidth_bytes, self.parts),
        }
    }

    /// The slice of a chain that asks for none.
    #[must_use]
    pub fn default_slice(&self) -> Slice {
        self.slice(Parts::new(DEFAULT_PARTS).unwrap_or(Parts::ONE).min(self.parts))
    }
}

/// What is asked for of a slice; none leaves it as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SliceRequest {
    /// So many parts, with as much of all the rest, before the others below.
    pub parts: Option<Parts>,
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// Storage.
    pub storage_bytes: Option<u64>,
    /// Bandwidth.
    pub bandwidth_bytes: Option<u64>,
}

impl SliceRequest {
    /// A slice with what is asked for in place of what it was.
    #[must_use]
    pub fn over(&self, slice: Slice, capacity: &Capacity) -> Slice {
        let slice = self.parts.map_or(slice, |parts| capacity.slice(parts));
        Slice {
            memory_bytes: self.memory_bytes.unwrap_or(slice.memory_bytes),
            storage_bytes: self.storage_bytes.unwrap_or(slice.storage_bytes),
            bandwidth_bytes: self.bandwidth_bytes.unwrap_or(slice.bandwidth_bytes),
            ..slice
        }
    }
}

/// Slices granted out of a node's capacity: their sums never pass it.
#[derive(Debug)]
pub struct Ledger {
    capacity: Capacity,
    granted: BTreeMap<ChainName, Slice>,
}

/// Sums of what is granted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// Parts.
    pub parts: u32,
    /// Memory.
    pub memory_bytes: u64,
    /// Disk.
    pub storage_bytes: u64,
    /// Per second.
    pub bandwidth_bytes: u64,
}

/// A slice that does not fit.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} does not fit: {wanted} wanted, {free} of {whole} {unit} free")]
pub struct Refused {
    /// Of what there is too little.
    pub what: &'static str,
    /// Asked for.
    pub wanted: u64,
    /// Free.
    pub free: u64,
    /// What the node has.
    pub whole: u64,
    /// What is counted.
    pub unit: &'static str,
}

impl Ledger {
    /// Nothing granted.
    #[must_use]
    pub fn new(capacity: Capacity) -> Self {
        Self { capacity, granted: BTreeMap::new() }
    }

    /// What the node has.
    #[must_use]
    pub fn capacity(&self) -> Capacity {
        self.capacity
    }

    /// What is granted in all.
    #[must_use]
    pub fn granted(&self) -> Grant {
        self.granted_beside(None)
    }

    fn granted_beside(&self, name: Option<&ChainName>) -> Grant {
        let others = self.granted.iter().filter(|(granted, _)| Some(*granted) != name);
        others.fold(Grant::default(), |sum, (_, slice)| Grant {
            parts: sum.parts.saturating_add(slice.cpu.get()),
            memory_bytes: sum.memory_bytes.saturating_add(slice.memory_bytes),
            storage_bytes: sum.storage_bytes.saturating_add(slice.storage_bytes),
            bandwidth_bytes: sum.bandwidth_bytes.saturating_add(slice.bandwidth_bytes),
        })
    }

    /// Grants a slice, in place of the one that this chain has.
    ///
    /// # Errors
    /// [`Refused`] says what is missing. The chain then has what it had.
    pub fn grant(&mut self, name: &ChainName, slice: Slice) -> Result<(), Refused> {
        let (capacity, others) = (self.capacity, self.granted_beside(Some(name)));
        for (what, unit, wanted, granted, whole) in [
            ("cpu", "parts", u64::from(slice.cpu.get()), u64::from(others.parts), u64::from(capacity.parts.get())),
            ("memory", "bytes", slice.memory_bytes, others.memory_bytes, capacity.memory_bytes),
            ("storage", "bytes", slice.storage_bytes, others.storage_bytes, capacity.storage_bytes),
            ("bandwidth", "bytes per second", slice.bandwidth_bytes, others.bandwidth_bytes, capacity.bandwidth_bytes),
        ] {
            let free = whole.saturating_sub(granted);
            if wanted > free {
                return Err(Refused { what, wanted, free, whole, unit });
            }
        }
        self.granted.insert(name.clone(), slice);
        Ok(())
    }

    /// Takes a slice back.
    pub fn release(&mut self, name: &ChainName) {
        self.granted.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_refused_by_name_and_changes_nothing() {
        let parts = |count| Parts::new(count).expect("parts");
        let capacity = Capacity { parts: parts(128), memory_bytes: 1280, storage_bytes: 12_800, bandwidth_bytes: 128 };
        let mut ledger = Ledger::new(capacity);
        let [a, b]: [ChainName; 2] = ["a", "b"].map(|name| name.parse().expect("name"));
        assert_eq!(ledger.grant(&a, capacity.slice(parts(127))), Ok(()));
        let refused = ledger.grant(&b, capacity.slice(parts(2))).expect_err("too much");
        assert_eq!((refused.what, refused.wanted, refused.free, refused.whole), ("cpu", 2, 1, 128));
        let refused = ledger.grant(&b, Slice { memory_bytes: 11, ..capacity.slice(parts(1)) }).expect_err("too much");
        assert_eq!((refused.what, refused.free), ("memory", 10));
        assert_eq!(ledger.grant(&b, capacity.slice(parts(1))), Ok(()));
        assert_eq!(ledger.grant(&a, capacity.slice(parts(100))), Ok(()), "its own slice makes room for it");
        ledger.release(&b);
        assert_eq!(ledger.granted().parts, 100);
    }
}
