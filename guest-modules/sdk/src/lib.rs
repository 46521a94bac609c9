//! What a module needs to implement a world of `subnode:chain`.
//!
//! A consensus module implements [`consensus::Consensus`] and names it in [`consensus!`]; a runtime implements [`runtime::Runtime`] and names it in
//! [`runtime!`]. The crate is a `cdylib` built for wasm32-wasip2. The contract itself is in wit/, and `guest-modules/README.md` walks through a module.
//!
//! [`pace`] is for modules that have a committee: when it begins its next block. [`codec`] turns messages into bytes and back.
//!
//! Not here: anything of one protocol.

pub mod codec;
pub mod consensus;
pub mod pace;
pub mod runtime;
