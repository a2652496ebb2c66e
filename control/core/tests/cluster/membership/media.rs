//! Media port ranges under shared addresses (S60-S63, S71).

use std::net::IpAddr;

use control_core::cluster::membership::{JoinError, Output, UsedMedia};
use control_core::cluster::{Key, LocalSettings, Ranges};
use control_core::settings::{AddressPair, PortRange};

use super::world::World;

fn shared(host: u8, ports: (u16, u16)) -> LocalSettings {
    LocalSettings {
        wan_ip: AddressPair {
            v4: Some("203.0.113.5".parse().expect("an address")),
            v6: Some("2001:db8::5".parse().expect("an address")),
        },
        media_ports: PortRange::new(ports.0, ports.1).expect("a range"),
        ..World::settings(host)
    }
}

/// Who has which ports under both addresses.
fn claims(world: &World) -> Vec<String> {
    let under = |address: &str| {
        let address: IpAddr = address.parse().expect("an address");
        let ranges: Ranges = world.value(&Key::Ranges(address)).unwrap_or_default();
        let claims = ranges.claims.iter().map(|claim| format!("{} {}", claim.name, claim.ports));
        claims.collect::<Vec<_>>()
    };
    let (v4, v6) = (under("203.0.113.5"), under("2001:db8::5"));
    assert_eq!(v4, v6);
    v4
}

fn refusal(world: &World, at: usize) -> Option<String> {
    world.processes[at].outputs.iter().find_map(|output| {
        if let Output::Refused(JoinError::Overlap(why)) = output {
            Some(why.to_string())
        } else {
            None
        }
    })
}

/// S60: adjacent ranges are each their own.
#[test]
fn adjacent_ranges_under_one_address_are_claimed_in_both_families() {
    let mut world = World::calm();
    world.start("fe1", shared(1, (10_000, 19_999)));
    world.run(100);
    world.start("fe2", shared(2, (20_000, 29_999)));
    world.run_until(1_000, "both are members", World::is_settled);
    assert_eq!(claims(&world), ["fe1 10000-19999", "fe2 20000-29999"]);
}

#[test]
fn a_member_whose_range_overlaps_is_refused_with_both_names_and_leaves_nothing_behind() {
    let mut world = World::calm();
    world.start("fe1", shared(1, (10_000, 19_999)));
    world.run(100);
    let second = world.start("fe2", shared(2, (19_998, 29_999)));
    world.run(1_000);
    assert_eq!(
        refusal(&world, second).as_deref(),
        Some(
            "media ports 19998-29999 of fe2 overlap 10000-19999 of fe1, and both advertise \
             203.0.113.5; give each member its own range, or its own WAN IP"
        )
    );
    assert_eq!(claims(&world), ["fe1 10000-19999"]);
    assert_eq!(world.in_view(), ["fe1"]);
}

/// S66: with addresses of their own, ranges may be the same everywhere.
#[test]
fn the_same_range_under_different_addresses_is_fine() {
    let mut world = World::calm();
    for host in 1..=2 {
        let own = AddressPair { v4: Some([203, 0, 113, host].into()), v6: None };
        let settings = LocalSettings { wan_ip: own, ..World::settings(host) };
        world.start(&format!("fe{host}"), settings);
        world.run(100);
    }
    world.start("fe3", World::settings(3));
    world.start("fe4", World::settings(4));
    world.run_until(1_000, "all are members", World::is_settled);
}

#[test]
fn the_ranges_of_a_member_that_is_removed_are_released_and_a_newcomer_gets_them() {
    let mut world = World::calm();
    world.start("fe1", shared(1, (10_000, 19_999)));
    let second = world.start("fe2", shared(2, (20_000, 29_999)));
    world.run_until(1_000, "both are members", World::is_settled);
    world.vanish(second);
    world.run(8_000);
    assert_eq!(claims(&world).len(), 2, "it may be alive");
    world.run_until(8_000, "it is removed", World::is_settled);
    world.run(100);
    assert_eq!(claims(&world), ["fe1 10000-19999"]);
    world.start("fe3", shared(3, (20_000, 29_999)));
    world.run_until(1_000, "it joins", World::is_settled);
    assert_eq!(claims(&world), ["fe1 10000-19999", "fe3 20000-29999"]);
}

