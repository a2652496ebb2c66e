//! Challenges and credentials.

use signaling_core::wire::AuthValue;

/// RFC 3261 20.7, its example with folds and spaces.
#[test]
fn parameters_are_found_without_regard_to_case_and_unquoted() {
    let auth = AuthValue::parse(
        b"Digest  username=\"Al\\\"ice\", REALM=\"atlanta.com\",\r\n nonce = \"84a4cc6f, x\" ,qop=auth, nc=00000001, uri=sip:a",
    )
    .unwrap();
    assert!(auth.is_digest());
    assert_eq!(auth.get("username").unwrap(), "Al\"ice");
    assert_eq!(auth.get("realm").unwrap(), "atlanta.com");
    assert_eq!(auth.get("NONCE").unwrap(), "84a4cc6f, x");
    assert_eq!(auth.get("qop").unwrap(), "auth");
    assert_eq!(auth.get("uri").unwrap(), "sip:a");
    assert_eq!(auth.get("opaque"), None);
    assert_eq!(auth.params().count(), 6);
}

#[test]
fn digest_values_that_are_no_list_of_parameters_are_refused() {
    for text in [
        "",
        "Digest realm",
        "Digest realm=\"x",
        "Digest =x",
        "Digest a=b c=d",
        "Digest a=\"b\"c",
        "D(gest a=b",
    ] {
        assert!(AuthValue::parse(text.as_bytes()).is_none(), "{text:?}");
    }
}

#[test]
fn other_schemes_may_hold_anything() {
    let auth = AuthValue::parse(b"Bearer eyJhbGciOiJIUzI1NiJ9==").unwrap();
    assert_eq!((auth.scheme(), auth.is_digest(), auth.get("realm")), ("Bearer", false, None));
}
