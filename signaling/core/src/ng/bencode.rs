//! Bencode (BEP 3): integers, byte strings, lists and dictionaries.
//!
//! Reading borrows the datagram and copies no string. It is strict where BEP 3 is, except for the
//! order of keys, which the controllers do not keep.

use std::collections::BTreeMap;
use std::io::Write as _;

/// Deepest nesting that is read. The deepest documented command (`sdp-attr`) has four levels.
pub const DEPTH_MAX: usize = 16;

/// Most values in one document, keys included. A command with every documented key and long lists
/// of flags has some 200; this bounds what a datagram of nothing but `i0e` costs.
pub const VALUES_MAX: usize = 4096;

/// A value as it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// `i42e`
    Integer(i64),
    /// `4:text`
    Text(&'a [u8]),
    /// `l...e`
    List(Vec<Value<'a>>),
    /// `d...e`
    Dictionary(Dictionary<'a>),
}

/// A dictionary as it was read, in the order in which its entries came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dictionary<'a>(Vec<(&'a [u8], Value<'a>)>);

/// A value to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A number.
    Integer(i64),
    /// A byte string.
    Text(Vec<u8>),
    /// A list.
    List(Vec<Item>),
    /// A dictionary.
    Dictionary(Entries),
}

/// A dictionary to be written, in the order of its keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entries(BTreeMap<Vec<u8>, Item>);

/// Why a text is not bencode, or not one that is read here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not bencode: {what} at byte {at}")]
pub struct BencodeError {
    /// What is wrong.
    pub what: &'static str,
    /// Where, from the start of the document.
    pub at: usize,
}

impl<'a> Dictionary<'a> {
    /// The value under `key`.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<&Value<'a>> {
        self.0.iter().find(|(own, _)| *own == key).map(|(_, value)| value)
    }

    /// Every entry, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &Value<'a>)> {
        self.0.iter().map(|(key, value)| (*key, value))
    }
}

impl<'a> Value<'a> {
    /// Reads a document that is one value and nothing else.
    ///
    /// # Errors
    /// [`BencodeError`] with the first byte that cannot be, or at which [`DEPTH_MAX`] or
    /// [`VALUES_MAX`] is exceeded.
    pub fn parse(text: &'a [u8]) -> Result<Value<'a>, BencodeError> {
        let mut reader = Reader { text, at: 0, values: 0 };
        let value = reader.value(0)?;
        if reader.at < text.len() {
            Err(reader.error("something follows the value"))
        } else {
            Ok(value)
        }
    }
}

impl Entries {
    /// None yet.
    #[must_use]
    pub const fn new() -> Entries {
        Entries(BTreeMap::new())
    }

    /// With `item` under `key`, in place of what was there.
    #[must_use]
    pub fn with(mut self, key: &str, item: impl Into<Item>) -> Entries {
        self.put(key, item);
        self
    }

    /// Puts `item` under `key`, in place of what was there.
    pub fn put(&mut self, key: impl Into<Vec<u8>>, item: impl Into<Item>) {
        self.0.insert(key.into(), item.into());
    }

    /// Appends it to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.push(b'd');
        for (key, item) in &self.0 {
            write_text(key, out);
            item.write(out);
        }
        out.push(b'e');
    }
}

impl Item {
    /// Appends it to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        match self {
            Item::Integer(number) => {
                // Writing to a Vec does not fail.
                let _ = write!(out, "i{number}e");
            }
            Item::Text(text) => write_text(text, out),
            Item::List(items) => {
                out.push(b'l');
                items.iter().for_each(|item| item.write(out));
                out.push(b'e');
            }
            Item::Dictionary(entries) => entries.write(out),
        }
    }
}

fn write_text(text: &[u8], out: &mut Vec<u8>) {
    // Writing to a Vec does not fail.
    let _ = write!(out, "{}:", text.len());
    out.extend_from_slice(text);
}

impl From<&str> for Item {
    fn from(text: &str) -> Item {
        Item::Text(text.into())
    }
}

impl From<&[u8]> for Item {
    fn from(text: &[u8]) -> Item {
        Item::Text(text.into())
    }
}

impl From<String> for Item {
    fn from(text: String) -> Item {
        Item::Text(text.into())
    }
}

