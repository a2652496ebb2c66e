//! Figures for Prometheus and health, over HTTP. Neither the signaling thread nor a worker is asked:
//! the one hands over a snapshot, the others' counters can be read at any time.

mod cluster;
mod figures;
mod page;
mod server;

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, Weak};
use std::time::SystemTime;

use relay_engine::{Engine, WorkerCounters};
use signaling_core::events::Package;
use signaling_core::guard::Rule;
use signaling_core::overload::Reason;
use signaling_core::proxy::output::CallEnd;
use signaling_core::wire::Defect;
use signaling_net::tls::Certificate;

use super::host_addresses::Named;
use super::{Shared, cpu};
use crate::cluster::member::MemberHandle;
pub(super) use figures::{Figures, OverloadFigures, Tally};
pub(crate) use page::{Kind, Page, label};

/// Serves on `listen` until the process ends.
///
/// # Errors
/// If the address cannot be bound.
pub(super) fn serve(
    listen: SocketAddr,
    shared: Arc<Shared>,
    engine: &Arc<Engine>,
    member: Option<MemberHandle>,
) -> anyhow::Result<SocketAddr> {
    // Weak: a scrape must not keep the workers from ending with the node.
    let engine = Arc::downgrade(engine);
    server::start(listen, move |path| answer(path, &shared, &engine, member.as_ref()))
}

fn answer(
    path: &str,
    shared: &Shared,
    engine: &Weak<Engine>,
    member: Option<&MemberHandle>,
) -> server::Answer {
    match path {
        "/metrics" => ("200 OK", metrics(shared, engine, member)),
        "/healthz" => ("200 OK", "alive\n".to_owned()),
        "/readyz" if is_ready(shared, member) => ("200 OK", "ready\n".to_owned()),
        "/readyz" if shared.is_ready() => ("503 Service Unavailable", "joining\n".to_owned()),
        "/readyz" if shared.stop_deadline().is_none() => {
            ("503 Service Unavailable", "draining\n".to_owned())
        }
        "/readyz" => ("503 Service Unavailable", "stopping\n".to_owned()),
        _ => ("404 Not Found", "there are /metrics, /healthz and /readyz\n".to_owned()),
    }
}

/// Whether the node takes what is new: a member that has just come does not yet.
fn is_ready(shared: &Shared, member: Option<&MemberHandle>) -> bool {
    shared.is_ready() && member.is_none_or(|member| !member.present().profile.joining)
}

fn metrics(shared: &Shared, engine: &Weak<Engine>, member: Option<&MemberHandle>) -> String {
    let figures = *shared.figures.lock().unwrap_or_else(PoisonError::into_inner);
    let mut page = Page::default();
    let ready = u8::from(is_ready(shared, member));
    page.one(Kind::Gauge, "ringfarm_ready", "1 while the node takes new work.", ready);
    let used = cpu::used().as_secs_f64();
    let help = "Processor time that the process has used, in seconds.";
    page.one(Kind::Counter, "ringfarm_cpu_seconds_total", help, used);
    signaling(&mut page, &figures);
    overload(&mut page, &figures.overload);
    transports(&mut page, &figures.net);
    certificates(&mut page, &shared.certificates.lock().unwrap_or_else(PoisonError::into_inner));
    addresses(&mut page, &shared.named.lock().unwrap_or_else(PoisonError::into_inner));
    if let Some(farm) = &figures.farm {
        cluster::farm(&mut page, farm);
    }
    if let Some(member) = member {
        let now = SystemTime::now();
        let left = member.certificates().iter();
        let left = left.map(|one| (label("file", one.file.display()), one.seconds_left(now)));
        let name = "ringfarm_cluster_certificate_expiry_seconds";
        let help = "Seconds until this member's certificate, and its authority's, ends.";
        page.family(Kind::Gauge, name, help, left);
        cluster::members(&mut page, &member.present(), &member.mesh());
    }
    if let Some(engine) = engine.upgrade() {
        workers(&mut page, &engine.counters());
        ports(&mut page, &engine);
    }
    page.finish()
}

