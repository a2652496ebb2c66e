//! States of dialogs (RFC 4235).

use std::collections::HashSet;
use std::fmt::Write;

use super::xml::{self, BadXml, Child, Root};
use super::{DECLARATION, escaped, write_unique};

const NAMESPACE: &str = "urn:ietf:params:xml:ns:dialog-info";

const ROOT: Root = Root { namespace: NAMESPACE, name: "dialog-info" };

/// Reads a published document.
///
/// # Errors
/// [`BadXml`]: which rule it breaks.
pub(in crate::events) fn read(document: &[u8]) -> Result<Vec<Child>, BadXml> {
    xml::children(document, ROOT)
}

/// One document of all dialogs of `entity`, those that this node has itself (`own`, as elements) and those
/// that are published, as the `version`th that its reader is sent (RFC 4235 4.1).
pub(in crate::events) fn compose(
    entity: &str,
    version: u32,
    own: &str,
    published: &[&[Child]],
) -> String {
    let mut out = String::with_capacity(512);
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "{DECLARATION}<dialog-info xmlns=\"{NAMESPACE}\" version=\"{version}\" state=\"full\" \
         entity=\"{}\">",
        escaped(entity)
    );
    out.push_str(own);
    write_unique(&mut out, published.iter().copied().flatten(), &mut HashSet::new());
    out.push_str("</dialog-info>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dialogs_of_several_devices_are_listed_in_one_document() {
        let document = |id: &str, state: &str| {
            format!(
                "<dialog-info xmlns=\"{NAMESPACE}\" version=\"7\" state=\"full\" entity=\"sip:x\">\
                 <dialog id=\"{id}\"><state>{state}</state></dialog></dialog-info>"
            )
        };
        let one = read(document("a", "confirmed").as_bytes()).unwrap();
        let two = read(document("a", "early").as_bytes()).unwrap();
        let all = compose("sip:bob@example.test", 3, "", &[&one, &two]);
        assert!(all.contains("version=\"3\" state=\"full\""), "{all}");
        assert!(all.contains("entity=\"sip:bob@example.test\""), "{all}");
        let ids: Vec<_> = read(all.as_bytes()).unwrap();
        let ids: Vec<_> = ids.iter().map(Child::id).collect();
        assert_eq!(ids, [Some("a"), Some("a.2")]);
    }
}
