//! Fair shares between chains: turns on the cores, bytes of memory, bytes per second, and what of a node is granted.
//!
//! * [`Cores`] and [`Share`]: who runs next. Weighted fair queueing on CPU time, work-conserving: an idle neighbour's time is
//!   anyone's, a busy one's is not. A chain that used less than its share has its turns at once, on the thread that asks; the others'
//!   turns are done by workers, one per core, which can be made to give way to all else.
//! * [`Quota`]: bytes taken and given back under a limit that can be moved.
//! * [`TokenBucket`]: bytes per second; [`Bandwidth`]: those of a chain, by the machine's clock.
//! * [`RoundRobin`]: what many senders queue, in turn and with bytes for each.
//! * [`Ledger`]: slices granted out of a node's capacity.
//!
//! The currency of the cores is nanoseconds of CPU time, not fuel: one unit of fuel takes 0.06 to 1.2 ns depending on the
//! instruction, so equal fuel is not equal time, and what the host does in a guest's stead burns time as well. Fuel bounds calls
//! and says when to look if a turn is over.
//!
//! Not here: what a turn is (`sandbox`); clocks, but for [`Bandwidth`]: the caller passes times.

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
