//! Reading documents from peers, within bounds, and keeping the parts of them that are passed on.
//!
//! A document is cut into the children of its root, each of which stands on its own: the namespaces
//! that the root declares are declared again where a child is kept. What is inside a child stays as it
//! was sent.

use std::fmt::Write;

use quick_xml::escape::unescape;
use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesStart, Event};
use quick_xml::name::{Namespace, ResolveResult};
use quick_xml::reader::NsReader;

/// Deepest nesting of elements. RFC 4480's richest documents have six levels.
const DEPTH_MAX: usize = 32;

/// Most children of a root: a phone publishes one or two, a gateway one for each of its calls.
const CHILDREN_MAX: usize = 256;

/// Most attributes of one element: they are compared with each other.
const ATTRIBUTES_MAX: usize = 64;

/// Why a document is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::events) enum BadXml {
    /// It is not well-formed, or not UTF-8.
    Malformed,
    /// It has a DTD, entities of its own or processing instructions, which nobody needs and which
    /// have made many a reader read what it should not.
    Forbidden,
    /// Too deep, or too many parts.
    TooComplex,
    /// The root is another one.
    WrongRoot,
}

impl BadXml {
    /// For a response.
    pub(in crate::events) const fn reason(self) -> &'static str {
        match self {
            BadXml::Malformed => "Document Is Not Well-Formed",
            BadXml::Forbidden => "Document Has A DTD, Entities Or Instructions",
            BadXml::TooComplex => "Document Is Too Complex",
            BadXml::WrongRoot => "Document Has Another Root",
        }
    }
}

/// The root that is expected.
#[derive(Clone, Copy, Debug)]
pub(in crate::events) struct Root {
    pub(in crate::events) namespace: &'static str,
    pub(in crate::events) name: &'static str,
}

/// A child of a root, ready to be put under another root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::events) struct Child {
    /// Its name, without prefix, if it is of the root's namespace.
    pub(in crate::events) name: Option<Box<str>>,
    /// The element up to the value of its `id`, and what follows that value; without an `id` the
    /// whole element.
    before: Box<str>,
    id: Option<Box<str>>,
    after: Box<str>,
}

impl Child {
    /// What tells it from its siblings (as written, escapes and all).
    pub(in crate::events) fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// Writes it, with `suffix` behind its `id`.
    pub(in crate::events) fn write(&self, out: &mut String, suffix: &str) {
        out.push_str(&self.before);
        if let Some(id) = &self.id {
            out.push_str(id);
            out.push_str(suffix);
        }
        out.push_str(&self.after);
    }
}

/// Cuts a document into the children of its root.
///
/// # Errors
/// [`BadXml`]: which rule it breaks. Nothing of it is kept then.
pub(in crate::events) fn children(document: &[u8], root: Root) -> Result<Vec<Child>, BadXml> {
    let text = std::str::from_utf8(document).map_err(|_| BadXml::Malformed)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    // XML 1.0 2.2.
    if text.bytes().any(|byte| byte < 0x20 && !matches!(byte, b'\t' | b'\r' | b'\n')) {
        return Err(BadXml::Malformed);
    }
    let mut cutter = Cutter {
        text,
        reader: NsReader::from_str(text),
        root,
        depth: 0,
        done: false,
        declared: Vec::new(),
        open: None,
        children: Vec::new(),
    };
    while cutter.step()? {}
    Ok(cutter.children)
}

/// Where in a document the cutter is.
struct Cutter<'t> {
    text: &'t str,
    reader: NsReader<&'t [u8]>,
    root: Root,
    depth: usize,
    /// The root has been closed.
    done: bool,
    /// The namespaces that the root declares: names of attributes and values as written.
    declared: Vec<(Box<str>, Box<str>)>,
    /// The child that is being read, and where its content begins.
    open: Option<(Child, usize)>,
    children: Vec<Child>,
}

impl<'t> Cutter<'t> {
    fn at(&self) -> usize {
        usize::try_from(self.reader.buffer_position()).unwrap_or(usize::MAX)
    }

    /// Takes the next event; `false` at the end.
    fn step(&mut self) -> Result<bool, BadXml> {
        let event = self.reader.read_event().map_err(|_| BadXml::Malformed)?;
        match event {
            Event::Start(start) => self.start(&start, false)?,
            Event::Empty(start) => self.start(&start, true)?,
            Event::End(_) => self.end()?,
            Event::Text(text) if self.depth == 0 => {
                if !text.trim().is_empty() {
                    return Err(BadXml::Malformed);
                }
            }
            Event::GeneralRef(name) => {
                let is_known = matches!(&*name, "amp" | "lt" | "gt" | "quot" | "apos");
                if self.depth == 0 || !(is_known || is_char(&name)) {
                    return Err(BadXml::Forbidden);
                }
            }
            Event::CData(_) if self.depth == 0 => return Err(BadXml::Malformed),
            Event::Text(_) | Event::CData(_) | Event::Comment(_) => {}
            Event::Decl(declaration) => {
                let encoding = declaration.encoding().transpose().map_err(|_| BadXml::Malformed)?;
                if encoding.is_some_and(|name| !name.eq_ignore_ascii_case("utf-8")) {
                    return Err(BadXml::Malformed);
                }
            }
            Event::PI(_) | Event::DocType(_) => return Err(BadXml::Forbidden),
            Event::Eof if self.done => return Ok(false),
            Event::Eof => return Err(BadXml::Malformed),
        }
        Ok(true)
    }

