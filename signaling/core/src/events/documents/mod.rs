//! The documents of the event packages: what is read from peers, and what watchers are sent.

pub(super) mod dialog_info;
pub(super) mod pidf;
pub(super) mod reginfo;
pub(super) mod rlmi;
pub(super) mod summary;
pub(super) mod xml;

use std::collections::HashSet;

use super::Package;
use xml::Child;

/// The line that each XML document begins with.
const DECLARATION: &str = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n";

/// What watchers are told of `entity` if `published` is all that its devices publish.
///
/// # Errors
/// Why the document would be refused.
pub fn told(package: Package, entity: &str, published: &[u8]) -> Result<String, &'static str> {
    let parts = |read: Result<Vec<Child>, xml::BadXml>| read.map_err(xml::BadXml::reason);
    match package {
        Package::Presence => Ok(pidf::compose(entity, &[&parts(pidf::read(published))?], false)),
        Package::Dialog => {
            Ok(dialog_info::compose(entity, 0, "", &[&parts(dialog_info::read(published))?]))
        }
        Package::MessageSummary => {
            summary::read(published).map(String::from).ok_or("Bad Message Summary")
        }
        Package::Reg => Err("Registrations Are Not Published"),
    }
}

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
