//! `[users]`: who may register and call.

use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::DeValue;

use super::problem::Wrong;
use super::read::{Reader, Text, quoted};
use super::table::{Rules, Shape, Value, settings_table};
use super::values::{Secret, auto, text_values};

settings_table! {
    /// Who may register and call.
    section Users {
        /// Whether the domain is open: anybody may register under any name and call whoever is
        /// registered, without a password. "auto": open as long as no users are listed, which is meant
        /// for trying things out. true does not go together with listed users (whoever knew a name
        /// could take it) and an open domain does not go together with routes (anybody could call out).
        restart open: Open = default(Open::Auto);

        /// The users. Each has a `password` or HA1 hashes.
        live list: Vec<User> = default(Vec::new());
    }
}

settings_table! {
    /// One user.
    entry User {
        /// The part of the address before the @; upper and lower case differ.
        live name: UserName = required("\"alice\"");

        /// The password in the clear.
        live password: Option<Secret> = usual("\"correct horse battery staple\"");

        /// In place of a password: MD5 of "NAME:REALM:PASSWORD", 32 hexadecimal digits.
        live ha1_md5: Option<Secret> = optional("\"1d7d38e368009e73c8a9458b4bda97a7\"");

        /// In place of a password: SHA-256 of "NAME:REALM:PASSWORD", 64 hexadecimal digits. With only
        /// one of the two hashes, clients that need the other cannot authenticate.
        live ha1_sha256: Option<Secret> =
            optional("\"5ada97e008bfa7a3aee83e97ec6298d25efb391ef940e2339042542a1cf09ddb\"");
    }
}

text_values!(UserName);

/// Whether anybody may register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Open {
    /// As long as no users are listed.
    Auto,
    /// Anybody.
    Yes,
    /// Listed users only.
    No,
}

impl Value for Open {
    fn read(path: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<Open> {
        if auto(value) {
            return Some(Open::Auto);
        }
        match value.get_ref().as_bool() {
            Some(true) => Some(Open::Yes),
            Some(false) => Some(Open::No),
            None => {
                let fix = "write true, false or \"auto\"";
                reader.wrong_type(path, "true, false or \"auto\"", value, fix);
                None
            }
        }
    }

    fn shape(&self) -> Shape {
        Shape::Scalar(match self {
            Open::Auto => quoted("auto"),
            Open::Yes => "true".to_owned(),
            Open::No => "false".to_owned(),
        })
    }
}

/// The user part of an address.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserName(String);

/// Longest name of a user.
const NAME_CHARS_MAX: usize = 128;

impl UserName {
    /// Its characters.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text for UserName {
    /// `user` of RFC 3261 25.1 without escapes: letters, digits, mark and user-unreserved.
    fn parse(text: &str) -> Result<UserName, Wrong> {
        let fits = |c: char| c.is_ascii_alphanumeric() || "-_.!~*'()&=+$,;?/".contains(c);
        if (1..=NAME_CHARS_MAX).contains(&text.len()) && text.chars().all(fits) {
            return Ok(UserName(text.to_owned()));
        }
        let fix = if text.contains(['@', ':']) {
            "write only what stands before the @; the domain goes to sip.domains".to_owned()
        } else {
            format!("write 1 to {NAME_CHARS_MAX} letters, digits or -_.!~*'()&=+$,;?/")
        };
        Err(Wrong::new(format!("{} is not a user name", quoted(text)), fix))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// How a user's digest answers are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// The password.
    Password(&'a Secret),
    /// Hashes of name, realm and password; at least one in settings that were checked.
    Ha1 {
        /// MD5, lower or upper case hexadecimal.
        md5: Option<&'a Secret>,
        /// SHA-256, lower or upper case hexadecimal.
        sha256: Option<&'a Secret>,
    },
}

impl User {
    /// How this user's digest answers are checked.
    #[must_use]
    pub fn credentials(&self) -> Credentials<'_> {
        match &self.password {
            Some(password) => Credentials::Password(password),
            None => {
                Credentials::Ha1 { md5: self.ha1_md5.as_ref(), sha256: self.ha1_sha256.as_ref() }
            }
        }
    }
}

impl Users {
    /// Whether anybody may register, without a password.
    #[must_use]
    pub fn is_open(&self) -> bool {
        match self.open {
            Open::Auto => self.list.is_empty(),
            Open::Yes => true,
            Open::No => false,
        }
    }
}

impl Rules for Users {
    fn check(&self, path: &str, reader: &mut Reader) {
        let list = format!("{path}.list");
        if self.open == Open::Yes && !self.list.is_empty() {
            let first = reader.places.line_of(&reader.places.entry(&list, 0));
            let wrong = Wrong::new(
                format!(
                    "an open domain has listed users ({first}), whose passwords would protect nothing"
                ),
                "remove the key, or the users",
            );
            reader.tell(&format!("{path}.open"), wrong);
        }
        let mut seen: BTreeMap<&UserName, String> = BTreeMap::new();
        for (index, user) in self.list.iter().enumerate() {
            let at = format!("{}.name", reader.places.entry(&list, index));
            if let Some(first) = seen.get(&user.name) {
                let what = format!(
                    "user {} is listed twice, first on {}",
                    quoted(user.name.as_str()),
                    reader.places.line_of(first)
                );
                reader.tell(&at, Wrong::new(what, "keep one of the two"));
            } else {
                seen.insert(&user.name, at);
            }
        }
    }
}

impl Rules for User {
    fn check(&self, path: &str, reader: &mut Reader) {
        let hashed = self.ha1_md5.is_some() || self.ha1_sha256.is_some();
        if self.password.is_some() && hashed {
            let wrong = Wrong::new("stands beside HA1 hashes", "keep the password or the hashes");
            reader.tell(&format!("{path}.password"), wrong);
        } else if self.password.is_none() && !hashed && reader.sound(&[path]) {
            let wrong = Wrong::new(
                format!("user {} has no password", quoted(self.name.as_str())),
                "add password, or ha1_md5 and ha1_sha256",
            );
            reader.tell(path, wrong);
        }
        for (key, hash, digits) in
            [("ha1_md5", &self.ha1_md5, 32), ("ha1_sha256", &self.ha1_sha256, 64)]
        {
            let fits = |hash: &Secret| {
                hash.reveal().len() == digits
                    && hash.reveal().chars().all(|c| c.is_ascii_hexdigit())
            };
            if hash.as_ref().is_some_and(|hash| !fits(hash)) {
                let wrong = Wrong::new(
                    "is not a hash of that kind",
                    format!("write {digits} hexadecimal digits"),
                );
                reader.tell(&format!("{path}.{key}"), wrong);
            }
        }
    }
}