fn signaling(page: &mut Page, figures: &Figures) {
    let load = figures.load;
    for (name, help, value) in [
        ("calls", "Calls, ringing or answered.", load.calls),
        ("requests_in_progress", "Requests being proxied.", load.contexts),
        ("media_sessions", "Relay sessions of calls.", load.sessions),
        ("transactions", "Transactions, server and client.", load.transactions),
        ("media_requests", "Messages that wait for the relay.", load.media_requests),
        ("registrations", "Registered contacts.", figures.registrations),
    ] {
        page.one(Kind::Gauge, &format!("ringfarm_sip_{name}"), help, value);
    }
    let packages = Package::ALL.iter().map(|package| label("package", package.name()));
    let subscriptions = packages.zip(figures.subscriptions);
    let help = "Subscriptions that the node serves, by package.";
    page.family(Kind::Gauge, "ringfarm_subscriptions", help, subscriptions);
    let help = "Documents that users' devices have published.";
    page.one(Kind::Gauge, "ringfarm_publications", help, figures.publications);
    let counted = figures.transactions;
    for (name, help, value) in [
        ("requests", "New requests that were given a transaction.", counted.requests),
        ("refused", "New requests answered 503 for want of a transaction.", counted.refused),
        ("absorbed", "Retransmissions received, and ACKs to failures.", counted.absorbed),
        ("retransmitted", "Messages sent again.", counted.retransmitted),
        ("unmatched", "Responses and ACKs that fitted no transaction.", counted.unmatched),
        ("timeouts", "Transactions that were not answered in time.", counted.timeouts),
        ("transport_errors", "Transactions that met a transport error.", counted.transport_errors),
    ] {
        page.one(Kind::Counter, &format!("ringfarm_sip_{name}_total"), help, value);
    }
    let tally = figures.tally;
    let name = "ringfarm_sip_responses_sent_total";
    let classes = (1..=6).map(|class| label("class", format!("{class}xx"))).zip(tally.responses);
    page.family(Kind::Counter, name, "Responses sent, repetitions included.", classes);
    let ends = labels("reason", &CallEnd::KINDS).zip(tally.ends);
    page.family(Kind::Counter, "ringfarm_calls_ended_total", "Calls by how they ended.", ends);
    let kinds = labels("kind", &Defect::KINDS).zip(tally.malformed);
    let help = "Messages that could not be parsed, by what is wrong.";
    page.family(Kind::Counter, "ringfarm_sip_malformed_total", help, kinds);
    let rules = Rule::ALL.iter().map(|rule| label("rule", rule.name())).zip(figures.guard);
    let help = "Messages dropped and answers kept back by the guard, by rule.";
    page.family(Kind::Counter, "ringfarm_guard_dropped_total", help, rules);
}

fn overload(page: &mut Page, figures: &OverloadFigures) {
    let reasons = Reason::ALL.iter().map(|reason| label("reason", reason.name()));
    let name = "ringfarm_overload_refused_total";
    let help = "New requests refused (503) for load, by what there was too much of.";
    page.family(Kind::Counter, name, help, reasons.zip(figures.refused));
    for (name, help, value) in [
        ("unanswered", "Refusals that were not even answered.", figures.unanswered),
        ("emergencies", "Emergency calls taken before others.", figures.emergencies),
        ("datagrams_lost", "Datagrams lost for want of room in a socket.", figures.lost),
    ] {
        page.one(Kind::Counter, &format!("ringfarm_overload_{name}_total"), help, value);
    }
    let help = "Share of new requests that is taken, as far as lag goes, 0 to 1.";
    page.one(Kind::Gauge, "ringfarm_overload_share", help, figures.share);
    let help =
        "How long messages wait at least before the signaling thread takes them, in seconds.";
    page.one(Kind::Gauge, "ringfarm_overload_lag_seconds", help, figures.lag.as_secs_f64());
}

fn labels<'a>(name: &'a str, values: &'a [&str]) -> impl Iterator<Item = String> + 'a {
    values.iter().map(move |value| label(name, value))
}

fn transports(page: &mut Page, net: &signaling_net::Counters) {
    for (name, help, value) in [
        ("udp_received", "Datagrams handed on as messages.", net.udp_received),
        ("udp_keep_alives", "Datagrams that were keep-alives.", net.udp_keep_alives),
        ("stun_answered", "STUN Binding requests answered.", net.stun_answered),
        ("stun_dropped", "STUN datagrams that were no Binding requests.", net.stun_dropped),
        ("udp_sent", "Datagrams sent.", net.udp_sent),
        ("udp_dropped", "Datagrams not sent for want of room.", net.udp_dropped),
        ("udp_reports_ignored", "ICMP reports without effect.", net.udp_reports_ignored),
        ("tcp_received", "Messages received on connections.", net.tcp_received),
        ("tcp_sent", "Messages sent on connections.", net.tcp_sent),
        ("tcp_accepted", "Connections accepted.", net.tcp_accepted),
        ("tcp_refused", "Connections closed at once because of a limit.", net.tcp_refused),
        ("tcp_opened", "Connections opened by this node.", net.tcp_opened),
        ("tls_handshakes", "TLS handshakes completed.", net.tls_handshakes),
        ("tls_resumed", "Those that resumed a session.", net.tls_resumed),
        ("tls_failed", "TLS handshakes that failed.", net.tls_failed),
        ("ws_opened", "WebSockets opened by peers.", net.ws_opened),
        ("ws_refused", "WebSockets refused or not opened in time.", net.ws_refused),
        ("tcp_accept_paused", "Pauses for want of descriptors.", net.tcp_accept_paused),
        ("send_failed", "Messages that were not sent.", net.send_failed),
    ] {
        page.one(Kind::Counter, &format!("ringfarm_transport_{name}_total"), help, value);
    }
}

