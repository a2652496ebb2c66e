//! Session descriptions inside bodies.

use signaling_core::sdp::find_sdp;

const TYPE: &[u8] = b"multipart/mixed; boundary=\"a b:1\"";
const BODY: &str = "preamble\r\n--a b:1\r\nContent-Type: text/plain\r\n\r\n--a b:12 is not it\r\n\
--a b:1  \r\nContent-Type : Application/SDP;x=y\r\nContent-Length: 5\r\nContent-Disposition: session;handling=required\r\n\r\n\
v=0\r\n\r\n--a b:1--\r\nepilogue";

#[test]
fn a_body_that_is_one_is_found_whole() {
    let part = find_sdp(b"application/sdp", b"v=0\r\n").unwrap();
    assert_eq!(part.of(b"v=0\r\n"), b"v=0\r\n");
    assert_eq!(part.put_back(b"v=0\r\n", b"new"), b"new");
    assert_eq!(find_sdp(b"APPLICATION / sdp ; charset=\"x\"", b"v=0\r\n").unwrap(), part);
    assert_eq!(find_sdp(b"application/sdp", b""), None);
    assert_eq!(find_sdp(b"application/sdpx", b"v=0\r\n"), None);
    assert_eq!(find_sdp(b"junk", b"v=0\r\n"), None);
}

/// RFC 2046 5.1.1: the line end before a delimiter belongs to the delimiter.
#[test]
fn a_part_is_found_and_put_back_between_its_delimiters() {
    let part = find_sdp(TYPE, BODY.as_bytes()).unwrap();
    assert_eq!(part.of(BODY.as_bytes()), b"v=0\r\n");
    let done = part.put_back(BODY.as_bytes(), b"v=0\r\no=longer\r\n");
    let expected = BODY
        .replace("v=0\r\n", "v=0\r\no=longer\r\n")
        .replace("Content-Length: 5", "Content-Length: 15");
    assert_eq!(String::from_utf8(done.clone()).unwrap(), expected);
    assert_eq!(find_sdp(TYPE, &done).unwrap().of(&done), b"v=0\r\no=longer\r\n");
}

/// RFC 3959: an early-session description is another offer, not that of the session.
#[test]
fn a_part_that_is_not_for_the_session_is_passed_over() {
    let early = BODY.replace("Disposition: session", "Disposition: early-session");
    assert_eq!(find_sdp(TYPE, early.as_bytes()), None);
}

#[test]
fn what_is_not_bounded_is_not_found() {
    for body in [
        BODY.replace("--a b:1--", "--a b:1x"),
        BODY.replace("\r\n\r\nv=0", "\r\nv=0"),
        BODY.replace("Application/SDP", "text/sdp"),
        "--a b:1--\r\n".to_owned(),
        String::new(),
    ] {
        assert_eq!(find_sdp(TYPE, body.as_bytes()), None, "{body:?}");
    }
    assert_eq!(find_sdp(b"multipart/mixed", BODY.as_bytes()), None);
    assert_eq!(find_sdp(b"multipart/mixed;boundary=\"\"", BODY.as_bytes()), None);
}

#[test]
fn a_body_may_start_with_its_delimiter_and_use_lf_alone() {
    let body = b"--x\nContent-Type: application/sdp\n\nv=0\n\n--x--";
    assert_eq!(find_sdp(b"multipart/alternative;boundary=x", body).unwrap().of(body), b"v=0\n");
}
