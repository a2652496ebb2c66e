use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;
use crate::testing::start_of_time;

const REST: Duration = Duration::from_secs(30);
const OWNER: SessionId = SessionId(7);

fn range(first: u16, last: u16) -> PortRange {
    PortRange::new(first..=last).unwrap()
}

fn allocator(now: Instant, first: u16, last: u16) -> PortAllocator {
    PortAllocator::new(now, range(first, last), REST, Seed([1; 32]))
}

#[test]
fn a_range_is_rounded_inwards_to_whole_pairs() {
    let odd = range(10_001, 10_004);
    assert_eq!((odd.first(), odd.last(), odd.ports()), (10_002, 10_003, 2));
    assert_eq!(range(0, 65_535).first(), 2);
    assert!(PortRange::new(10_001..=10_002).is_err());
    assert!(PortRange::new(0..=1).is_err());
    #[expect(clippy::reversed_empty_ranges, reason = "what an operator may write")]
    let reversed = PortRange::new(20_000..=10_000);
    assert!(reversed.is_err());
}

/// RFC 3550 11: RTP on an even port, RTCP on the odd one above it.
#[test]
fn pairs_are_even_and_odd() {
    let now = start_of_time();
    let mut ports = allocator(now, 10_000, 10_999);
    for _ in 0..500 {
        let lease = ports.take(now, Width::Pair, OWNER).unwrap();
        assert_eq!(lease.rtp() % 2, 0);
        assert_eq!(lease.rtcp(), Some(lease.rtp() + 1));
    }
    assert_eq!(ports.take(now, Width::Pair, OWNER), None);
}

#[test]
fn the_order_of_ports_depends_on_the_seed_alone() {
    let now = start_of_time();
    let order = |seed| {
        let mut ports = PortAllocator::new(now, range(10_000, 10_199), REST, Seed(seed));
        (0..100).map(|_| ports.take(now, Width::Pair, OWNER).unwrap().rtp()).collect::<Vec<_>>()
    };
    assert_eq!(order([1; 32]), order([1; 32]));
    assert_ne!(order([1; 32]), order([2; 32]));
    let ascending = order([1; 32]).windows(2).filter(|two| two[0] + 2 == two[1]).count();
    assert!(ascending < 10, "{ascending} of 99 ports could be guessed from the one before");
}

#[test]
fn a_closed_port_rests_before_it_is_used_again() {
    let start = start_of_time();
    let mut ports = allocator(start, 10_000, 10_003);
    let first = ports.take(start, Width::Pair, OWNER).unwrap();
    ports.release(start, first, Fate::Rest);
    assert_eq!(ports.usage(start).resting, 2);
    let second = ports.take(start, Width::Pair, OWNER).unwrap();
    assert_ne!(second, first);
    assert_eq!(
        ports.usage(start + REST),
        Usage { used: 2, resting: 0, free: 2, rests_cut: 0, oldest: Some((OWNER, REST)) }
    );
    assert_eq!(ports.take(start + REST, Width::Pair, OWNER), Some(first));
    assert_eq!(ports.usage(start + REST).rests_cut, 0);
}

#[test]
fn under_pressure_the_longest_rest_ends_early_and_is_counted() {
    let start = start_of_time();
    let mut ports = allocator(start, 10_000, 10_003);
    let first = ports.take(start, Width::Pair, OWNER).unwrap();
    let second = ports.take(start, Width::Pair, OWNER).unwrap();
    ports.release(start, second, Fate::Rest);
    ports.release(start, first, Fate::Rest);
    assert_eq!(ports.take(start, Width::Pair, OWNER), Some(second));
    assert_eq!(ports.usage(start).rests_cut, 1);
}

#[test]
fn a_quarantined_port_is_not_tried_again_under_pressure() {
    let start = start_of_time();
    let mut ports = allocator(start, 10_000, 10_001);
    let lease = ports.take(start, Width::Pair, OWNER).unwrap();
    ports.release(start, lease, Fate::Quarantine);
    assert_eq!(ports.take(start, Width::Pair, OWNER), None);
    assert_eq!(ports.take(start + REST, Width::Pair, OWNER), Some(lease));
}

/// A session that meets too many ports of other programs in a row is refused, and all of them go into
/// quarantine at once. If they came out in a row, whoever met the first of them next would be refused
/// too, and so on with each rest.
#[test]
fn ports_that_went_into_quarantine_together_are_not_met_together_again() {
    let start = start_of_time();
    let mut ports = allocator(start, 10_000, 11_999);
    let foreign: Vec<Lease> =
        (0..9).map(|_| ports.take(start, Width::Pair, OWNER).unwrap()).collect();
    for lease in &foreign {
        ports.release(start, *lease, Fate::Quarantine);
    }
    let taken = std::iter::from_fn(|| ports.take(start + REST, Width::Pair, OWNER));
    let met: Vec<bool> = taken.map(|lease| foreign.contains(&lease)).collect();
    assert_eq!(met.iter().filter(|met| **met).count(), foreign.len(), "none is lost");
    let in_a_row = met.split(|met| !met).map(<[bool]>::len).max();
    assert!(in_a_row < Some(4), "{in_a_row:?} in a row");
}

