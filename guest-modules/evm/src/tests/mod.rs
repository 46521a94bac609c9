//! Tests of the whole guest without a node around it: its imports are answered in memory.

mod cases;
pub mod chain;
pub mod contract;
pub mod developer;
pub mod imports;
mod notes;
mod simulation;
mod tracers;
