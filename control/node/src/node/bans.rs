//! The list of bans as the control socket tells it.

use std::net::IpAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};
use signaling_core::guard::{Ban, Offence};
use signaling_core::proxy::Proxy;

/// Longest text with a ban by hand.
const REASON_BYTES_MAX: usize = 200;
/// Longest ban by hand: thirty days, as defence.ban_s.
const TIME_MAX: Duration = Duration::from_secs(2_592_000);

/// Whether an order makes sense.
pub(super) fn check(time: Duration, reason: &str) -> Result<(), String> {
    if time.is_zero() || time > TIME_MAX {
        return Err(format!("a ban lasts from 1 to {} minutes", TIME_MAX.as_secs() / 60));
    }
    if reason.len() > REASON_BYTES_MAX || reason.chars().any(char::is_control) {
        return Err(format!("the reason is a line of at most {REASON_BYTES_MAX} bytes"));
    }
    Ok(())
}

/// Those who are banned, the latest first, and what the guard has dropped by each rule.
pub(super) fn list(proxy: &Proxy, now: Instant) -> Value {
    let mut bans = proxy.guard().bans(now);
    bans.sort_by_key(|ban| ban.age);
    let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let listed: Vec<Value> = bans.iter().map(|ban| entry(ban, unix)).collect();
    let rules = signaling_core::guard::Rule::ALL.iter().zip(proxy.guard().dropped());
    let dropped: serde_json::Map<String, Value> =
        rules.map(|(rule, count)| (rule.name().to_owned(), json!(count))).collect();
    json!({ "bans": listed, "dropped": dropped })
}

fn entry(ban: &Ban, unix: Duration) -> Value {
    let source = match ban.source {
        IpAddr::V4(v4) => v4.to_string(),
        IpAddr::V6(v6) => format!("{v6}/64"),
    };
    let rule = match ban.reason {
        Offence::Operator => "operator",
        Offence::Credentials
        | Offence::UnknownUser
        | Offence::Stranger
        | Offence::Malformed
        | Offence::Scanner => "defence.ban_failures",
    };
    json!({
        "source": source,
        "rule": rule,
        "reason": ban.note.as_deref().unwrap_or(ban.reason.name()),
        "since_unix_s": unix.saturating_sub(ban.age).as_secs(),
        "until_unix_s": (unix + ban.left).as_secs(),
        "left_s": ban.left.as_secs(),
    })
}
