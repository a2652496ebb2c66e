//! UDP, TCP, TLS and WebSocket transports for the SIP core.
//!
//! [`Transports`] owns every SIP socket of a node. It runs on the tokio `current_thread` runtime of
//! the node's signaling thread: [`Transports::recv_batch`] waits for messages, [`Transports::send`]
//! puts one on the wire and never waits.
//!
//! What is absent, as a rule of this crate: it parses no SIP beyond what framing a stream needs,
//! and retransmits nothing. [`Resolver`] looks names up beside the transports, which know addresses alone.

mod bind;
mod config;
mod counters;
mod input;
mod marking;
pub mod resolver;
pub mod route;
mod tcp;
pub mod tls;
mod transports;
mod udp;
mod upgrade;

pub use bind::BindError;
pub use config::{Limits, ListenerConfig};
pub use counters::Counters;
pub use input::{CloseReason, Input, SendError};
pub use resolver::{Resolver, ResolverConfig};
pub use transports::{ShutdownReport, Transports};
pub use udp::Backlog;
