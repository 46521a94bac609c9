//! Fair shares between chains: turns on the cores, bytes of memory, bytes per second, and the slices that a node
//! grants.
//!
//! * [`Cores`] and [`Share`]: who runs next. CPU time is shared by weighted fair queueing and is work-conserving: an
//!   idle chain's share goes to the others, a busy chain's does not. The turns of a chain that used less than its share
//!   run at once, on the thread that asks. Workers, one thread per core, run the turns of all other chains. Workers can
//!   run at the lowest priority of the kernel.
//! * [`Quota`]: bytes taken and given back under a limit that can be moved.
//! * [`TokenBucket`]: bytes per second. [`Bandwidth`]: those of a chain, by the machine's clock.
//! * [`RoundRobin`]: a queue that serves its senders in turn, with a bound of bytes for each.
//! * [`Ledger`]: slices granted out of a node's capacity.
//!
//! The currency of the cores is nanoseconds of CPU time, not fuel. One unit of fuel takes 0.06 to 1.2 ns depending on
//! the instruction, so equal fuel is not equal time, and host functions take CPU time as well. Fuel bounds calls, and
//! says when to look whether a turn is over.
//!
//! Not here: what a turn is (`sandbox`); clocks, except in [`Bandwidth`]: the caller passes times.

mod bucket;
mod cores;
mod fair_queue;
mod ledger;
mod quota;
mod round_robin;
mod workers;

pub use bucket::{Bandwidth, Payer, TokenBucket};
pub use cores::{Cores, Place, Share, Turn, Usage, Work};
pub use ledger::{Capacity, Grant, Ledger, Refused, SliceRequest};
pub use quota::{Quota, QuotaFull};
pub use round_robin::RoundRobin;
