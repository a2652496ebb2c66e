//! The SIP side, read and written by the `rsip` crate: transactions and dialogs over UDP.

pub(crate) mod auth;
pub(crate) mod client;
pub(crate) mod dialog;
pub(crate) mod message;
pub(crate) mod sdp;
pub(crate) mod server;
pub(crate) mod timers;
pub(crate) mod wire;
