//! What registered contacts and live dialogs take.

use std::time::Duration;

use anyhow::{Result, bail, ensure};

use crate::relaybench::lab::Lab;
use crate::relaybench::stop::Stop;
use crate::sipbench::cell::{DRAIN, HOLD, RING, fill, servers_of};
use crate::sipbench::ends::Transport;
use crate::sipbench::engine::Work;
use crate::sipbench::generator::{Generator, Shape};
use crate::sipbench::report::MemoryReport;
use crate::sipbench::systems::{Needs, Running};

/// Phones that are called.
const CALLED: u32 = 100;

/// Registrations a second. Over TCP, where a server may forget a transaction once it has answered
/// (RFC 3261 17.2.2, timer J), so that few are there at a time.
const CONTACTS_PER_SECOND: f64 = 2_000.0;

const CONTACT_CONNECTIONS: u32 = 10;

/// For what a server still has to do once it has answered.
const CONTACT_LINGER: Duration = Duration::from_secs(5);

/// Calls a second while dialogs are made.
const DIALOGS_PER_SECOND: f64 = 500.0;

const HANG_UPS_PER_SECOND: f64 = 2_000.0;

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

/// Fills a server that has just been started.
///
/// # Errors
/// The server failed, or the user has had enough.
pub(crate) fn measure(
    lab: &Lab,
    running: &mut Running,
    what: What,
    plan: Steps,
    stop: &Stop,
) -> Result<MemoryReport> {
    let linger = plan.linger.min(CONTACT_LINGER);
    let transport = match what {
        What::Contacts(_) => Transport::Tcp,
        What::Dialogs(_) => Transport::Udp,
    };
    let shape = Shape {
        transport,
        servers: servers_of(running, transport),
        scatters: false,
        connections: CONTACT_CONNECTIONS,
        phones: match what {
            What::Contacts(count) => count,
            What::Dialogs(_) => CALLED,
        },
        ring: RING,
        hold: HOLD,
        // Held calls keep their places.
        calls_max: (what.count() * plan.count).max(1_024) * 2,
        tls: None,
    };
    let generator = Generator::start(lab, &shape)?;
    let grown = match what {
        What::Contacts(count) => contacts(&generator, running, count, linger, stop)?,
        What::Dialogs(count) => dialogs(&generator, running, count, plan, stop)?,
    };
    let told = generator.ask()?;
    let each = |before: u64, with: u64| with.saturating_sub(before) as f64 / f64::from(grown.by);
    let [before, with] = &grown.marks;
    Ok(MemoryReport {
        count: grown.by,
        before_bytes: before.bytes,
        with_bytes: with.bytes,
        bytes_each: each(before.bytes, with.bytes),
        shared_bytes_each: before.shared.zip(with.shared).map(|(before, with)| each(before, with)),
        failures: told.tally.counts.failed,
        why: Vec::new(),
    })
}

/// How a server is filled.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Steps {
    /// How often the dialogs that were asked for are made; growth counts from the first time on.
    pub(crate) count: u32,
    /// How long to wait before a server is looked at.
    pub(crate) linger: Duration,
}

/// Memory at a moment.
struct Mark {
    bytes: u64,
    shared: Option<u64>,
}

impl Mark {
    fn take(running: &mut Running) -> Result<Mark> {
        running.check()?;
        Ok(Mark { bytes: running.memory_bytes()?, shared: running.shared_memory_bytes() })
    }
}

/// What memory was before, and after so many more were there.
struct Grown {
    by: u32,
    marks: [Mark; 2],
}

fn contacts(
    generator: &Generator,
    running: &mut Running,
    count: u32,
    linger: Duration,
    stop: &Stop,
) -> Result<Grown> {
    let before = Mark::take(running)?;
    let counts = fill(generator, count, CONTACTS_PER_SECOND, stop)?.tally.counts;
    ensure!(counts.completed >= u64::from(count), "{} of {count} contacts", counts.completed);
    stop.sleep(linger)?;
    Ok(Grown { by: count, marks: [before, Mark::take(running)?] })
}

/// Makes dialogs in equal steps, at one rate, and waits after each until the server is at rest. What
/// transactions have taken for a step, and what the allocator keeps of it, is there at both marks.
fn dialogs(
    generator: &Generator,
    running: &mut Running,
    count: u32,
    plan: Steps,
    stop: &Stop,
) -> Result<Grown> {
    generator.prepare(CALLED, stop)?;
    generator.hold(true)?;
    let mut marks = Vec::new();
    for _ in 0..plan.count {
        let before = generator.ask()?.tally.counts;
        generator.begin(Work::Calls, DIALOGS_PER_SECOND, count.into())?;
        let limit = Duration::from_secs_f64(f64::from(count) / DIALOGS_PER_SECOND) + DRAIN;
        let told = generator.wait(limit, stop, |told| {
            let counts = &told.tally.counts;
            let answered = counts.answered - before.answered;
            answered + (counts.failed - before.failed) >= u64::from(count)
        })?;
        let answered = told.tally.counts.answered - before.answered;
        ensure!(
            answered >= u64::from(count),
            "{answered} of {count} calls were answered: {:?}",
            told.tally.reasons
        );
        stop.sleep(plan.linger)?;
        marks.push(Mark::take(running)?);
    }
    hang_up(generator, u64::from(count) * u64::from(plan.count), stop)?;
    let (Some(last), true) = (marks.pop(), !marks.is_empty()) else {
        bail!("dialogs are counted between steps: at least two are needed");
    };
    Ok(Grown { by: count * (plan.count - 1), marks: [marks.swap_remove(0), last] })
}

/// They were live if they can be ended.
fn hang_up(generator: &Generator, wanted: u64, stop: &Stop) -> Result<()> {
    let before = generator.ask()?.tally.counts;
    generator.begin(Work::HangUps, HANG_UPS_PER_SECOND, u32::MAX.into())?;
    let limit = Duration::from_secs_f64(before.started as f64 / HANG_UPS_PER_SECOND) + DRAIN;
    let told = generator.settle(limit, stop)?;
    let ended = told.tally.counts.completed - before.completed;
    ensure!(ended >= wanted, "{ended} of {wanted} calls could be ended: {:?}", told.tally.reasons);
    Ok(())
}
