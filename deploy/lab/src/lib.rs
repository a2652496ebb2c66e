//! The lab behind every balancer: clients, a balancer with the rules that operators are given, three
//! frontends, two backends without a way out and the cluster's engine, each in a network namespace of
//! its own, for each method of spreading SIP and media over several members (rows S33 to S71).
//!
//! Calls with media are made by `ringfarm load`; whether the packets that clients get come from where
//! they have to is judged by tshark alone, from what was captured at the clients (see [`judge`]).

mod balancer;
mod calls;
mod certificates;
pub mod changes;
pub mod cli;
mod doctor;
mod engine;
pub mod judge;
mod large;
mod members;
pub mod plan;
mod process;
pub mod report;
mod rules;
mod segment;
mod topology;

pub use cli::LabArgs;
pub use topology::{Standing, run, with};
