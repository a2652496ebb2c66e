//! The outcome of a run.

use std::collections::BTreeMap;
use std::fmt;

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

/// The version of the report's shape; grows when a field changes its meaning.
pub const REPORT_VERSION: u32 = 1;

/// Most calls that are named in a report.
pub const SUFFERED_CALLS_MAX: usize = 1_000;

/// Median, tail and maximum of a set of times in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Quantiles {
    /// How many were measured; the rest is 0 if none were.
    pub count: u64,
    /// Arithmetic mean.
    pub mean: f64,
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
    /// 99.9th percentile.
    pub p999: f64,
    /// The largest.
    pub max: f64,
}

impl Quantiles {
    /// The figures of a histogram of nanoseconds.
    #[must_use]
    pub fn of_ns(histogram: &Histogram<u64>) -> Quantiles {
        let us = |ns: u64| ns as f64 / 1_000.0;
        Quantiles {
            count: histogram.len(),
            mean: (histogram.mean()).round() / 1_000.0,
            p50: us(histogram.value_at_quantile(0.5)),
            p99: us(histogram.value_at_quantile(0.99)),
            p999: us(histogram.value_at_quantile(0.999)),
            max: us(histogram.max()),
        }
    }
}

/// How often each reason occurred.
pub type Reasons = BTreeMap<String, u64>;

/// The outcome of a run. Packets that arrive broken or at the wrong place are counted as such *and*
/// are lost to the stream that they were meant for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// See [`REPORT_VERSION`].
    pub version: u32,
    /// Where the SIP went; empty if the callers called the callees directly.
    pub target: String,
    /// What it travelled on.
    pub transport: String,
    /// The run was ended early, by whoever listens to its progress.
    pub cancelled: bool,
    /// The run reached its deadline; calls that were not over are among the failed.
    pub deadline_reached: bool,

    /// Calls asked for.
    pub sessions_requested: u32,
    /// Calls that were set up, acknowledged on both sides, and stayed up until the end.
    pub sessions_answered: u32,
    /// All others.
    pub sessions_failed: u32,
    /// Why they failed.
    pub failures: Reasons,
    /// Calls with at least one lost RTP packet.
    pub sessions_with_loss: u64,
    /// The callers' Call-IDs of calls that failed, did not end as planned, or lost a packet: the first
    /// [`SUFFERED_CALLS_MAX`] of them.
    pub suffered_calls: Vec<String>,
    /// Calls in which a stream was sent but nothing of it arrived.
    pub sessions_silent: u64,
    /// Calls whose BYE was answered with a 2xx and reached the other side.
    pub hangups_ok: u32,
    /// Calls that were up but did not end like that.
    pub hangups_failed: u32,
    /// Why they did not.
    pub hangup_failures: Reasons,
    /// Users that registered.
    pub registrations_ok: u32,
    /// Users that did not.
    pub registrations_failed: u32,
    /// Registrations made once more, by another connection.
    pub registrations_renewed: u32,
    /// Connections that the server, or the way to it, has ended.
    pub connections_lost: u32,
    /// Connections that were opened in their place.
    pub connections_restored: u32,
    /// Users whose registration could not be taken back at the end.
    pub unregistrations_failed: u32,
    /// Why either did not work.
    pub registration_failures: Reasons,

    /// RTP packets that the generator's kernel took.
    pub rtp_packets_sent: u64,
    /// Whole RTP packets at the right place, each counted once.
    pub rtp_packets_received: u64,
    /// Sent less received, summed up stream by stream.
    pub rtp_packets_lost: u64,
    /// Further arrivals of packets that had come.
    pub rtp_packets_duplicate: u64,
    /// Packets that came after a later one (they are received, not lost).
    pub rtp_packets_reordered: u64,
    /// Packets that came to a session, side, medium or from an address that they do not belong to.
    pub rtp_packets_misdelivered: u64,
    /// Packets that came to the right place, changed.
    pub rtp_packets_corrupt: u64,
    /// RTP packets sent per second while all calls were up.
    pub rtp_sent_per_second: f64,
    /// RTP packets received per second while all calls were up.
    pub rtp_received_per_second: f64,
    /// RTCP compound packets sent.
    pub rtcp_packets_sent: u64,
    /// Whole RTCP compound packets at the right place, each counted once.
    pub rtcp_packets_received: u64,
    /// Sent less received.
    pub rtcp_packets_lost: u64,
    /// As for RTP.
    pub rtcp_packets_misdelivered: u64,
    /// As for RTP.
    pub rtcp_packets_corrupt: u64,

    /// One way, from just before the send call to the arrival at the receiving socket.
    pub latency_us: Quantiles,
    /// The same for audio packets.
    pub latency_us_audio: Quantiles,
    /// The same for video packets.
    pub latency_us_video: Quantiles,
    /// Largest interarrival jitter (RFC 3550 6.4.1) of any stream at its end.
    pub jitter_us_max: f64,
    /// First INVITE sent to 2xx received, authentication and ringing included.
    pub setup_us: Quantiles,
    /// First INVITE sent to first 180 or 183 received.
    pub post_dial_us: Quantiles,
    /// First REGISTER sent to its 2xx received, authentication included.
    pub register_us: Quantiles,

    /// Processor seconds, user and system, of all threads of the generator.
    pub generator_cpu_seconds: f64,
    /// Cores that the generator's media threads kept busy while all calls were up.
    pub generator_cpu_share: f64,
    /// How late the generator sent after its own schedule.
    pub generator_late_us: Quantiles,
    /// Whether the generator itself was at its limit, so that loss and latency are not the node's
    /// alone: see [`crate::saturation`] for the rule.
    pub generator_saturated: bool,
    /// Which parts of the rule held.
    pub generator_saturated_because: Vec<String>,
    /// Datagrams for which the generator's own socket buffers had no room (they are among the lost).
    pub generator_receive_drops: u64,
    /// Datagrams that the generator's own kernel refused to send (they do not count as sent).
    pub generator_send_failures: u64,
    /// The cores that the media threads were tied to; empty if they were not.
    pub generator_cores: Vec<usize>,

    /// SIP messages sent, repeats included.
    pub sip_messages_sent: u64,
    /// SIP messages received.
    pub sip_messages_received: u64,
    /// Requests and final answers that had to be sent again.
    pub sip_retransmissions: u64,
    /// Datagrams that the SIP library could not read.
    pub sip_unreadable: u64,
    /// Messages that fitted no transaction, call or user.
    pub sip_unexpected: u64,
    /// Messages that were not sent because the peer named an address that is not allowed.
    pub sip_refused_targets: u64,

    /// Seconds from start to end.
    pub elapsed_seconds: f64,
    /// Seconds for which all calls were up and media ran.
    pub hold_seconds: f64,
}

