//! What settings of members come to in a view (S16, S20-S26).

use control_core::cluster::{Farm, FarmSetting, Member, PlacementSetting, Role, View};

use crate::make::{member, view};

fn draining(mut member: Member) -> Member {
    member.profile.draining = true;
    member
}

fn farm(view: &View, id: usize) -> Farm {
    view.farm(&view.members[id - 1])
}

fn ids<'a>(members: impl Iterator<Item = &'a Member>) -> Vec<u16> {
    members.map(|member| member.id.get()).collect()
}

/// S23: a backend sends through the farm if there is one.
#[test]
fn an_auto_backend_relays_while_another_member_is_in_the_farm() {
    let backend = || member(1, Role::Backend, FarmSetting::Auto);
    for (role, setting, expected) in [
        (Role::Frontend, FarmSetting::Auto, Farm::Relay),
        (Role::Frontend, FarmSetting::Member, Farm::Relay),
        (Role::Backend, FarmSetting::Member, Farm::Relay),
        (Role::Frontend, FarmSetting::Disabled, Farm::Disabled),
        (Role::Frontend, FarmSetting::Relay, Farm::Disabled),
        (Role::Backend, FarmSetting::Auto, Farm::Disabled),
    ] {
        let view = view(vec![backend(), member(2, role, setting)]);
        assert_eq!(farm(&view, 1), expected, "{role} {setting}");
    }
    assert_eq!(farm(&view(vec![backend()]), 1), Farm::Disabled);
}

/// S23 with "available": one that drains takes no new work, so `Auto` does not rely on it; an
/// explicit `Relay` does not fall back.
#[test]
fn a_draining_farm_member_makes_no_farm_for_auto_backends() {
    let gone = draining(member(2, Role::Frontend, FarmSetting::Auto));
    let auto = member(1, Role::Backend, FarmSetting::Auto);
    let relay = member(3, Role::Backend, FarmSetting::Relay);
    let view = view(vec![auto, gone, relay]);
    assert_eq!(farm(&view, 1), Farm::Disabled);
    assert_eq!(farm(&view, 3), Farm::Relay);
}

/// S25, S26: the list, with some frontends in the farm and some not.
#[test]
fn the_farm_is_those_whose_setting_comes_to_member() {
    let view = view(vec![
        member(1, Role::Frontend, FarmSetting::Auto),
        member(2, Role::Frontend, FarmSetting::Disabled),
        draining(member(3, Role::Frontend, FarmSetting::Member)),
        member(4, Role::Frontend, FarmSetting::Relay),
        member(5, Role::Backend, FarmSetting::Auto),
        member(6, Role::Backend, FarmSetting::Member),
    ]);
    assert_eq!(ids(view.farm_members()), [1, 3, 6]);
    assert_eq!(farm(&view, 2), Farm::Disabled);
}

/// S16, S18, S19: two lists, each by its own setting, without those that drain.
#[test]
fn those_that_create_for_others_are_listed_for_each_setting() {
    let mut legs_only = member(3, Role::Backend, FarmSetting::Auto);
    legs_only.profile.call_legs = PlacementSetting::LocallyForOthers;
    let mut signals_not = member(4, Role::Frontend, FarmSetting::Auto);
    signals_not.profile.signals = PlacementSetting::Locally;
    let view = view(vec![
        member(1, Role::Frontend, FarmSetting::Auto),
        draining(member(2, Role::Frontend, FarmSetting::Auto)),
        legs_only,
        signals_not,
    ]);
    assert_eq!(ids(view.creates_call_legs()), [1, 3, 4]);
    assert_eq!(ids(view.creates_signals()), [1]);
}