#[test]
fn a_member_that_leaves_releases_its_ranges_itself() {
    let mut world = World::calm();
    world.start("fe1", shared(1, (10_000, 19_999)));
    let second = world.start("fe2", shared(2, (20_000, 29_999)));
    world.run_until(1_000, "both are members", World::is_settled);
    let now = world.now();
    world.processes[second].membership.handle_leave(now);
    world.take_outputs(second);
    world.run(50);
    assert!(world.processes[second].has(|output| *output == Output::Left));
    assert_eq!(claims(&world), ["fe1 10000-19999"]);
}

#[test]
fn a_restarted_member_keeps_its_range_or_has_the_new_one_in_its_place() {
    let mut world = World::calm();
    let first = world.start("fe1", shared(1, (10_000, 19_999)));
    world.run_until(1_000, "it is a member", World::is_settled);
    world.kill(first);
    world.start("fe1", shared(1, (12_000, 30_001)));
    world.run_until(1_000, "it is back", World::is_settled);
    assert_eq!(claims(&world), ["fe1 12000-30001"]);
}

/// Calls go on where they are: old ports are kept until they are free.
#[test]
fn a_changed_range_is_claimed_beside_the_old_one_until_that_is_free() {
    let mut world = World::calm();
    let at = world.start("fe1", shared(1, (10_000, 19_999)));
    world.run_until(1_000, "it is a member", World::is_settled);
    let now = world.now();
    world.processes[at].membership.handle_local(shared(1, (30_000, 39_999)), now);
    world.take_outputs(at);
    world.run(100);
    assert_eq!(claims(&world), ["fe1 10000-19999", "fe1 30000-39999"]);
    assert_eq!(world.processes[at].membership.profile().media_ports.first(), 30_000);
    assert_eq!(world.view().members[0].profile.media_ports.first(), 30_000);
    let used = |settings: LocalSettings| UsedMedia {
        ports: settings.media_ports,
        wan_ip: settings.wan_ip.or(settings.cluster_wan_ip),
    };
    let [old, new] = [(10_000, 19_999), (30_000, 39_999)].map(|ports| used(shared(1, ports)));
    // The first was said before the news had come; the second names a call that goes on.
    for (latest, earlier) in [(old, vec![]), (new, vec![old])] {
        let now = world.now();
        world.processes[at].membership.handle_media_used(latest, &earlier, now);
        world.take_outputs(at);
        world.run(100);
        assert_eq!(claims(&world), ["fe1 10000-19999", "fe1 30000-39999"]);
    }
    let now = world.now();
    world.processes[at].membership.handle_media_used(new, &[], now);
    world.take_outputs(at);
    world.run(100);
    assert_eq!(claims(&world), ["fe1 30000-39999"]);
}

#[test]
fn a_changed_range_that_overlaps_is_not_used_and_told_once() {
    let mut world = World::calm();
    let first = world.start("fe1", shared(1, (10_000, 19_999)));
    world.start("fe2", shared(2, (20_000, 29_999)));
    world.run_until(1_000, "both are members", World::is_settled);
    let now = world.now();
    world.processes[first].membership.handle_local(shared(1, (15_000, 25_001)), now);
    world.take_outputs(first);
    world.run(30_000);
    assert_eq!(world.processes[first].membership.profile().media_ports.last(), 19_999);
    let told = world.processes[first].notices();
    let told =
        told.iter().filter(|notice| notice.contains("are not used: media ports 15000-25001"));
    assert_eq!(told.count(), 1);
}
