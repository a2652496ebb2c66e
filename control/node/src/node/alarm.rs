//! The one timer of the signaling thread.

use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::time::{Sleep, sleep_until};

/// How late it may ring: a hundredth of the shortest timer of SIP (T1, 500 ms). Under load something is due
/// at every moment, and is seen to with the next message anyhow.
const SLACK: Duration = Duration::from_millis(4);

/// Rings when something is due, up to 4 ms later, or earlier: whoever it wakes looks at the time anyway.
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
    /// Has it ring no later than `due`, or than [`SLACK`] from `now` if that is later; at once, if it is
    /// due already. Needs a running tokio runtime.
    pub(super) fn set(&mut self, now: Instant, due: Option<Instant>) {
        let due = due.map(|due| if due > now { due.max(now + SLACK) } else { due });
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
                alarm.set(start, Some(start + due));
            }
            alarm.set(start, None);
            assert_eq!(alarm.at, Some(start + SOON));
            timeout(PATIENCE, alarm.ring()).await.unwrap();
            assert!(start.elapsed() >= SOON);
        });
    }

    #[test]
    fn once_it_has_rung_it_is_set_anew_or_silent() {
        run(async {
            let mut alarm = Alarm::default();
            let now = Instant::now();
            alarm.set(now, Some(now));
            timeout(PATIENCE, alarm.ring()).await.unwrap();
            timeout(SOON, alarm.ring()).await.unwrap_err();
            let now = Instant::now();
            alarm.set(now, Some(now + SOON));
            timeout(PATIENCE, alarm.ring()).await.unwrap();
        });
    }

    /// What is due in a moment may wait for [`SLACK`], so that the timer is not set anew for each
    /// of a thousand deadlines a second; what is due already may not.
    #[test]
    fn deadlines_close_to_each_other_share_a_ring() {
        run(async {
            let start = Instant::now();
            let mut alarm = Alarm::default();
            alarm.set(start, Some(start + SLACK / 4));
            assert_eq!(alarm.at, Some(start + SLACK));
            let later = start + SLACK / 2;
            alarm.set(later, Some(later + SLACK / 4));
            assert_eq!(alarm.at, Some(start + SLACK));
            alarm.set(later, Some(later));
            assert_eq!(alarm.at, Some(later));
        });
    }
}
