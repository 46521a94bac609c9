//! Tracing: transactions that are in blocks, executed again on the state that they found, and calls; in geth's formats (`debug_`) and in
//! OpenEthereum's (`trace_`).
//!
//! The tracers are those of the crate revm-inspectors, but for geth's struct logs ([`steps`]): that crate keeps every step until the end, and
//! words their errors otherwise.

pub mod budget;
pub mod geth;
pub mod parity;
pub mod replay;
mod steps;
