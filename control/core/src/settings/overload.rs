//! `[overload]`: what is refused when there is too much.

use super::problem::Wrong;
use super::read::{Reader, Text, quoted};
use super::table::{Rules, settings_table};
use super::values::{Seconds, text_values};

settings_table! {
    /// What the node refuses when more is asked of it than it can do: new requests first (503 with
    /// Retry-After), those within calls last, emergency calls and what ends a call never.
    section Overload {
        /// Whether anything is refused before a table is full.
        restart enabled: bool = default(true);

        /// How long messages may wait, in milliseconds, before new requests are refused. A burst that
        /// is dealt with is no overload; phones repeat themselves after 500 ms.
        restart lag_ms: u32 = default(250) in 5..=10_000;

        /// How full the tables of `limits.transactions` and `limits.sessions` may be, in percent,
        /// before fewer and fewer new requests are taken; 100: until they are full. The last two
        /// percent are kept for emergency calls and for what belongs to a call.
        restart tables_percent: u32 = default(90) in 10..=100;

        /// How many percent of the media ports have to be left, below which fewer and fewer calls
        /// are taken; 0: until there is none.
        restart ports_percent: u32 = default(5) in 0..=90;

        /// New requests (calls, registrations, messages) a second; more are refused. 0: no limit.
        restart new_per_s: u32 = default(0) in 0..=1_000_000;

        /// Numbers that are dialled for an emergency. Calls to them and to `urn:service:sos` come
        /// before all others, and so do those that a trusted peer marks (Priority: emergency,
        /// Resource-Priority: esnet, ets or wps).
        restart emergency_numbers: Vec<Number> = default(numbers());

        /// Emergency calls a second that strangers and users have come first; more of them rank as
        /// other calls do, since anybody can dial such a number.
        restart emergency_per_s: u32 = default(50) in 1..=100_000;

        /// The least that Retry-After says, in seconds; twice as much at most, so that those who are
        /// refused together do not come back together.
        restart retry_after_s: Seconds = default(Seconds(5)) in 1..=3_600;
    }
}

/// A number as it is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Number(String);

text_values!(Number);

impl Number {
    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text for Number {
    fn parse(text: &str) -> Result<Number, Wrong> {
        let is_dialled = |byte: u8| byte.is_ascii_digit() || b"+*#".contains(&byte);
        if !text.is_empty() && text.len() <= 15 && text.bytes().all(is_dialled) {
            return Ok(Number(text.to_owned()));
        }
        let fix = "write up to 15 digits, as in \"112\"";
        Err(Wrong::new(format!("{} is no number to dial", quoted(text)), fix))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

fn numbers() -> Vec<Number> {
    ["112", "911"].map(|number| Number(number.to_owned())).to_vec()
}

impl Rules for Overload {
    fn check(&self, _path: &str, _reader: &mut Reader) {}
}

#[cfg(test)]
mod tests {
    use crate::settings::check;

    #[test]
    fn emergency_numbers_are_digits() {
        let settings = check("[overload]\nemergency_numbers = [\"110\", \"*9\"]\n").unwrap();
        assert_eq!(settings.overload.emergency_numbers[1].as_str(), "*9");
        let problems = check("[overload]\nemergency_numbers = [\"help\"]\n").unwrap_err();
        assert!(problems[0].to_string().contains("is no number to dial"), "{:?}", problems[0]);
    }
}
