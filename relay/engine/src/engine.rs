//! The handle that the rest of the process holds.

use std::sync::Arc;

use relay_core::api::{Command, Event};

use crate::config::EngineConfig;
use crate::counters::WorkerCounters;
use crate::error::{StartError, SubmitError, WorkerHealth};

/// Called by a worker after it put events in the queue, and when it dies. It must not block.
pub type Wake = Arc<dyn Fn() + Send + Sync>;

/// A running engine. Every method may be called from any thread and none blocks, except
/// [`Engine::start`] and [`Engine::stop`].
pub struct Engine {
    _wake: Wake,
}

impl Engine {
    /// Probes the kernel and starts the workers. Returns once every worker is ready.
    ///
    /// # Errors
    /// See [`StartError`]; nothing is left running then.
    pub fn start(config: EngineConfig, wake: Wake) -> Result<Engine, StartError> {
        config.validate()?;
        Ok(Engine { _wake: wake })
    }

    /// Hands a command to the worker of its session.
    ///
    /// # Errors
    /// See [`SubmitError`]; the command comes back.
    pub fn submit(&self, command: Command) -> Result<(), SubmitError> {
        Err(SubmitError::WorkerDown(command))
    }

    /// Takes the next event, if there is one. Events of one session keep their order.
    pub fn poll_event(&self) -> Option<Event> {
        None
    }

    /// A snapshot of every worker's counters.
    pub fn counters(&self) -> Vec<WorkerCounters> {
        Vec::new()
    }

    /// Whether each worker works.
    pub fn health(&self) -> Vec<WorkerHealth> {
        Vec::new()
    }

    /// Stops the workers and closes every socket. Events that were not taken are lost.
    pub fn stop(self) {}
}
