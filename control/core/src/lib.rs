//! The control side as pure state: settings, and the cluster that a node may be a member of.
//!
//! This crate knows no file, no socket, no clock and neither SIP nor media: a settings text comes in
//! as an argument, validated settings or a list of problems go out as values.
#![forbid(unsafe_code)]

pub mod balancer;
pub mod cluster;
pub mod doctor;
pub mod mesh;
pub mod settings;
