//! Every rule and bound, under a clock of the tests.

use super::*;

#[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock")]
fn start() -> Instant {
    Instant::now()
}

fn guard(config: Config) -> (Guard, Instant) {
    let now = start();
    (Guard::new(now, config, [7; 32]), now)
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

const S: Duration = Duration::from_secs(1);
const BAD: &str = "198.51.100.66";

fn fails(guard: &mut Guard, now: Instant, account: &str) {
    guard.failed(now, ip(BAD), Some(account.as_bytes()), Offence::Credentials);
}

#[test]
fn a_source_is_held_to_its_rate_and_others_are_not() {
    let (mut guard, now) = guard(Config { rate: 10, burst: 20, ..Config::default() });
    let admitted = |guard: &mut Guard, now, source: &str| {
        (0..100).filter(|_| guard.admit(now, ip(source))).count()
    };
    assert_eq!(admitted(&mut guard, now, BAD), 20);
    assert_eq!(admitted(&mut guard, now, "198.51.100.67"), 20);
    assert_eq!(admitted(&mut guard, now + S, BAD), 10);
    assert_eq!(guard.dropped()[Rule::Rate.place()], 80 + 80 + 90);
}

#[test]
fn an_ipv6_source_is_its_64_and_a_mapped_address_is_ipv4() {
    let (mut guard, now) = guard(Config { rate: 1, burst: 1, ..Config::default() });
    assert!(guard.admit(now, ip("2001:db8::1")));
    assert!(!guard.admit(now, ip("2001:db8::2")));
    assert!(guard.admit(now, ip("2001:db8:0:1::1")));
    assert!(guard.admit(now, ip(BAD)));
    assert!(!guard.admit(now, ip("::ffff:198.51.100.66")));
}

#[test]
fn this_host_and_exempt_networks_are_never_dropped() {
    let exempt = vec!["203.0.113.0/24".parse().unwrap()];
    let (mut guard, now) = guard(Config { rate: 1, burst: 1, exempt, ..Config::default() });
    for source in ["127.0.0.1", "::1", "203.0.113.9"].map(ip) {
        for _ in 0..1_000 {
            assert!(guard.admit(now, source));
            guard.failed(now, source, Some(b"a"), Offence::UnknownUser);
            assert!(!guard.is_scanner(now, source, b"friendly-scanner"));
            assert!(!guard.is_silent(now, source, b"a", b"t"));
        }
    }
    assert_eq!(guard.dropped(), [0; Rule::ALL.len()]);
}

#[test]
fn a_guard_that_is_off_drops_nothing() {
    let (mut guard, now) = guard(Config { rate: 1, burst: 1, ..Config::off() });
    assert!((0..100).all(|_| guard.admit(now, ip(BAD))));
}

/// The defaults: two registrations of each of 500 phones at once, and their subscriptions.
#[test]
fn an_office_of_five_hundred_phones_behind_one_address_is_not_throttled() {
    let (mut guard, now) = guard(Config::default());
    for second in 0..600 {
        let messages = if second == 0 { 500 * 6 } else { 100 };
        assert!((0..messages).all(|_| guard.admit(now + S * second, ip(BAD))));
    }
}

#[test]
fn a_failing_account_is_met_with_growing_silence_and_its_neighbours_are_not() {
    let (mut guard, now) = guard(Config::default());
    let silent =
        |guard: &mut Guard, now, account: &[u8]| guard.is_silent(now, ip(BAD), account, b"same");
    for _ in 0..4 {
        fails(&mut guard, now, "1001");
        assert!(!guard.has_silent(now) && !silent(&mut guard, now, b"1001"));
    }
    let mut now = now;
    for seconds in [1, 2, 4, 8, 16, 32, 60, 60] {
        fails(&mut guard, now, "1001");
        assert!(guard.has_silent(now));
        assert!(silent(&mut guard, now + S * seconds - S / 10, b"1001"), "{seconds}");
        assert!(!silent(&mut guard, now, b"1002"), "the phone beside it");
        now += S * seconds;
        assert!(!silent(&mut guard, now, b"1001"), "{seconds}");
    }
}

#[test]
fn right_credentials_forgive_an_account() {
    let (mut guard, now) = guard(Config::default());
    for _ in 0..4 {
        fails(&mut guard, now, "1001");
    }
    guard.succeeded(now, ip(BAD), b"1001");
    fails(&mut guard, now, "1001");
    assert!(!guard.has_silent(now));
}

#[test]
fn failures_are_forgotten_after_their_window() {
    let (mut guard, now) = guard(Config::default());
    for minute in 0..300 {
        fails(&mut guard, now + S * 601 * minute, "1001");
    }
    assert!(guard.bans(now + S * 601 * 300).is_empty() && !guard.has_silent(now + S * 601 * 300));
}

#[test]
fn a_source_that_goes_on_is_banned_with_a_reason_until_the_ban_ends() {
    let (mut guard, now) = guard(Config::default());
    for account in 0..59 {
        fails(&mut guard, now, &account.to_string());
    }
    assert!(guard.admit(now, ip(BAD)));
    guard.failed(now, ip(BAD), Some(b"x"), Offence::UnknownUser);
    assert!(!guard.admit(now, ip(BAD)) && guard.admit(now, ip("198.51.100.67")));
    let (age, left) = (Duration::ZERO, 600 * S);
    let ban = Ban { source: ip(BAD), reason: Offence::UnknownUser, note: None, age, left };
    assert_eq!(guard.bans(now), [ban]);
    let reports: Vec<String> =
        std::iter::from_fn(|| guard.poll_report()).map(|r| r.to_string()).collect();
    assert!(
        reports.iter().any(|r| r.contains("198.51.100.66 is banned for 600 s (unknown users)")),
        "{reports:?}"
    );
    assert!(!guard.admit(now + 599 * S, ip(BAD)));
    assert!(guard.admit(now + 600 * S, ip(BAD)));
    assert!(guard.bans(now + 600 * S).is_empty());
}

/// One account alone, through its silences: repetitions of one request are no new attempts.
#[test]
fn guesses_during_silence_count_and_repetitions_do_not() {
    let (mut guard, now) = guard(Config::default());
    for _ in 0..5 {
        fails(&mut guard, now, "1001");
    }
    for _ in 0..1_000 {
        assert!(guard.is_silent(now, ip(BAD), b"1001", b"one"));
    }
    assert!(guard.bans(now).is_empty());
    for guess in 0..60_u8 {
        guard.is_silent(now, ip(BAD), b"1001", &[guess]);
    }
    assert_eq!(guard.bans(now).len(), 1);
}

#[test]
fn a_source_with_right_users_is_banned_ten_times_later() {
    let (mut guard, now) = guard(Config::default());
    guard.succeeded(now, ip(BAD), b"1002");
    for account in 0..599 {
        fails(&mut guard, now, &account.to_string());
    }
    assert!(guard.admit(now, ip(BAD)));
    fails(&mut guard, now, "599");
    assert!(!guard.admit(now, ip(BAD)));
}

#[test]
fn a_scanner_is_dropped_and_soon_banned() {
    let (mut guard, now) = guard(Config::default());
    for _ in 0..6 {
        assert!(guard.admit(now, ip(BAD)));
        assert!(guard.is_scanner(now, ip(BAD), b"friendly-scanner"));
    }
    assert!(!guard.admit(now, ip(BAD)));
    assert!(!guard.is_scanner(now, ip(BAD), b"Yealink"));
}

#[test]
fn stateless_answers_are_few_and_hardly_larger_than_what_they_answer() {
    let (mut guard, now) = guard(Config::default());
    assert!(!guard.may_answer(now, ip(BAD), Some(100), 201));
    assert!(guard.may_answer(now, ip(BAD), Some(100), 200));
    assert!(guard.may_answer(now, ip(BAD), None, 201), "the address of a connection is its own");
    let more = (0..1_000).filter(|_| guard.may_answer(now, ip(BAD), Some(100), 100)).count();
    assert_eq!(more, 48, "ten a second, five seconds' worth at once");
}

/// More addresses than places: memory stays, bans stay, and a source that is displaced has its rights.
#[test]
fn a_flood_of_addresses_lifts_no_ban_and_costs_nobody_its_place() {
    let (mut guard, now) = guard(Config { sources: 1_024, ..Config::default() });
    for account in 0..60 {
        fails(&mut guard, now, &account.to_string());
    }
    for address in 0..100_000_u32 {
        assert!(guard.admit(now + S, IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + address))));
    }
    assert!(!guard.admit(now + S, ip(BAD)));
    assert_eq!(guard.sources.iter().count(), 1_024);
    assert!(guard.admit(now + S, ip("10.0.0.0")));
}

#[test]
fn each_rule_tells_once_in_ten_seconds_how_much_it_dropped() {
    let (mut guard, now) = guard(Config { rate: 1, burst: 1, ..Config::default() });
    let dropped = |count| Some(Report::Dropped { rule: Rule::Rate, source: ip(BAD), count });
    for _ in 0..10 {
        guard.admit(now, ip(BAD));
    }
    assert_eq!(guard.poll_report(), dropped(1));
    assert_eq!(guard.poll_report(), None);
    for _ in 0..3 {
        guard.admit(now + 10 * S, ip(BAD));
    }
    assert_eq!(guard.poll_report(), dropped(9));
}
