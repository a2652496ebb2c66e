//! When a member that is not heard of counts as gone.

use std::time::{Duration, Instant};

/// How often a member shows that it lives.
pub const HEARTBEAT: Duration = Duration::from_millis(100);
/// After this silence it is suspected.
const SUSPECT_AFTER: Duration = Duration::from_millis(500);
/// After this silence it is down.
const DOWN_AFTER: Duration = Duration::from_secs(1);
/// Two looks further apart than this: it was we who stood still (a busy machine, a stopped process), and
/// what others have sent meanwhile has yet to be read.
const OWN_STALL: Duration = HEARTBEAT.saturating_mul(2);

/// How a member does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Health {
    /// It is heard.
    Up,
    /// It has been silent, or its connection has been lost, for a little.
    Suspect,
    /// It is gone.
    Down,
}

/// What has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    None,
    /// It is suspected.
    Suspect,
    /// It is heard again.
    Recovered,
    /// It is gone.
    Down {
        /// Its host says so: nobody listens there any more.
        refused: bool,
    },
}

/// The signs of life of one member.
///
/// `handle_*` takes what happens, at times that do not go back; [`Liveness::health`] is how it stands.
#[derive(Clone, Debug)]
pub struct Liveness {
    health: Health,
    heard: Instant,
    looked: Instant,
    /// Its connection was lost, and no other has come up.
    is_lost: bool,
}

impl Liveness {
    /// Of a member that is heard for the first time.
    #[must_use]
    pub const fn new(now: Instant) -> Liveness {
        Liveness { health: Health::Up, heard: now, looked: now, is_lost: false }
    }

    /// How it stands.
    #[must_use]
    pub const fn health(&self) -> Health {
        self.health
    }

    /// Something came from it, or a connection to it came up.
    pub fn handle_heard(&mut self, now: Instant) -> Step {
        self.heard = now;
        self.is_lost = false;
        match self.health {
            Health::Up => Step::None,
            Health::Suspect | Health::Down => {
                self.health = Health::Up;
                Step::Recovered
            }
        }
    }

    /// Its connection has ended without a word. It may be redialled.
    pub fn handle_lost(&mut self, now: Instant) -> Step {
        self.is_lost = true;
        // A process that has just ended has the whole time until it counts as down from its last word,
        // which is now: its connection's end.
        self.heard = now;
        match self.health {
            Health::Up => {
                self.health = Health::Suspect;
                Step::Suspect
            }
            Health::Suspect | Health::Down => Step::None,
        }
    }

    /// Nobody listens at its address. Without a connection that means that it has ended.
    pub fn handle_refused(&mut self) -> Step {
        match (self.health, self.is_lost) {
            (Health::Up | Health::Suspect, true) => self.down(true),
            (Health::Up | Health::Suspect, false) | (Health::Down, _) => Step::None,
        }
    }

    /// It has said that it leaves.
    pub fn handle_goodbye(&mut self) -> Step {
        match self.health {
            Health::Up | Health::Suspect => self.down(false),
            Health::Down => Step::None,
        }
    }

    /// To be called every [`HEARTBEAT`].
    pub fn handle_look(&mut self, now: Instant) -> Step {
        let gap = now.saturating_duration_since(self.looked);
        self.looked = now;
        if gap > OWN_STALL {
            // Our standing still is not its silence; each look counts as one.
            self.heard = (self.heard + (gap - HEARTBEAT)).min(now);
        }
        let silent = now.saturating_duration_since(self.heard);
        match self.health {
            Health::Up | Health::Suspect if silent >= DOWN_AFTER => self.down(false),
            Health::Up if silent >= SUSPECT_AFTER => {
                self.health = Health::Suspect;
                Step::Suspect
            }
            Health::Up | Health::Suspect | Health::Down => Step::None,
        }
    }

    fn down(&mut self, refused: bool) -> Step {
        self.health = Health::Down;
        Step::Down { refused }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::disallowed_methods, reason = "a test has to begin somewhere")]
    fn start() -> Instant {
        Instant::now()
    }

    const MS: Duration = Duration::from_millis(1);

    /// Looks every 100 ms from `from` to `to`, and what came of it when.
    fn looks(live: &mut Liveness, start: Instant, from: u32, to: u32) -> Vec<(u32, Step)> {
        let times = (from..=to).step_by(100);
        let steps = times.map(|ms| (ms, live.handle_look(start + MS * ms)));
        steps.filter(|(_, step)| *step != Step::None).collect()
    }

    #[test]
    fn a_silent_member_is_suspected_and_then_down() {
        let start = start();
        let mut live = Liveness::new(start);
        let steps = looks(&mut live, start, 100, 3_000);
        assert_eq!(steps, [(500, Step::Suspect), (1_000, Step::Down { refused: false })]);
        assert_eq!(live.handle_heard(start + MS * 3_001), Step::Recovered);
        assert_eq!(live.health(), Health::Up);
    }

    #[test]
    fn a_heartbeat_in_time_keeps_it_up() {
        let start = start();
        let mut live = Liveness::new(start);
        for ms in (100..5_000).step_by(100) {
            if ms % 400 == 0 {
                assert_eq!(live.handle_heard(start + MS * ms), Step::None);
            }
            assert_eq!(live.handle_look(start + MS * ms), Step::None, "{ms}");
        }
    }

    #[test]
    fn a_lost_connection_makes_suspect_and_a_refused_one_down_at_once() {
        let start = start();
        let mut live = Liveness::new(start);
        assert_eq!(live.handle_refused(), Step::None, "it has a connection");
        assert_eq!(live.handle_lost(start), Step::Suspect);
        assert_eq!(live.handle_refused(), Step::Down { refused: true });
        assert_eq!(live.handle_refused(), Step::None, "told once");
    }

    #[test]
    fn a_lost_connection_that_comes_back_is_no_end() {
        let start = start();
        let mut live = Liveness::new(start);
        live.handle_lost(start);
        assert_eq!(live.handle_heard(start + MS * 20), Step::Recovered);
        assert_eq!(live.handle_refused(), Step::None);
        live.handle_lost(start + MS * 100);
        let steps = looks(&mut live, start, 200, 2_000);
        assert_eq!(steps, [(1_100, Step::Down { refused: false })]);
    }

    #[test]
    fn a_member_that_says_goodbye_is_down_at_once() {
        let mut live = Liveness::new(start());
        assert_eq!(live.handle_goodbye(), Step::Down { refused: false });
        assert_eq!(live.handle_goodbye(), Step::None);
    }

    /// A process that was stopped, or a machine that slept, finds the others well.
    #[test]
    fn our_own_standing_still_is_not_the_silence_of_others() {
        let start = start();
        let mut live = Liveness::new(start);
        assert_eq!(live.handle_look(start + MS * 100), Step::None);
        assert_eq!(live.handle_look(start + MS * 30_000), Step::None);
        let steps = looks(&mut live, start, 30_100, 32_000);
        assert_eq!(steps[0].1, Step::Suspect, "but silence after that is: {steps:?}");
    }
}
