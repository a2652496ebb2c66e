//! What stands in the engine: JSON that people and other versions can read.

use control_core::cluster::{
    DOCUMENT_BYTES_MAX, Document, FarmSetting, Incarnation, Instance, Load, MEMBERS_MAX, MemberId,
    MemberRecord, Presence, Role, UnixSeconds, View,
};

use crate::make::{member, view};

fn record() -> MemberRecord {
    MemberRecord {
        version: MemberRecord::VERSION,
        instance: Instance(7),
        beat: 3,
        presence: Presence::Here,
        load: Load { calls: 12, cpu_permille: 250 },
        joining: false,
        token_key: 0,
        certified: UnixSeconds(1_000),
        refused_by: Vec::new(),
        member: member(1, Role::Frontend, FarmSetting::Auto),
    }
}

fn as_json(document: &impl Document) -> serde_json::Value {
    serde_json::from_slice(&document.to_bytes()).expect("documents are JSON")
}

#[test]
fn a_document_is_read_as_it_was_written() {
    assert_eq!(MemberRecord::from_bytes(&record().to_bytes()), Ok(record()));
    let view = view(vec![member(1, Role::Backend, FarmSetting::Relay)]);
    assert_eq!(View::from_bytes(&view.to_bytes()), Ok(view));
}

#[test]
fn people_read_words_names_and_addresses() {
    let json = as_json(&record());
    let profile = &json["member"]["profile"];
    assert_eq!(json["presence"], "here");
    assert_eq!(json["member"]["name"], "m1");
    assert_eq!(profile["role"], "frontend");
    assert_eq!(profile["farm"], "auto");
    assert_eq!(profile["media_ports"], "20000-29999");
    assert_eq!(profile["sip"][0]["transport"], "udp");
    assert_eq!(profile["sip"][0]["address"], "10.0.0.1:5060");
}

#[test]
fn fields_of_newer_software_are_passed_over() {
    let mut json = as_json(&record());
    json["colour"] = "blue".into();
    json["member"]["profile"]["taste"] = serde_json::json!({ "sweet": true });
    assert_eq!(MemberRecord::from_bytes(json.to_string().as_bytes()), Ok(record()));
}

#[test]
fn a_document_of_a_version_that_must_not_be_guessed_at_is_refused() {
    let newer = MemberRecord { version: MemberRecord::VERSION + 1, ..record() };
    let wrong = MemberRecord::from_bytes(&newer.to_bytes()).expect_err("unknown");
    assert_eq!(
        wrong.to_string(),
        "a member's record cannot be read: it is of version 2, and this software knows 1: \
         upgrade this member"
    );
}

#[test]
fn what_is_no_document_or_too_long_is_refused() {
    for bytes in [&b""[..], b"{}", b"null", b"{\"version\":1", &[0xff; 16]] {
        assert!(MemberRecord::from_bytes(bytes).is_err(), "{bytes:?}");
    }
    let mut long = record().to_bytes();
    long.resize(DOCUMENT_BYTES_MAX + 1, b' ');
    assert!(MemberRecord::from_bytes(&long).expect_err("too long").why.contains("longer than"));
}

/// B5: only the very start of a member that a view names is in it.
#[test]
fn a_view_holds_a_member_in_its_incarnation_alone() {
    let view = view(vec![
        member(1, Role::Frontend, FarmSetting::Auto),
        member(3, Role::Frontend, FarmSetting::Auto),
    ]);
    let id = |number| MemberId::new(number).expect("not 0");
    assert!(view.holds(id(3), Incarnation(1)));
    assert!(!view.holds(id(3), Incarnation(2)));
    assert!(!view.holds(id(2), Incarnation(1)));
}

/// What readers of a view rely on is checked when it comes in.
#[test]
fn a_view_with_members_out_of_order_or_twice_is_not_sound() {
    let with = |ids: &[u16]| {
        view(ids.iter().map(|id| member(*id, Role::Frontend, FarmSetting::Auto)).collect())
    };
    assert!(with(&[1, 2, 7]).is_sound());
    assert!(with(&[]).is_sound());
    assert!(!with(&[2, 1]).is_sound());
    assert!(!with(&[1, 1]).is_sound());
    let mut same_name = with(&[1, 2]);
    same_name.members[1].name = same_name.members[0].name.clone();
    assert!(!same_name.is_sound());
    let ids: Vec<u16> = (1..=u16::try_from(MEMBERS_MAX).unwrap()).collect();
    assert!(with(&ids).is_sound());
    assert!(with(&ids).to_bytes().len() < DOCUMENT_BYTES_MAX);
    assert!(!with(&(1..=257).collect::<Vec<_>>()).is_sound());
}