impl Report {
    /// Whether every user registered, every call was set up and ended, and every packet arrived
    /// whole, once and at the right place.
    #[must_use]
    pub fn is_flawless(&self) -> bool {
        !self.cancelled
            && !self.deadline_reached
            && self.sessions_failed == 0
            && self.hangups_failed == 0
            && self.registrations_failed == 0
            && self.unregistrations_failed == 0
            && self.sessions_silent == 0
            && self.rtp_packets_lost == 0
            && self.rtp_packets_duplicate == 0
            && self.rtp_packets_misdelivered == 0
            && self.rtp_packets_corrupt == 0
            && self.rtcp_packets_lost == 0
            && self.rtcp_packets_misdelivered == 0
            && self.rtcp_packets_corrupt == 0
    }
}

/// A table for people.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: String| writeln!(f, "{name:<22}{value}");
        row(
            "sessions",
            format!(
                "{} asked, {} answered, {} failed",
                self.sessions_requested, self.sessions_answered, self.sessions_failed
            ),
        )?;
        row(
            "registrations",
            format!("{} ok, {} failed", self.registrations_ok, self.registrations_failed),
        )?;
        if self.connections_lost > 0 {
            row(
                "connections",
                format!(
                    "{} lost, {} opened in their place, {} registrations renewed",
                    self.connections_lost, self.connections_restored, self.registrations_renewed
                ),
            )?;
        }
        row("hang-ups", format!("{} ok, {} failed", self.hangups_ok, self.hangups_failed))?;
        row(
            "RTP packets",
            format!(
                "{} sent, {} received, {} lost",
                self.rtp_packets_sent, self.rtp_packets_received, self.rtp_packets_lost
            ),
        )?;
        row(
            "",
            format!(
                "{} duplicate, {} reordered, {} misdelivered, {} corrupt",
                self.rtp_packets_duplicate,
                self.rtp_packets_reordered,
                self.rtp_packets_misdelivered,
                self.rtp_packets_corrupt
            ),
        )?;
        row(
            "RTP packets/s",
            format!(
                "{:.0} sent, {:.0} received",
                self.rtp_sent_per_second, self.rtp_received_per_second
            ),
        )?;
        row(
            "RTCP packets",
            format!(
                "{} sent, {} received, {} lost",
                self.rtcp_packets_sent, self.rtcp_packets_received, self.rtcp_packets_lost
            ),
        )?;
        row("latency, us", quantiles(&self.latency_us))?;
        row("call set-up, us", quantiles(&self.setup_us))?;
        row("post-dial delay, us", quantiles(&self.post_dial_us))?;
        row("registration, us", quantiles(&self.register_us))?;
        row(
            "generator",
            format!(
                "{:.2} cores, late by {}{}",
                self.generator_cpu_share,
                quantiles(&self.generator_late_us),
                if self.generator_saturated { ", SATURATED" } else { "" }
            ),
        )?;
        for why in &self.generator_saturated_because {
            row("", why.clone())?;
        }
        for (title, reasons) in [
            ("failed calls", &self.failures),
            ("failed hang-ups", &self.hangup_failures),
            ("failed registrations", &self.registration_failures),
        ] {
            for (reason, count) in reasons {
                row(title, format!("{count} x {reason}"))?;
            }
        }
        Ok(())
    }
}

fn quantiles(values: &Quantiles) -> String {
    let Quantiles { p50, p99, p999, max, .. } = values;
    format!("p50 {p50:.0}  p99 {p99:.0}  p99.9 {p999:.0}  max {max:.0}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_microseconds() {
        let mut histogram = crate::media::stats::histogram();
        for us in 1..=1000u64 {
            histogram.record(us * 1000).unwrap();
        }
        let figures = Quantiles::of_ns(&histogram);
        assert_eq!(figures.count, 1000);
        assert!((figures.p50 - 500.0).abs() < 1.0, "{figures:?}");
        assert!((figures.max - 1000.0).abs() < 1.0, "{figures:?}");
    }

    #[test]
    fn no_measurement_is_all_zero() {
        assert_eq!(Quantiles::of_ns(&crate::media::stats::histogram()), Quantiles::default());
    }

    #[test]
    fn a_lost_packet_is_a_flaw() {
        assert!(Report::default().is_flawless());
        assert!(!Report { rtp_packets_lost: 1, ..Report::default() }.is_flawless());
    }
}
