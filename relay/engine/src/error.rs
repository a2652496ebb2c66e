//! What can go wrong, in words for the operator.

use std::time::Duration;

use relay_core::api::Command;
use relay_core::ports::{BadRange, TooManyRanges};

use crate::probe::ProbeError;

/// Why an engine did not start. Nothing of it is left running.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A field of the configuration cannot be used.
    #[error("relay configuration: {field}: {why}")]
    Config {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
    /// The range holds no pair of ports.
    #[error(
        "relay configuration: ports {first}-{last} hold no pair of an even and the next odd port"
    )]
    NoPorts {
        /// First port of the range.
        first: u16,
        /// Last port of the range.
        last: u16,
    },
    /// The kernel cannot do what the engine needs.
    #[error(transparent)]
    Kernel(#[from] ProbeError),
    /// A worker could not be pinned.
    #[error(
        "cannot pin a relay worker to core {core}: is it one of this process's cores (taskset -p)?"
    )]
    Pin {
        /// From the configuration.
        core: usize,
    },
    /// The system refused an operation.
    #[error("{operation}: {error}")]
    Os {
        /// What was tried.
        operation: &'static str,
        /// The system's words.
        error: std::io::Error,
    },
}

/// Why other ports are not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PortsError {
    /// There are none.
    #[error(transparent)]
    Bad(#[from] BadRange),
    /// Calls use ports of too many ranges.
    #[error(transparent)]
    TooMany(#[from] TooManyRanges),
}

/// Why a command was not taken. It comes back unchanged, and no event will answer it.
#[derive(Debug, PartialEq, thiserror::Error)]
pub enum SubmitError {
    /// As many commands as are allowed are under way: answer 503, or try again after an event.
    #[error("the relay worker has as many commands under way as are allowed")]
    Overloaded(Box<Command>),
    /// The worker that the session belongs to has died (the end of the session is told as well), or
    /// all have.
    #[error("the relay worker has stopped")]
    WorkerDown(Box<Command>),
}

/// Whether a worker works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerHealth {
    /// Its state.
    pub state: WorkerState,
    /// How long ago it last went round its loop. A healthy worker does so at least once a second,
    /// also when idle.
    pub last_beat: Duration,
}

/// The state of a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerState {
    /// It runs.
    Running,
    /// It was stopped.
    Stopped,
    /// It died or hangs. Its commands have been refused and its sessions closed as lost, or will
    /// have been once [`Engine::poll_event`](crate::Engine::poll_event) finds nothing.
    Died {
        /// The panic's or the error's words, or for how long it gave no sign of life.
        reason: String,
    },
}
