//! The threads that do the turns of chains which used their share.

use std::{io, thread};

/// Starts a worker that does this work, and gives way to all else on the machine if it is `yielding`.
pub(crate) fn start(index: usize, yielding: bool, work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    let builder = thread::Builder::new().name(format!("subnode-turns-{index}"));
    let thread = builder.spawn(move || {
        if yielding && let Err(error) = yield_to_others() {
            tracing::warn!(%error, "workers run at the priority of all else: small chains wait longer beside busy ones");
        }
        work();
    });
    thread.map(drop)
}

/// Has the kernel take the core from this thread the moment any other wakes up, in the midst of a turn: what a chain that is due waits for
/// is then not a neighbour's turn but a switch of threads. A low nice value would not do, which is preempted at the end of a time slice.
#[cfg(target_os = "linux")]
fn yield_to_others() -> io::Result<()> {
    let none = libc::sched_param { sched_priority: 0 };
    // SAFETY: the call reads the structure, which outlives it, and concerns this thread only.
    #[expect(unsafe_code, reason = "no library has this call")]
    let set = unsafe { libc::sched_setscheduler(0, libc::SCHED_IDLE, &raw const none) };
    if set == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Elsewhere the system's own scheduler has to tell.
#[cfg(not(target_os = "linux"))]
fn yield_to_others() -> io::Result<()> {
    Ok(())
}
