//! `[defence]`: the node on the open Internet.

use ipnet::IpNet;

use super::problem::Wrong;
use super::read::{Reader, Text, quoted};
use super::table::{Rules, settings_table};
use super::values::{Seconds, text_values};

settings_table! {
    /// What keeps strangers from using the node up: rates, silence, bans.
    section Defence {
        /// Whether there is any. This host itself, `peers.trusted` and the servers of `routes` are
        /// never held back.
        restart enabled: bool = default(true);

        /// Networks or addresses that are never held back either. Over UDP anybody can send in
        /// another's name: list servers whose calls must not depend on what is sent in theirs.
        restart exempt: Vec<IpNet> = default(Vec::new());

        /// Messages a second that one source may send, a source being an IPv4 address or an IPv6
        /// /64; what is above is dropped. An office of 500 phones behind one address sends 100.
        restart messages_per_s: u32 = default(500) in 1..=1_000_000;

        /// Messages that it may send at once, for example when an office has its power back.
        restart burst: u32 = default(5_000) in 1..=1_000_000;

        /// Wrong passwords of one account from one source before that account is met with silence
        /// from there: one second, doubled by each further failure up to a minute.
        restart account_failures: u32 = default(5) in 1..=1_000;

        /// Failures of one source (wrong passwords, unknown users, malformed messages, calls in
        /// strangers' names) before it is banned: nothing of it is read. Ten times as many where a
        /// user has shown the right password within an hour.
        restart ban_failures: u32 = default(60) in 1..=1_000_000;

        /// For how long failures count, in seconds.
        restart window_s: Seconds = default(Seconds(600)) in 10..=86_400;

        /// How long a ban lasts, in seconds.
        restart ban_s: Seconds = default(Seconds(600)) in 1..=2_592_000;

        /// Stateless answers (to malformed requests) a second to one source. Over UDP none is more
        /// than twice as large as what it answers.
        restart answers_per_s: u32 = default(10) in 1..=100_000;

        /// Sources that are remembered, and as many accounts; 200 bytes for each, taken at
        /// start. A flood of more displaces those that were silent longest; bans stay.
        restart sources: usize = default(16_384) in 1_024..=4_194_304;

        /// Calls a minute that one account may begin, and as many at once; more are answered 503 with
        /// the rule in a Warning. 0: no limit.
        restart account_calls_per_min: u32 = default(600) in 0..=1_000_000;

        /// Registrations a minute of one account, likewise.
        restart account_registers_per_min: u32 = default(240) in 0..=1_000_000;

        /// Messages (MESSAGE) a minute of one account, likewise.
        restart account_messages_per_min: u32 = default(600) in 0..=1_000_000;

        /// Requests with one of these words in User-Agent or in the name in From, upper or lower case,
        /// are dropped in silence: a scanner that gets no answer takes the address for unused. A
        /// connection that they come on is closed.
        restart scanners: Vec<Word> = default(scanners());
    }
}

/// A word to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Word(String);

text_values!(Word);

/// Shorter words are in many a phone's name.
const WORD_CHARS_MIN: usize = 4;

impl Word {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text for Word {
    fn parse(text: &str) -> Result<Word, Wrong> {
        if text.len() >= WORD_CHARS_MIN && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
            return Ok(Word(text.to_owned()));
        }
        let fix = format!("write at least {WORD_CHARS_MIN} printable ASCII characters");
        Err(Wrong::new(format!("{} would be in many a phone's name", quoted(text)), fix))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// Those that scan the Internet for SIP servers, by the names that they give themselves.
fn scanners() -> Vec<Word> {
    [
        "friendly-scanner",
        "friendly-request",
        "sipvicious",
        "sipcli",
        "sip-scan",
        "sipscan",
        "siparmyknife",
        "sundayddr",
        "pplsip",
        "iWar",
        "VaxSIPUserAgent",
        "VaxIPUserAgent",
    ]
    .map(|word| Word(word.to_owned()))
    .to_vec()
}

impl Rules for Defence {
    fn check(&self, path: &str, reader: &mut Reader) {
        if reader.sound(&[path]) && self.burst < self.messages_per_s {
            let what =
                format!("{} is less than messages_per_s = {}", self.burst, self.messages_per_s);
            let fix = "a second's messages may come at once: choose at least as many";
            reader.tell(&format!("{path}.burst"), Wrong::new(what, fix));
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::settings::check;

    #[test]
    fn a_burst_below_the_rate_and_a_word_of_phones_are_refused() {
        assert!(
            check("[defence]\nmessages_per_s = 10\nburst = 10\nscanners = [\"evil\"]\n").is_ok()
        );
        for (text, key) in [
            ("[defence]\nmessages_per_s = 10\nburst = 9\n", "defence.burst"),
            ("[defence]\nscanners = [\"sip\"]\n", "defence.scanners"),
        ] {
            let problems = check(text).unwrap_err();
            let said: Vec<String> = problems.iter().map(ToString::to_string).collect();
            assert!(said.len() == 1 && said[0].contains(key), "{said:?}");
        }
    }
}
