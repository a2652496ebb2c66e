//! Presence (RFC 3863): what is published, and the one document that is made of it.

use std::collections::HashSet;
use std::fmt::Write;

use super::xml::{self, BadXml, Child, Root};
use super::{DECLARATION, escaped, write_unique};

const NAMESPACE: &str = "urn:ietf:params:xml:ns:pidf";

const ROOT: Root = Root { namespace: NAMESPACE, name: "presence" };

/// Reads a published document.
///
/// # Errors
/// [`BadXml`]: which rule it breaks.
pub(in crate::events) fn read(document: &[u8]) -> Result<Vec<Child>, BadXml> {
    xml::children(document, ROOT)
}

/// One document of all that is published for `entity`, the newest first: the union of their parts
/// (RFC 3863 4.1: tuples, then notes, then what extends them). Of somebody who publishes nothing it is
/// told whether a device is registered.
pub(in crate::events) fn compose(entity: &str, published: &[&[Child]], registered: bool) -> String {
    let mut out = String::with_capacity(512);
    // Writing to a String cannot fail.
    let _ =
        write!(out, "{DECLARATION}<presence xmlns=\"{NAMESPACE}\" entity=\"{}\">", escaped(entity));
    if published.is_empty() {
        let basic = if registered { "open" } else { "closed" };
        let _ = write!(
            out,
            "<tuple id=\"registration\"><status><basic>{basic}</basic></status></tuple>"
        );
    }
    let mut seen = HashSet::new();
    for part in [Some("tuple"), Some("note")] {
        let all = published.iter().copied().flatten();
        write_unique(&mut out, all.filter(|child| child.name.as_deref() == part), &mut seen);
    }
    let is_other = |child: &&Child| !matches!(child.name.as_deref(), Some("tuple" | "note"));
    write_unique(&mut out, published.iter().copied().flatten().filter(is_other), &mut seen);
    out.push_str("</presence>\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(inside: &str) -> String {
        format!(
            "<?xml version='1.0' encoding='UTF-8'?>\n<presence xmlns='{NAMESPACE}' \
             xmlns:r='urn:r' entity='pres:bob@example.test'>{inside}</presence>"
        )
    }

    fn compose_all(documents: &[&str]) -> String {
        let read: Vec<_> =
            documents.iter().map(|d| read(document(d).as_bytes()).unwrap()).collect();
        let parts: Vec<&[Child]> = read.iter().map(Vec::as_slice).collect();
        compose("sip:bob@example.test", &parts, false)
    }

    /// RFC 3863 4.1: what each device says is there once, in the order that the schema wants, with the
    /// namespaces that its prefixes stand for.
    #[test]
    fn documents_of_several_devices_become_one() {
        let one = "<tuple id=\"t1\"><status><basic>open</basic></status></tuple>\
                   <note>at &lt;home&gt;</note><r:person id='p'>x</r:person>";
        let two = "<tuple id=\"t1\"><status><basic>closed</basic></status></tuple>";
        let all = compose_all(&[one, two]);
        let again = read(all.as_bytes()).unwrap();
        let names: Vec<_> = again.iter().map(|c| c.name.as_deref()).collect();
        assert_eq!(names, [Some("tuple"), Some("tuple"), Some("note"), None]);
        let ids: Vec<_> = again.iter().map(Child::id).collect();
        assert_eq!(ids, [Some("t1"), Some("t1.2"), None, Some("p")]);
        assert!(all.contains("xmlns:r=\"urn:r\""), "{all}");
        assert!(all.contains("<status><basic>open</basic></status></tuple>"), "{all}");
        assert!(all.contains(">at &lt;home&gt;</note>"), "{all}");
    }

    #[test]
    fn of_who_publishes_nothing_it_is_told_whether_a_device_is_registered() {
        assert!(compose("sip:b@x", &[], true).contains("<basic>open</basic>"));
        assert!(compose("sip:b@x", &[], false).contains("<basic>closed</basic>"));
    }

    #[test]
    fn an_entity_is_escaped() {
        assert!(compose("sip:b&\"<@x", &[], true).contains("entity=\"sip:b&amp;&quot;&lt;@x\""));
    }

    #[test]
    fn hostile_documents_are_refused() {
        let deep = "<a>".repeat(40) + &"</a>".repeat(40);
        let wide = "<a/>".repeat(300);
        let many = format!("<a {}/>", (0..100).map(|n| format!("a{n}='' ")).collect::<String>());
        let doctype = "<!DOCTYPE p [<!ENTITY a 'aaaa'><!ENTITY b '&a;&a;'>]>";
        for (text, why) in [
            (document(&deep), BadXml::TooComplex),
            (document(&wide), BadXml::TooComplex),
            (document(&many), BadXml::TooComplex),
            (document("<a>&b;</a>"), BadXml::Forbidden),
            (document("<a b='&b;'/>"), BadXml::Forbidden),
            (document("<a b='1' b='2'/>"), BadXml::Malformed),
            (document("<?php x?>"), BadXml::Forbidden),
            (format!("{doctype}{}", document("")), BadXml::Forbidden),
            (document("<a>"), BadXml::Malformed),
            (document("<a></b>"), BadXml::Malformed),
            (document("\u{1}"), BadXml::Malformed),
            (document("") + "<a/>", BadXml::Malformed),
            (document("") + "text", BadXml::Malformed),
            (String::new(), BadXml::Malformed),
            ("<presence/>".to_owned(), BadXml::WrongRoot),
            (format!("<p:x xmlns:p='{NAMESPACE}'/>"), BadXml::WrongRoot),
        ] {
            assert_eq!(read(text.as_bytes()), Err(why), "{text}");
        }
        assert_eq!(read(b"\xff"), Err(BadXml::Malformed));
    }

    #[test]
    fn a_root_with_a_prefix_and_without_children_is_read() {
        let text = format!("<p:presence xmlns:p=\"{NAMESPACE}\" entity=\"x\"/>");
        assert_eq!(read(text.as_bytes()), Ok(Vec::new()));
    }
}
