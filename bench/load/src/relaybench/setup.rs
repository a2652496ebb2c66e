//! Many sessions at once: what it takes to set one up, and how much memory it keeps.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;

use crate::ids::{Kind, SessionId, Side};
use crate::media::packet::Shape;
use crate::media::stats;
use crate::media::{MediaConfig, MediaPlane};
use crate::os;
use crate::relaybench::cell::{DRAIN, content_of, start_plane};
use crate::relaybench::control;
use crate::relaybench::control::{Ends, Remotes};
use crate::relaybench::cpu;
use crate::relaybench::lab::Lab;
use crate::relaybench::report::SetUpReport;
use crate::relaybench::stop::Stop;
use crate::relaybench::systems::Running;
use crate::report::Quantiles;

/// Sessions that the system may have before its memory counts: what it takes once, it takes for
/// these.
const BEFORE: u32 = 4;

/// Each stream sends a packet a second, so that each session is seen to relay without the cost of
/// full media.
const PROOF_PERIOD_NS: u64 = 1_000_000_000;

/// Two packets of each stream, and one more period for the generator to spread the streams over.
const PROOF: Duration = Duration::from_millis(3_100);

/// Clients share sockets, as behind one gateway: what counts here is the relay's sockets.
const SESSIONS_PER_SOCKET: u32 = 64;

/// Pings before and after the last tenth of the set-ups: enough for a 99th percentile.
const PINGS: u32 = 300;

/// Longest that all sessions may take: 10 ms each.
const EACH_MAX: Duration = Duration::from_millis(10);

/// Sets up `wanted` sessions with audio and video, sends a little through all of them, and ends them.
///
/// # Errors
/// Not even the first few sessions could be set up, the system ended, or the user has had enough.
pub(crate) fn measure(
    lab: &Lab,
    running: &mut Running,
    wanted: u32,
    stop: &Stop,
) -> Result<SetUpReport> {
    let plane = start_media(lab, wanted)?;
    // The media threads look at their schedule 4,000 times a second on the same core.
    let foremost = os::Foremost::take();
    let pid = running.pid().context("a system without a process has no memory")?;
    let mut report = SetUpReport { sessions_wanted: wanted, ..SetUpReport::default() };
    let mut remotes: Vec<Remotes> = Vec::with_capacity(wanted as usize);
    let (mut all, mut last) = (stats::histogram(), stats::histogram());
    let mut pings = stats::histogram();
    let (mut memory, mut spent_ns) = (None, 0);
    let first_of_last = wanted - wanted / 10;
    let deadline = std::time::Instant::now() + EACH_MAX * wanted;
    for session in 0..wanted {
        stop.check()?;
        if session == BEFORE {
            memory = cpu::resident_bytes(pid).zip(cpu::slab_bytes());
        }
        if std::time::Instant::now() > deadline {
            report.why.push(format!("{session} sessions took longer than {EACH_MAX:?} each"));
            break;
        }
        if session == first_of_last {
            ping(running, &mut pings, stop)?;
            spent_ns = cpu::threads_ns(pid);
        }
        let ends = ends_of(&plane, SessionId(session));
        let start = os::monotonic_ns();
        let set_up = running.control.set_up(session, &ends);
        let took = (os::monotonic_ns() - start).max(1);
        match set_up {
            Ok(of_session) => remotes.push(of_session),
            Err(error) => {
                report.why.push(format!("session {}: {error:#}", session + 1));
                break;
            }
        }
        all.saturating_record(took);
        if session >= first_of_last {
            last.saturating_record(took);
        }
    }
    if !last.is_empty() {
        let spent_ns = cpu::threads_ns(pid).saturating_sub(spent_ns);
        report.setup_cpu_us = spent_ns as f64 / 1_000.0 / last.len() as f64;
    }
    if let Err(error) = ping(running, &mut pings, stop) {
        report.why.push(format!("{error:#}"));
    }
    drop(foremost);
    let held = remotes.len() as u32;
    ensure!(held > BEFORE, "only {held} sessions were set up: {}", report.why.join("; "));
    let (resident, slab) = memory.context("the memory could not be read")?;
    let grown = |after: Option<u64>, before: u64| {
        (after.unwrap_or(before) as f64 - before as f64) / f64::from(held - BEFORE)
    };
    report.sessions_held = held;
    report.ping_us = Quantiles::of_ns(&pings);
    report.setup_us = Quantiles::of_ns(&all);
    report.setup_us_last_tenth = Quantiles::of_ns(if last.is_empty() { &all } else { &last });
    report.session_bytes = grown(cpu::resident_bytes(pid), resident);
    report.session_kernel_bytes = grown(cpu::slab_bytes(), slab);

    for (session, remotes) in (0..).map(SessionId).zip(remotes) {
        plane.start_session(session, remotes);
    }
    stop.sleep(PROOF)?;
    (0..held).for_each(|session| plane.stop_session(SessionId(session)));
    stop.sleep(DRAIN)?;
    report.content = content_of(&plane.finish()?.rtp);
    tear_down(running, held, &mut report, stop)?;
    let residue = cpu::resident_bytes(pid).context("the memory could not be read")?;
    report.residue_bytes = residue as f64 - resident as f64;
    if let Some(process) = &mut running.process {
        process.check()?;
    }
    Ok(report)
}

/// Takes the time of [`PINGS`] pings.
fn ping(running: &mut Running, times: &mut Histogram<u64>, stop: &Stop) -> Result<()> {
    for _ in 0..PINGS {
        stop.check()?;
        let start = os::monotonic_ns();
        running.control.ping()?;
        times.saturating_record((os::monotonic_ns() - start).max(1));
    }
    Ok(())
}

fn tear_down(
    running: &mut Running,
    held: u32,
    report: &mut SetUpReport,
    stop: &Stop,
) -> Result<()> {
    let _foremost = os::Foremost::take();
    let mut times = stats::histogram();
    for session in 0..held {
        stop.check()?;
        let start = os::monotonic_ns();
        if let Err(error) = running.control.tear_down(session) {
            report.why.push(format!("ending session {}: {error:#}", session + 1));
            break;
        }
        times.saturating_record((os::monotonic_ns() - start).max(1));
    }
    report.teardown_us = Quantiles::of_ns(&times);
    Ok(())
}

fn start_media(lab: &Lab, sessions: u32) -> Result<MediaPlane> {
    let config = MediaConfig {
        sessions,
        sessions_per_socket: SESSIONS_PER_SOCKET.min(sessions),
        cores: Some(lab.cores.generator.clone()),
        may_dominate: false,
        // The sockets are bound where the clients are.
        bind: std::net::Ipv4Addr::LOCALHOST.into(),
        ports: None,
        audio: Shape::audio_each(PROOF_PERIOD_NS),
        video: Some(Shape::video(1, 1, 1_000)),
        reports: false,
        run: os::random_u64(),
    };
    start_plane(lab, &config)
}

fn ends_of(plane: &MediaPlane, session: SessionId) -> Ends {
    Side::BOTH
        .map(|side| Kind::BOTH.map(|kind| plane.address(session, side, kind).map(control::ipv4)))
}
