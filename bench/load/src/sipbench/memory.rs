//! What registered contacts and live dialogs take.

use std::time::Duration;

use anyhow::{Result, ensure};

use crate::relaybench::lab::Lab;
use crate::relaybench::stop::Stop;
use crate::sipbench::cell::{DRAIN, HOLD, RING, fill, server_of};
use crate::sipbench::ends::Transport;
use crate::sipbench::engine::{Told, Work};
use crate::sipbench::generator::{Generator, Shape};
use crate::sipbench::report::MemoryReport;
use crate::sipbench::systems::{Needs, Running};

/// Phones that are called.
const CALLED: u32 = 100;

/// Registrations a second. Over TCP, where a server may forget a transaction once it has answered
/// (RFC 3261 17.2.2, timer J), so that few are there at a time.
const CONTACTS_PER_SECOND: f64 = 2_000.0;

const CONTACT_CONNECTIONS: u32 = 10;

/// Calls a second, so that few transactions linger beside the dialogs.
const DIALOGS_PER_SECOND: f64 = 150.0;

const HANG_UPS_PER_SECOND: f64 = 2_000.0;

/// Calls that may be held beyond those that were asked for, until the generator is told.
const HELD_MORE_MAX: u32 = 1_000;

/// For short calls that still go on.
const DRAIN_SHORT: Duration = Duration::from_secs(1);

/// How long transactions may linger (64 T1), with something to spare: what is measured is what stays.
pub(crate) const LINGER: Duration = Duration::from_secs(34);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Contacts(u32),
    Dialogs(u32),
}

impl What {
    pub(crate) const fn name(self) -> &'static str {
        match self {
            What::Contacts(_) => "contacts",
            What::Dialogs(_) => "dialogs",
        }
    }

    pub(crate) const fn count(self) -> u32 {
        match self {
            What::Contacts(count) | What::Dialogs(count) => count,
        }
    }

    pub(crate) fn needs(self) -> Needs {
        Needs { dialogs: matches!(self, What::Dialogs(_)), ..Needs::default() }
    }
}

/// Fills a server that has just been started; `linger`: how long to wait before it is looked at.
///
/// # Errors
/// The server failed, or the user has had enough.
pub(crate) fn measure(
    lab: &Lab,
    running: &mut Running,
    what: What,
    linger: Duration,
    stop: &Stop,
) -> Result<MemoryReport> {
    let transport = match what {
        What::Contacts(_) => Transport::Tcp,
        What::Dialogs(_) => Transport::Udp,
    };
    let shape = Shape {
        transport,
        servers: vec![server_of(running, transport)],
        connections: CONTACT_CONNECTIONS,
        phones: match what {
            What::Contacts(count) => count,
            What::Dialogs(_) => CALLED,
        },
        ring: RING,
        hold: HOLD,
        // Held calls keep their places, which others go past.
        calls_max: what.count().max(1_024) * 16,
        tls: None,
    };
    let generator = Generator::start(lab, &shape)?;
    if let What::Dialogs(_) = what {
        generator.prepare(CALLED, stop)?;
        // Short calls go on all the time, so that what transactions take is there before as after.
        generator.begin(Work::Calls, DIALOGS_PER_SECOND, u32::MAX.into())?;
        stop.sleep(linger)?;
    }
    let before_bytes = running.memory_bytes()?;
    let shared_before = running.shared_memory_bytes();
    let done_before = generator.ask()?.tally.counts;
    let done = match what {
        What::Contacts(count) => {
            fill(&generator, count, CONTACTS_PER_SECOND, stop)?.tally.counts.completed
        }
        What::Dialogs(count) => {
            generator.hold(true)?;
            let limit = Duration::from_secs_f64(f64::from(count) / DIALOGS_PER_SECOND) + DRAIN;
            let told = generator.wait(limit, stop, |told| {
                let counts = &told.tally.counts;
                let answered = counts.answered - done_before.answered;
                answered + (counts.failed - done_before.failed) >= u64::from(count)
            })?;
            generator.hold(false)?;
            told.tally.counts.answered - done_before.answered
        }
    };
    stop.sleep(linger)?;
    running.check()?;
    let with_bytes = running.memory_bytes()?;
    let shared_with = running.shared_memory_bytes();
    if let What::Dialogs(_) = what {
        generator.enough()?;
        let is_short = |told: &Told| told.live <= what.count() + HELD_MORE_MAX;
        let held = generator.wait(DRAIN, stop, is_short)?.live;
        stop.sleep(DRAIN_SHORT)?;
        let completed = generator.ask()?.tally.counts.completed;
        // They were live if they can be ended; it goes through all calls that have begun.
        let begun = generator.ask()?.tally.counts.started;
        generator.begin(Work::HangUps, HANG_UPS_PER_SECOND, u32::MAX.into())?;
        let limit = Duration::from_secs_f64(begun as f64 / HANG_UPS_PER_SECOND) + DRAIN;
        let told = generator.settle(limit, stop)?;
        let ended = told.tally.counts.completed - completed;
        let wanted = u64::from(what.count());
        ensure!(
            ended >= wanted && u64::from(held) >= wanted,
            "{ended} of {wanted} calls could be ended: {:?}",
            told.tally.reasons
        );
    }
    let told = generator.ask()?;
    let wanted = u64::from(what.count());
    let had = done - if let What::Contacts(_) = what { done_before.completed } else { 0 };
    ensure!(had >= wanted, "{had} of {wanted} {}: {:?}", what.name(), told.tally.reasons);
    let each =
        |before: u64, with: u64| with.saturating_sub(before) as f64 / f64::from(what.count());
    Ok(MemoryReport {
        count: what.count(),
        before_bytes,
        with_bytes,
        bytes_each: each(before_bytes, with_bytes),
        shared_bytes_each: shared_before.zip(shared_with).map(|(before, with)| each(before, with)),
        failures: told.tally.counts.failed,
        why: Vec::new(),
    })
}
