//! What a module needs to implement a world of `subnode:chain`.
//!
//! A consensus module implements [`consensus::Consensus`] and names its type in [`consensus!`]. A runtime implements
//! [`runtime::Runtime`] and names its type in [`runtime!`]. The crate is a `cdylib` built for wasm32-wasip2. The
//! contract itself is in wit/, and `guest-modules/README.md` walks through a module.
//!
//! For modules that have a committee:
//!
//! * [`member`]: a member's life, to which a protocol adds its rules.
//! * [`committee`]: the members, their turns and their power.
//! * [`early`]: messages that wait for the next height.
//! * [`pace`]: when the next block begins.
//!
//! [`codec`] turns messages into bytes and back. [`native`] is the host of a module's own tests.
//!
//! Not here: anything of one protocol.

pub mod codec;
pub mod committee;
pub mod consensus;
#[doc(hidden)]
pub mod consensus_bindings;
pub mod early;
pub mod member;
#[cfg(not(target_family = "wasm"))]
pub mod native;
pub mod pace;
pub mod runtime;
