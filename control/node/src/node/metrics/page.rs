//! The text format of Prometheus (exposition format 0.0.4): families of samples, each with what it is.

use std::fmt::{Display, Write as _};

/// What kind of figure a family holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Only grows, from the start of the process.
    Counter,
    /// The value of now.
    Gauge,
}

/// A page that is being written. To add a figure: [`Page::one`] for a single value, [`Page::family`]
/// for one with labels. Names begin with `ringfarm_` and end in their unit; counters end in `_total`.
#[derive(Debug, Default)]
pub(crate) struct Page {
    text: String,
}

impl Page {
    /// A family with one value.
    pub(crate) fn one(&mut self, kind: Kind, name: &str, help: &str, value: impl Display) {
        self.family(kind, name, help, [(String::new(), value)]);
    }

    /// A family with a value for each set of labels ([`label`]).
    pub(crate) fn family<V: Display>(
        &mut self,
        kind: Kind,
        name: &str,
        help: &str,
        samples: impl IntoIterator<Item = (String, V)>,
    ) {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        // Writing to a String does not fail.
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        for (labels, value) in samples {
            let _ = match labels.is_empty() {
                true => writeln!(self.text, "{name} {value}"),
                false => writeln!(self.text, "{name}{{{labels}}} {value}"),
            };
        }
    }

    /// The whole page.
    pub(crate) fn finish(self) -> String {
        self.text
    }
}

/// `name="value"`, with what the format wants escaped.
pub(crate) fn label(name: &str, value: impl Display) -> String {
    let value = value.to_string().replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    format!("{name}=\"{value}\"")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_has_help_type_and_escaped_labels() {
        let mut page = Page::default();
        page.one(Kind::Gauge, "ringfarm_calls", "Calls.", 3);
        let labels = label("reason", "a\"b\\c");
        page.family(Kind::Counter, "ringfarm_x_total", "X.", [(labels, 7_u64)]);
        let wanted = "# HELP ringfarm_calls Calls.\n# TYPE ringfarm_calls gauge\nringfarm_calls 3\n\
                      # HELP ringfarm_x_total X.\n# TYPE ringfarm_x_total counter\n\
                      ringfarm_x_total{reason=\"a\\\"b\\\\c\"} 7\n";
        assert_eq!(page.finish(), wanted);
    }
}
