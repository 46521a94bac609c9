/// A committed block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRef {
    /// Its place in the chain; genesis is 0 but on a chain that starts elsewhere.
    pub height: u64,
    /// What its runtime calls it, 1 to 64 bytes.
    pub id: Vec<u8>,
    /// Unix time in milliseconds.
    pub timestamp_ms: u64,
}
