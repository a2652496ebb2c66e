//! One measurement: one system, one load, once.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hdrhistogram::Histogram;

use crate::ids::{Kind, SessionId, Side};
use crate::media::sockets::Pair;
use crate::media::stats::{self, Counts, Snapshot, Tally};
use crate::media::{MediaConfig, MediaPlane};
use crate::os;
use crate::paired::cell::{CoreFigures, Effort, GeneratorFigures, Timing, Words, share};
use crate::relaybench::control;
use crate::relaybench::control::{Control, Ends, Remotes};
use crate::relaybench::cpu::{Meter, Spent};
use crate::relaybench::lab::Lab;
use crate::relaybench::report::{Content, Figures};
use crate::relaybench::stop::Stop;
use crate::relaybench::systems::Running;
use crate::relaybench::workload::Workload;
use crate::report::Quantiles;

/// Longest set-up of a cell's sessions.
const SET_UP_MAX: Duration = Duration::from_secs(120);

/// For the last packets to arrive: far above any latency that a relay should have, so that what is
/// not there by then is lost.
pub(crate) const DRAIN: Duration = Duration::from_millis(500);

/// What the generator is judged by.
const WORDS: Words = Words { begun: "bursts", did: "sent", carried: "packets" };

/// Measures a system that has just been started.
///
/// # Errors
/// The system failed, or the user has had enough.
pub(crate) fn measure(
    lab: &Lab,
    running: &mut Running,
    load: &Workload,
    timing: Timing,
    stop: &Stop,
) -> Result<Figures> {
    let plane = start_media(lab, load)?;
    let set_up = set_up(running.control.as_mut(), &plane, load, stop);
    let (remotes, setup_ns) = set_up.map_err(|error| running.explain(error))?;
    for (session, remotes) in (0..load.sessions).zip(remotes) {
        plane.start_session(SessionId(session), remotes);
    }
    stop.sleep(timing.warm_up)?;
    plane.forget_times();
    let meter = Meter::new(lab.cores.relay, running.pid())?;
    let before = (meter.read()?, plane.snapshot(), Instant::now());
    stop.sleep(timing.measured)?;
    let after = (meter.read()?, plane.snapshot(), Instant::now());
    (0..load.sessions).for_each(|session| plane.stop_session(SessionId(session)));
    stop.sleep(DRAIN)?;
    let tally = plane.finish()?;
    if let Some(process) = &mut running.process {
        process.check()?;
    }
    let window = Window {
        spent: Spent::between(&before.0, &after.0),
        seconds: (after.2 - before.2).as_secs_f64(),
        before: before.1,
        after: after.1,
    };
    ensure!(tally.rtp.received > 0, "none of {} packets arrived", tally.rtp.sent);
    Ok(window.figures(load, &tally, &setup_ns))
}

/// The clients' sockets and threads.
fn start_media(lab: &Lab, load: &Workload) -> Result<MediaPlane> {
    let config = MediaConfig {
        sessions: load.sessions,
        sessions_per_socket: load.sessions_per_socket(),
        cores: Some(lab.cores.generator.clone()),
        may_dominate: !lab.cores.generator.contains(&lab.cores.relay),
        // The sockets are bound below.
        bind: std::net::Ipv4Addr::LOCALHOST.into(),
        ports: None,
        audio: load.audio_shape(),
        video: load.video_shape(),
        reports: false,
        run: os::random_u64(),
    };
    start_plane(lab, &config)
}

/// The clients of `config` on sockets of their own places.
pub(crate) fn start_plane(lab: &Lab, config: &MediaConfig) -> Result<MediaPlane> {
    let groups = config.sessions.div_ceil(config.sessions_per_socket) as usize;
    let pairs = groups * if config.video.is_some() { 2 } else { 1 };
    let mut sockets: Vec<std::vec::IntoIter<Pair>> = Vec::new();
    for side in Side::BOTH {
        sockets.push(lab.media_sockets(side, pairs)?.into_iter());
    }
    MediaPlane::start_on(config, |side| {
        sockets[side.index()].next().context("more sockets are wanted than were counted")
    })
}

