use super::*;

const TICK: Duration = Duration::from_millis(100);
const CALL: Rank = Rank::New { is_call: true, is_known: false };
const NEW: Rank = Rank::New { is_call: false, is_known: false };
const KNOWN: Rank = Rank::New { is_call: true, is_known: true };
const EMPTY: Fill = Fill { requests: 0.0, calls: 0.0 };

fn config() -> Config {
    Config { lag: Duration::from_millis(100), ..Config::default() }
}

struct Bench {
    now: Instant,
    overload: Overload,
    hash: u64,
}

impl Bench {
    #[expect(clippy::disallowed_methods, reason = "an Instant can only be had from the clock")]
    fn new(config: Config) -> Bench {
        let now = Instant::now();
        Bench { now, overload: Overload::new(now, config), hash: 0 }
    }

    fn sample(&mut self, sample: Sample) {
        self.now += TICK;
        self.overload.handle_sample(self.now, &sample);
    }

    fn late(&mut self, lag_ms: u64, ticks: usize) {
        for _ in 0..ticks {
            self.sample(Sample { lag: Duration::from_millis(lag_ms), ..Sample::default() });
        }
    }

    fn admit(&mut self, rank: Rank, fill: Fill) -> Admission {
        // Spread evenly: the golden ratio.
        self.hash = self.hash.wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.overload.admit(self.now, rank, fill, self.hash)
    }

    /// How many of a thousand are taken.
    fn taken(&mut self, rank: Rank, fill: Fill) -> usize {
        (0..1_000).filter(|_| self.admit(rank, fill) == Admission::Take).count()
    }
}

#[test]
fn nothing_is_refused_without_load() {
    let mut bench = Bench::new(config());
    bench.late(20, 100);
    for rank in [Rank::Ending, Rank::InDialog, CALL, NEW] {
        assert_eq!(bench.taken(rank, EMPTY), 1_000);
    }
    assert!(!bench.overload.is_on());
}

/// New requests first, those in dialogs last, what ends something and emergencies never.
#[test]
fn a_node_that_is_late_refuses_what_is_new_before_what_is_in_a_dialog() {
    let mut bench = Bench::new(config());
    bench.late(150, 2);
    let taken = bench.taken(CALL, EMPTY);
    assert!((200..900).contains(&taken), "{taken}");
    assert_eq!(bench.taken(Rank::InDialog, EMPTY), 1_000);
    assert_eq!(bench.taken(KNOWN, EMPTY), 1_000, "whoever is known comes before strangers");
    bench.late(150, 12);
    assert!(bench.taken(CALL, EMPTY) <= 21);
    let known = bench.taken(KNOWN, EMPTY);
    assert!((100..=999).contains(&known), "{known}");
    assert_eq!(bench.taken(Rank::InDialog, EMPTY), 1_000);
    bench.late(1_000, 20);
    assert!(bench.taken(NEW, EMPTY) <= 21);
    assert!(bench.taken(Rank::InDialog, EMPTY) < 100);
    assert_eq!(bench.taken(Rank::Ending, EMPTY), 1_000);
    assert_eq!(bench.taken(Rank::Emergency { trusted: true }, EMPTY), 1_000);
}

/// One slow turn, or a burst that is dealt with, is no overload: lag is the least of a sample.
#[test]
fn it_starts_and_ends_with_a_line_each_and_comes_back_step_by_step() {
    let mut bench = Bench::new(config());
    bench.late(500, 3);
    let before = bench.taken(NEW, EMPTY);
    let began = bench.overload.poll_report().expect("it is told");
    assert!(began.to_string().starts_with("overload (lag): new requests are refused (503)"));
    assert_eq!(bench.overload.poll_report(), None, "once");
    bench.late(10, 4);
    let after = bench.taken(NEW, EMPTY);
    assert!(after > before && after < 1_000, "{before} {after}");
    bench.late(10, 100);
    let ended = bench.overload.poll_report().expect("it is told");
    assert!(ended.to_string().starts_with("overload is over: "), "{ended}");
    assert_eq!(bench.taken(NEW, EMPTY), 1_000);
    assert!(!bench.overload.is_on());
}

