//! Snapshots while the run goes on, and the report at its end.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::engine::{Engine, PROGRESS_PERIOD};
use crate::ids::SessionId;
use crate::media::stats::{self, Snapshot, Tally};
use crate::os;
use crate::progress::Progress;
use crate::report::{Quantiles, REPORT_VERSION, Report, SUFFERED_CALLS_MAX};
use crate::saturation;

/// The time during which all calls were up, and what went on in it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Window {
    opened: Option<(Instant, Snapshot, u64)>,
    seconds: f64,
    sent: u64,
    received: u64,
    cpu_ns: u64,
    busiest_cpu_ns: u64,
}

impl Window {
    pub(crate) fn open(engine: &Engine, now: Instant) -> Window {
        let opened = Some((now, engine.media.snapshot(), os::thread_cpu_ns()));
        Window { opened, ..Window::default() }
    }

    pub(crate) fn close(&mut self, after: Snapshot, now: Instant) {
        let Some((since, before, sip_cpu_ns)) = self.opened.take() else { return };
        self.seconds = (now - since).as_secs_f64();
        self.sent = after.sent - before.sent;
        self.received = after.received - before.received;
        let sip_cpu_ns = os::thread_cpu_ns() - sip_cpu_ns;
        self.cpu_ns = after.cpu_ns - before.cpu_ns + sip_cpu_ns;
        self.busiest_cpu_ns = after.cpu_ns_max.saturating_sub(before.cpu_ns_max);
    }

    fn per_second(&self, amount: u64) -> f64 {
        if self.seconds > 0.0 { amount as f64 / self.seconds } else { 0.0 }
    }

    fn share(&self, cpu_ns: u64) -> f64 {
        self.per_second(cpu_ns) / 1e9
    }
}

/// Makes a [`Progress`] every [`PROGRESS_PERIOD`].
#[derive(Debug)]
pub(crate) struct Snapshots {
    last_at: Instant,
    last: Snapshot,
}

impl Snapshots {
    pub(crate) fn new(now: Instant) -> Snapshots {
        Snapshots { last_at: now, last: Snapshot::default() }
    }

    pub(crate) fn next_at(&self) -> Instant {
        self.last_at + PROGRESS_PERIOD
    }

    /// The snapshot that is due, if one is.
    pub(crate) fn take(&mut self, engine: &Engine, now: Instant) -> Option<Progress> {
        (now >= self.next_at()).then(|| self.last(engine, now))
    }

    /// A snapshot at any time.
    pub(crate) fn last(&mut self, engine: &Engine, now: Instant) -> Progress {
        let media = engine.media.snapshot();
        let elapsed = (now - self.last_at).max(Duration::from_millis(1)).as_secs_f64();
        let rate = |after: u64, before: u64| ((after - before) as f64 / elapsed) as u64;
        let progress = Progress {
            phase: engine.phase,
            elapsed_ms: (now - engine.started).as_millis() as u64,
            registered: engine.counters.registered,
            registrations: engine.registrations.len() as u32,
            sessions_up: engine.counters.up,
            sessions_failed: engine.counters.failed,
            sessions_requested: engine.plan.args.sessions,
            rtp_packets_sent: media.sent,
            rtp_packets_received: media.received,
            rtp_packets_missing: media.missing,
            rtp_sent_per_second: rate(media.sent, self.last.sent),
            rtp_received_per_second: rate(media.received, self.last.received),
        };
        (self.last_at, self.last) = (now, media);
        progress
    }
}

