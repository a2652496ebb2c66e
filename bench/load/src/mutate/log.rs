//! What a node warns of, counted by kind: a table that is full, media that was refused, somebody banned.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Kinds of lines that are told apart, a node has a dozen; beyond, they are counted together.
const KINDS_MAX: usize = 32;

/// Longest line that is kept, in characters.
const LINE_MAX: usize = 240;

/// How the count begins of those that were held back because there were too many of them.
const HELD_BACK: &str = " (and ";

/// The lines of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Warnings {
    /// How many there were, those included that the node held back and only counted.
    pub count: u64,
    /// The first of them, without its time.
    pub first: String,
}

/// Hears a node's log.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeLog(Arc<Mutex<BTreeMap<String, Warnings>>>);

impl NodeLog {
    /// Counts a line, if it warns.
    pub(super) fn hear(&self, line: &str) {
        let Some((_, text)) = [" WARN ", " ERROR "].iter().find_map(|level| line.split_once(level))
        else {
            return;
        };
        let (text, more) = held_back(text.trim());
        let mut kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kind_of(text);
        let kind = if kinds.len() < KINDS_MAX || kinds.contains_key(&kind) {
            kind
        } else {
            "other warnings".to_owned()
        };
        let first = || Warnings { count: 0, first: text.chars().take(LINE_MAX).collect() };
        kinds.entry(kind).or_insert_with(first).count += 1 + more;
    }

    /// What was heard so far, most of a kind first.
    pub(super) fn kinds(&self) -> Vec<Warnings> {
        let kinds = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut kinds: Vec<_> = kinds.values().cloned().collect();
        kinds.sort_by_key(|kind| std::cmp::Reverse(kind.count));
        kinds
    }
}

/// The line without `(and N more of the kind before)`, and that number.
fn held_back(text: &str) -> (&str, u64) {
    let split = text.rsplit_once(HELD_BACK);
    let Some((text, rest)) = split.filter(|(_, rest)| rest.contains("more of the kind")) else {
        return (text, 0);
    };
    (text, rest.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or(0))
}

/// What lines have in common that differ in numbers, addresses and names: their words without digits.
fn kind_of(text: &str) -> String {
    let words = text.split_whitespace().filter(|word| !word.contains(|c: char| c.is_ascii_digit()));
    words.flat_map(|word| [word, " "]).collect::<String>().chars().take(LINE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(lines: &[&str]) -> Vec<(u64, String)> {
        let log = NodeLog::default();
        for line in lines {
            log.hear(line);
        }
        log.kinds().into_iter().map(|kind| (kind.count, kind.first)).collect()
    }

    /// The node itself says each second at most that a table is full, with how often it was.
    #[test]
    fn warnings_are_counted_by_kind_with_those_that_the_node_held_back() {
        let full = "answered 503: all 20000 calls are in use; raise [limits] or add a member";
        let counted = heard(&[
            &format!("2026-01-01T00:00:00.000000Z  WARN {full}"),
            "2026-01-01T00:00:00.100000Z  INFO started",
            "2026-01-01T00:00:01.000000Z  WARN the relay refused the media of call a7: no free port",
            &format!("2026-01-01T00:00:02.000000Z  WARN {full} (and 37 more of the kind before)"),
            "no log line at all",
        ]);
        let media = "the relay refused the media of call a7: no free port";
        assert_eq!(counted, [(39, full.to_owned()), (1, media.to_owned())]);
    }

    #[test]
    fn kinds_past_the_bound_are_counted_together() {
        let log = NodeLog::default();
        let word = |number: usize| "x".repeat(number + 1);
        for number in 0..KINDS_MAX + 5 {
            log.hear(&format!("t  WARN {} {}", word(number), "y".repeat(5_000)));
        }
        let kinds = log.kinds();
        assert_eq!((kinds.len(), kinds[0].count), (KINDS_MAX + 1, 5));
        assert!(kinds.iter().all(|kind| kind.first.len() <= LINE_MAX));
    }
}
