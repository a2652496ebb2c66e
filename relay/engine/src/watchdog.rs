//! Notices a worker that hangs: one that dies says so itself, one that hangs cannot.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::engine::Wake;
use crate::error::{StartError, WorkerState};
use crate::mailbox::Mailbox;

/// Looks in the time that a worker may be silent for: it is noticed a quarter late at most.
const LOOKS: u32 = 4;

/// A thread that looks at the workers' signs of life.
pub(crate) struct Watchdog {
    stop: Arc<Stop>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Waits so long; whether it is time to stop.
    fn wait(&self, time: Duration) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(asked, time, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }
}

impl Watchdog {
    /// Watches until it is dropped. A worker that shows no sign of life for longer than `stall` is
    /// lost.
    pub(crate) fn start(
        mailboxes: Vec<Arc<Mailbox>>,
        stall: Duration,
        wake: Wake,
    ) -> Result<Watchdog, StartError> {
        let stop = Arc::new(Stop::default());
        let stopped = Arc::clone(&stop);
        let thread = thread::Builder::new()
            .name("relay-watchdog".to_owned())
            .spawn(move || watch(&mailboxes, stall, &wake, &stopped))
            .map_err(|error| StartError::Os { operation: "start a thread", error })?;
        Ok(Watchdog { stop, thread: Some(thread) })
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        *self.stop.asked.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.changed.notify_all();
        if let Some(thread) = self.thread.take() {
            // It does nothing that could panic but for the owner's callback, which is the owner's.
            let _ = thread.join();
        }
    }
}

fn watch(mailboxes: &[Arc<Mailbox>], stall: Duration, wake: &Wake, stop: &Stop) {
    let pause = stall / LOOKS;
    let mut looked = Instant::now();
    while !stop.wait(pause) {
        let since = looked.elapsed();
        looked = Instant::now();
        if since > 2 * pause {
            // The whole process was not running (a suspended machine): the workers neither.
            continue;
        }
        for (worker, mailbox) in mailboxes.iter().enumerate() {
            let silent = mailbox.last_beat();
            if silent > stall && !mailbox.is_down() {
                let reason = format!("no sign of life for {:.1} s", silent.as_secs_f64());
                tracing::error!(worker, %reason, "a relay worker hangs; its calls end");
                mailbox.lose(WorkerState::Died { reason });
                wake();
            }
        }
    }
}
