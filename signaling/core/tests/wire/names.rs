//! Header names, methods and reason phrases.

use signaling_core::wire::{FieldName, HeaderName, Method, default_reason};

/// RFC 3261 7.3.1, 7.3.3; the compact forms registered by IANA.
#[test]
fn every_name_is_found_in_any_case_and_by_its_compact_form() {
    let compact = "a:Accept-Contact b:Referred-By c:Content-Type d:Request-Disposition e:Content-Encoding \
                   f:From i:Call-ID j:Reject-Contact k:Supported l:Content-Length m:Contact o:Event \
                   r:Refer-To s:Subject t:To u:Allow-Events v:Via x:Session-Expires y:Identity";
    for pair in compact.split_whitespace() {
        let (short, long) = pair.split_once(':').unwrap();
        let name = HeaderName::from_bytes(long.as_bytes()).unwrap();
        assert_eq!(name.as_str(), long);
        assert_eq!(name.compact(), Some(short));
        for spelling in
            [long.to_lowercase(), long.to_uppercase(), short.into(), short.to_uppercase()]
        {
            assert_eq!(HeaderName::from_bytes(spelling.as_bytes()), Some(name), "{spelling}");
        }
    }
    for long in
        ["Proxy-Authorization", "Proxy-Authenticate", "P-Asserted-Identity", "CSeq", "Max-Forwards"]
    {
        assert_eq!(HeaderName::from_bytes(long.to_lowercase().as_bytes()).unwrap().as_str(), long);
    }
}

#[test]
fn a_name_that_only_resembles_a_known_one_is_not_it() {
    for name in
        ["", "z", "Vi", "Viaa", "User\rAgent", "Call\0ID", "Proxy-AuthXrization", "Content-Lengthx"]
    {
        assert_eq!(HeaderName::from_bytes(name.as_bytes()), None, "{name:?}");
    }
    assert_eq!(HeaderName::from_bytes(&[b'a'; 300]), None);
}

#[test]
fn a_text_that_spells_a_known_header_means_it() {
    assert_eq!(FieldName::from("VIA"), FieldName::Known(HeaderName::Via));
    assert_eq!(FieldName::from("X-One"), FieldName::from("x-one"));
    assert_ne!(FieldName::from("X-One"), FieldName::from("X-Two"));
    assert_eq!(FieldName::from("x-one").known(), None);
}

/// RFC 3261 7.1: methods are case-sensitive.
#[test]
fn a_method_in_another_case_is_another_method() {
    let method: Method = "invite".parse().unwrap();
    assert!(matches!(&method, Method::Other(other) if other.as_str() == "invite"));
    assert_ne!(method, Method::Invite);
    assert_eq!("PUBLISH".parse(), Ok(Method::Publish));
    for bad in ["", "IN VITE", "A/B", "M\u{e9}"] {
        assert!(bad.parse::<Method>().is_err(), "{bad:?}");
    }
}

#[test]
fn a_status_without_a_phrase_of_its_own_gets_that_of_its_class() {
    assert_eq!(default_reason(481), "Call/Transaction Does Not Exist");
    assert_eq!(default_reason(499), "Bad Request");
    assert_eq!(default_reason(299), "OK");
    assert_eq!(default_reason(699), "Global Failure");
}
