//! How the text itself is read: types, unknown keys, places.

use std::net::SocketAddr;

use control_core::settings::{Overrides, Position, TEXT_BYTES_MAX, Transport, check, check_with};
use proptest::prelude::*;

use crate::{bad, good};

#[test]
fn all_problems_are_reported_at_once_in_the_order_of_the_text() {
    let text = "\
        [node]\n\
        worker = 2\n\
        [media]\n\
        rest_s = \"long\"\n\
        ports = \"30000\"\n\
        [limits]\n\
        sessions = 0\n";
    assert_eq!(
        bad(text),
        "2:1: node.worker: no such key; did you mean `workers`?\n\
         4:10: media.rest_s: expected a whole number, found string; write digits, without quotes\n\
         5:9: media.ports: \"30000\" is not a range of ports; write \"FIRST-LAST\" with ports up to \
         65535, for example \"20000-29999\"\n\
         7:12: limits.sessions: 0 is out of range; choose 1 to 1000000"
    );
}

#[test]
fn an_unknown_key_that_belongs_to_another_table_is_told_so() {
    assert_eq!(
        bad("[node]\nwan_ip = \"203.0.113.5\"\n"),
        "2:1: node.wan_ip: no such key; did you mean `media.wan_ip`?"
    );
}

#[test]
fn an_unknown_key_unlike_any_other_is_told_the_keys_there_are() {
    assert_eq!(
        bad("[peers]\ncolour = 3\n"),
        "2:1: peers.colour: no such key; the keys here are trusted"
    );
}

#[test]
fn an_unknown_table_is_an_unknown_key() {
    assert_eq!(bad("[medai]\n"), "1:2: medai: no such key; did you mean `media`?");
}

#[test]
fn a_text_that_is_not_toml_is_reported_where_it_is_not() {
    let problems = check("[node]\nname = alice\n[media\n").unwrap_err();
    let lines: Vec<_> = problems.iter().filter_map(|p| p.position).map(|p| p.line).collect();
    assert!(lines.contains(&2) && lines.contains(&3), "{problems:#?}");
}

#[test]
fn a_key_that_stands_twice_is_reported() {
    let problems = bad("[node]\nname = \"a\"\nname = \"b\"\n");
    assert!(problems.starts_with("3:1: duplicate key"), "{problems}");
}

#[test]
fn a_number_out_of_any_range_is_a_problem_and_not_a_panic() {
    for number in ["-1", "99999999999999999999", "4294967296", "0xFFFFFFFFFFFFFFFF"] {
        let problems = bad(&format!("[media]\nrest_s = {number}\n"));
        assert!(problems.starts_with("2:10: media.rest_s: "), "{problems}");
    }
}

#[test]
fn a_table_in_place_of_an_array_of_tables_is_told_the_brackets() {
    let problems = bad("[routes]\ndomain = \"pbx.example\"\n");
    assert!(problems.contains("write [[routes]] with two pairs of brackets"), "{problems}");
    let problems = bad("[[media]]\nrest_s = 3\n");
    assert!(problems.contains("write [media] with one pair of brackets"), "{problems}");
}

#[test]
fn a_text_too_long_to_be_settings_is_refused_unread() {
    let problems = bad(&"#".repeat(TEXT_BYTES_MAX + 1));
    assert!(problems.contains("longer than"), "{problems}");
}

#[test]
fn listen_overrides_replace_the_listeners_of_the_text() {
    let address: SocketAddr = "127.0.0.1:5070".parse().unwrap();
    let overrides = Overrides { listen: vec![address] };
    let checked = check_with("", &overrides).unwrap_or_else(|problems| panic!("{problems:?}"));
    let listen = checked.settings.sip.listen;
    let transports: Vec<_> = listen.iter().map(|l| (l.transport, l.address)).collect();
    assert_eq!(transports, [(Transport::Udp, address), (Transport::Tcp, address)]);
}

#[test]
fn listen_overrides_are_checked_like_the_text_and_named_by_their_option() {
    let twice = vec!["127.0.0.1:5070".parse().unwrap(); 2];
    let problems = check_with("", &Overrides { listen: twice }).err().unwrap();
    assert_eq!(problems[0].position, None);
    assert_eq!(
        problems[0].to_string(),
        "--listen: udp 127.0.0.1:5070 is taken by 127.0.0.1:5070 (given with --listen); \
         keep one of the two, or use another port"
    );
    let multicast = Overrides { listen: vec!["224.0.0.1:5060".parse().unwrap()] };
    let problems = check_with("", &multicast).err().unwrap();
    assert_eq!(problems.len(), 1, "{problems:?}");
    assert!(problems[0].what.contains("multicast"), "{problems:?}");
    let media = Overrides { listen: vec!["127.0.0.1:20000".parse().unwrap()] };
    let problems = check_with("[media]\nports = \"20000-29999\"\n", &media).err().unwrap();
    assert_eq!(problems[0].position, Some(Position { line: 2, column: 9 }), "{problems:?}");
}

proptest! {
    /// No text makes the reader panic, and every problem stands within the text.
    #[test]
    fn any_text_gives_settings_or_problems(text in "(\\[{1,2}(node|media|sip\\.listen|routes)\\]{1,2}\n|[a-z_]{1,9} = (\"[0-9a-z:.\\-/]{0,12}\"|-?[0-9]{1,20}|\\[1, \"a\"\\]|true)\n|\\PC{0,20}\n){0,8}") {
        match check(&text) {
            Ok(_) => {}
            Err(problems) => {
                prop_assert!(!problems.is_empty());
                let lines = text.split('\n').count();
                for problem in problems {
                    let line = problem.position.map(|p| p.line);
                    prop_assert!(line.is_some_and(|line| (1..=lines).contains(&line)));
                }
            }
        }
    }
}

#[test]
fn comments_inline_tables_and_literal_strings_are_toml_too() {
    let settings = good("sip = { domains = ['Example.COM'] } # ours\n");
    assert_eq!(settings.sip.domains[0].as_str(), "example.com");
}
