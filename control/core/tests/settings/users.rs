//! `[users]`: the open domain, listed users and their secrets.

use control_core::settings::{Credentials, check};

use crate::{bad, good};

const ALICE: &str = "[[users.list]]\nname = \"alice\"\npassword = \"Pa55w0rd-xyz\"\n";
const ROUTE: &str = "[[routes]]\ndomain = \"pbx.example\"\nnext_hop = \"192.0.2.7:5060\"\n";

#[test]
fn the_domain_is_open_as_long_as_no_users_are_listed() {
    assert!(good("").users.is_open());
    assert!(!good(ALICE).users.is_open());
    assert!(good("[users]\nopen = true\n").users.is_open());
    assert!(!good("[users]\nopen = false\n").users.is_open());
    assert!(good("[users]\nopen = \"auto\"\n").users.is_open());
}

#[test]
fn open_is_true_false_or_auto() {
    for open in ["\"yes\"", "1", "[]"] {
        let problems = bad(&format!("[users]\nopen = {open}\n"));
        assert!(
            problems.starts_with("2:8: users.open: expected true, false or \"auto\""),
            "{problems}"
        );
    }
}

#[test]
fn an_open_domain_with_listed_users_is_refused() {
    assert_eq!(
        bad(&format!("[users]\nopen = true\n{ALICE}")),
        "2:8: users.open: an open domain has listed users (line 3), whose passwords would protect \
         nothing; remove the key, or the users"
    );
}

#[test]
fn an_open_domain_with_routes_is_refused() {
    let problems = bad(ROUTE);
    assert!(
        problems.contains("users.open: the domain is open, so anybody could call out"),
        "{problems}"
    );
    bad(&format!("{ROUTE}[users]\nopen = true\n"));
    good(&format!("{ROUTE}[users]\nopen = false\n"));
    good(&format!("{ROUTE}{ALICE}"));
}

#[test]
fn a_user_that_is_listed_twice_is_reported_with_both_lines() {
    let again = "[[users.list]]\nname = \"alice\"\npassword = \"other\"\n";
    assert_eq!(
        bad(&format!("{ALICE}{again}")),
        "5:8: users.list[1].name: user \"alice\" is listed twice, first on line 2; keep one of the two"
    );
}

/// RFC 3261 19.1.4: the user part is compared with regard to case.
#[test]
fn users_that_differ_in_case_are_two_users() {
    let other = "[[users.list]]\nname = \"Alice\"\npassword = \"other\"\n";
    assert_eq!(good(&format!("{ALICE}{other}")).users.list.len(), 2);
}

#[test]
fn twice_listed_users_are_counted_from_the_text_although_another_entry_is_unreadable() {
    let broken = "[[users.list]]\nname = 3\n";
    let problems = bad(&format!("{broken}{ALICE}{ALICE}"));
    assert!(problems.contains("2:8: users.list[0].name: expected a string"), "{problems}");
    assert!(
        problems
            .contains("7:8: users.list[2].name: user \"alice\" is listed twice, first on line 4"),
        "{problems}"
    );
}

#[test]
fn a_user_has_a_password_or_hashes_not_both_and_not_neither() {
    let with = |keys: &str| format!("[[users.list]]\nname = \"bob\"\n{keys}");
    let md5 = format!("ha1_md5 = \"{}\"\n", "a0".repeat(16));
    let sha256 = format!("ha1_sha256 = \"{}\"\n", "B1".repeat(32));
    let user = |text: &str| good(&with(text)).users.list.remove(0);

    let both = user(&format!("{md5}{sha256}"));
    assert!(matches!(both.credentials(), Credentials::Ha1 { md5: Some(_), sha256: Some(_) }));
    assert!(matches!(user(&md5).credentials(), Credentials::Ha1 { md5: Some(_), sha256: None }));
    let plain = user("password = \"secret\"\n");
    assert!(matches!(plain.credentials(), Credentials::Password(p) if p.reveal() == "secret"));

    assert!(bad(&with("")).contains("users.list[0]: user \"bob\" has no password; add password"));
    let mixed = bad(&with(&format!("password = \"secret\"\n{md5}")));
    assert!(mixed.contains("users.list[0].password: stands beside HA1 hashes"), "{mixed}");
}

#[test]
fn a_hash_has_the_digits_of_its_kind() {
    for (key, hash) in
        [("ha1_md5", "a0".repeat(32)), ("ha1_sha256", "a0".repeat(16)), ("ha1_md5", "z".repeat(32))]
    {
        let problems = bad(&format!("[[users.list]]\nname = \"bob\"\n{key} = \"{hash}\"\n"));
        assert!(
            problems.contains(&format!("users.list[0].{key}: is not a hash of that kind")),
            "{problems}"
        );
        assert!(!problems.contains(&hash), "{problems}");
    }
}

#[test]
fn a_user_is_named_without_domain_and_scheme() {
    for name in ["", "alice@example.com", "sip:alice", "al ice", "älice"] {
        let problems = bad(&format!("[[users.list]]\nname = \"{name}\"\npassword = \"x\"\n"));
        assert!(problems.contains("users.list[0].name: "), "{problems}");
    }
    assert!(
        bad("[[users.list]]\nname = \"a@b\"\npassword = \"x\"\n").contains("goes to sip.domains")
    );
    good("[[users.list]]\nname = \"+49.30-123\"\npassword = \"x\"\n");
}

#[test]
fn secrets_show_neither_in_debug_nor_in_problems() {
    let settings = good(ALICE);
    let shown = format!("{settings:?}");
    assert!(shown.contains("(secret)") && !shown.contains("Pa55w0rd-xyz"), "{shown}");
    let problems = check(&ALICE.replace("name", "nmae")).unwrap_err();
    assert!(!format!("{problems:?}").contains("Pa55w0rd-xyz"), "{problems:?}");
}

#[test]
fn an_empty_password_is_refused() {
    let problems = bad("[[users.list]]\nname = \"bob\"\npassword = \"\"\n");
    assert_eq!(
        problems,
        "3:12: users.list[0].password: is empty; write the secret, or leave the key out"
    );
}
