//! Who may register.

use std::collections::HashMap;
use std::fmt;

use crate::auth::Secret;

/// The users of the domains served here.
pub trait Users: fmt::Debug + Send {
    /// Whether there is a user with that address of record, as the registrar is asked for it.
    fn exists(&self, aor: &str) -> bool;

    /// What the credentials of a user, by the username in them, are checked against.
    fn secret(&self, user: &str) -> Option<&Secret>;

    /// Whether anybody may register and call without credentials.
    fn is_open(&self) -> bool {
        false
    }
}

/// An open test domain: any user exists, nobody has a password.
#[derive(Clone, Copy, Debug, Default)]
pub struct AnyUser;

impl Users for AnyUser {
    fn exists(&self, _aor: &str) -> bool {
        true
    }

    fn secret(&self, _user: &str) -> Option<&Secret> {
        None
    }

    fn is_open(&self) -> bool {
        true
    }
}

/// Users whose name is both their address of record and the username of their credentials.
#[derive(Clone, Debug, Default)]
pub struct UserTable {
    secrets: HashMap<String, Secret>,
}

impl UserTable {
    /// Adds a user, or replaces its secret.
    pub fn insert(&mut self, name: impl Into<String>, secret: Secret) {
        self.secrets.insert(name.into(), secret);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.secrets.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.secrets.is_empty()
    }
}

impl FromIterator<(String, Secret)> for UserTable {
    fn from_iter<I: IntoIterator<Item = (String, Secret)>>(users: I) -> Self {
        UserTable { secrets: users.into_iter().collect() }
    }
}

impl Users for UserTable {
    fn exists(&self, aor: &str) -> bool {
        self.secrets.contains_key(aor)
    }

    fn secret(&self, user: &str) -> Option<&Secret> {
        self.secrets.get(user)
    }
}
