//! Settings that are changed in the engine and take effect on members.

use control_core::cluster::membership::{ChangeError, Output, Ticket};
use control_core::cluster::{
    Change, FarmSetting, Key, LocalSettings, Salt, Scope, SettingKey, SettingsDocument, TokenKeys,
    UnixMillis, UnixSeconds,
};
use control_core::settings::{Effect, PortRange};

use super::world::{World, settled};
use crate::make::name;

fn set(world: &mut World, at: usize, scope: Scope, key: SettingKey, value: &str) -> Ticket {
    let ticket = Ticket(world.now_ms * 100 + world.processes[at].outputs.len() as u64);
    let change =
        Change { key, value: Some(value.to_owned()), by: "ann".to_owned(), at: UnixMillis(7) };
    let now = world.now();
    world.processes[at].membership.handle_settings_change(ticket, scope, change, now);
    world.take_outputs(at);
    ticket
}

fn answer(world: &World, at: usize, ticket: Ticket) -> Option<Result<(), ChangeError>> {
    world.processes[at].outputs.iter().find_map(|output| {
        let Output::SettingChanged { ticket: of, result } = output else { return None };
        (*of == ticket).then(|| result.clone())
    })
}

fn of(member: &str) -> Scope {
    Scope::Member(name(member))
}

/// S20-S23: set on one member for another, in force in the next view.
#[test]
fn a_farm_setting_that_is_set_anywhere_takes_effect_on_its_member_at_once() {
    let mut world = settled(3);
    let ticket = set(&mut world, 2, of("m2"), SettingKey::Farm, "disabled");
    world.run(100);
    assert_eq!(answer(&world, 2, ticket), Some(Ok(())));
    assert_eq!(world.view().members[1].profile.farm, FarmSetting::Disabled);
    let told = |output: &Output| matches!(output, Output::ProfileChanged(p) if p.farm == FarmSetting::Disabled);
    assert!(world.processes[1].has(told));
    let document: SettingsDocument =
        world.value(&Key::MemberSettings(name("m2"))).expect("it stands there");
    assert_eq!(document.audit.len(), 1);
    assert_eq!(document.audit[0].by, "ann");
}

/// Whatever may be set acts without a new start of the member; what calls have of it is kept for them where it
/// says so.
#[test]
fn every_setting_acts_when_its_label_says() {
    for key in SettingKey::ALL {
        let mut world = settled(1);
        let announced = TokenKeys::default().announce(Salt([3; 16])).expect("the first");
        let (scope, value) = match key {
            SettingKey::ClusterWanIp => (Scope::Cluster, "203.0.113.5"),
            SettingKey::Role => (of("m1"), "backend"),
            SettingKey::Farm => (of("m1"), "disabled"),
            SettingKey::CallLegs | SettingKey::Signals => (of("m1"), "remotely"),
            SettingKey::Capacity => (of("m1"), "7"),
            SettingKey::MediaPorts => (of("m1"), "40000-40007"),
            SettingKey::WanIp => (of("m1"), "203.0.113.6"),
            // It concerns the others.
            SettingKey::Barred => (of("m2"), "1700000000"),
            SettingKey::TokenKeys => (Scope::Cluster, &*announced.to_string()),
        };
        let before = world.processes[0].membership.profile();
        let ticket = set(&mut world, 0, scope, key, value);
        world.run(3_000);
        assert_eq!(answer(&world, 0, ticket), Some(Ok(())), "{key}");
        let after = world.processes[0].membership.profile();
        if key == SettingKey::Barred {
            let barred = world.processes[0].membership.barred();
            assert_eq!(barred.get(&name("m2")), Some(&UnixSeconds(1_700_000_000)));
            continue;
        }
        if key == SettingKey::TokenKeys {
            assert_eq!(world.processes[0].membership.token_keys(), announced);
            continue;
        }
        assert_ne!(after, before, "{key} acts at once");
        assert_eq!(world.view().members[0].profile, after, "{key} is told");
        let is_media = (after.media_ports, after.wan_ip) != (before.media_ports, before.wan_ip);
        let label = if is_media { Effect::Drain } else { Effect::Live };
        assert_eq!(key.effect(), label, "{key}");
    }
}

