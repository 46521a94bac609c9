//! Verdicts about blocks: the reason why one is invalid, the same on every host.

use crate::bindings::exports::Invalid;

pub fn invalid(reason: impl Into<String>) -> Invalid {
    Invalid { reason: reason.into() }
}

pub fn ensure(holds: bool, reason: impl FnOnce() -> String) -> Result<(), Invalid> {
    if holds { Ok(()) } else { Err(invalid(reason())) }
}
