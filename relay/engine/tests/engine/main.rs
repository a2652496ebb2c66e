//! The engine with real sockets on loopback.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests may panic, and an event that is not the awaited one is a failure"
)]

#[path = "../common/mod.rs"]
mod common;
mod gathering;
mod learning;
mod lifecycle;
mod merged;
mod moving;
mod pressure;
mod relay;
mod runs;
