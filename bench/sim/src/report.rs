//! What a run has come to.

use std::fmt;
use std::time::Duration;

use crate::check::{Counts, Violation};
use crate::settings::Settings;

/// The result of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What it was made of.
    pub settings: Settings,
    /// How much time has passed in it.
    pub simulated: Duration,
    /// How many things have happened.
    pub events: u64,
    /// Two runs with the same one have the same history.
    pub fingerprint: u64,
    /// What was counted.
    pub counts: Counts,
    /// What was wrong.
    pub violations: Vec<Violation>,
}

impl Report {
    /// The command that repeats the run.
    #[must_use]
    pub fn command(&self) -> String {
        let Settings { seed, profile, calls, .. } = &self.settings;
        let standard = Settings::new(*profile, *seed, *calls);
        let mut command = format!(
            "cargo run -p ringfarm-sim -- --seed {seed} --profile {profile} --calls {calls}"
        );
        if self.settings.sip.loss != standard.sip.loss {
            command += &format!(" --loss {}", self.settings.sip.loss);
        }
        command
    }

    /// One line of JSON.
    #[must_use]
    pub fn json(&self) -> String {
        let Counts {
            calls,
            answered,
            failed,
            changes,
            records,
            packets_sent,
            packets_delivered,
            packets_expected,
            packets_strange,
        } = self.counts;
        let violations: Vec<String> = self
            .violations
            .iter()
            .map(|v| {
                format!("{{\"rule\":\"{}\",\"what\":\"{}\"}}", v.rule, escaped(&v.to_string()))
            })
            .collect();
        format!(
            "{{\"seed\":{},\"profile\":\"{}\",\"simulated_s\":{:.3},\"events\":{},\
             \"fingerprint\":\"{:016x}\",\"calls\":{calls},\"answered\":{answered},\
             \"failed\":{failed},\"changes\":{changes},\"records\":{records},\
             \"packets_sent\":{packets_sent},\"packets_delivered\":{packets_delivered},\
             \"packets_expected\":{packets_expected},\"packets_strange\":{packets_strange},\
             \"violations\":[{}]}}",
            self.settings.seed,
            self.settings.profile,
            self.simulated.as_secs_f64(),
            self.events,
            self.fingerprint,
            violations.join(","),
        )
    }
}

/// A JSON string.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", escaped(text))
}

fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '"' | '\\' => format!("\\{c}"),
            c if c.is_control() => " ".to_owned(),
            c => c.to_string(),
        })
        .collect()
}

/// What was violated, each on a line, and how to see it again.
pub(crate) fn violated<V: fmt::Display>(
    violations: &[V],
    command: impl FnOnce() -> String,
    f: &mut fmt::Formatter<'_>,
) -> fmt::Result {
    for violation in violations {
        write!(f, "\n  {violation}")?;
    }
    if violations.is_empty() { Ok(()) } else { write!(f, "\n  again: {}", command()) }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let c = &self.counts;
        write!(
            f,
            "seed {} {}: {} calls ({} answered, {} failed), {} re-INVITEs, {} of {} packets \
             delivered ({} of them had to be), {} events in {:.0} s of virtual time",
            self.settings.seed,
            self.settings.profile,
            c.calls,
            c.answered,
            c.failed,
            c.changes,
            c.packets_delivered,
            c.packets_sent,
            c.packets_expected,
            self.events,
            self.simulated.as_secs_f64(),
        )?;
        violated(&self.violations, || self.command(), f)
    }
}
