//! Prints what the guard costs for each message of a source that is not exempt, while its table of sources
//! is full: sources that it knows, in no order that a cache could follow, and sources that displace
//! others. Run it with `--release`.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use signaling_core::guard::{Config, Guard};

/// Messages a round.
const MESSAGES: u32 = 2_000_000;
/// Rounds that the median is taken of.
const ROUNDS: usize = 9;
/// Of messages, on the clock that the example turns: 200,000 a second.
const GAP: Duration = Duration::from_micros(5);

#[expect(
    clippy::disallowed_methods,
    reason = "a clock that the example turns has to begin somewhere"
)]
fn now() -> Instant {
    Instant::now()
}

/// The processor time of this program so far, in nanoseconds: other programs do not matter to it.
#[expect(clippy::disallowed_methods, reason = "measuring is what this example is for")]
fn spent_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/self/schedstat").expect("Linux tells it");
    text.split(' ').next().and_then(|ns| ns.parse().ok()).expect("a number")
}

/// Walks through all of 2^32 without a pattern (a linear congruence).
fn scramble(n: u32) -> u32 {
    n.wrapping_mul(2_654_435_761).wrapping_add(40_503)
}

/// Nanoseconds a message: the median of all rounds.
fn measure(guard: &mut Guard, clock: &mut Instant, address: impl Fn(u32) -> u32) -> f64 {
    let mut rounds = Vec::new();
    let mut n: u32 = 0;
    for _ in 0..ROUNDS {
        let begin = spent_ns();
        for _ in 0..MESSAGES {
            n = n.wrapping_add(1);
            *clock += GAP;
            std::hint::black_box(guard.admit(*clock, IpAddr::V4(Ipv4Addr::from_bits(address(n)))));
        }
        rounds.push((spent_ns() - begin) / f64::from(MESSAGES));
    }
    rounds.sort_by(f64::total_cmp);
    rounds[ROUNDS / 2]
}

fn main() {
    let start = now();
    for sources in [Config::default().sources, 1 << 20] {
        let config = Config { sources, ..Config::default() };
        let (mut guard, mut clock) = (Guard::new(start, config, [7; 32]), start);
        let known = u32::try_from(sources / 2).unwrap_or(u32::MAX);
        // Twice as many as there are places: the table is full then.
        for n in 0..known * 4 {
            guard.admit(clock, IpAddr::V4(Ipv4Addr::from_bits(0x0a00_0000 + n)));
        }
        let seen = measure(&mut guard, &mut clock, |n| 0x0a00_0000 + scramble(n) % known);
        let new = measure(&mut guard, &mut clock, |n| 0x2000_0000 | scramble(n) >> 3);
        println!(
            "{sources:8} sources: {seen:5.0} ns a message of a known source, {new:5.0} ns of one that displaces another"
        );
    }
}
