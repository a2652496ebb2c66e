//! The commented default file, made from the keys' documentation.

use super::Settings;
use super::table::{Key, Shape, Table};

const HEADER: &str = "\
# Settings of a ringfarm node: every key, what it means and its default.
# A file needs only the keys that differ; no file at all means all defaults.
# `ringfarm check FILE` says what is wrong with a file, without starting anything.
#
# In brackets after each explanation: the range of a number, and when a change takes effect.
#   live     for whatever starts after the change
#   drain    once the calls that use the old value have ended
#   restart  with the next process
# This version reads its settings when it starts: until it reloads them, each change waits for that.
";

/// Where a line of the file ends at the latest.
const WIDTH_MAX: usize = 100;

/// A settings file with every key, its documentation and its default. Reading it gives the
/// defaults.
#[must_use]
pub fn default_file() -> String {
    let mut out = HEADER.to_owned();
    tables("", &Settings::keys(Some(&Settings::default())), &mut out);
    out
}

fn tables(path: &str, keys: &[Key], out: &mut String) {
    for key in keys {
        let path = super::read::join(path, key.name);
        match &key.shape {
            Shape::Table(inner) => {
                out.push('\n');
                comment(&key.docs, "", "", out);
                out.push_str(&format!("[{path}]\n"));
                values(inner, "", out);
                tables(&path, inner, out);
            }
            Shape::Tables { entries, example } => {
                out.push('\n');
                comment(&key.docs, &remark(key), "", out);
                entry_list(&path, entries, example, out);
            }
            Shape::Scalar(_) | Shape::Absent(_) => {}
        }
    }
}

/// The first entry explains its keys; without entries an example does, behind comment signs.
fn entry_list(path: &str, entries: &[Vec<Key>], example: &[Key], out: &mut String) {
    for (index, entry) in entries.iter().enumerate() {
        out.push_str(&format!("[[{path}]]\n"));
        if index == 0 {
            values(entry, "", out);
            out.push('\n');
        } else {
            entry.iter().for_each(|key| assignment(key, "", out));
        }
    }
    if entries.is_empty() {
        out.push_str(&format!("# [[{path}]]\n"));
        values(example, "# ", out);
    }
}

fn values(keys: &[Key], indent: &str, out: &mut String) {
    for key in keys {
        if matches!(key.shape, Shape::Scalar(_) | Shape::Absent(_)) {
            out.push_str(indent.trim_end());
            out.push('\n');
            comment(&key.docs, &remark(key), indent, out);
            assignment(key, indent, out);
        }
    }
}

fn assignment(key: &Key, indent: &str, out: &mut String) {
    match &key.shape {
        Shape::Scalar(value) => {
            let line = format!("{indent}{} = {value}", key.name);
            out.push_str(&broken(&line, &format!("{indent}    ")));
            out.push('\n');
        }
        Shape::Absent(example) => out.push_str(&format!("{indent}# {} = {example}\n", key.name)),
        Shape::Table(_) | Shape::Tables { .. } => {}
    }
}

/// A list that is too long for a line goes over several.
fn broken(line: &str, indent: &str) -> String {
    if line.len() <= WIDTH_MAX || !line.ends_with(']') {
        return line.to_owned();
    }
    let mut text = String::new();
    let mut length = 0;
    for piece in line.split_inclusive(", ") {
        if length + piece.trim_end().len() > WIDTH_MAX {
            text.truncate(text.trim_end().len());
            text.push('\n');
            text.push_str(indent);
            length = indent.len();
        }
        text.push_str(piece);
        length += piece.len();
    }
    text
}

fn comment(docs: &[&str], remark: &str, indent: &str, out: &mut String) {
    let mut last = 0;
    for line in docs {
        let line = format!("{indent}#{line}");
        last = line.trim_end().chars().count();
        out.push_str(line.trim_end());
        out.push('\n');
    }
    if remark.is_empty() {
        return;
    }
    if last + remark.len() < WIDTH_MAX {
        out.pop();
        out.push_str(&format!(" {remark}\n"));
    } else {
        out.push_str(&format!("{indent}# {remark}\n"));
    }
}

/// Range and effect in brackets.
fn remark(key: &Key) -> String {
    let range = key.range.as_ref().map(|range| format!("{} to {}, ", range.start(), range.end()));
    let effect = key.effect.map(|effect| format!("({}{effect})", range.unwrap_or_default()));
    effect.unwrap_or_default()
}
