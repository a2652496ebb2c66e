//! What a run says while it goes on.

use std::io::{BufRead, Write};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::report::Report;

/// What the run is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// The users register.
    Registering,
    /// Calls are being set up (and, with holding times of their own, ended).
    Calling,
    /// All calls are up or have failed; media runs.
    Holding,
    /// Media has stopped; what is under way still counts.
    Draining,
    /// The calls are being ended.
    HangingUp,
    /// The users take their registrations back.
    Unregistering,
    /// Nothing more happens.
    Done,
}

/// A snapshot of a run, some five a second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What the run is doing.
    pub phase: Phase,
    /// Milliseconds since the start.
    pub elapsed_ms: u64,
    /// Users that have registered, of how many.
    pub registered: u32,
    /// Users that are to register; 0 if none are.
    pub registrations: u32,
    /// Calls that were set up so far, ended ones included.
    pub sessions_up: u32,
    /// Calls that have failed so far.
    pub sessions_failed: u32,
    /// Calls asked for.
    pub sessions_requested: u32,
    /// RTP packets sent so far.
    pub rtp_packets_sent: u64,
    /// RTP packets received so far.
    pub rtp_packets_received: u64,
    /// RTP packets that were overtaken by later ones and have not come (a gap in the numbers); those
    /// still under way are not among them.
    pub rtp_packets_missing: u64,
    /// RTP packets sent per second since the last snapshot.
    pub rtp_sent_per_second: u64,
    /// RTP packets received per second since the last snapshot.
    pub rtp_received_per_second: u64,
}

/// One line of the output of a run that is another process's child.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The run goes on.
    Progress(Progress),
    /// The run is over; the last line.
    Report(Box<Report>),
    /// The run could not be made; the last line.
    Error {
        /// Why not.
        message: String,
    },
}

/// Longest accepted line: a report with its histograms' figures is some 4 kB.
const LINE_BYTES_MAX: u64 = 1 << 20;

impl Event {
    /// Writes the event as one line of JSON and flushes.
    ///
    /// # Errors
    /// The reader is gone.
    pub fn write(&self, mut to: impl Write) -> Result<()> {
        let line = serde_json::to_string(self).context("an event as JSON")?;
        writeln!(to, "{line}").and_then(|()| to.flush()).context("writing progress")
    }

    /// Reads the next event; `None` at the end.
    ///
    /// # Errors
    /// The line cannot be read or is no event.
    pub fn read(from: &mut impl BufRead) -> Result<Option<Event>> {
        let mut line = String::new();
        let length = std::io::Read::take(&mut *from, LINE_BYTES_MAX).read_line(&mut line)?;
        if length == 0 {
            return Ok(None);
        }
        serde_json::from_str(&line).map(Some).with_context(|| format!("event {line:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_survive_the_pipe() {
        let progress = Progress {
            phase: Phase::Holding,
            elapsed_ms: 1,
            registered: 2,
            registrations: 3,
            sessions_up: 4,
            sessions_failed: 5,
            sessions_requested: 6,
            rtp_packets_sent: 7,
            rtp_packets_received: 8,
            rtp_packets_missing: 9,
            rtp_sent_per_second: 10,
            rtp_received_per_second: 11,
        };
        let mut pipe = Vec::new();
        Event::Progress(progress).write(&mut pipe).unwrap();
        Event::Report(Box::default()).write(&mut pipe).unwrap();
        let mut reader = pipe.as_slice();
        let Some(Event::Progress(read)) = Event::read(&mut reader).unwrap() else { panic!() };
        assert_eq!(read, progress);
        assert!(matches!(Event::read(&mut reader).unwrap(), Some(Event::Report(_))));
        assert!(Event::read(&mut reader).unwrap().is_none());
    }
}
