//! Reading and writing bencode.

use proptest::prelude::*;

use crate::ng::bencode::{DEPTH_MAX, Entries, Item, VALUES_MAX, Value};

#[test]
fn a_command_is_read_without_copying_its_strings() {
    let text = b"d7:command5:offer5:flagsl13:trust-addresse3:TOSi-1ee";
    let Value::Dictionary(read) = Value::parse(text).unwrap() else { panic!("not a dictionary") };
    let Some(Value::Text(command)) = read.get(b"command") else { panic!("no command") };
    assert_eq!(command, b"offer");
    assert!(text.as_ptr_range().contains(&command.as_ptr()));
    assert_eq!(read.get(b"flags"), Some(&Value::List(vec![Value::Text(b"trust-address")])));
    assert_eq!(read.get(b"TOS"), Some(&Value::Integer(-1)));
    assert_eq!(read.get(b"nothing"), None);
}

/// BEP 3: keys are written in order.
#[test]
fn a_dictionary_is_written_in_the_order_of_its_keys() {
    let inner = Entries::new().with("packets", 7_u64).with("bytes", u64::MAX);
    let entries = Entries::new().with("sdp", "v=0\r\n").with("result", "ok").with("a", inner);
    let mut out = Vec::new();
    entries.write(&mut out);
    let expected = format!("d1:ad5:bytesi{}e7:packetsi7ee6:result2:ok3:sdp5:v=0\r\ne", i64::MAX);
    assert_eq!(String::from_utf8(out).unwrap(), expected);
}

#[test]
fn what_bep_3_forbids_is_refused_with_its_place() {
    for (text, at, what) in [
        ("", 0, "too early"),
        ("i1", 1, "without end"),
        ("i01e", 1, "not a number"),
        ("i-0e", 1, "not a number"),
        ("i+1e", 1, "not a number"),
        ("ie", 1, "not a number"),
        ("i99999999999999999999e", 1, "not a number"),
        ("03:abc", 0, "not a number"),
        ("5:abcd", 2, "longer than the text"),
        ("99999999999:abcd", 12, "longer than the text"),
        ("li1e", 4, "too early"),
        ("d1:a", 4, "too early"),
        ("di1ei2ee", 1, "begins with its length"),
        ("d1:ai1e1:ai2ee", 14, "one key twice"),
        ("i1ei2e", 3, "follows"),
        ("{\"command\":\"ping\"}", 0, "begins like this"),
    ] {
        let error = Value::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.at, at, "{text}: {error}");
        assert!(error.to_string().contains(what), "{text}: {error}");
    }
}

#[test]
fn depth_and_number_of_values_are_bounded() {
    let nested = |depth: usize| "l".repeat(depth) + &"e".repeat(depth);
    assert!(Value::parse(nested(DEPTH_MAX).as_bytes()).is_ok());
    assert!(Value::parse(nested(DEPTH_MAX + 1).as_bytes()).is_err());
    let long = |count: usize| format!("l{}e", "0:".repeat(count));
    assert!(Value::parse(long(VALUES_MAX - 1).as_bytes()).is_ok());
    assert!(Value::parse(long(VALUES_MAX).as_bytes()).is_err());
}

fn item() -> impl Strategy<Value = Item> {
    let text = || prop::collection::vec(any::<u8>(), 0..20);
    let leaf = prop_oneof![any::<i64>().prop_map(Item::Integer), text().prop_map(Item::Text)];
    leaf.prop_recursive(4, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Item::List),
            prop::collection::vec((text(), inner), 0..6).prop_map(|list| {
                let mut entries = Entries::new();
                list.into_iter().for_each(|(key, item)| entries.put(key, item));
                entries.into()
            }),
        ]
    })
}

/// What was read, to be written again.
fn copy(value: &Value<'_>) -> Item {
    match value {
        Value::Integer(number) => Item::Integer(*number),
        Value::Text(text) => Item::Text(text.to_vec()),
        Value::List(values) => Item::List(values.iter().map(copy).collect()),
        Value::Dictionary(dictionary) => {
            let mut entries = Entries::new();
            dictionary.iter().for_each(|(key, value)| entries.put(key, copy(value)));
            entries.into()
        }
    }
}

fn written(item: &Item) -> Vec<u8> {
    let mut out = Vec::new();
    item.write(&mut out);
    out
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(item in item()) {
        let text = written(&item);
        prop_assert_eq!(copy(&Value::parse(&text).unwrap()), item);
    }

    /// Strict: whatever is read is written back the same, but for the order of keys.
    #[test]
    fn no_text_makes_the_reader_panic_or_guess(text in prop::collection::vec(
        prop_oneof![3 => prop::sample::select(&b"ilde0123456789:-"[..]), 1 => any::<u8>()], 0..200)) {
        if let Ok(value) = Value::parse(&text) {
            prop_assert_eq!(written(&copy(&value)).len(), text.len());
        }
    }
}