#[test]
fn changes_of_two_members_at_once_are_both_made() {
    let mut world = settled(3);
    let one = set(&mut world, 0, Scope::Cluster, SettingKey::Capacity, "50");
    let two = set(&mut world, 1, Scope::Cluster, SettingKey::Farm, "disabled");
    world.run(3_000);
    assert_eq!(answer(&world, 0, one), Some(Ok(())));
    assert_eq!(answer(&world, 1, two), Some(Ok(())));
    let document: SettingsDocument = world.value(&Key::ClusterSettings).expect("it stands there");
    assert_eq!(document.audit.len(), 2);
    assert_eq!(document.values.len(), 2);
}

#[test]
fn a_wrong_value_is_refused_before_the_engine_hears_of_it() {
    let mut world = settled(1);
    let ticket = set(&mut world, 0, of("m1"), SettingKey::Capacity, "many");
    assert!(matches!(answer(&world, 0, ticket), Some(Err(ChangeError::Wrong(_)))));
    let ticket = set(&mut world, 0, Scope::Cluster, SettingKey::WanIp, "192.0.2.1");
    assert!(matches!(answer(&world, 0, ticket), Some(Err(ChangeError::Wrong(_)))));
    world.run(100);
    assert!(world.value::<SettingsDocument>(&Key::ClusterSettings).is_none());
}

#[test]
fn without_the_engine_a_change_is_given_up_in_time() {
    let mut world = settled(1);
    world.cut_off(0);
    let ticket = set(&mut world, 0, of("m1"), SettingKey::Capacity, "5");
    world.run(9_000);
    assert_eq!(answer(&world, 0, ticket), None);
    world.run(1_100);
    assert_eq!(answer(&world, 0, ticket), Some(Err(ChangeError::Unanswered)));
}

#[test]
fn changes_beyond_the_bound_are_refused() {
    let mut world = settled(1);
    world.cut_off(0);
    let mut last = Ticket(0);
    for _ in 0..17 {
        world.run(1);
        last = set(&mut world, 0, of("m1"), SettingKey::Capacity, "5");
    }
    assert_eq!(answer(&world, 0, last), Some(Err(ChangeError::Busy)));
}

/// S63: one address for all means ranges of their own (S60).
#[test]
fn a_cluster_wan_ip_under_which_ranges_would_overlap_is_refused_with_both_names() {
    let mut world = settled(2);
    let ticket = set(&mut world, 0, Scope::Cluster, SettingKey::ClusterWanIp, "203.0.113.5");
    world.run(100);
    let Some(Err(ChangeError::Overlap(overlap))) = answer(&world, 0, ticket) else {
        panic!("{:?}", answer(&world, 0, ticket))
    };
    let text = overlap.to_string();
    assert!(text.contains("m1") && text.contains("m2") && text.contains("203.0.113.5"), "{text}");
    let ticket = set(&mut world, 0, of("m2"), SettingKey::MediaPorts, "30000-39999");
    world.run(100);
    assert_eq!(answer(&world, 0, ticket), Some(Ok(())));
    let ticket = set(&mut world, 0, Scope::Cluster, SettingKey::ClusterWanIp, "203.0.113.5");
    world.run(100);
    assert_eq!(answer(&world, 0, ticket), Some(Ok(())));
    for member in &world.view().members {
        assert_eq!(member.profile.wan_ip.v4, Some([203, 0, 113, 5].into()));
    }
    let ticket = set(&mut world, 1, of("m1"), SettingKey::MediaPorts, "28000-30001");
    world.run(100);
    assert!(matches!(answer(&world, 1, ticket), Some(Err(ChangeError::Overlap(_)))));
}

#[test]
fn the_settings_of_a_member_that_is_not_there_yet_wait_for_it() {
    let mut world = settled(1);
    set(&mut world, 0, of("m2"), SettingKey::Farm, "relay");
    set(&mut world, 0, of("m2"), SettingKey::MediaPorts, "40000-40007");
    world.run(3_000);
    let file = LocalSettings { farm: Some(FarmSetting::Member), ..World::settings(2) };
    world.start("m2", file);
    world.run_until(100, "it joins", World::is_settled);
    let profile = &world.view().members[1].profile;
    assert_eq!(profile.farm, FarmSetting::Relay);
    assert_eq!(profile.media_ports, PortRange::new(40_000, 40_007).expect("a range"));
}
