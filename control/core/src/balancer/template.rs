//! Texts with places to fill in.
//!
//! A template is a file of lines. `{{name}}` stands for a value. A line that begins with `%` is an order and prints
//! nothing: `%if NAME`, `%unless NAME` and `%each LIST` hold for the lines up to their `%end`. Inside `%each`, the values
//! of the list's entry go before those around it. Nothing else is understood: what is to be decided is decided in Rust.

use std::collections::{BTreeMap, BTreeSet};

/// What a template is filled with.
#[derive(Clone, Debug, Default)]
pub(super) struct Scope {
    values: BTreeMap<&'static str, String>,
    flags: BTreeSet<&'static str>,
    lists: BTreeMap<&'static str, Vec<Scope>>,
}

impl Scope {
    /// With a value.
    pub(super) fn with(mut self, name: &'static str, value: impl ToString) -> Scope {
        self.values.insert(name, value.to_string());
        self
    }

    /// With something that `%if` asks for, if it holds.
    pub(super) fn flag(mut self, name: &'static str, holds: bool) -> Scope {
        if holds {
            self.flags.insert(name);
        }
        self
    }

    /// With a list that `%each` goes through.
    pub(super) fn each(mut self, name: &'static str, entries: Vec<Scope>) -> Scope {
        self.lists.insert(name, entries);
        self
    }
}

/// The template with everything filled in. What has no value stays as it is in the template, braces and all, which
/// the tests of every template look for.
pub(super) fn fill(template: &str, scope: &Scope) -> String {
    let lines: Vec<&str> = template.lines().collect();
    let mut text = String::new();
    block(&lines, &[scope], &mut text);
    text
}

/// Prints `lines`; `scopes` begins with the innermost one.
fn block(lines: &[&str], scopes: &[&Scope], text: &mut String) {
    let mut at = 0;
    while at < lines.len() {
        let Some(order) = lines[at].strip_prefix('%') else {
            line(lines[at], scopes, text);
            at += 1;
            continue;
        };
        let inner = &lines[at + 1..];
        let inner = &inner[..end(inner)];
        at += inner.len() + 2;
        match order.split_once(' ') {
            Some(("if", name)) if is_set(name, scopes) => block(inner, scopes, text),
            Some(("unless", name)) if !is_set(name, scopes) => block(inner, scopes, text),
            Some(("each", name)) => {
                let list = scopes.iter().find_map(|scope| scope.lists.get(name));
                for entry in list.into_iter().flatten() {
                    let within: Vec<&Scope> =
                        std::iter::once(entry).chain(scopes.iter().copied()).collect();
                    block(inner, &within, text);
                }
            }
            Some(_) | None => {}
        }
    }
}

/// How many lines there are before the `%end` of a block that `lines` is the rest of.
fn end(lines: &[&str]) -> usize {
    let mut depth = 0;
    for (index, line) in lines.iter().enumerate() {
        match line.strip_prefix('%') {
            Some("end") if depth == 0 => return index,
            Some("end") => depth -= 1,
            Some(_) => depth += 1,
            None => {}
        }
    }
    lines.len()
}

fn is_set(name: &str, scopes: &[&Scope]) -> bool {
    scopes.iter().any(|scope| scope.flags.contains(name))
}

fn line(line: &str, scopes: &[&Scope], text: &mut String) {
    let mut rest = line;
    while let Some((before, name, after)) = next_place(rest) {
        text.push_str(before);
        match scopes.iter().find_map(|scope| scope.values.get(name)) {
            Some(value) => text.push_str(value),
            None => text.push_str(&format!("{{{{{name}}}}}")),
        }
        rest = after;
    }
    text.push_str(rest);
    text.push('\n');
}

/// What stands before the next `{{name}}`, the name, and what stands behind it.
fn next_place(line: &str) -> Option<(&str, &str, &str)> {
    let (before, rest) = line.split_once("{{")?;
    let (name, after) = rest.split_once("}}")?;
    Some((before, name, after))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_list_go_before_those_around_it() {
        let entries = ["a", "b"].map(|name| Scope::default().with("name", name)).to_vec();
        let scope = Scope::default().with("name", "outer").with("port", 5060).each("host", entries);
        let text = fill("{{name}}\n%each host\n{{name}}:{{port}}\n%end\nend\n", &scope);
        assert_eq!(text, "outer\na:5060\nb:5060\nend\n");
    }

    #[test]
    fn blocks_nest_and_are_left_out_whole() {
        let template = "%if a\n1\n%if b\n2\n%end\n3\n%end\n%unless a\n4\n%end\n5\n";
        let filled = |a, b| fill(template, &Scope::default().flag("a", a).flag("b", b));
        assert_eq!(filled(true, true), "1\n2\n3\n5\n");
        assert_eq!(filled(true, false), "1\n3\n5\n");
        assert_eq!(filled(false, true), "4\n5\n");
    }

    #[test]
    fn what_has_no_value_can_be_seen() {
        assert_eq!(fill("x {{y}} {{z\n", &Scope::default()), "x {{y}} {{z\n");
    }
}
