//! The SIP side, read and written by the `rsip` crate: transactions and dialogs over UDP, TCP and TLS.

pub(crate) mod auth;
pub(crate) mod client;
pub(crate) mod connection;
pub(crate) mod datagrams;
pub(crate) mod dialog;
pub(crate) mod hop;
pub(crate) mod hosts;
pub(crate) mod message;
pub(crate) mod sdp;
pub(crate) mod server;
pub(crate) mod streams;
pub(crate) mod timers;
pub(crate) mod wire;
