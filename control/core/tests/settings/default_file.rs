//! The default file holds every key, documented, and says nothing but the defaults.

use control_core::settings::{Key, Settings, Shape, check, default_file, keys};

use crate::good;

#[test]
fn an_empty_text_gives_the_defaults() {
    assert_eq!(good(""), Settings::default());
}

#[test]
fn the_default_file_gives_the_defaults() {
    assert_eq!(good(&default_file()), Settings::default());
}

/// Takes one comment sign from each line that holds an assignment or a header behind it.
fn uncommented(file: &str) -> String {
    let is_toml = |line: &str| {
        line.starts_with("[[")
            || line.split_once(" = ").is_some_and(|(key, _)| {
                key.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
            })
    };
    let bare = |line: &str| match line.strip_prefix("# ") {
        Some(rest) if is_toml(rest) => rest.to_owned(),
        _ => line.to_owned(),
    };
    file.lines().map(bare).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_examples_in_the_default_file_are_good_once_the_comment_signs_are_gone() {
    let settings = check(&uncommented(&default_file())).unwrap();
    assert_eq!(settings.routes.len(), 1);
    assert_eq!(settings.users.list.len(), 1);
    assert!(settings.sip.realm.is_some());
    assert!(settings.sip.listen[0].advertise.is_some());
    assert_eq!(settings.media.networks.len(), 1);
    assert_eq!((settings.ng.listen.is_some(), settings.ng.interfaces.len()), (true, 1));
}

/// Every key that is not a table, with its path.
fn leaves(path: &str, keys: Vec<Key>) -> Vec<(String, Key)> {
    let mut found = Vec::new();
    for key in keys {
        let path = format!("{path}{}.", key.name);
        match key.shape.clone() {
            Shape::Table(inner) | Shape::Tables { example: inner, .. } => {
                found.extend(leaves(&path, inner));
            }
            Shape::Scalar(_) | Shape::Absent(_) => found.push((path, key)),
        }
    }
    found
}

#[test]
fn every_key_is_explained_and_says_when_a_change_takes_effect() {
    let leaves = leaves("", keys());
    assert!(leaves.len() > 30, "{}", leaves.len());
    let file = default_file();
    for (path, key) in leaves {
        assert!(!key.docs.concat().trim().is_empty(), "{path} is not explained");
        assert!(key.effect.is_some(), "{path} does not say when a change takes effect");
        assert!(file.contains(&format!("{} = ", key.name)), "{path} is not in the file");
    }
}

#[test]
fn the_default_file_shows_explanation_range_effect_and_value() {
    let file = default_file();
    let rest = "\
        # Seconds for which a port rests after a call, so that late packets meet nobody. \
         (0 to 3600, live)\n\
        rest_s = 30\n";
    assert!(file.contains(rest), "{file}");
    assert!(file.contains("\n[media]\n"), "{file}");
    assert!(file.contains("\n[[sip.listen]]\n"), "{file}");
    assert!(file.contains("\n# [[routes]]\n"), "{file}");
    assert!(file.lines().all(|line| line.len() <= 100), "{file}");
}
