//! URIs (RFC 3261 19.1).

use signaling_core::wire::{Host, Scheme, Uri};

fn uri(text: &str) -> Uri<'_> {
    Uri::parse(text).unwrap_or_else(|_| panic!("{text}"))
}

#[test]
fn a_sip_uri_is_taken_apart() {
    let u = uri("sips:al%20ice;x=1:p%3Aw@[2001:db8::1]:5071;transport=tcp;lr?subject=hi&to=a%40b");
    assert!(matches!(u.scheme(), Scheme::Sips));
    assert_eq!(u.user(), Some("al%20ice;x=1"));
    assert_eq!(u.user_unescaped().unwrap(), "al ice;x=1");
    assert_eq!(u.password(), Some("p%3Aw"));
    assert_eq!(u.host().to_string(), "[2001:db8::1]");
    assert_eq!(u.port(), Some(5071));
    assert_eq!(u.params().get("TRANSPORT"), Some("tcp"));
    assert_eq!((u.params().get("lr"), u.params().has("maddr")), (Some(""), false));
    assert_eq!(u.headers(), Some("subject=hi&to=a%40b"));
}

#[test]
fn a_host_alone_is_a_uri() {
    let u = uri("sip:192.0.2.4");
    assert_eq!((u.user(), u.port()), (None, None));
    assert_eq!(u.host(), Host::V4("192.0.2.4".parse().unwrap()));
    assert!(u.params().is_empty() && u.headers().is_none());
}

#[test]
fn other_schemes_stay_opaque() {
    let u = uri("tel:+1-212-555-0101;ext=5");
    assert!(matches!(u.scheme(), Scheme::Tel) && !u.is_sip());
    assert_eq!(u.opaque(), "+1-212-555-0101;ext=5");
    assert_eq!(u.user(), None);
}

#[test]
fn what_is_no_uri_is_refused() {
    for text in [
        "",
        "sip",
        "sip:",
        ":a",
        "sip:@host",
        "sip:a@",
        "sip:a@b@c",
        "sip:a b@c",
        "sip:a@b:",
        "sip:a@b:99999",
        "sip:a@b:5x",
        "sip:a@b c",
        "sip:a@b;",
        "sip:a@b;;x",
        "sip:a@b;=1",
        "sip:a@[::1",
        "sip:a@[zz]",
        "sip:<a@b>",
        "sip:a@b?x=\u{e9}",
        "sip:\u{e9}@b",
        "1sip:a",
        "s p:a",
        "sip:a@256.1.1.1",
        "sip:a@1.2.3",
        "sip:a@1.2.3.4.5",
        "sip:a@01.2.3.4",
        "sip:a@b..",
        "sip:a@.",
        "tel:",
        "tel:1 2",
        "sip:a@b\r\n",
        "sip:a@b ;x",
        "sip:a@b; x",
        "sip:a@b;x\t",
        "sip:a@b;x=\"y\"",
        "sip:a@b;x=\"",
        "sip:a@b ;x",
        "sip:a@b;x=\"y\"",
        "sip:a@b; x",
        "sip:a@b;x\t",
    ] {
        assert!(Uri::parse(text).is_err(), "{text:?}");
    }
}

#[test]
fn host_names_may_end_in_a_dot_and_hold_digits() {
    for host in ["a.example.com.", "3com.example", "x1", "my_host.example.com", "1.2.3.4a"] {
        assert!(matches!(uri(&format!("sip:a@{host}")).host(), Host::Name(name) if name == host));
    }
}

/// The sets of RFC 3261 19.1.4.
#[test]
fn equivalent_by_the_examples_of_the_rfc() {
    for (a, b) in [
        ("sip:%61lice@atlanta.com;transport=TCP", "sip:alice@AtLanTa.CoM;Transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;newparam=5"),
        (
            "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
            "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
        ),
        (
            "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
            "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
        ),
    ] {
        assert!(uri(a).equivalent(&uri(b)), "{a} {b}");
        assert!(uri(b).equivalent(&uri(a)), "{b} {a}");
    }
}

/// The sets of RFC 3261 19.1.4.
#[test]
fn not_equivalent_by_the_examples_of_the_rfc() {
    for (a, b) in [
        ("SIP:ALICE@AtLanTa.CoM;Transport=udp", "sip:alice@AtLanTa.CoM;Transport=UDP"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
        ("sip:bob@biloxi.com", "sip:bob@biloxi.com:6000;transport=tcp"),
        ("sip:carol@chicago.com", "sip:carol@chicago.com?Subject=next%20meeting"),
        ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
        ("sip:carol@chicago.com;security=on", "sip:carol@chicago.com;security=off"),
        ("sip:a@b", "sips:a@b"),
        ("sip:a@b", "sip:b"),
        ("sip:a:x@b", "sip:a@b"),
        ("sip:a@b;maddr=1.2.3.4", "sip:a@b"),
        ("sip:a%3Bb@c", "sip:a;b@c"),
        ("sip:a@b?x=1", "sip:a@b?x=1&y=2"),
    ] {
        assert!(!uri(a).equivalent(&uri(b)), "{a} {b}");
        assert!(!uri(b).equivalent(&uri(a)), "{b} {a}");
    }
}

/// Comparing sets takes time by the square of their size: past the bound, URIs must be written alike.
#[test]
fn more_parameters_than_are_compared_as_a_set_must_be_written_alike() {
    let params = |range: Vec<u32>| range.iter().map(|i| format!(";p{i}")).collect::<String>();
    let many = format!("sip:a@b{}", params((0..40).collect()));
    let turned = format!("sip:a@b{}", params((0..40).rev().collect()));
    assert!(uri(&many).equivalent(&uri(&many)));
    assert!(!uri(&many).equivalent(&uri(&turned)));
    let headers =
        |range: Vec<u32>| range.iter().map(|i| format!("h{i}=1")).collect::<Vec<_>>().join("&");
    let many = format!("sip:a@b?{}", headers((0..40).collect()));
    let turned = format!("sip:a@b?{}", headers((0..40).rev().collect()));
    assert!(uri(&many).equivalent(&uri(&many)));
    assert!(!uri(&many).equivalent(&uri(&turned)));
}

/// RFC 3261 10.3 step 5.
#[test]
fn the_address_of_record_is_one_text_for_equal_users() {
    for (text, aor) in [
        ("sip:%61lice:pw@AtlanTa.com;transport=tcp?x=y", "sip:alice@atlanta.com"),
        ("SIP:Alice@atlanta.com:5061", "sip:Alice@atlanta.com:5061"),
        ("sip:a%3bb@c", "sip:a%3Bb@c"),
        ("sips:Example.COM", "sips:example.com"),
        ("TEL:+123", "tel:+123"),
        ("sip:a@[2001:DB8::1]", "sip:a@[2001:db8::1]"),
    ] {
        assert_eq!(uri(text).address_of_record(), aor);
    }
}