/// Sets sessions up, one after the other, and returns where their clients are to send, and the time
/// that each took.
fn set_up(
    control: &mut dyn Control,
    plane: &MediaPlane,
    load: &Workload,
    stop: &Stop,
) -> Result<(Vec<Remotes>, Histogram<u64>)> {
    let deadline = Instant::now() + SET_UP_MAX;
    let mut remotes = Vec::with_capacity(load.sessions as usize);
    let mut times = stats::histogram();
    for session in 0..load.sessions {
        stop.check()?;
        if Instant::now() > deadline {
            bail!("only {session} of {} sessions were set up in {SET_UP_MAX:?}", load.sessions);
        }
        let ends = ends_of(plane, load, SessionId(session));
        let start = os::monotonic_ns();
        let set_up = control.set_up(session, &ends);
        times.saturating_record((os::monotonic_ns() - start).max(1));
        remotes.push(set_up.with_context(|| {
            format!("session {} of {} was not set up", session + 1, load.sessions)
        })?);
    }
    Ok((remotes, times))
}

fn ends_of(plane: &MediaPlane, load: &Workload, session: SessionId) -> Ends {
    let kinds = load.kinds();
    Side::BOTH.map(|side| {
        Kind::BOTH.map(|kind| {
            let address = plane.address(session, side, kind).filter(|_| kinds[kind.index()]);
            address.map(control::ipv4)
        })
    })
}

/// What was counted between two moments.
struct Window {
    spent: Spent,
    seconds: f64,
    before: Snapshot,
    after: Snapshot,
}

impl Window {
    fn figures(&self, load: &Workload, tally: &Tally, setup_ns: &Histogram<u64>) -> Figures {
        let received = self.after.received.saturating_sub(self.before.received);
        let sent = self.after.sent.saturating_sub(self.before.sent);
        let spent = &self.spent;
        // The counters are published each millisecond and the accounts read within that: rates over
        // the window are compared, not counts.
        let relayed_per_second = received as f64 / self.seconds;
        let us_per_packet = |ns: u64| {
            if relayed_per_second > 0.0 { share(spent, ns) * 1e6 / relayed_per_second } else { 0.0 }
        };
        Figures {
            us_per_packet: us_per_packet(spent.busy_ns),
            us_per_packet_process: us_per_packet(spent.process_ns),
            us_per_packet_ksoftirqd: us_per_packet(spent.ksoftirqd_ns),
            core: CoreFigures::of(spent),
            sent_pps: sent as f64 / self.seconds,
            relayed_pps: relayed_per_second,
            content: content_of(&tally.rtp),
            loss: loss(&tally.rtp),
            latency_us: Quantiles::of_ns(&latency(tally)),
            setup_us: Quantiles::of_ns(setup_ns),
            generator: self.generator(load, tally, sent),
        }
    }

    fn generator(&self, load: &Workload, tally: &Tally, sent: u64) -> GeneratorFigures {
        let busiest = self.after.cpu_ns_max.saturating_sub(self.before.cpu_ns_max);
        let busy_share = busiest as f64 / 1e9 / self.seconds;
        let effort = Effort {
            busy_share,
            late_us_p99: Quantiles::of_ns(&tally.late_ns).p99,
            done_share: sent as f64 / self.seconds / load.offered_pps(),
            receive_drops: tally.receive_drops,
            send_failures: tally.send_failures,
        };
        effort.judge(WORDS)
    }
}

fn latency(tally: &Tally) -> Histogram<u64> {
    let mut sum = stats::histogram();
    tally.latency_ns.iter().for_each(|of_kind| stats::merge(&mut sum, of_kind));
    sum
}

pub(crate) fn content_of(rtp: &Counts) -> Content {
    Content {
        sent: rtp.sent,
        received: rtp.received,
        lost: rtp.lost,
        corrupt: rtp.corrupt,
        misdelivered: rtp.misdelivered,
        duplicate: rtp.duplicate,
        reordered: rtp.reordered,
    }
}

fn loss(rtp: &Counts) -> f64 {
    if rtp.sent == 0 { 0.0 } else { rtp.lost as f64 / rtp.sent as f64 }
}