    fn start(&mut self, start: &BytesStart<'_>, is_empty: bool) -> Result<(), BadXml> {
        if self.done {
            return Err(BadXml::Malformed);
        }
        let attributes = attributes(start)?;
        match self.depth {
            0 => self.open_root(start, &attributes)?,
            1 => self.open_child(start, &attributes)?,
            DEPTH_MAX.. => return Err(BadXml::TooComplex),
            _ => {}
        }
        if !is_empty {
            self.depth += 1;
        } else if self.depth == 0 {
            self.done = true;
        } else if self.depth == 1
            && let Some((mut child, _)) = self.open.take()
        {
            child.close("/>");
            self.children.push(child);
        }
        Ok(())
    }

    fn is_of_root(&self, start: &BytesStart<'_>) -> bool {
        let (namespace, _) = self.reader.resolver().resolve_element(start.name());
        namespace == ResolveResult::Bound(Namespace(self.root.namespace))
    }

    fn open_root(&mut self, start: &BytesStart<'_>, attributes: &[Attr]) -> Result<(), BadXml> {
        if !self.is_of_root(start) || start.local_name().as_ref() != self.root.name {
            return Err(BadXml::WrongRoot);
        }
        let declares = |attr: &&Attr| &*attr.0 == "xmlns" || attr.0.starts_with("xmlns:");
        self.declared = attributes.iter().filter(declares).cloned().collect();
        if self.declared.iter().all(|(name, _)| &**name != "xmlns") {
            // Names without prefix are in no namespace here, nor shall they be under another root.
            self.declared.push(("xmlns".into(), "".into()));
        }
        Ok(())
    }

    fn open_child(&mut self, start: &BytesStart<'_>, attributes: &[Attr]) -> Result<(), BadXml> {
        if self.children.len() >= CHILDREN_MAX {
            return Err(BadXml::TooComplex);
        }
        let name = self.is_of_root(start).then(|| start.local_name().as_ref().into());
        let mut child = Child { name, before: "".into(), id: None, after: "".into() };
        let mut tag = format!("<{}", start.name().as_ref());
        let inherited = self
            .declared
            .iter()
            .filter(|declared| attributes.iter().all(|attribute| attribute.0 != declared.0));
        for (key, value) in inherited.chain(attributes) {
            // Writing to a String cannot fail.
            let _ = write!(tag, " {key}=\"");
            if &**key == "id" {
                child.before = std::mem::take(&mut tag).into();
                child.id = Some(value.clone());
            } else {
                tag.push_str(value);
            }
            tag.push('"');
        }
        if child.id.is_some() {
            child.after = tag.into();
        } else {
            child.before = tag.into();
        }
        self.open = Some((child, self.at()));
        Ok(())
    }

    fn end(&mut self) -> Result<(), BadXml> {
        // The reader has seen that names match, so there is a start for each end.
        self.depth = self.depth.checked_sub(1).ok_or(BadXml::Malformed)?;
        if self.depth == 0 {
            self.done = true;
        } else if self.depth == 1
            && let Some((mut child, from)) = self.open.take()
        {
            let inner = self.text.get(from..self.at()).ok_or(BadXml::Malformed)?;
            child.close(&format!(">{inner}"));
            self.children.push(child);
        }
        Ok(())
    }
}

impl Child {
    fn close(&mut self, rest: &str) {
        let end = if self.id.is_some() { &mut self.after } else { &mut self.before };
        *end = format!("{end}{rest}").into();
    }
}

/// The name and the value as written, fit to stand between double quotes.
type Attr = (Box<str>, Box<str>);

fn attributes(start: &BytesStart<'_>) -> Result<Vec<Attr>, BadXml> {
    let mut found: Vec<Attr> = Vec::new();
    // Duplicates are found here, among no more than there may be.
    for attribute in start.attributes().with_checks(false) {
        let Attribute { key, value, .. } = attribute.map_err(|_| BadXml::Malformed)?;
        if found.len() >= ATTRIBUTES_MAX {
            return Err(BadXml::TooComplex);
        }
        // Unknown entities are no attribute's business either.
        if value.contains('<') || unescape(&value).is_err() {
            return Err(BadXml::Forbidden);
        }
        if found.iter().any(|(name, _)| &**name == key.as_ref()) {
            return Err(BadXml::Malformed);
        }
        found.push((key.as_ref().into(), value.replace('"', "&quot;").into()));
    }
    Ok(found)
}

/// Whether a reference is one to a character (`#65`, `#x41`).
fn is_char(name: &str) -> bool {
    unescape(&format!("&{name};")).is_ok()
}
