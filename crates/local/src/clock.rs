//! The wall clock of the local system: the one place of this crate that reads it.
//!
//! Everything else takes the time from its caller, so that tests can set it.

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds since the epoch.
pub(crate) fn unix_now() -> u64 {
    #[expect(
        clippy::disallowed_methods,
        reason = "the adapter of the wall clock; everything else is handed the time"
    )]
    let now = SystemTime::now();
    now.duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}
