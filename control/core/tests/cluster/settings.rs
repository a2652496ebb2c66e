//! Settings in the engine: what may stand there, what goes before what, who changed what.

use control_core::cluster::{
    AUDIT_MAX, Capacity, Change, Document, FarmSetting, LocalSettings, PlacementSetting, Role,
    Scope, SettingKey, SettingsDocument, UnixMillis, Versions,
};
use control_core::settings::{AddressPair, PortRange};

use crate::make::name;

fn change(key: SettingKey, value: Option<&str>) -> Change {
    Change { key, value: value.map(str::to_owned), by: "ann".to_owned(), at: UnixMillis(5) }
}

fn document(values: &[(SettingKey, &str)]) -> SettingsDocument {
    let mut document = SettingsDocument::default();
    for (key, value) in values {
        let change = change(*key, Some(value));
        assert_eq!(change.check(), Ok(()));
        document.apply(&change);
    }
    document
}

fn v4(text: &str) -> AddressPair {
    AddressPair { v4: Some(text.parse().expect("an address")), v6: None }
}

pub(crate) fn local() -> LocalSettings {
    LocalSettings {
        role: Role::Frontend,
        farm: None,
        call_legs: None,
        signals: None,
        capacity: None,
        media_ports: PortRange::new(20_000, 29_999).expect("a range"),
        wan_ip: AddressPair::default(),
        cluster_wan_ip: AddressPair::default(),
        mesh: "10.0.0.1:7000".parse().expect("an address"),
        sip: Vec::new(),
        protocol: Versions { oldest: 1, newest: 1 },
    }
}

/// S63, S71: server-wide, else cluster-wide, else local; each with the engine before the file.
#[test]
fn a_wan_ip_is_the_members_own_else_the_clusters_else_none() {
    let wan = |own: &str, own_file: &str, cluster: &str, cluster_file: &str| {
        let pair = |text: &str| if text.is_empty() { AddressPair::default() } else { v4(text) };
        let file =
            LocalSettings { wan_ip: pair(own_file), cluster_wan_ip: pair(cluster_file), ..local() };
        let cluster = document(&[(SettingKey::ClusterWanIp, cluster)]);
        file.profile(&cluster, &document(&[(SettingKey::WanIp, own)])).wan_ip
    };
    assert_eq!(wan("192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4"), v4("192.0.2.1"));
    assert_eq!(wan("", "192.0.2.2", "192.0.2.3", "192.0.2.4"), v4("192.0.2.2"));
    assert_eq!(wan("", "", "192.0.2.3", "192.0.2.4"), v4("192.0.2.3"));
    assert_eq!(wan("", "", "", "192.0.2.4"), v4("192.0.2.4"));
    assert_eq!(wan("", "", "", ""), AddressPair::default());
}

#[test]
fn a_wan_ip_of_each_family_comes_from_where_there_is_one() {
    let cluster = document(&[(SettingKey::ClusterWanIp, "192.0.2.3, 2001:db8::3")]);
    let own = document(&[(SettingKey::WanIp, "192.0.2.1")]);
    let profile = local().profile(&cluster, &own);
    assert_eq!(profile.wan_ip.v4, Some("192.0.2.1".parse().unwrap()));
    assert_eq!(profile.wan_ip.v6, Some("2001:db8::3".parse().unwrap()));
    assert_eq!(profile.own_wan_ip, v4("192.0.2.1"));
}

/// S13-S23 as settings of one member or of all.
#[test]
fn a_members_document_goes_before_its_file_and_that_before_the_clusters_document() {
    let cluster = document(&[
        (SettingKey::Farm, "disabled"),
        (SettingKey::Capacity, "10"),
        (SettingKey::Signals, "remotely"),
    ]);
    let own = document(&[
        (SettingKey::Farm, "relay"),
        (SettingKey::Role, "backend"),
        (SettingKey::MediaPorts, "30000-30001"),
    ]);
    let file = LocalSettings {
        farm: Some(FarmSetting::Member),
        capacity: Some(Capacity::new(50).unwrap()),
        ..local()
    };
    let profile = file.profile(&cluster, &own);
    assert_eq!(profile.farm, FarmSetting::Relay);
    assert_eq!(profile.role, Role::Backend);
    assert_eq!(profile.media_ports, PortRange::new(30_000, 30_001).unwrap());
    assert_eq!(profile.capacity.get(), 50);
    assert_eq!(profile.signals, PlacementSetting::Remotely);
    assert_eq!(profile.call_legs, PlacementSetting::Auto);
    let none = SettingsDocument::default();
    assert_eq!(file.profile(&cluster, &none).farm, FarmSetting::Member);
    assert_eq!(local().profile(&cluster, &none).farm, FarmSetting::Disabled);
    assert_eq!(local().profile(&none, &none).farm, FarmSetting::Auto);
}

