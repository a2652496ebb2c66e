//! Where the servers are and how they let us in.

use std::fmt;
use std::path::{Path, PathBuf};

use async_nats::{Client, ConnectOptions, ServerAddr};
use control_core::settings::{Engine, FilePath};

/// Longest name of a cluster; it is part of the bucket's name.
const CLUSTER_NAME_MAX: usize = 63;

/// How to reach the engine.
#[derive(Clone, Debug)]
pub(crate) struct NatsSetup {
    /// The cluster's name, 1-63 of `[a-z0-9-]`; the bucket is `ringfarm-NAME`.
    pub(crate) cluster: String,
    /// `HOST:PORT`, `nats://HOST:PORT`, or `tls://HOST:PORT`, which insists on TLS; at least one.
    pub(crate) servers: Vec<String>,
    /// How we show who we are.
    pub(crate) access: Access,
    /// PEM file of the authorities that may vouch for the servers; without it, the system's.
    pub(crate) ca_file: Option<PathBuf>,
}

/// How the servers know us.
#[derive(Clone, Debug)]
pub(crate) enum Access {
    /// They ask nothing.
    Open,
    /// A user name and a file whose first line is the password.
    Password {
        /// The user.
        user: String,
        /// The file.
        password_file: PathBuf,
    },
    /// A file of NATS's own form: a JWT and its key.
    Credentials(PathBuf),
}

/// A setup that can never work.
#[derive(Debug)]
pub(crate) struct BadSetup(String);

impl fmt::Display for BadSetup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[cluster.engine] {}", self.0)
    }
}

impl std::error::Error for BadSetup {}

impl NatsSetup {
    /// As the settings say, for the cluster of that name. `None`: they name no servers, so that the
    /// node is a cluster of its own.
    pub(crate) fn new(cluster: &str, settings: &Engine) -> Option<Self> {
        let path = |file: &FilePath| file.as_path().to_owned();
        let access = match (&settings.credentials, &settings.user, &settings.password_file) {
            (Some(file), _, _) => Access::Credentials(path(file)),
            (None, Some(user), Some(file)) => {
                Access::Password { user: user.to_string(), password_file: path(file) }
            }
            (None, _, _) => Access::Open,
        };
        (!settings.servers.is_empty()).then(|| Self {
            cluster: cluster.to_owned(),
            servers: settings.servers.iter().map(ToString::to_string).collect(),
            access,
            ca_file: settings.trust.as_ref().map(path),
        })
    }

    /// Everything but what `Nats::connect` decides by itself.
    pub(super) fn options(&self) -> Result<ConnectOptions, BadSetup> {
        let name_fits =
            |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if !(1..=CLUSTER_NAME_MAX).contains(&self.cluster.len())
            || !self.cluster.bytes().all(name_fits)
        {
            return Err(BadSetup(format!("`{}` is no cluster name", self.cluster)));
        }
        let options = ConnectOptions::new().name("ringfarm");
        let options = match &self.access {
            Access::Open => options,
            Access::Password { user, password_file } => {
                let text = read(password_file)?;
                let password = text.lines().next().unwrap_or("").to_owned();
                options.user_and_password(user.clone(), password)
            }
            Access::Credentials(file) => options
                .credentials(&read(file)?)
                .map_err(|error| BadSetup(format!("{}: {error}", file.display())))?,
        };
        match &self.ca_file {
            Some(file) => {
                read(file)?;
                Ok(options.add_root_certificates(file.clone()))
            }
            None => Ok(options),
        }
    }

    pub(super) async fn connect(&self, options: ConnectOptions) -> Result<Client, BadSetup> {
        let parsed = self.servers.iter().map(|server| {
            server.parse::<ServerAddr>().map_err(|error| BadSetup(format!("`{server}`: {error}")))
        });
        let servers = parsed.collect::<Result<Vec<_>, _>>()?;
        if servers.is_empty() {
            return Err(BadSetup("names no server".into()));
        }
        options.connect(servers).await.map_err(|error| BadSetup(error.to_string()))
    }
}

fn read(file: &Path) -> Result<String, BadSetup> {
    std::fs::read_to_string(file).map_err(|error| BadSetup(format!("{}: {error}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setup_is_what_the_settings_say() {
        let read = |text: &str| {
            let settings = control_core::settings::check(text).expect("good settings");
            NatsSetup::new("prod", &settings.cluster.engine)
        };
        assert!(read("").is_none());
        let servers = "[cluster.engine]\nservers = [\"tls://n1:4223\", \"10.0.0.1:4222\"]\n";
        let open = read(servers).expect("servers are named");
        assert_eq!(open.servers, ["tls://n1:4223", "nats://10.0.0.1:4222"]);
        assert!(matches!(open.access, Access::Open) && open.ca_file.is_none());
        let user =
            read(&format!("{servers}user = \"u\"\npassword_file = \"/p\"\ntrust = \"/ca\"\n"));
        let user = user.expect("servers are named");
        assert_eq!(user.ca_file, Some(PathBuf::from("/ca")));
        assert!(matches!(user.access, Access::Password { user, .. } if user == "u"));
        let file = read(&format!("{servers}credentials = \"/c\"\n")).expect("servers are named");
        assert!(matches!(file.access, Access::Credentials(file) if file == Path::new("/c")));
    }
}
