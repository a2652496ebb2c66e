//! The media engine: one pinned thread per worker, each with one io_uring and one
//! [`relay_core`] relay that it owns.
//!
//! [`Engine`] is the whole interface: commands go in with [`Engine::submit`], events come out of
//! [`Engine::poll_event`]. Sessions are placed on workers by their id modulo the number of workers,
//! which needs no table; the workers share the ports of each local address. When a worker dies or
//! hangs, its commands are answered, the end of its sessions is told, and new ones go to the others.

mod config;
mod counters;
mod engine;
mod error;
mod ledger;
mod mailbox;
mod priority;
pub mod probe;
mod ring;
mod shared_ports;
mod socket;
mod watchdog;
mod worker;

pub use config::{Dscp, EngineConfig, Markings, NotADscp, RingSizes};
pub use counters::WorkerCounters;
pub use engine::{Engine, Wake};
pub use error::{PortsError, StartError, SubmitError, WorkerHealth, WorkerState};
pub use priority::Priority;
pub use relay_core::ports::Generation;