#[test]
fn a_port_that_was_never_promised_is_free_at_once() {
    let now = start_of_time();
    let mut ports = allocator(now, 10_000, 10_001);
    let lease = ports.take(now, Width::Pair, OWNER).unwrap();
    ports.release(now, lease, Fate::Free);
    assert_eq!(ports.take(now, Width::Pair, OWNER), Some(lease));
    assert_eq!(ports.usage(now).rests_cut, 0);
}

#[test]
fn singles_use_both_halves_of_a_pair_and_merge_when_both_are_free() {
    let now = start_of_time();
    let mut ports = allocator(now, 10_000, 10_001);
    let one = ports.take(now, Width::Single, OWNER).unwrap();
    let two = ports.take(now, Width::Single, OWNER).unwrap();
    assert_eq!((one.rtp(), two.rtp(), one.rtcp()), (10_000, 10_001, None));
    assert_eq!(ports.take(now, Width::Pair, OWNER), None);
    ports.release(now, two, Fate::Free);
    assert_eq!(ports.take(now, Width::Pair, OWNER), None);
    ports.release(now, one, Fate::Free);
    assert!(ports.is_untouched());
    assert!(ports.take(now, Width::Pair, OWNER).is_some());
}

#[test]
fn a_port_shows_its_owner_and_age_and_the_oldest_is_known() {
    let start = start_of_time();
    let mut ports = allocator(start, 10_000, 10_009);
    let age = Duration::from_secs(5);
    let first = ports.take(start, Width::Pair, SessionId(1)).unwrap();
    ports.take(start + age, Width::Pair, SessionId(2)).unwrap();
    assert_eq!(ports.owner(start + age, first.rtp() + 1), Some((SessionId(1), age)));
    assert_eq!(ports.usage(start + age).oldest, Some((SessionId(1), age)));
    ports.release(start + age, first, Fate::Rest);
    assert_eq!(ports.owner(start + age, first.rtp()), None);
    assert_eq!(ports.usage(start + age).oldest, Some((SessionId(2), Duration::ZERO)));
}

/// What the model is told to do.
#[derive(Clone, Debug)]
enum Step {
    Take(Width),
    Release(prop::sample::Index, Fate),
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let width = prop_oneof![3 => Just(Width::Pair), 1 => Just(Width::Single)];
    let fate =
        prop_oneof![4 => Just(Fate::Rest), 1 => Just(Fate::Free), 1 => Just(Fate::Quarantine)];
    prop_oneof![
        4 => width.prop_map(Step::Take),
        3 => (any::<prop::sample::Index>(), fate).prop_map(|(which, fate)| Step::Release(which, fate)),
        1 => (0..40_u64).prop_map(Step::Wait),
    ]
}

fn ports_of(lease: Lease) -> impl Iterator<Item = u16> {
    [Some(lease.rtp()), lease.rtcp()].into_iter().flatten()
}

/// What is true of ports, kept in plain sets.
struct Model {
    now: Instant,
    leases: Vec<Lease>,
    used: HashSet<u16>,
    /// When the port may be used again, and whether pressure can change that.
    away: HashMap<u16, (Instant, Fate)>,
}

impl Model {
    fn taken(&mut self, lease: Lease, cut_allowed: bool) {
        for port in ports_of(lease) {
            assert!(self.used.insert(port), "port {port} was given out twice");
            if let Some((until, fate)) = self.away.remove(&port)
                && self.now < until
            {
                assert!(fate == Fate::Rest && cut_allowed, "the rest of {port} was not respected");
            }
        }
        self.leases.push(lease);
    }

    fn released(&mut self, lease: Lease, fate: Fate) {
        for port in ports_of(lease) {
            assert!(self.used.remove(&port));
            if fate != Fate::Free {
                self.away.insert(port, (self.now + REST, fate));
            }
        }
    }
}

proptest! {
    /// Never double-allocates, never loses a port, respects rests unless it counts the cut.
    #[test]
    fn the_allocator_agrees_with_a_model(steps in prop::collection::vec(step(), 1..300)) {
        let start = start_of_time();
        let mut ports = allocator(start, 10_000, 10_011);
        let mut model = Model { now: start, leases: vec![], used: HashSet::new(), away: HashMap::new() };
        for step in steps {
            match step {
                Step::Take(width) => {
                    let before = ports.usage(model.now);
                    if let Some(lease) = ports.take(model.now, width, OWNER) {
                        let after = ports.usage(model.now);
                        model.taken(lease, after.rests_cut > before.rests_cut);
                        if width == Width::Single && before.resting - after.resting == 2 {
                            // A pair's rest was cut to get one port: the other is free.
                            model.away.remove(&(lease.rtp() ^ 1));
                        }
                    }
                }
                Step::Release(which, fate) if !model.leases.is_empty() => {
                    let lease = model.leases.swap_remove(which.index(model.leases.len()));
                    ports.release(model.now, lease, fate);
                    model.released(lease, fate);
                }
                Step::Release(..) => {}
                Step::Wait(seconds) => model.now += Duration::from_secs(seconds),
            }
            let usage = ports.usage(model.now);
            prop_assert_eq!(usage.used as usize, model.used.len());
            prop_assert_eq!(usage.used + usage.free + usage.resting, 12);
            let away = model.away.values().filter(|(until, _)| model.now < *until).count();
            prop_assert_eq!(usage.resting as usize, away);
        }
        for lease in model.leases.drain(..) {
            ports.release(model.now, lease, Fate::Rest);
        }
        ports.usage(model.now + REST);
        prop_assert!(ports.is_untouched(), "ports were lost");
    }
}
