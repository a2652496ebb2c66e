//! The one timer of the signaling thread.

use std::pin::Pin;
use std::time::Instant;

use tokio::time::{Sleep, sleep_until};

/// Rings when something is due, or earlier: whoever it wakes looks at the time anyway.
///
/// Nearly every message brings deadlines that are gone before they come, and to set a timer anew to an
/// earlier time costs the runtime two system calls (it wakes itself up). So the alarm is never put off,
/// only brought forward: it rings in vain once in a while instead.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    timer: Option<Pin<Box<Sleep>>>,
    /// When it rings, if it is set.
    at: Option<Instant>,
}

impl Alarm {
    /// Has it ring no later than `due`. Needs a running tokio runtime.
    pub(super) fn set(&mut self, due: Option<Instant>) {
        let Some(due) = due.filter(|due| self.at.is_none_or(|at| *due < at)) else { return };
        self.at = Some(due);
        match &mut self.timer {
            Some(timer) => timer.as_mut().reset(due.into()),
            None => self.timer = Some(Box::pin(sleep_until(due.into()))),
        }
    }

    /// Waits until it rings; for ever if it is not set. It is not set any more then. Cancel-safe.
    pub(super) async fn ring(&mut self) {
        match &mut self.timer {
            Some(timer) if self.at.is_some() => timer.as_mut().await,
            Some(_) | None => std::future::pending().await,
        }
        self.at = None;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    const SOON: Duration = Duration::from_millis(5);
    const LATE: Duration = Duration::from_secs(3600);
    const PATIENCE: Duration = Duration::from_secs(60);

    fn run(test: impl Future<Output = ()>) {
        tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(test);
    }

    #[test]
    fn it_is_brought_forward_and_never_put_off() {
        run(async {
            let start = Instant::now();
            let mut alarm = Alarm::default();
            for due in [LATE, SOON, LATE] {
                alarm.set(Some(start + due));
            }
            alarm.set(None);
            assert_eq!(alarm.at, Some(start + SOON));
            timeout(PATIENCE, alarm.ring()).await.unwrap();
            assert!(start.elapsed() >= SOON);
        });
    }

    #[test]
    fn once_it_has_rung_it_is_set_anew_or_silent() {
        run(async {
            let mut alarm = Alarm::default();
            alarm.set(Some(Instant::now()));
            timeout(PATIENCE, alarm.ring()).await.unwrap();
            timeout(SOON, alarm.ring()).await.unwrap_err();
            alarm.set(Some(Instant::now() + SOON));
            timeout(PATIENCE, alarm.ring()).await.unwrap();
        });
    }
}
