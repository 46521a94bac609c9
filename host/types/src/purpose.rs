/// What nodes exchange something for, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Messages of a chain's consensus.
    Consensus,
    /// Transactions.
    Transactions,
    /// Blocks.
    Blocks,
    /// Pieces of a snapshot.
    Snapshot,
}

impl Purpose {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [Self::Consensus, Self::Transactions, Self::Blocks, Self::Snapshot];
}
