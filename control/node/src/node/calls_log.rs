//! The one line that is logged for each call.

use std::fmt::Write as _;
use std::time::Duration;

use relay_core::api::{DirectionReport, Flow, SessionReport};
use signaling_core::call::log_name;
use signaling_core::proxy::output::CallRecord;

/// Logs a call that has ended. Who called whom is personal data and appears at DEBUG only.
pub(super) fn record(record: &CallRecord) {
    tracing::info!(
        call_id = log_name(&record.call_id),
        end = %record.end,
        setup_ms = record.setup.map(|setup| u64::try_from(setup.as_millis()).unwrap_or(u64::MAX)),
        duration_ms = u64::try_from(record.duration.as_millis()).unwrap_or(u64::MAX),
        media = media(&record.media),
        "call ended"
    );
    tracing::debug!(call_id = record.call_id, from = record.from, to = record.to, "its parties");
}

/// `caller 400p/0 lost, callee 398p/2 lost; ...`, one part a stream. A direction that should have
/// had packets at the end and had none says so: `callee 0p/0 lost (never started)`.
pub(super) fn media(reports: &[SessionReport]) -> String {
    let mut text = String::new();
    for report in reports {
        for [caller, callee] in &report.streams {
            if !text.is_empty() {
                text.push_str("; ");
            }
            direction(&mut text, "caller", caller, report.lifetime);
            text.push_str(", ");
            direction(&mut text, "callee", callee, report.lifetime);
        }
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

fn direction(text: &mut String, who: &str, report: &DirectionReport, lifetime: Duration) {
    // Writing to a String does not fail.
    let _ = write!(text, "{who} {}p/{} lost", report.packets, report.lost);
    let silent = match report.flow {
        Flow::NotExpected | Flow::Flowing => return,
        Flow::NeverStarted => "never started".to_owned(),
        Flow::Stopped => {
            let since = lifetime.saturating_sub(report.last_packet.unwrap_or_default());
            format!("stopped {} s before the end", since.as_secs())
        }
    };
    let _ = match report.dropped {
        0 => write!(text, " ({silent})"),
        dropped => write!(text, " ({silent}, {dropped} dropped)"),
    };
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which side was not heard, and since when, so that one-way media can be told from a log.
    #[test]
    fn a_direction_that_is_silent_and_should_not_be_says_so() {
        let lifetime = Duration::from_secs(60);
        let told = |flow, dropped| {
            let last_packet = Some(Duration::from_secs(48));
            let report = DirectionReport { flow, dropped, last_packet, ..Default::default() };
            let streams = std::iter::once([report, DirectionReport::default()]).collect();
            media(&[SessionReport { lifetime, streams }])
        };
        let heard = "caller 0p/0 lost, callee 0p/0 lost";
        assert_eq!(told(Flow::Flowing, 3), heard);
        assert_eq!(told(Flow::NotExpected, 3), heard);
        assert!(told(Flow::NeverStarted, 0).starts_with("caller 0p/0 lost (never started), "));
        assert!(told(Flow::NeverStarted, 7).contains("(never started, 7 dropped)"));
        assert!(told(Flow::Stopped, 0).contains("(stopped 12 s before the end)"));
        assert_eq!(media(&[]), "none");
    }
}