#[test]
fn a_queue_that_overflows_is_overload_though_nothing_waits_long() {
    let mut bench = Bench::new(config());
    bench.sample(Sample { lost: true, ..Sample::default() });
    assert!(bench.taken(NEW, EMPTY) < 600);
    let queue = Reason::ALL.iter().position(|r| *r == Reason::Queue).unwrap();
    assert!(bench.overload.refused()[queue] > 0);
}

#[test]
fn a_table_that_fills_up_keeps_its_last_places_for_emergencies_and_dialogs() {
    let mut bench = Bench::new(config());
    let calls = |calls| Fill { calls, requests: 0.0 };
    let half = bench.taken(CALL, calls(0.94));
    assert!((400..600).contains(&half), "{half}");
    assert_eq!(bench.taken(CALL, calls(0.985)), 0);
    assert_eq!(bench.taken(NEW, calls(0.985)), 1_000, "calls are no matter of theirs");
    assert_eq!(bench.admit(Rank::Emergency { trusted: false }, calls(0.985)), Admission::Take);
    let requests = Fill { requests: 0.985, calls: 0.0 };
    assert_eq!(bench.taken(NEW, requests), 0);
    assert_eq!(bench.taken(Rank::InDialog, requests), 1_000);
}

#[test]
fn calls_are_refused_when_the_media_ports_run_out_and_other_requests_are_not() {
    let mut bench = Bench::new(config());
    bench.sample(Sample { ports_left: Some(0.025), ..Sample::default() });
    let half = bench.taken(CALL, EMPTY);
    assert!((400..600).contains(&half), "{half}");
    assert_eq!(bench.taken(NEW, EMPTY), 1_000);
}

/// The settable limit: three times as much is offered, as much as is allowed is taken.
#[test]
fn more_than_the_settable_rate_is_refused() {
    let mut bench = Bench::new(Config { new_per_s: 100, ..config() });
    let mut taken = 0;
    for _ in 0..3_000 {
        bench.now += Duration::from_nanos(3_333_333);
        taken += usize::from(bench.admit(CALL, EMPTY) == Admission::Take);
    }
    assert!((990..=1_020).contains(&taken), "{taken} in 10 s");
    assert_eq!(bench.taken(Rank::InDialog, EMPTY), 1_000);
}

/// RFC 3261 8.2.7: a repetition is answered alike, even once there is room again.
#[test]
fn what_was_refused_is_refused_again() {
    let mut bench = Bench::new(Config { new_per_s: 1, ..config() });
    while bench.admit(CALL, EMPTY) == Admission::Take {}
    let refused = bench.hash;
    bench.now += Duration::from_secs(4);
    let again = bench.overload.admit(bench.now, CALL, EMPTY, refused);
    assert!(matches!(again, Admission::Refuse { .. }), "{again:?}");
    assert_eq!(bench.admit(CALL, EMPTY), Admission::Take);
}

/// Anybody can dial an emergency number: beyond a rate strangers' calls rank as any other.
#[test]
fn a_flood_of_emergency_calls_of_strangers_has_a_bound() {
    let mut bench = Bench::new(config());
    bench.late(1_000, 20);
    let taken = bench.taken(Rank::Emergency { trusted: false }, EMPTY);
    assert!((50..80).contains(&taken), "{taken}");
}

#[test]
fn refusals_are_answered_at_a_bounded_rate_and_spread_what_comes_back() {
    let mut bench = Bench::new(Config { new_per_s: 1, ..config() });
    let mut waits = [0; 16];
    let mut answered = 0;
    for _ in 0..20_000 {
        if let Admission::Refuse { retry_after } = bench.admit(NEW, EMPTY) {
            answered += 1;
            waits[retry_after.as_secs() as usize] += 1;
        }
    }
    assert_eq!(answered, 10_000);
    assert_eq!(bench.overload.unanswered(), 20_000 - 10_000 - 1);
    assert!(waits[5..=10].iter().all(|count| *count > 1_000), "{waits:?}");
    assert_eq!(waits.iter().sum::<i32>(), answered);
}
