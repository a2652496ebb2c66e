//! Edits: what they change, and that they change nothing else.

use bytes::Bytes;
use signaling_core::wire::{HeaderName, Message};

use crate::{INVITE, invite, message, text};

/// What `edit` makes of [`INVITE`], checked to be [`INVITE`] with the replacements of text in `pairs`.
fn same_but(edit: &signaling_core::wire::Edit<'_>, pairs: &[(&str, &str)]) {
    let mut expected = INVITE.to_owned();
    for (old, new) in pairs {
        assert!(expected.contains(old));
        expected = expected.replacen(old, new, 1);
    }
    assert_eq!(text(&edit.finish()), expected);
}

#[test]
fn an_edit_without_operations_is_an_exact_copy() {
    same_but(&invite().edit(), &[]);
}

#[test]
fn the_request_uri_is_replaced() {
    same_but(
        invite().edit().set_request_uri("sip:bob@192.0.2.4"),
        &[("sip:bob@biloxi.example.com;user=phone", "sip:bob@192.0.2.4")],
    );
}

#[test]
fn a_request_uri_cannot_end_the_request_line() {
    let m = invite();
    let done = m.edit().set_request_uri("sip:a@b SIP/2.0\r\nX: y").finish();
    assert!(text(&done).starts_with("INVITE sip:a@b%20SIP/2.0%0D%0AX:%20y SIP/2.0\r\nVia: "));
}

#[test]
fn what_is_pushed_in_front_comes_before_the_first_of_its_kind() {
    same_but(
        invite()
            .edit()
            .push_front(HeaderName::Via, "SIP/2.0/UDP new")
            .push_front(HeaderName::Route, "<sip:r>"),
        &[
            ("Via: ", "Via: SIP/2.0/UDP new\r\nVia: "),
            ("Route: <sip:p1", "Route: <sip:r>\r\nRoute: <sip:p1"),
        ],
    );
}

#[test]
fn what_is_pushed_in_front_without_one_of_its_kind_goes_to_the_top() {
    same_but(
        invite().edit().push_front(HeaderName::RecordRoute, "<sip:me;lr>"),
        &[("SIP/2.0\r\nVia", "SIP/2.0\r\nRecord-Route: <sip:me;lr>\r\nVia")],
    );
}

#[test]
fn what_is_appended_comes_last() {
    same_but(invite().edit().append("X-New", "1"), &[("l: 4\r\n", "l: 4\r\nX-New: 1\r\n")]);
}

#[test]
fn a_set_header_keeps_its_place_and_the_name_as_written() {
    same_but(
        invite().edit().set(HeaderName::CallId, "other@b").set(HeaderName::MaxForwards, "69"),
        &[
            ("i: 3848276298220188511@atlanta.example.com", "i: other@b"),
            ("Max-Forwards: 70", "Max-Forwards: 69"),
        ],
    );
}

#[test]
fn setting_a_repeated_header_leaves_one_line() {
    let done = invite().edit().set(HeaderName::Route, "<sip:only>").finish_message().unwrap();
    assert_eq!(done.lines(HeaderName::Route).map(text).collect::<Vec<_>>(), ["<sip:only>"]);
}

#[test]
fn one_value_of_a_joined_line_is_replaced() {
    same_but(
        invite().edit().replace_value(HeaderName::Route, 1, "<sip:x>").replace_value(
            HeaderName::Route,
            2,
            "<sip:y>",
        ),
        &[("<sip:p2.example.com;lr>", "<sip:x>"), ("<sip:p3.example.com;lr>", "<sip:y>")],
    );
    same_but(invite().edit().replace_value(HeaderName::Route, 3, "<sip:z>"), &[]);
}

#[test]
fn the_top_value_of_a_joined_line_is_removed_and_then_the_line() {
    let m = invite();
    let mut edit = m.edit();
    same_but(
        edit.remove_top(HeaderName::Via),
        &[("SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1;rport, ", "")],
    );
    same_but(
        edit.remove_top(HeaderName::Via),
        &[(
            "Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1;rport, SIP/2.0/TCP outer.example.com;branch=z9hG4bK0\r\n",
            "",
        )],
    );
    let done =
        edit.remove_top(HeaderName::Route).remove_top(HeaderName::Route).finish_message().unwrap();
    assert_eq!(
        done.values(HeaderName::Route).map(text).collect::<Vec<_>>(),
        ["<sip:p3.example.com;lr>"]
    );
}

#[test]
fn a_value_in_the_middle_or_at_the_end_is_removed() {
    let m = invite();
    let done = m.edit().remove_value(HeaderName::Supported, 1).finish_message().unwrap();
    assert_eq!(
        done.values(HeaderName::Supported).map(text).collect::<Vec<_>>(),
        ["100rel", "replaces"]
    );
    let done = m.edit().remove_value(HeaderName::Supported, 2).finish_message().unwrap();
    assert_eq!(
        done.values(HeaderName::Supported).map(text).collect::<Vec<_>>(),
        ["100rel", "timer"]
    );
}

