//! The one line that is logged for each call.

use std::fmt::Write as _;

use relay_core::api::{DirectionReport, SessionReport};
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

/// `caller 400p/0 lost, callee 398p/2 lost; ...`, one part a stream.
pub(super) fn media(reports: &[SessionReport]) -> String {
    let mut text = String::new();
    for [caller, callee] in reports.iter().flat_map(|report| &report.streams) {
        if !text.is_empty() {
            text.push_str("; ");
        }
        direction(&mut text, "caller", caller);
        text.push_str(", ");
        direction(&mut text, "callee", callee);
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

fn direction(text: &mut String, who: &str, report: &DirectionReport) {
    // Writing to a String does not fail.
    let _ = write!(text, "{who} {}p/{} lost", report.packets, report.lost);
}
