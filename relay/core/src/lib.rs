//! The sans-IO media relay: sessions, legs, streams, address learning, port allocation and
//! RTP/RTCP statistics.
//!
//! This crate knows no socket, no clock, no thread and no SIP. Packets, time and commands come in as
//! arguments; verdicts, actions for the engine and events for the signaling side go out as values.
#![forbid(unsafe_code)]

pub mod api;
pub mod learn;
mod leg;
mod path;
pub mod ports;
mod relay;
mod rtcp;
mod rtp;
mod session;
mod slot;
mod stats;
mod stream;
mod verdict;

pub use relay::{Relay, RelayConfig};
pub use slot::{SLOTS_MAX, SlotId};
pub use verdict::{Action, DropReason, OpenError, PacketKind, Verdict};

#[cfg(test)]
mod testing;