fn certificates(page: &mut Page, certificates: &[Certificate]) {
    let now = SystemTime::now();
    let left =
        certificates.iter().map(|one| (label("file", one.file.display()), one.seconds_left(now)));
    let name = "ringfarm_tls_certificate_expiry_seconds";
    let help = "Seconds until the certificate in the file ends, negative once it has.";
    page.family(Kind::Gauge, name, help, left);
}

fn addresses(page: &mut Page, named: &[Named]) {
    let present = named.iter().map(|named| {
        let labels = label("key", &named.key) + "," + &label("address", named.address);
        (labels, u8::from(named.present))
    });
    let help = "1 while the host has the local address that the settings name, else 0.";
    page.family(Kind::Gauge, "ringfarm_address_present", help, present);
}

fn workers(page: &mut Page, counters: &[WorkerCounters]) {
    type Read = fn(&WorkerCounters) -> u64;
    let of = |read: Read| counters.iter().map(move |c| (label("worker", c.worker), read(c)));
    let totals: [(&str, &str, Read); 6] = [
        ("packets_received", "Media datagrams received.", |c| c.packets_in),
        ("bytes_received", "UDP payload in them, in bytes.", |c| c.bytes_in),
        ("rtp_relayed", "RTP packets relayed.", |c| c.rtp_relayed),
        ("rtcp_relayed", "RTCP packets relayed.", |c| c.rtcp_relayed),
        ("other_relayed", "Other datagrams relayed.", |c| c.other_relayed),
        ("buffers_exhausted", "Receives that met no free buffer.", |c| c.buffers_exhausted),
    ];
    for (name, help, read) in totals {
        page.family(Kind::Counter, &format!("ringfarm_media_{name}_total"), help, of(read));
    }
    let cpu = counters.iter().map(|c| (label("worker", c.worker), c.cpu.as_secs_f64()));
    let help = "Processor time of the worker's thread, in seconds.";
    page.family(Kind::Counter, "ringfarm_media_cpu_seconds_total", help, cpu);
    let now: [(&str, &str, Read); 2] = [
        ("sessions", "Relay sessions of the worker.", |c| c.sessions_now),
        ("sockets", "Sockets of the worker.", |c| c.sockets_now),
    ];
    for (name, help, read) in now {
        page.family(Kind::Gauge, &format!("ringfarm_media_worker_{name}"), help, of(read));
    }
    let by = |what: &'static str, list: fn(&WorkerCounters) -> &[(&'static str, u64)]| {
        counters.iter().flat_map(move |c| {
            let of = |(word, count): &(&str, u64)| {
                (label("worker", c.worker) + "," + &label(what, word), *count)
            };
            list(c).iter().map(of)
        })
    };
    let name = "ringfarm_media_dropped_total";
    page.family(Kind::Counter, name, "Datagrams dropped, by reason.", by("reason", |c| &c.drops));
    let name = "ringfarm_media_send_errors_total";
    let help = "Packets that the kernel refused to send, by cause.";
    page.family(Kind::Counter, name, help, by("cause", |c| &c.send_errors));
}

fn ports(page: &mut Page, engine: &Engine) {
    let usage = engine.ports();
    let states = usage.iter().flat_map(|(address, usage)| {
        let state = |state| label("address", address) + "," + &label("state", state);
        [
            (state("used"), usage.used),
            (state("resting"), usage.resting),
            (state("free"), usage.free),
        ]
    });
    page.family(Kind::Gauge, "ringfarm_media_ports", "Media ports by state.", states);
    let help = "Earlier ranges of media ports that calls still use.";
    page.one(Kind::Gauge, "ringfarm_media_ranges_before", help, engine.ports_retired().len());
    let cut = usage.iter().map(|(address, usage)| (label("address", address), usage.rests_cut));
    let help = "Rests of media ports that ended early.";
    page.family(Kind::Counter, "ringfarm_media_rests_cut_total", help, cut);
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// A certificate that has ended is seen by its sign.
    #[test]
    fn the_end_of_each_certificate_is_told_by_its_file() {
        let mut page = Page::default();
        let now = SystemTime::now();
        let of =
            |file: &str, not_after| Certificate { file: file.into(), names: Vec::new(), not_after };
        let good = of("/good.pem", now + Duration::from_secs(1_000_000));
        let ended = of("/ended.pem", now - Duration::from_secs(1_000_000));
        certificates(&mut page, &[good, ended]);
        let page = page.finish();
        let name = "ringfarm_tls_certificate_expiry_seconds";
        assert!(page.contains(&format!("{name}{{file=\"/good.pem\"}} 9999")), "{page}");
        assert!(page.contains(&format!("{name}{{file=\"/ended.pem\"}} -10000")), "{page}");
    }
}