#[test]
fn a_removed_header_is_gone_in_all_its_lines() {
    let done = invite().edit().remove(HeaderName::Route).remove("x-odd").finish_message().unwrap();
    assert!(!done.has(HeaderName::Route) && !done.has("X-Odd"));
}

#[test]
fn a_new_body_corrects_the_length_in_its_compact_form() {
    same_but(
        invite().edit().set_body(Some("application/sdp"), "v=0\r\n"),
        &[
            ("c: text/plain", "c: application/sdp"),
            ("l: 4", "l: 5"),
            ("\r\n\r\nbody", "\r\n\r\nv=0\r\n"),
        ],
    );
    same_but(
        invite().edit().set_body(None, Bytes::new()),
        &[("c: text/plain\r\n", ""), ("l: 4", "l: 0"), ("\r\n\r\nbody", "\r\n\r\n")],
    );
}

/// RFC 3261 16.6 step 8: what is forwarded over a stream must say its length.
#[test]
fn a_missing_content_length_is_added() {
    let m = message(&INVITE.replace("l: 4\r\n", ""));
    assert!(text(&m.edit().finish()).contains("c: text/plain\r\nContent-Length: 4\r\n\r\nbody"));
}

#[test]
fn a_value_cannot_end_its_line() {
    let m = invite();
    let done = m.edit().append("X-New", "a\r\nVia: evil\r\n\r\nb\nc\rd").finish_message().unwrap();
    assert_eq!(done.first("X-New").map(text), Some("a Via: evil b c d"));
    assert_eq!(done.vias().count(), 3);
}

#[test]
fn an_edit_of_a_response_keeps_its_status_line() {
    let m = message(
        "SIP/2.0 180 Ringing  now\r\nVia: SIP/2.0/UDP a, SIP/2.0/UDP b\r\nFrom: <sip:a@b>\r\nTo: <sip:a@b>\r\n\
         Call-ID: x\r\nCSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n",
    );
    let done = m.edit().set_request_uri("sip:ignored").remove_top(HeaderName::Via).finish();
    assert!(text(&done).starts_with("SIP/2.0 180 Ringing  now\r\nVia: SIP/2.0/UDP b\r\n"));
}

#[test]
fn an_edit_that_takes_away_what_must_be_there_is_found_out() {
    assert!(invite().edit().remove(HeaderName::To).finish_message().is_err());
}

/// One buffer for the whole message: as large as what is written, give or take a line.
#[test]
fn the_buffer_is_sized_once() {
    let m = invite();
    let out = m.edit().push_front(HeaderName::Via, "SIP/2.0/UDP new").finish();
    let vec = Vec::from(out.clone());
    assert!(vec.capacity() <= out.len() + 64, "{} for {}", vec.capacity(), out.len());
    assert!(Message::parse_datagram(out).is_ok());
}

/// A list of thousands of values must not make taking some off it cost the square of their number, in
/// time or in memory.
#[test]
#[expect(clippy::disallowed_methods, reason = "what is bounded is time")]
fn taking_thousands_of_values_off_a_list_costs_time_in_proportion() {
    let count = 3_000;
    let routes = vec!["<sip:192.0.2.1;lr>"; count].join(", ");
    let message = message(&without_routes().replacen(
        "\r\n\r\n",
        &format!("\r\nRoute: {routes}, <sip:end;lr>\r\n\r\n"),
        1,
    ));
    let started = std::time::Instant::now();
    let mut edit = message.edit();
    edit.remove_first(HeaderName::Route, count);
    let edited = edit.finish_message().unwrap();
    assert!(started.elapsed() < std::time::Duration::from_secs(1), "{:?}", started.elapsed());
    let left: Vec<_> = edited.routes().map(|route| route.unwrap().uri_text().to_owned()).collect();
    assert_eq!(left, ["sip:end;lr"]);
}

#[test]
fn the_first_values_are_taken_off_lines_and_lists_alike() {
    let base = without_routes().replacen(
        "\r\n\r\n",
        "\r\nRoute: <sip:a>, <sip:b>\r\nRoute: ,\r\nRoute: <sip:c>\r\nRoute: <sip:d>, <sip:e>\r\n\r\n",
        1,
    );
    for (count, left) in [(0, 5), (1, 4), (2, 3), (3, 2), (4, 1), (5, 0), (6, 0)] {
        let message = message(&base);
        let mut edit = message.edit();
        edit.remove_first(HeaderName::Route, count);
        let edited = edit.finish_message().unwrap();
        assert_eq!(edited.routes().count(), left, "{count}");
        let names: Vec<_> = edited.routes().map(|r| r.unwrap().uri_text().to_owned()).collect();
        let all = ["sip:a", "sip:b", "sip:c", "sip:d", "sip:e"];
        assert_eq!(names, all[5 - left..]);
    }
}

fn without_routes() -> String {
    let message = invite();
    let mut edit = message.edit();
    text(&edit.remove(HeaderName::Route).finish()).to_owned()
}
