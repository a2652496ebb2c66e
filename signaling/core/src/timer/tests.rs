use proptest::prelude::*;

use super::*;

#[expect(clippy::disallowed_methods, reason = "a test needs some instant to count from")]
fn epoch() -> Instant {
    Instant::now()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn drain(wheel: &mut Wheel<u32>, now: Instant) -> Vec<u32> {
    std::iter::from_fn(|| wheel.pop_expired(now)).collect()
}

#[test]
fn pops_in_order_of_deadline_and_then_of_scheduling() {
    let start = epoch();
    let mut wheel = Wheel::new(start, 10);
    for (at, key) in [(70_000, 4), (5, 1), (5, 2), (64, 3)] {
        wheel.schedule(start + ms(at), key).unwrap();
    }
    assert_eq!(drain(&mut wheel, start + ms(4)), []);
    assert_eq!(drain(&mut wheel, start + ms(100_000)), [1, 2, 3, 4]);
    assert!(wheel.is_empty());
}

#[test]
fn does_not_fire_a_fraction_of_a_millisecond_early() {
    let start = epoch();
    let mut wheel = Wheel::new(start, 1);
    let at = start + Duration::from_micros(1_500);
    wheel.schedule(at, 7).unwrap();
    assert_eq!(wheel.pop_expired(start + ms(1)), None);
    assert_eq!(wheel.pop_expired(start + ms(2)), Some(7));
}

#[test]
fn a_timer_in_the_past_expires_at_once() {
    let start = epoch();
    let mut wheel = Wheel::new(start, 2);
    assert_eq!(wheel.pop_expired(start + ms(1_000)), None);
    wheel.schedule(start, 1).unwrap();
    assert!(wheel.next_deadline().unwrap() <= start + ms(1_000));
    assert_eq!(wheel.pop_expired(start + ms(1_000)), Some(1));
}

#[test]
fn cancelling_gives_the_key_back_once() {
    let start = epoch();
    let mut wheel = Wheel::new(start, 2);
    let id = wheel.schedule(start + ms(10), 1).unwrap();
    assert_eq!(wheel.cancel(id), Some(1));
    assert_eq!(wheel.cancel(id), None);
    assert_eq!(wheel.next_deadline(), None);
}

#[test]
fn an_old_id_does_not_cancel_the_timer_that_took_its_place() {
    let start = epoch();
    let mut wheel = Wheel::new(start, 1);
    let old = wheel.schedule(start + ms(10), 1).unwrap();
    assert_eq!(wheel.pop_expired(start + ms(10)), Some(1));
    wheel.schedule(start + ms(20), 2).unwrap();
    assert_eq!(wheel.cancel(old), None);
    assert_eq!(wheel.pop_expired(start + ms(20)), Some(2));
}

#[test]
fn refuses_more_timers_than_it_was_made_for() {
    let start = epoch();
    let mut wheel = Wheel::new(start, 1);
    let id = wheel.schedule(start, 1).unwrap();
    assert_eq!(wheel.schedule(start, 2), Err(WheelFull));
    wheel.cancel(id);
    assert!(wheel.schedule(start, 2).is_ok());
}

#[test]
fn a_deadline_beyond_the_horizon_is_brought_forward_to_it() {
    let start = epoch();
    let mut wheel = Wheel::new(start, 1);
    wheel.schedule(start + Duration::from_secs(200 * 365 * 86_400), 1).unwrap();
    assert_eq!(wheel.pop_expired(start + ms(TICK_MAX - 1)), None);
    assert_eq!(wheel.pop_expired(start + ms(TICK_MAX)), Some(1));
}

/// Sleeping until `next_deadline` each time pops a far timer in few steps and at the right moment.
#[test]
fn the_next_deadline_leads_to_the_timer_in_at_most_one_step_a_level() {
    let start = epoch();
    let mut wheel = Wheel::new(start, 1);
    let at = start + ms(123_456_789);
    wheel.schedule(at, 1).unwrap();
    for _ in 0..LEVELS {
        let now = wheel.next_deadline().unwrap();
        assert!(now <= at);
        if wheel.pop_expired(now).is_some() {
            assert_eq!(now, at);
            return;
        }
    }
    panic!("not popped");
}

#[derive(Clone, Debug)]
enum Step {
    Schedule(i64),
    Cancel(usize),
    Advance(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let delay = prop_oneof![-50i64..200, -50i64..100_000, 0i64..50_000_000];
    prop_oneof![
        4 => delay.prop_map(Step::Schedule),
        2 => any::<usize>().prop_map(Step::Cancel),
        3 => prop_oneof![0u64..100, 0u64..100_000, 0u64..60_000_000].prop_map(Step::Advance),
    ]
}

/// The model: an unsorted list of (deadline in ms, order of scheduling).
#[derive(Default)]
struct Model {
    timers: Vec<(u64, u32, TimerId)>,
}

impl Model {
    fn pop_all(&mut self, now: u64) -> Vec<u32> {
        self.timers.sort_by_key(|&(at, key, _)| (at, key));
        let due = self.timers.partition_point(|&(at, _, _)| at <= now);
        self.timers.drain(..due).map(|(_, key, _)| key).collect()
    }
}

proptest! {
    #[test]
    fn behaves_as_a_sorted_list_does(steps in prop::collection::vec(step(), 1..200)) {
        let start = epoch();
        let (mut wheel, mut model, mut now) = (Wheel::new(start, 1_000), Model::default(), 0u64);
        for (key, step) in (0u32..).zip(steps) {
            match step {
                Step::Schedule(delay) => {
                    let at = now.saturating_add_signed(delay);
                    let id = wheel.schedule(start + ms(at), key).unwrap();
                    model.timers.push((at.max(now), key, id));
                }
                Step::Cancel(_) if model.timers.is_empty() => {}
                Step::Cancel(which) => {
                    let which = which % model.timers.len();
                    let (_, key, id) = model.timers.swap_remove(which);
                    prop_assert_eq!(wheel.cancel(id), Some(key));
                }
                Step::Advance(by) => {
                    now += by;
                    prop_assert_eq!(drain(&mut wheel, start + ms(now)), model.pop_all(now));
                }
            }
            prop_assert_eq!(wheel.len(), model.timers.len());
            let earliest = model.timers.iter().map(|&(at, _, _)| start + ms(at)).min();
            prop_assert_eq!(wheel.next_deadline().is_some(), earliest.is_some());
            prop_assert!(wheel.next_deadline() <= earliest || earliest.is_none());
        }
    }
}