impl From<Vec<u8>> for Item {
    fn from(text: Vec<u8>) -> Item {
        Item::Text(text)
    }
}

impl From<u64> for Item {
    /// A number beyond the range of an integer here becomes the largest.
    fn from(number: u64) -> Item {
        Item::Integer(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<Vec<Item>> for Item {
    fn from(items: Vec<Item>) -> Item {
        Item::List(items)
    }
}

impl From<Entries> for Item {
    fn from(entries: Entries) -> Item {
        Item::Dictionary(entries)
    }
}

struct Reader<'a> {
    text: &'a [u8],
    at: usize,
    values: usize,
}

impl<'a> Reader<'a> {
    fn error(&self, what: &'static str) -> BencodeError {
        BencodeError { what, at: self.at }
    }

    fn peek(&self) -> Result<u8, BencodeError> {
        self.text.get(self.at).copied().ok_or_else(|| self.error("it ends too early"))
    }

    /// Takes the `e` that ends a list or dictionary, if it is next.
    fn ends(&mut self) -> Result<bool, BencodeError> {
        let ends = self.peek()? == b'e';
        self.at += usize::from(ends);
        Ok(ends)
    }

    fn count(&mut self) -> Result<(), BencodeError> {
        self.values += 1;
        if self.values > VALUES_MAX { Err(self.error("more values than are read")) } else { Ok(()) }
    }

    fn value(&mut self, depth: usize) -> Result<Value<'a>, BencodeError> {
        if depth == DEPTH_MAX {
            return Err(self.error("nested deeper than is read"));
        }
        match self.peek()? {
            b'i' => {
                self.count()?;
                self.at += 1;
                self.number(b'e').map(Value::Integer)
            }
            b'0'..=b'9' => self.text().map(Value::Text),
            b'l' => self.list(depth),
            b'd' => self.dictionary(depth),
            _ => Err(self.error("no value begins like this")),
        }
    }

    fn list(&mut self, depth: usize) -> Result<Value<'a>, BencodeError> {
        self.count()?;
        self.at += 1;
        let mut items = Vec::new();
        while !self.ends()? {
            items.push(self.value(depth + 1)?);
        }
        Ok(Value::List(items))
    }

    fn dictionary(&mut self, depth: usize) -> Result<Value<'a>, BencodeError> {
        self.count()?;
        self.at += 1;
        let mut entries: Vec<(&[u8], Value<'_>)> = Vec::new();
        while !self.ends()? {
            let key = self.text()?;
            entries.push((key, self.value(depth + 1)?));
        }
        let mut keys: Vec<&[u8]> = entries.iter().map(|(key, _)| *key).collect();
        keys.sort_unstable();
        if keys.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(self.error("a dictionary with one key twice before here"));
        }
        Ok(Value::Dictionary(Dictionary(entries)))
    }

    fn text(&mut self) -> Result<&'a [u8], BencodeError> {
        self.count()?;
        if !self.peek()?.is_ascii_digit() {
            return Err(self.error("a string begins with its length"));
        }
        let length = self.number(b':')?;
        let rest = &self.text[self.at..];
        let text = usize::try_from(length).ok().and_then(|length| rest.get(..length));
        let text = text.ok_or_else(|| self.error("a string longer than the text"))?;
        self.at += text.len();
        Ok(text)
    }

    /// Takes a number and the byte that ends it. BEP 3: no leading zeros, no `-0`.
    fn number(&mut self, end: u8) -> Result<i64, BencodeError> {
        let rest = &self.text[self.at..];
        let length = memchr::memchr(end, rest).ok_or_else(|| self.error("a number without end"))?;
        let written = &rest[..length];
        let digits = written.strip_prefix(b"-").unwrap_or(written);
        let plain = match digits {
            [] => false,
            [b'0'] => digits.len() == written.len(),
            [first, ..] => *first != b'0' && digits.iter().all(u8::is_ascii_digit),
        };
        let text = std::str::from_utf8(written).ok().filter(|_| plain);
        let number = text.and_then(|text| text.parse().ok());
        let number = number.ok_or_else(|| self.error("not a number, or one beyond 64 bits"))?;
        self.at += length + 1;
        Ok(number)
    }
}
