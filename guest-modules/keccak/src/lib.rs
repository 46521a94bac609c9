//! Keccak-256 by the host, in the place of the assembly that alloy-primitives would link.
//!
//! alloy-primitives can call a hash function of its environment, but names that function in a way that the wasip2
//! linker refuses. alloy-primitives can also take a hash function from a crate, and this is that crate. [`Keccak256`]
//! gathers its input and has the host hash it in one call.

pub use digest::Digest;
use digest::{FixedOutput, FixedOutputReset, HashMarker, Output, OutputSizeUser, Reset, Update, consts::U32};

#[cfg(target_arch = "wasm32")]
unsafe extern "C" {
    /// Defined by the module (evm/src/host.rs), which holds the import.
    fn subnode_keccak256(bytes: *const u8, len: usize, output: *mut u8);
}

#[cfg(target_arch = "wasm32")]
fn keccak256(bytes: &[u8]) -> [u8; 32] {
    let mut output = core::mem::MaybeUninit::<[u8; 32]>::uninit();
    // SAFETY: reads `len` bytes of a slice and writes all 32 of `output`.
    unsafe {
        subnode_keccak256(bytes.as_ptr(), bytes.len(), output.as_mut_ptr().cast());
        output.assume_init()
    }
}

/// In the module's own tests there is no host.
#[cfg(not(target_arch = "wasm32"))]
fn keccak256(bytes: &[u8]) -> [u8; 32] {
    <sha3::Keccak256 as Digest>::digest(bytes).into()
}

/// Gathers input and hashes it at the end.
#[derive(Clone, Debug, Default)]
pub struct Keccak256 {
    input: Vec<u8>,
}

impl Keccak256 {
    /// The hash of `bytes`, without gathering.
    pub fn digest(bytes: impl AsRef<[u8]>) -> Output<Self> {
        keccak256(bytes.as_ref()).into()
    }
}

impl HashMarker for Keccak256 {}

impl OutputSizeUser for Keccak256 {
    type OutputSize = U32;
}

impl Update for Keccak256 {
    fn update(&mut self, data: &[u8]) {
        self.input.extend_from_slice(data);
    }
}

impl FixedOutput for Keccak256 {
    fn finalize_into(self, out: &mut Output<Self>) {
        *out = keccak256(&self.input).into();
    }
}

impl Reset for Keccak256 {
    fn reset(&mut self) {
        self.input.clear();
    }
}

impl FixedOutputReset for Keccak256 {
    fn finalize_into_reset(&mut self, out: &mut Output<Self>) {
        *out = keccak256(&self.input).into();
        self.input.clear();
    }
}
