//! What is wrong with a settings text, and where.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

/// One thing that is wrong with a settings text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where in the text; `None` for what did not come from the text (a command-line option).
    pub position: Option<Position>,
    /// The key's path, as in `sip.listen[0].address`; empty where the text is not TOML.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub fix: String,
}

/// A place in a text, as editors count: from 1, the column in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// `LINE:COLUMN: key: what; fix`, without the parts that are absent.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(Position { line, column }) = self.position {
            write!(f, "{line}:{column}: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        write!(f, "{}; {}", self.what, self.fix)
    }
}

/// What is wrong with a value, before it is known where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    pub(crate) what: String,
    pub(crate) fix: String,
}

impl Wrong {
    pub(crate) fn new(what: impl Into<String>, fix: impl Into<String>) -> Wrong {
        Wrong { what: what.into(), fix: fix.into() }
    }

    /// `what; fix`, for where there is no text to point into.
    pub(crate) fn sentence(&self) -> String {
        format!("{}; {}", self.what, self.fix)
    }
}

/// Where each key of a text stands.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places {
    /// Byte offset at which each line starts.
    lines: Vec<usize>,
    text: String,
    spans: BTreeMap<String, Range<usize>>,
    /// For an array that lost unreadable entries: the place in the text of each entry that is left.
    kept: BTreeMap<String, Vec<usize>>,
    /// Paths whose values come from the command line.
    outside: BTreeMap<String, &'static str>,
}

impl Places {
    pub(crate) fn new(text: &str) -> Places {
        let newlines = text.match_indices('\n').map(|(at, _)| at + 1);
        Places {
            lines: std::iter::once(0).chain(newlines).collect(),
            text: text.to_owned(),
            ..Places::default()
        }
    }

    pub(crate) fn note(&mut self, path: &str, span: Range<usize>) {
        self.spans.insert(path.to_owned(), span);
    }

    pub(crate) fn note_kept(&mut self, path: &str, kept: Vec<usize>) {
        self.kept.insert(path.to_owned(), kept);
    }

    /// The values at and under `path` come from `source`, not from the text.
    pub(crate) fn note_outside(&mut self, path: &str, source: &'static str) {
        self.outside.insert(path.to_owned(), source);
    }

    /// The path of the entry that is now at `index` of the array at `path`.
    pub(crate) fn entry(&self, path: &str, index: usize) -> String {
        let original = self.kept.get(path).and_then(|kept| kept.get(index)).unwrap_or(&index);
        format!("{path}[{original}]")
    }

    /// Whether the text itself says something at `path`.
    pub(crate) fn is_written(&self, path: &str) -> bool {
        self.spans.contains_key(path) && self.source(path).is_none()
    }

    /// The text's line for `path`, to name one place in a message about another.
    pub(crate) fn line_of(&self, path: &str) -> String {
        match (self.source(path), self.nearest(path)) {
            (Some(source), _) => format!("given with {source}"),
            (None, Some(position)) => format!("line {}", position.line),
            (None, None) => "a default".to_owned(),
        }
    }

    pub(crate) fn position(&self, offset: usize) -> Position {
        let line = self.lines.partition_point(|start| *start <= offset).max(1);
        let start = self.lines.get(line - 1).copied().unwrap_or(0);
        let before = self.text.get(start..offset).unwrap_or("");
        Position { line, column: before.chars().count() + 1 }
    }

    /// A problem with the key at `path`, placed at the key or the nearest table around it.
    pub(crate) fn problem(&self, path: &str, wrong: Wrong) -> Problem {
        let (position, key) = match self.source(path) {
            Some(source) => (None, source.to_owned()),
            None => {
                let start = Position { line: 1, column: 1 };
                (Some(self.nearest(path).unwrap_or(start)), path.to_owned())
            }
        };
        Problem { position, key, what: wrong.what, fix: wrong.fix }
    }

    fn nearest(&self, path: &str) -> Option<Position> {
        let span = ancestry(path).find_map(|path| self.spans.get(path))?;
        Some(self.position(span.start))
    }

    fn source(&self, path: &str) -> Option<&'static str> {
        ancestry(path).find_map(|path| self.outside.get(path)).copied()
    }
}

/// `a.b[0].c`, `a.b[0]`, `a.b`, `a`.
fn ancestry(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| path.rfind(['.', '[']).map(|cut| &path[..cut]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_count_characters_and_lines_count_from_one() {
        let places = Places::new("ä = 1\nöö = 2\n");
        assert_eq!(places.position(0), Position { line: 1, column: 1 });
        assert_eq!(places.position("ä = 1\nöö".len()), Position { line: 2, column: 3 });
    }

    #[test]
    fn a_path_without_a_place_of_its_own_is_placed_at_the_table_around_it() {
        let mut places = Places::new("\n\n[media]\n");
        places.note("media", 2..9);
        let problem = places.problem("media.ports", Wrong::new("what", "fix"));
        assert_eq!(problem.to_string(), "3:1: media.ports: what; fix");
    }

    #[test]
    fn what_the_command_line_gave_is_named_by_its_option() {
        let mut places = Places::new("");
        places.note_outside("sip.listen", "--listen");
        let problem = places.problem("sip.listen[0].address", Wrong::new("what", "fix"));
        assert_eq!(problem.to_string(), "--listen: what; fix");
    }
}
