//! Message summaries (RFC 3842).

use std::fmt::Write;

/// Most bytes of a summary: a status line, an account and a line for each kind of message make some
/// 200; the rest are optional headers of messages.
const BYTES_MAX: usize = 4096;

/// Messages of one kind that wait for somebody.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// Not heard yet.
    pub new: u32,
    /// Heard before.
    pub old: u32,
    /// Of the new ones, those that are urgent.
    pub new_urgent: u32,
    /// Of the old ones, those that are urgent.
    pub old_urgent: u32,
}

/// Reads a published summary: what is passed on as it is.
pub(in crate::events) fn read(document: &[u8]) -> Option<Box<str>> {
    let text = std::str::from_utf8(document).ok().filter(|text| text.len() <= BYTES_MAX)?;
    let (name, value) = text.lines().next()?.split_once(':')?;
    let is_status = name.trim_end().eq_ignore_ascii_case("Messages-Waiting");
    let is_known = ["yes", "no"].iter().any(|word| value.trim().eq_ignore_ascii_case(word));
    (is_status && is_known).then(|| text.into())
}

/// A summary of voice messages.
pub(in crate::events) fn voice(account: &str, waiting: Waiting) -> String {
    let Waiting { new, old, new_urgent, old_urgent } = waiting;
    let status = if new > 0 { "yes" } else { "no" };
    let mut out = String::with_capacity(128);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "Messages-Waiting: {status}\r\nMessage-Account: {account}\r\n\
         Voice-Message: {new}/{old} ({new_urgent}/{old_urgent})\r\n"
    );
    out
}

/// Of somebody about whom nobody has said anything.
pub(in crate::events) const NONE: &str = "Messages-Waiting: no\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_begins_with_its_status() {
        for good in ["Messages-Waiting: yes\r\nVoice-Message: 2/8\r\n", "messages-waiting : NO"] {
            assert_eq!(read(good.as_bytes()).as_deref(), Some(good));
        }
        for bad in ["", "Voice-Message: 2/8\r\n", "Messages-Waiting: perhaps\r\n", "\n"] {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(read(&vec![b'x'; BYTES_MAX + 1]), None);
    }

    #[test]
    fn new_messages_turn_the_lamp_on_and_old_ones_do_not() {
        let waiting = Waiting { new: 2, old: 8, new_urgent: 0, old_urgent: 2 };
        assert_eq!(
            voice("sip:a@x", waiting),
            "Messages-Waiting: yes\r\nMessage-Account: sip:a@x\r\nVoice-Message: 2/8 (0/2)\r\n"
        );
        let waiting = Waiting { old: 8, ..Waiting::default() };
        assert!(voice("sip:a@x", waiting).starts_with("Messages-Waiting: no\r\n"));
    }
}
