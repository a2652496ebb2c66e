//! The figures that the node under test tells of itself: how full its tables were, and what it refused.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{SocketAddrV4, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

/// How long the node may take to tell its figures; they come from a thread that is never busy.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// Longest page, some ten times what there is.
const PAGE_BYTES_MAX: u64 = 1 << 20;

/// Tables, of which the fullest moment counts.
const GAUGES: [&str; 7] = [
    "ringfarm_sip_calls",
    "ringfarm_sip_requests_in_progress",
    "ringfarm_sip_media_sessions",
    "ringfarm_sip_transactions",
    "ringfarm_sip_media_requests",
    "ringfarm_sip_registrations",
    "ringfarm_media_ports",
];

/// What was refused, dropped or lost since the start; those that are 0 are left out.
const COUNTERS: [&str; 11] = [
    "ringfarm_sip_refused_total",
    "ringfarm_sip_timeouts_total",
    "ringfarm_sip_transport_errors_total",
    "ringfarm_sip_malformed_total",
    "ringfarm_sip_responses_sent_total",
    "ringfarm_calls_ended_total",
    "ringfarm_guard_dropped_total",
    "ringfarm_overload_",
    "ringfarm_transport_udp_dropped_total",
    "ringfarm_transport_send_failed_total",
    "ringfarm_media_rests_cut_total",
];

/// By name, with labels.
pub(super) type Figures = BTreeMap<String, f64>;

/// Takes what a node of this address tells into `figures`.
///
/// # Errors
/// It tells nothing in time.
pub(super) fn take(address: SocketAddrV4, figures: &mut Figures) -> Result<()> {
    note(&page(address).context("asking the node for its figures")?, figures);
    Ok(())
}

fn page(address: SocketAddrV4) -> Result<String> {
    let mut stream = TcpStream::connect_timeout(&address.into(), ANSWER_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.set_write_timeout(Some(ANSWER_MAX))?;
    write!(stream, "GET /metrics HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let mut page = String::new();
    stream.take(PAGE_BYTES_MAX).read_to_string(&mut page)?;
    Ok(page)
}

fn note(page: &str, figures: &mut Figures) {
    for line in page.lines() {
        let Some((name, value)) = line.rsplit_once(' ') else { continue };
        let Ok(value) = value.parse::<f64>() else { continue };
        let family = name.split('{').next().unwrap_or_default();
        if GAUGES.contains(&family) {
            let most = figures.entry(name.to_owned()).or_default();
            *most = most.max(value);
        } else if COUNTERS.iter().any(|counter| name.starts_with(counter)) && value != 0.0 {
            figures.insert(name.to_owned(), value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_tables_the_fullest_moment_counts_and_of_counters_the_last() {
        let mut figures = Figures::new();
        for (calls, refused) in [(10, 0), (30, 1), (20, 7)] {
            let page = format!(
                "HTTP/1.1 200 OK\r\n\r\n# HELP ringfarm_sip_calls Calls.\n\
                 # TYPE ringfarm_sip_calls gauge\nringfarm_sip_calls {calls}\n\
                 ringfarm_guard_dropped_total{{rule=\"rate\"}} 0\n\
                 ringfarm_sip_refused_total {refused}\nringfarm_ready 1\n"
            );
            note(&page, &mut figures);
        }
        let noted: Vec<_> = figures.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        assert_eq!(noted, [("ringfarm_sip_calls", 30.0), ("ringfarm_sip_refused_total", 7.0)]);
    }
}