#[test]
fn what_cannot_stand_there_is_refused_with_what_can() {
    for (key, value, expected) in [
        (
            SettingKey::Farm,
            "on",
            "member.farm: unknown farm setting \"on\"; \
             write one of \"member\", \"disabled\", \"relay\", \"auto\"",
        ),
        (
            SettingKey::Capacity,
            "0",
            "member.capacity: \"0\" is not a capacity; write a number from 1 to 10000, usually 100",
        ),
        (
            SettingKey::MediaPorts,
            "10001-20000",
            "member.media_ports: the first port, 10001, is odd, and RTP uses even ports; \
             start at 10000",
        ),
        (
            SettingKey::WanIp,
            "192.0.2.1,192.0.2.2",
            "member.wan_ip: 192.0.2.2 is the second address of its family; \
             write one IPv4 address and one IPv6 address at most",
        ),
    ] {
        assert_eq!(change(key, Some(value)).check(), Err(expected.to_owned()));
    }
    assert!(change(SettingKey::ClusterWanIp, Some("0.0.0.0")).check().is_err());
    assert!(change(SettingKey::ClusterWanIp, Some("example.com")).check().is_err());
    assert!(change(SettingKey::Farm, Some(&"x".repeat(257))).check().is_err());
}

#[test]
fn a_key_of_the_other_document_or_of_none_is_refused_with_the_way_out() {
    let fe1 = Scope::Member(name("fe1"));
    assert_eq!(SettingKey::parse("member.farm", &fe1), Ok(SettingKey::Farm));
    assert_eq!(SettingKey::parse("member.farm", &Scope::Cluster), Ok(SettingKey::Farm));
    assert_eq!(
        SettingKey::parse("member.wan_ip", &Scope::Cluster),
        Err("member.wan_ip is of one member; name the member".to_owned())
    );
    assert!(SettingKey::parse("cluster.wan_ip", &fe1).unwrap_err().contains("whole cluster"));
    let unknown = SettingKey::parse("member.colour", &fe1).unwrap_err();
    assert!(unknown.contains("no such setting \"member.colour\"; there are cluster.wan_ip, "));
}

#[test]
fn a_change_is_written_down_with_who_when_before_and_after() {
    let mut document = document(&[(SettingKey::Farm, "relay")]);
    assert!(document.apply(&change(SettingKey::Farm, Some("auto"))));
    assert!(!document.apply(&change(SettingKey::Farm, Some("auto"))), "no change, no entry");
    assert!(document.apply(&change(SettingKey::Farm, None)));
    let audit: Vec<_> =
        document.audit.iter().map(|a| (a.old.as_deref(), a.new.as_deref())).collect();
    assert_eq!(audit, [(None, Some("relay")), (Some("relay"), Some("auto")), (Some("auto"), None)]);
    let last = document.audit.back().unwrap();
    assert_eq!(
        (last.by.as_str(), last.key.as_str(), last.at),
        ("ann", "member.farm", UnixMillis(5))
    );
    assert_eq!(document.get(SettingKey::Farm), None);
}

#[test]
fn the_list_of_changes_is_bounded_and_the_document_stays_short() {
    let mut document = SettingsDocument::default();
    let long = |i: usize| format!("{}{}", " ".repeat(230), ["192.0.2.1", "192.0.2.2"][i % 2]);
    for i in 0..AUDIT_MAX + 10 {
        let change = Change { by: "x".repeat(256), ..change(SettingKey::WanIp, Some(&long(i))) };
        assert_eq!(change.check(), Ok(()));
        assert!(document.apply(&change));
    }
    assert_eq!(document.audit.len(), AUDIT_MAX);
    assert!(SettingsDocument::from_bytes(&document.to_bytes()).is_ok());
}

#[test]
fn values_that_were_written_past_all_checks_count_as_absent_and_unknown_keys_stay() {
    let mut own = SettingsDocument::default();
    own.values.insert("member.farm".to_owned(), "nonsense".to_owned());
    own.values.insert("member.colour".to_owned(), "blue".to_owned());
    let file = LocalSettings { farm: Some(FarmSetting::Relay), ..local() };
    assert_eq!(file.profile(&SettingsDocument::default(), &own).farm, FarmSetting::Relay);
    own.apply(&change(SettingKey::Capacity, Some("7")));
    assert_eq!(own.values.get("member.colour").map(String::as_str), Some("blue"));
}
