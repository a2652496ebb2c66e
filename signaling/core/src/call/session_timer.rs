//! Session timers (RFC 4028) as a proxy has a hand in them: it asks for one where the caller does not,
//! lowers one that is too long, refuses one that is too short, and reads from the 2xx what has been
//! agreed on.

use std::time::Duration;

use crate::wire::{Edit, HeaderName, Message, Method};

/// The shortest interval that anybody may ask for, in seconds, and the one that holds where a request
/// has no Min-SE (RFC 4028 5).
pub const MIN_SE_DEFAULT: u32 = 90;

/// The option tag (RFC 4028 3).
const TIMER: &str = "timer";

/// What this node wants of the sessions that it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionTimers {
    /// The longest interval that is passed on, in seconds, and the one that is asked for where nobody
    /// has; at least `min_s`.
    pub interval_s: u32,
    /// The shortest interval that is taken, in seconds; at least [`MIN_SE_DEFAULT`].
    pub min_s: u32,
}

impl Default for SessionTimers {
    fn default() -> Self {
        SessionTimers { interval_s: 1800, min_s: MIN_SE_DEFAULT }
    }
}

/// Whether requests of this kind, and their 2xx, set the session's time (RFC 4028 3).
#[must_use]
pub const fn refreshes(method: &Method) -> bool {
    matches!(method, Method::Invite | Method::Update)
}

/// The seconds at the start of such a header field's value.
fn seconds(message: &Message, name: HeaderName) -> Option<u32> {
    let value = message.first_str(name)?;
    let digits = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    value.get(..digits)?.parse().ok()
}

fn knows_timers(message: &Message) -> bool {
    message.has_token(HeaderName::Supported, TIMER)
}

impl SessionTimers {
    /// Whether the request asks for less than this node takes and can be told so (RFC 4028 8.1): with
    /// 422, and `min_s` in Min-SE.
    #[must_use]
    pub fn is_too_short(self, request: &Message) -> bool {
        let asked = seconds(request, HeaderName::SessionExpires);
        asked.is_some_and(|asked| asked < self.min_s) && knows_timers(request)
    }

    /// Makes the request one that asks for a session timer as this node wants it (RFC 4028 8.1).
    pub fn ask(self, edit: &mut Edit<'_>, request: &Message) {
        let min = seconds(request, HeaderName::MinSe).unwrap_or_default().max(MIN_SE_DEFAULT);
        let Some(value) = request.first_str(HeaderName::SessionExpires) else {
            if !request.has(HeaderName::SessionExpires) {
                edit.append(HeaderName::SessionExpires, self.interval_s.max(min).to_string());
            }
            return;
        };
        let Some(asked) = seconds(request, HeaderName::SessionExpires) else { return };
        // Whoever does not know session timers would make nothing of a 422.
        let raised = (asked < self.min_s && !knows_timers(request)).then(|| min.max(self.min_s));
        if let Some(raised) = raised.filter(|raised| *raised > min) {
            edit.set(HeaderName::MinSe, raised.to_string());
        }
        let wanted = asked.min(self.interval_s).max(raised.unwrap_or(min));
        if wanted != asked {
            let params = value.trim_start_matches(|c: char| c.is_ascii_digit());
            edit.set(HeaderName::SessionExpires, format!("{wanted}{params}"));
        }
    }
}

/// What a 2xx that comes without a session timer has to say to a caller who knows them, and was asked
/// for by `sent` (RFC 4028 8.2): the callee does not know them, so that the caller refreshes alone.
#[must_use]
pub fn on_behalf_of_callee(
    request: &Message,
    sent: &Message,
    response: &Message,
) -> Option<String> {
    if response.has(HeaderName::SessionExpires) || !knows_timers(request) {
        return None;
    }
    let interval = seconds(sent, HeaderName::SessionExpires)?;
    Some(format!("{interval};refresher=uac"))
}

/// Puts a session timer into a 2xx in the place of a callee who does not know them.
pub fn answer(edit: &mut Edit<'_>, value: &str) {
    edit.append(HeaderName::Require, TIMER).append(HeaderName::SessionExpires, value);
}

/// The session interval that a 2xx has set; `None`: the session does not end by itself.
#[must_use]
pub fn agreed(response: &Message) -> Option<Duration> {
    let interval = seconds(response, HeaderName::SessionExpires)?;
    (interval > 0).then(|| Duration::from_secs(interval.into()))
}
