//! Name-addr values (RFC 3261 20.10).

use signaling_core::wire::{Contact, NameAddr};

fn addr(text: &str) -> NameAddr<'_> {
    NameAddr::parse(text.as_bytes()).unwrap_or_else(|| panic!("{text}"))
}

#[test]
fn parameters_after_a_bare_uri_are_those_of_the_header() {
    let a = addr("sip:bob@example.com;tag=4;x");
    assert_eq!(a.uri_text(), "sip:bob@example.com");
    assert_eq!(a.tag(), Some("4"));
    let b = addr("<sip:bob@example.com;tag=4>;x=\"y;z\"");
    assert_eq!(b.uri_text(), "sip:bob@example.com;tag=4");
    assert_eq!(b.tag(), None);
    assert_eq!(b.params().get("x"), Some("\"y;z\""));
    assert_eq!(b.params().get_unquoted("x").unwrap(), "y;z");
}

#[test]
fn display_names_are_tokens_quoted_strings_or_raw_utf8() {
    assert_eq!(addr("A. B <sip:a@b>").display_text(), "A. B");
    assert_eq!(addr("\"a \\\"b\\\" \\\\\"<sip:a@b>").display_text(), "a \"b\" \\");
    assert_eq!(addr("Jos\u{e9} <sip:a@b>").display_text(), "Jos\u{e9}");
    assert_eq!(addr("<sip:a@b>").display_text(), "");
}

#[test]
fn what_is_no_address_is_refused() {
    for text in [
        "",
        "bob",
        "<sip:a@b",
        "sip:a@b>",
        "\"x <sip:a@b>",
        "a, b <sip:a@b>",
        "<sip:a b>",
        "<>",
        "<:x>",
        ":x",
        "sip:a@b?x=y",
        "<sip:a@b> x",
        "<sip:a@b>;",
        "<sip:a@b>;;x",
        "<sip:a@b>;tag",
        "<sip:a@b>;tag=",
        "<sip:a@b>;tag=1;tag=2",
        "<sip:a@b>, <sip:c@d>",
        "\"x\" sip:a@b",
        "<sip:a@b>;tag=\u{e9}",
    ] {
        assert!(NameAddr::parse(text.as_bytes()).is_none(), "{text:?}");
    }
}

#[test]
fn a_contact_is_an_address_or_a_star() {
    assert!(matches!(Contact::parse(b" * "), Some(Contact::Any)));
    assert!(Contact::parse(b"*").unwrap().addr().is_none());
    assert!(Contact::parse(b"<sip:a@b>").unwrap().addr().is_some());
    assert!(Contact::parse(b"**").is_none());
}

/// RFC 3261 25.1 `qvalue`.
#[test]
fn q_is_read_in_thousandths() {
    for (text, q) in [
        ("1", Some(1000)),
        ("1.0", Some(1000)),
        ("1.000", Some(1000)),
        ("0", Some(0)),
        ("0.5", Some(500)),
        ("0.25", Some(250)),
        ("0.001", Some(1)),
        ("1.001", None),
        ("2", None),
        ("0.0001", None),
        ("x", None),
        ("", None),
        ("-1", None),
        (".", None),
        ("0.x", None),
    ] {
        assert_eq!(addr(&format!("<sip:a@b>;q={text}")).q_thousandths(), q, "{text:?}");
    }
    assert_eq!(addr("<sip:a@b>").q_thousandths(), None);
}

/// RFC 5626 4.1, 4.2.
#[test]
fn instance_and_registration_id_are_read() {
    let a = addr(
        "<sip:a@b>;reg-id=2;+sip.instance=\"<urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6>\"",
    );
    assert_eq!(a.instance(), Some("urn:uuid:f81d4fae-7dec-11d0-a765-00a0c91e6bf6"));
    assert_eq!(a.reg_id(), Some(2));
    for (wrong, id) in [("0", None), ("2147483648", None), ("2147483647", Some(2_147_483_647))] {
        assert_eq!(addr(&format!("<sip:a@b>;reg-id={wrong}")).reg_id(), id);
    }
    assert_eq!((addr("<sip:a@b>;reg-id=x").reg_id(), addr("<sip:a@b>").instance()), (None, None));
}

/// RFC 3261 10.2.1.1.
#[test]
fn the_expires_of_a_contact_is_never_an_error() {
    assert_eq!(addr("<sip:a@b>;expires=7").expires(), Some(7));
    assert_eq!(addr("<sip:a@b>;expires=x").expires(), Some(3600));
    assert_eq!(addr("<sip:a@b>;expires=280297596632815").expires(), Some(u32::MAX));
    assert_eq!(addr("<sip:a@b>").expires(), None);
}
