//! Shared by the tests of this crate.

use std::time::Instant;

/// Some instant to count from.
#[expect(
    clippy::disallowed_methods,
    reason = "tests need an instant to start from; it does not matter which"
)]
pub(crate) fn start_of_time() -> Instant {
    Instant::now()
}
