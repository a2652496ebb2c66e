//! Where the servers are and how they let us in.

use std::fmt;
use std::path::{Path, PathBuf};

use async_nats::{Client, ConnectOptions, ServerAddr};

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