impl Engine {
    /// Stops the media threads and puts the report together.
    pub(crate) fn finish(self) -> Result<Report> {
        let elapsed_seconds = self.started.elapsed().as_secs_f64();
        let sip_cpu_ns = os::thread_cpu_ns() - self.cpu_ns_before;
        let mut report = Report {
            version: REPORT_VERSION,
            target: self.plan.target.map(|target| target.to_string()).unwrap_or_default(),
            transport: self.plan.args.transport.name().to_owned(),
            cancelled: self.cancelled,
            deadline_reached: self.deadline_reached,
            generator_cores: self.plan.cores.clone().unwrap_or_default(),
            elapsed_seconds,
            ..Report::default()
        };
        self.counters.fill(&mut report, self.plan.args.sessions);
        report.sip_messages_sent = self.wire.stats.sent;
        report.sip_messages_received = self.wire.stats.received;
        report.sip_refused_targets = self.wire.stats.refused;
        report.hold_seconds = self.window.seconds;
        report.rtp_sent_per_second = self.window.per_second(self.window.sent);
        report.rtp_received_per_second = self.window.per_second(self.window.received);
        report.generator_cpu_share = self.window.share(self.window.cpu_ns);
        let busiest_share = self.window.share(self.window.busiest_cpu_ns);
        let names = (0..self.plan.args.sessions).map(|number| self.call_id(SessionId(number)));
        let names: Vec<String> = names.collect();
        let tally = self.media.finish()?;
        let lossy: HashSet<SessionId> = tally.lossy.iter().copied().collect();
        let suffered = self.sessions.iter().zip(0..).filter(|(session, number)| {
            session.has_suffered() || lossy.contains(&SessionId(*number))
        });
        let suffered = suffered.map(|(_, number)| names[number as usize].clone());
        report.suffered_calls = suffered.take(SUFFERED_CALLS_MAX).collect();
        report.generator_cpu_seconds = (tally.cpu_ns + sip_cpu_ns) as f64 / 1e9;
        fill_media(&mut report, &tally);
        report.generator_saturated_because = saturation::reasons(&report, busiest_share);
        report.generator_saturated = !report.generator_saturated_because.is_empty();
        Ok(report)
    }
}

impl super::Counters {
    fn fill(&self, report: &mut Report, sessions: u32) {
        report.sessions_requested = sessions;
        report.sessions_answered = sessions - self.failed;
        report.sessions_failed = self.failed;
        report.failures = self.failures.clone();
        report.hangups_ok = self.hangups_ok;
        report.hangups_failed = self.hangups_failed;
        report.hangup_failures = self.hangup_failures.clone();
        report.registrations_ok = self.registered;
        report.registrations_failed = self.registrations_failed;
        report.registrations_renewed = self.registrations_renewed;
        report.connections_lost = self.connections_lost;
        report.connections_restored = self.connections_restored;
        report.unregistrations_failed = self.unregistrations_failed;
        report.registration_failures = self.registration_failures.clone();
        report.setup_us = Quantiles::of_ns(&self.setup_ns);
        report.post_dial_us = Quantiles::of_ns(&self.post_dial_ns);
        report.register_us = Quantiles::of_ns(&self.register_ns);
        report.sip_retransmissions = self.retransmissions;
        report.sip_unreadable = self.unreadable;
        report.sip_unexpected = self.unexpected;
    }
}

fn fill_media(report: &mut Report, tally: &Tally) {
    report.sessions_with_loss = tally.sessions_with_loss;
    report.sessions_silent = tally.sessions_silent;
    report.rtp_packets_sent = tally.rtp.sent;
    report.rtp_packets_received = tally.rtp.received;
    report.rtp_packets_lost = tally.rtp.lost;
    report.rtp_packets_duplicate = tally.rtp.duplicate;
    report.rtp_packets_reordered = tally.rtp.reordered;
    report.rtp_packets_misdelivered = tally.rtp.misdelivered;
    report.rtp_packets_corrupt = tally.rtp.corrupt;
    report.rtcp_packets_sent = tally.rtcp.sent;
    report.rtcp_packets_received = tally.rtcp.received;
    report.rtcp_packets_lost = tally.rtcp.lost;
    report.rtcp_packets_misdelivered = tally.rtcp.misdelivered;
    report.rtcp_packets_corrupt = tally.rtcp.corrupt;
    let mut latency_ns = stats::histogram();
    for of_kind in &tally.latency_ns {
        stats::merge(&mut latency_ns, of_kind);
    }
    report.latency_us = Quantiles::of_ns(&latency_ns);
    report.latency_us_audio = Quantiles::of_ns(&tally.latency_ns[0]);
    report.latency_us_video = Quantiles::of_ns(&tally.latency_ns[1]);
    report.jitter_us_max = tally.jitter_ns_max as f64 / 1_000.0;
    report.generator_late_us = Quantiles::of_ns(&tally.late_ns);
    report.generator_receive_drops = tally.receive_drops;
    report.generator_send_failures = tally.send_failures;
}
