//! The sans-IO media relay: sessions, legs, streams, address learning, port allocation and
//! RTP/RTCP statistics.
//!
//! This crate knows no socket, no clock, no thread and no SIP. Packets, time and commands come in as
//! arguments; verdicts, actions for the engine and events for the signaling side go out as values.
#![forbid(unsafe_code)]

pub mod api;
pub mod ports;

#[cfg(test)]
mod testing;
