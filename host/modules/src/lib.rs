//! The guest modules that come with Subnode, built from guest-modules/ and embedded.
//!
//! The same sources give the same bytes in any folder, so a module's hash names it everywhere.

/// Consensus of members that trust each other: more than half decides.
pub const AUTHORITY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/authority.wasm"));
/// Byzantine fault-tolerant consensus of a committee: Malachite's core.
pub const BFT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/bft.wasm"));
/// Ethereum: revm behind the `runtime` world.
pub const EVM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/evm.wasm"));
/// Signed puts and gets: the smallest runtime.
pub const KV: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/kv.wasm"));
/// One sequencer: instant, interval or manual sealing.
pub const SOLO: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/solo.wasm"));

/// The embedded modules by name.
pub const ALL: [(&str, &[u8]); 5] = [("authority", AUTHORITY), ("bft", BFT), ("evm", EVM), ("kv", KV), ("solo", SOLO)];

/// The embedded module of this name.
#[must_use]
pub fn by_name(name: &str) -> Option<&'static [u8]> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, bytes)| *bytes)
}
