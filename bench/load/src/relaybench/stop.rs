//! Ctrl-C: whatever runs is brought to its end, and everything is taken down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{SigSet, Signal};

/// How often a wait looks whether it is to be broken off.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// Whether the user has had enough.
#[derive(Clone, Debug, Default)]
pub struct Stop {
    told: Arc<AtomicBool>,
    /// The run ends here, whatever happens.
    deadline: Option<Instant>,
}

impl Stop {
    /// Listens to SIGINT and SIGTERM from here on. They are blocked in this thread and those that it
    /// starts, and taken by a thread of their own; children are given an empty mask
    /// ([`crate::relaybench::process`]). A second signal ends the process at once.
    ///
    /// # Errors
    /// The kernel refuses to block them.
    pub fn on_signals() -> Result<Stop> {
        let mut signals = SigSet::empty();
        signals.add(Signal::SIGINT);
        signals.add(Signal::SIGTERM);
        signals.thread_block().context("blocking signals")?;
        let stop = Stop::default();
        let told = Arc::clone(&stop.told);
        std::thread::Builder::new()
            .name("signals".into())
            .spawn(move || {
                while signals.wait().is_ok() {
                    if told.swap(true, Ordering::Relaxed) {
                        std::process::exit(130);
                    }
                    eprintln!("stopping: taking down what runs (once more ends at once)");
                }
            })
            .context("starting the thread that takes signals")?;
        Ok(stop)
    }

    /// The same with a time at which the run is to end.
    pub fn with_deadline(self, deadline: Instant) -> Stop {
        Stop { deadline: Some(deadline), ..self }
    }

    /// Whether the run is to end now.
    pub fn is_set(&self) -> bool {
        self.check().is_err()
    }

    /// # Errors
    /// The user has had enough, or the time is up.
    pub fn check(&self) -> Result<()> {
        if self.told.load(Ordering::Relaxed) {
            bail!("interrupted");
        }
        if self.deadline.is_some_and(|deadline| Instant::now() > deadline) {
            bail!("the time for the whole run was up");
        }
        Ok(())
    }

    /// Sleeps for `time`.
    ///
    /// # Errors
    /// The user has had enough.
    pub fn sleep(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        loop {
            self.check()?;
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(LOOK_AGAIN));
        }
    }

    /// As if the user had had enough.
    #[cfg(test)]
    pub fn set(&self) {
        self.told.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sleep_is_broken_off() {
        let stop = Stop::default();
        assert!(stop.sleep(Duration::from_millis(1)).is_ok());
        stop.set();
        let start = Instant::now();
        assert!(stop.sleep(Duration::from_secs(600)).is_err());
        assert!(start.elapsed() < Duration::from_secs(60));
    }

    #[test]
    fn a_sleep_ends_at_the_deadline() {
        let stop = Stop::default().with_deadline(Instant::now() + Duration::from_millis(30));
        let error = stop.sleep(Duration::from_secs(600)).unwrap_err();
        assert!(error.to_string().contains("time"), "{error}");
    }
}
