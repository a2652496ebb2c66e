//! Bencode (BEP 3), as the ng protocol uses it: integers, byte strings, lists and dictionaries.

use std::collections::BTreeMap;

/// Deepest nesting that is read: an ng answer has three levels; statistics have more, but are not
/// read here.
const DEPTH_MAX: u32 = 16;

/// A value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Integer(i64),
    Bytes(Vec<u8>),
    List(Vec<Value>),
    Dictionary(BTreeMap<Vec<u8>, Value>),
}

impl Value {
    pub(crate) fn text(text: &str) -> Value {
        Value::Bytes(text.as_bytes().to_vec())
    }

    pub(crate) fn list(words: &[&str]) -> Value {
        Value::List(words.iter().map(|word| Value::text(word)).collect())
    }

    /// A dictionary of these entries.
    pub(crate) fn dictionary<'a>(entries: impl IntoIterator<Item = (&'a str, Value)>) -> Value {
        let entries = entries.into_iter().map(|(key, value)| (key.as_bytes().to_vec(), value));
        Value::Dictionary(entries.collect())
    }

    /// The byte string under `key` of a dictionary.
    pub(crate) fn get_bytes(&self, key: &str) -> Option<&[u8]> {
        let Value::Dictionary(entries) = self else { return None };
        match entries.get(key.as_bytes())? {
            Value::Bytes(bytes) => Some(bytes),
            Value::Integer(_) | Value::List(_) | Value::Dictionary(_) => None,
        }
    }

    /// The same as text; bytes that are not UTF-8 are replaced.
    pub(crate) fn get_text(&self, key: &str) -> Option<String> {
        self.get_bytes(key).map(|bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    /// Appends the value to `to`.
    pub(crate) fn write(&self, to: &mut Vec<u8>) {
        match self {
            Value::Integer(number) => to.extend_from_slice(format!("i{number}e").as_bytes()),
            Value::Bytes(bytes) => write_bytes(bytes, to),
            Value::List(values) => {
                to.push(b'l');
                values.iter().for_each(|value| value.write(to));
                to.push(b'e');
            }
            Value::Dictionary(entries) => {
                to.push(b'd');
                for (key, value) in entries {
                    write_bytes(key, to);
                    value.write(to);
                }
                to.push(b'e');
            }
        }
    }

    /// Reads a value that fills all of `from`.
    pub(crate) fn read(mut from: &[u8]) -> Option<Value> {
        let value = read_value(&mut from, DEPTH_MAX)?;
        from.is_empty().then_some(value)
    }
}

fn write_bytes(bytes: &[u8], to: &mut Vec<u8>) {
    to.extend_from_slice(format!("{}:", bytes.len()).as_bytes());
    to.extend_from_slice(bytes);
}

fn read_value(from: &mut &[u8], depth: u32) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    match from.first()? {
        b'i' => {
            *from = &from[1..];
            read_number(from, b'e').map(Value::Integer)
        }
        b'0'..=b'9' => read_bytes(from).map(Value::Bytes),
        b'l' => {
            *from = &from[1..];
            let mut values = Vec::new();
            while !take_end(from)? {
                values.push(read_value(from, depth)?);
            }
            Some(Value::List(values))
        }
        b'd' => {
            *from = &from[1..];
            let mut entries = BTreeMap::new();
            while !take_end(from)? {
                let key = read_bytes(from)?;
                entries.insert(key, read_value(from, depth)?);
            }
            Some(Value::Dictionary(entries))
        }
        _ => None,
    }
}

/// Takes the `e` that ends a list or dictionary, if it comes next; `None` at the end of the input.
fn take_end(from: &mut &[u8]) -> Option<bool> {
    let (first, rest) = from.split_first()?;
    let is_end = *first == b'e';
    if is_end {
        *from = rest;
    }
    Some(is_end)
}

fn read_number(from: &mut &[u8], end: u8) -> Option<i64> {
    let length = from.iter().position(|byte| *byte == end)?;
    let (digits, rest) = from.split_at(length);
    *from = &rest[1..];
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn read_bytes(from: &mut &[u8]) -> Option<Vec<u8>> {
    let length = usize::try_from(read_number(from, b':')?).ok()?;
    let (bytes, rest) = from.split_at_checked(length)?;
    *from = rest;
    Some(bytes.to_vec())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn written(value: &Value) -> Vec<u8> {
        let mut bytes = Vec::new();
        value.write(&mut bytes);
        bytes
    }

    /// BEP 3: keys are sorted.
    #[test]
    fn a_command_is_written_as_the_protocol_has_it() {
        let command = Value::dictionary([
            ("command", Value::text("offer")),
            ("call-id", Value::text("x")),
            ("flags", Value::list(&["a", "bc"])),
            ("ttl", Value::Integer(-3)),
        ]);
        let expected = b"d7:call-id1:x7:command5:offer5:flagsl1:a2:bce3:ttli-3ee";
        assert_eq!(written(&command), expected);
    }

    #[test]
    fn broken_input_is_refused() {
        for bad in ["", "i", "ie", "5:abc", "l", "d1:a", "di1ei2ee", "i1ejunk", "x", "-1:", "le1"] {
            assert_eq!(Value::read(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(Value::read(&b"l".repeat(100_000)), None);
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            any::<i64>().prop_map(Value::Integer),
            prop::collection::vec(any::<u8>(), 0..20).prop_map(Value::Bytes),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            let key = prop::collection::vec(any::<u8>(), 0..8);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::List),
                prop::collection::btree_map(key, inner, 0..4).prop_map(Value::Dictionary),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(value in value()) {
            prop_assert_eq!(Value::read(&written(&value)), Some(value));
        }

        #[test]
        fn no_input_panics(bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Value::read(&bytes);
        }
    }
}
