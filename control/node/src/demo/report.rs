//! The outcome of a demonstration, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use load::Report;
use load::report::Quantiles;
use serde::Serialize;

use super::node_side::{NodeSide, Snapshot};
use crate::cli::DemoArgs;

/// Microseconds at quantiles.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Figures {
    p50: f64,
    p99: f64,
    p999: f64,
    max: f64,
}

impl From<Quantiles> for Figures {
    fn from(q: Quantiles) -> Figures {
        Figures { p50: q.p50, p99: q.p99, p999: q.p999, max: q.max }
    }
}

/// The outcome. What was lost, late or broken is what the generator saw; what was relayed, and at
/// what cost, is what the node counted.
#[derive(Clone, Debug, Serialize)]
pub(super) struct DemoReport {
    sessions_requested: u32,
    sessions_answered: u32,
    sessions_failed: u32,
    registrations_ok: u32,
    registrations_failed: u32,
    /// RTP packets that the phones sent.
    rtp_packets_sent: u64,
    /// RTP packets that the node handed on, by its own count.
    rtp_packets_relayed: u64,
    /// Sent by one phone and not received, whole and in the right place, by the other.
    rtp_packets_lost: u64,
    rtcp_packets_sent: u64,
    rtcp_packets_relayed: u64,
    rtcp_packets_lost: u64,
    /// Datagrams of any kind that the node received.
    packets_in: u64,
    packets_dropped: u64,
    /// The same by reason, those that occurred.
    packets_dropped_because: BTreeMap<&'static str, u64>,
    send_errors: u64,
    buffers_exhausted: u64,
    /// RTP packets a second through the node while all calls were up.
    rtp_packets_per_second: f64,
    /// From the sender's send call to the receiver's socket, through the node.
    relay_latency_us: Figures,
    /// From INVITE to 200, authentication and 20 ms of ringing included.
    setup_latency_us: Figures,
    /// Processor time per relayed packet while all calls were up: the workers' threads and the
    /// kernel's packet delivery on their behalf.
    cpu_us_per_packet: Option<f64>,
    /// Cores' worth of processor time that the workers used while all calls were up.
    worker_cores_busy: Option<f64>,
    /// Growth of the node's resident memory per session (not the kernel's sockets).
    memory_bytes_per_session: Option<u64>,
    /// The generator was at its own limit: loss and latency are an upper bound for the node's.
    generator_saturated: bool,
    seconds: u32,
    /// Everything that the load generator reports.
    generator: Report,
}

impl DemoReport {
    pub(super) fn new(
        args: &DemoArgs,
        side: &NodeSide,
        end: &Snapshot,
        load: Report,
    ) -> DemoReport {
        let before = |reason| side.start.drops.get(reason).copied().unwrap_or(0);
        let dropped: BTreeMap<_, _> = end
            .drops
            .iter()
            .map(|(reason, count)| (*reason, count.saturating_sub(before(reason))))
            .filter(|(_, count)| *count > 0)
            .collect();
        let since = |f: fn(&Snapshot) -> u64| f(end).saturating_sub(f(&side.start));
        DemoReport {
            sessions_requested: load.sessions_requested,
            sessions_answered: load.sessions_answered,
            sessions_failed: load.sessions_failed,
            registrations_ok: load.registrations_ok,
            registrations_failed: load.registrations_failed,
            rtp_packets_sent: load.rtp_packets_sent,
            rtp_packets_relayed: since(|s| s.rtp_relayed),
            rtp_packets_lost: load.rtp_packets_lost,
            rtcp_packets_sent: load.rtcp_packets_sent,
            rtcp_packets_relayed: since(|s| s.rtcp_relayed),
            rtcp_packets_lost: load.rtcp_packets_lost,
            packets_in: since(|s| s.packets_in),
            packets_dropped: dropped.values().sum(),
            packets_dropped_because: dropped,
            send_errors: since(|s| s.send_errors),
            buffers_exhausted: since(|s| s.buffers_exhausted),
            rtp_packets_per_second: load.rtp_received_per_second,
            relay_latency_us: load.latency_us.into(),
            setup_latency_us: load.setup_us.into(),
            cpu_us_per_packet: side.cpu_us_per_packet(),
            worker_cores_busy: side.cores_busy(),
            memory_bytes_per_session: side.bytes_per_session(),
            generator_saturated: load.generator_saturated,
            seconds: args.seconds,
            generator: load,
        }
    }

    /// Whether every call was answered and every packet arrived whole, once and at the right place.
    pub(super) fn is_flawless(&self) -> bool {
        self.generator.is_flawless()
    }
}

impl fmt::Display for DemoReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut row = |name: &str, value: &str| writeln!(f, "  {name:<24}{value}");
        row("", "asked      answered   failed")?;
        row(
            "sessions",
            &format!(
                "{:<11}{:<11}{}",
                self.sessions_requested, self.sessions_answered, self.sessions_failed
            ),
        )?;
        row("", "sent       relayed    lost")?;
        row(
            "RTP packets",
            &format!(
                "{:<11}{:<11}{}",
                self.rtp_packets_sent, self.rtp_packets_relayed, self.rtp_packets_lost
            ),
        )?;
        row(
            "RTCP packets",
            &format!(
                "{:<11}{:<11}{}",
                self.rtcp_packets_sent, self.rtcp_packets_relayed, self.rtcp_packets_lost
            ),
        )?;
        row(
            "node",
            &format!(
                "{} datagrams in, {} dropped, {} not sent",
                self.packets_in, self.packets_dropped, self.send_errors
            ),
        )?;
        for (reason, count) in &self.packets_dropped_because {
            row("", &format!("{count} dropped: {reason}"))?;
        }
        row("", "p50        p99        p99.9      max")?;
        row("relay latency, us", &figures(&self.relay_latency_us, 1.0))?;
        row("call set-up, ms", &figures(&self.setup_latency_us, 1e3))?;
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "not measured".to_owned());
        row(
            "CPU per relayed packet",
            &or_none(self.cpu_us_per_packet.map(|us| {
                let busy = self.worker_cores_busy.unwrap_or_default();
                format!(
                    "{us:.2} us ({:.0} packets/s, {busy:.2} cores)",
                    self.rtp_packets_per_second
                )
            })),
        )?;
        row(
            "memory per session",
            &or_none(self.memory_bytes_per_session.map(|b| format!("{:.1} kB", b as f64 / 1e3))),
        )?;
        for why in &self.generator.generator_saturated_because {
            row("generator at its limit", why)?;
        }
        for (reason, count) in &self.generator.failures {
            row("failed", &format!("{count} x {reason}"))?;
        }
        for (reason, count) in &self.generator.registration_failures {
            row("not registered", &format!("{count} x {reason}"))?;
        }
        let verdict = if self.is_flawless() {
            "every call answered, every packet arrived whole and at the right place"
        } else {
            "NOT everything went well, see above"
        };
        row("verdict", verdict)
    }
}

fn figures(figures: &Figures, unit: f64) -> String {
    let Figures { p50, p99, p999, max } = figures;
    let column = |value: &f64| format!("{:<11.1}", value / unit);
    [p50, p99, p999, max].map(column).concat().trim_end().to_owned()
}
