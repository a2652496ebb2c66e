//! The relay against an engine without sockets.
#![expect(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "helpers of tests may panic, and what is not awaited is a failure"
)]

mod learning;
mod model;
mod opening;
mod packets;
mod sessions;
mod statistics;
#[path = "../support/mod.rs"]
mod support;
