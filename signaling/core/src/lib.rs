//! The sans-IO SIP side: wire format, SDP, transactions, registrar, proxy core, Media Proxy, and the ng
//! protocol by which other SIP servers use this node's relay.
//!
//! This crate knows no socket, no clock, no thread and no random number generator of its own.
//! Messages, time and seeds come in as arguments; messages to send, commands for the relay and call
//! records go out as values.
#![forbid(unsafe_code)]

pub mod auth;
pub mod call;
pub mod events;
pub mod farm;
pub mod guard;
mod names;
pub mod ng;
pub mod overload;
pub mod proxy;
pub mod registrar;
pub mod resolve;
pub mod sdp;
pub mod stun;
pub mod table;
pub mod timer;
mod token;
pub mod transaction;
pub mod transport;
pub mod wire;
pub mod ws;
