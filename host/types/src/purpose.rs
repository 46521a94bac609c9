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
    /// What members of a committee state about the world outside of the chain.
    Statements,
    /// Parts of a content that is known by its hash: a module.
    Content,
}

impl Purpose {
    /// All of them, in their order.
    pub const ALL: [Self; 6] = [Self::Consensus, Self::Transactions, Self::Blocks, Self::Snapshot, Self::Statements, Self::Content];
    /// A chain's: nodes send frames of these unasked. Contents are only asked for.
    pub const OF_CHAIN: [Self; 5] = [Self::Consensus, Self::Transactions, Self::Blocks, Self::Snapshot, Self::Statements];

    /// Whether members of the committee alone send frames of it.
    #[must_use]
    pub const fn is_of_members(self) -> bool {
        matches!(self, Self::Consensus | Self::Statements)
    }
}
