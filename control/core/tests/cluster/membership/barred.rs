//! Members that were taken out of the cluster for good.

use control_core::cluster::membership::{JoinError, Output, Ticket};
use control_core::cluster::{
    Change, Document as _, Key, MemberRecord, Ranges, Scope, SettingKey, UnixMillis,
};

use super::world::{World, settled};
use crate::make::name;

/// By another member's command; `until` in seconds since 1970.
fn bar(world: &mut World, by: usize, member: &str, until: u64) {
    let (key, value) = (SettingKey::Barred, Some(until.to_string()));
    let change = Change { key, value, by: "ann".to_owned(), at: UnixMillis(7) };
    let now = world.now();
    let membership = &mut world.processes[by].membership;
    membership.handle_settings_change(Ticket(1), Scope::Member(name(member)), change, now);
    world.take_outputs(by);
}

fn is_refused(world: &World, at: usize) -> bool {
    let barred = |o: &Output| matches!(o, Output::Refused(JoinError::Barred(_)));
    world.processes[at].has(barred)
}

/// It gives back what it holds and is told why, also if it is the Controller; with the same certificate it does not
/// come back, with another one it does, under its number.
#[test]
fn a_member_that_is_barred_leaves_at_once_and_comes_back_with_another_certificate_alone() {
    let mut world = settled(3);
    let victim = world.controller();
    let member = world.processes[victim].name.to_string();
    let number = world.record(&member).member.id;
    bar(&mut world, (victim + 1) % 3, &member, 2_000);
    world.run_until(3_000, "it is out", |world| !world.in_view().contains(&member));
    assert!(is_refused(&world, victim));
    let claims = |world: &World| -> Vec<String> {
        let ranges: Vec<Ranges> = (0..=255)
            .filter_map(|host| world.value(&Key::Ranges([10, 0, 0, host].into())))
            .collect();
        ranges.iter().flat_map(|ranges| &ranges.claims).map(|one| one.name.to_string()).collect()
    };
    assert!(!claims(&world).contains(&member), "{:?}", claims(&world));
    world.kill(victim);
    let again = world.start(&member, World::settings(victim as u8 + 1));
    world.run(30_000);
    assert!(is_refused(&world, again));
    assert!(!world.in_view().contains(&member));
    world.kill(again);
    world.certified = 3_000;
    world.start(&member, World::settings(victim as u8 + 1));
    world.run_until(30_000, "it is back", |world| world.in_view().contains(&member));
    assert_eq!(world.record(&member).member.id, number);
}

/// Somebody who goes on to renew the lease by the keys of a host that is lost is no member for that.
#[test]
fn a_barred_member_whose_lease_runs_on_is_in_no_view() {
    let mut world = settled(3);
    let record = world.record("m3");
    world.vanish(2);
    let key = Key::Member(name("m3"));
    for beat in 1..20 {
        let beat = record.beat + beat;
        let alive = MemberRecord { beat, ..record.clone() };
        world.write(&key, alive.to_bytes());
        if beat == record.beat + 5 {
            assert_eq!(world.in_view(), ["m1", "m2", "m3"]);
            bar(&mut world, 0, "m3", 2_000);
        }
        world.run(1_000);
        if beat > record.beat + 5 {
            assert_eq!(world.in_view(), ["m1", "m2"]);
        }
    }
}
