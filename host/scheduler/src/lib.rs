//! Fair shares between chains: turns on the cores, bytes of memory, bytes per second, and what of a node is granted.
//!
//! * [`Cores`] and [`Share`]: who runs next. Weighted fair queueing on CPU time, work-conserving: an idle neighbour's time is
//!   anyone's, a busy one's is not. A chain that used less than its share runs before those that used more.
//! * [`Quota`]: bytes taken and given back under a limit that can be moved.
//! * [`TokenBucket`]: bytes per second.
//! * [`Ledger`]: slices granted out of a node's capacity.
//!
//! The currency of the cores is nanoseconds of CPU time, not fuel: one unit of fuel takes 0.2 to 1.2 ns depending on the
//! instruction, so equal fuel is not equal time, and what the host does in a guest's stead burns time as well. Fuel bounds calls
//! and says how often they yield.
//!
//! Not here: running guests (`sandbox`), measuring them, clocks: the caller passes times. Nothing here blocks or spawns.

mod bucket;
mod cores;
mod fair_queue;
mod ledger;
mod quota;

pub use bucket::TokenBucket;
pub use cores::{Cores, Share, Ticket, Usage};
pub use ledger::{Capacity, Grant, Ledger, Refused, SliceRequest};
pub use quota::{Quota, QuotaFull};
