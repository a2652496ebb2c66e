//! The documents of the event packages: what is read from peers, and what watchers are sent.

pub(super) mod dialog_info;
pub(super) mod pidf;
pub(super) mod reginfo;
pub(super) mod rlmi;
pub(super) mod summary;
pub(super) mod xml;

use std::collections::HashSet;

use xml::Child;

/// The line that each XML document begins with.
const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// Writes those `children` that `wanted` names, under ids that are unique in the document: of the same
/// id the later ones are given another.
fn write_unique<'c>(
    out: &mut String,
    children: impl Iterator<Item = &'c Child>,
    seen: &mut HashSet<String>,
) {
    for child in children {
        let Some(id) = child.id() else {
            child.write(out, "");
            continue;
        };
        let mut suffix = String::new();
        let mut count = 1;
        while !seen.insert(format!("{id}{suffix}")) {
            count += 1;
            suffix = format!(".{count}");
        }
        child.write(out, &suffix);
    }
}

/// `text` as the value of an attribute or the text of an element.
fn escaped(text: &str) -> std::borrow::Cow<'_, str> {
    quick_xml::escape::escape(text)
}
