//! The two groups of users that register and call each other.

use std::fmt;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Longest accepted users file in bytes: 40,000 users at some 100 bytes each, with room.
const USERS_FILE_BYTES_MAX: u64 = 8 << 20;

/// Fewest digits of a generated user name (`a0001`).
const NAME_DIGITS: usize = 4;

/// A name and its password. `Debug` does not show the password.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct User {
    /// The user part of the address of record.
    #[serde(rename = "user")]
    pub name: String,
    /// The digest password.
    pub password: String,
}

impl fmt::Debug for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("User").field("name", &self.name).finish_non_exhaustive()
    }
}

/// Who calls whom: session `n` is caller `n` and callee `n`, each modulo the size of its group.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Users {
    /// The domain of every address of record.
    pub domain: String,
    /// Those who send INVITEs.
    pub callers: Vec<User>,
    /// Those who answer.
    pub callees: Vec<User>,
}

impl Users {
    /// `pairs` callers `<caller_prefix>0001..` and as many callees, all with one password.
    #[must_use]
    pub fn numbered(domain: &str, prefixes: [&str; 2], pairs: u32, password: &str) -> Users {
        let digits = NAME_DIGITS.max(pairs.to_string().len());
        let group = |prefix: &str| {
            (1..=pairs)
                .map(|number| User {
                    name: format!("{prefix}{number:0digits$}"),
                    password: password.to_owned(),
                })
                .collect()
        };
        Users {
            domain: domain.to_owned(),
            callers: group(prefixes[0]),
            callees: group(prefixes[1]),
        }
    }

    /// Reads a users file; `-` is standard input, so that a parent can hand passwords over unseen.
    ///
    /// # Errors
    /// The file cannot be read, is not JSON of this shape, or names nobody.
    pub fn read(path: &Path) -> Result<Users> {
        let text = if path == Path::new("-") {
            take(std::io::stdin().lock())
        } else {
            std::fs::File::open(path).map_err(Into::into).and_then(take)
        }
        .with_context(|| format!("reading users from {}", path.display()))?;
        let users: Users =
            serde_json::from_str(&text).with_context(|| format!("users in {}", path.display()))?;
        users.check()?;
        Ok(users)
    }

    pub(crate) fn check(&self) -> Result<()> {
        ensure!(!self.domain.is_empty(), "the users' domain is empty");
        ensure!(!self.callers.is_empty(), "there are no callers");
        ensure!(!self.callees.is_empty(), "there are no callees");
        for user in self.callers.iter().chain(&self.callees) {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_+".contains(c);
            // A dot in a user part is legal, but the SIP library takes it for the end of the name.
            ensure!(
                !user.name.is_empty() && user.name.chars().all(plain),
                "user name {:?}: use letters, digits, '-', '_' and '+'",
                user.name
            );
        }
        Ok(())
    }
}

fn take(source: impl Read) -> Result<String> {
    let mut text = String::new();
    source.take(USERS_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
    ensure!(text.len() as u64 <= USERS_FILE_BYTES_MAX, "more than {USERS_FILE_BYTES_MAX} bytes");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_names_have_four_digits_or_as_many_as_needed() {
        let few = Users::numbered("d", ["a", "b"], 2, "x");
        assert_eq!(few.callers[1].name, "a0002");
        assert_eq!(few.callees[0].name, "b0001");
        let many = Users::numbered("d", ["a", "b"], 10_000, "x");
        assert_eq!(many.callers[0].name, "a00001");
    }

    #[test]
    fn a_users_file_names_both_groups() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            r#"{"domain":"d","callers":[{"user":"a1","password":"p"}],"callees":[{"user":"b1","password":"q"}]}"#,
        )
        .unwrap();
        let users = Users::read(file.path()).unwrap();
        assert_eq!(users.callees, [User { name: "b1".into(), password: "q".into() }]);
    }

    #[test]
    fn a_users_file_without_callees_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(
            file.path(),
            r#"{"domain":"d","callers":[{"user":"a","password":""}],"callees":[]}"#,
        )
        .unwrap();
        assert!(Users::read(file.path()).unwrap_err().to_string().contains("no callees"));
    }

    #[test]
    fn a_password_is_not_shown_by_debug() {
        let user = User { name: "a".into(), password: "hunter2".into() };
        assert!(!format!("{user:?}").contains("hunter2"));
    }
}
