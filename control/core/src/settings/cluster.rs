//! `[cluster]`: which member of a cluster this node is, and the engine that holds what the members agree on.

use std::fmt;
use std::net::SocketAddr;

use super::next_hop::NextHop;
use super::problem::Wrong;
use super::read::{Reader, Text};
use super::table::{Rules, settings_table};
use super::tls::FilePath;
use super::values::{Seconds, name, not_unicast, text_values};
use crate::cluster::{FarmSetting, MemberName, PlacementSetting, Role};

/// Servers of one engine. Three keep the data and survive the death of one, five of two; more add
/// nothing but places to connect to.
const SERVERS_MAX: usize = 16;

settings_table! {
    /// Several nodes that act as one.
    section Cluster {
        /// The folder of this member's keys, which `ringfarm cluster init` or `ringfarm cluster join`
        /// has made. Absent: this node is no member of a cluster.
        restart state: Option<FilePath> = optional("\"/var/lib/ringfarm/cluster\"");

        /// This member's name. Absent: as its keys say, which it cannot differ from.
        restart name: Option<MemberName> = optional("\"fe-1\"");

        /// Address and port that other members connect to (TLS, both sides with a key of the
        /// cluster's); needed with `state`. In a network of your own, if there is one.
        restart listen: Option<SocketAddr> = optional("\"10.0.0.1:7443\"");

        /// What other members are told to connect to instead, where it is another address than
        /// `listen` or that is a wildcard.
        restart advertise: Option<SocketAddr> = optional("\"10.0.0.1:7443\"");

        /// What this member is for: "frontend" (SIP and media of the outside) or "backend" (accounts).
        restart role: Role = default(Role::Frontend);

        /// SIP Farm: "member" (new requests are processed here or relayed to other farm members),
        /// "disabled" (they are processed where they come in), "relay" (what this member sends goes
        /// out through farm members), or "auto": a frontend is a member, a backend relays.
        restart farm: FarmSetting = default(FarmSetting::Auto);

        /// Call Legs Processing: where call legs are created: "locally", "locally-for-others",
        /// "remotely" or "auto": a frontend also for others, a backend remotely.
        restart call_legs: PlacementSetting = default(PlacementSetting::Auto);

        /// Signal Processing: where Signals are created, as `call_legs`.
        restart signals: PlacementSetting = default(PlacementSetting::Auto);

        /// This member's share of new requests, compared with those of the others.
        restart capacity: u32 = default(100) in 1..=10_000;

        /// How long a member that is told to stop (SIGTERM, SIGINT) lets its calls go on, while others
        /// take what is new, in seconds. A second signal ends it at once.
        restart drain_s: Seconds = default(Seconds(30)) in 0..=86_400;

        /// Where the members keep what they agree on.
        table engine: Engine = default(Engine::default());
    }
}

settings_table! {
    /// The cluster's engine: NATS servers with JetStream (nats-server 2.10 or newer; three of them, with
    /// `sync_interval: always`). No call waits for it: while it is away, members and cluster-wide
    /// settings stay as they are.
    section Engine {
        /// The servers: "HOST:PORT", or "tls://HOST:PORT" where nothing but TLS will do, for example
        /// ["10.0.0.1:4222", "10.0.0.2:4222", "10.0.0.3:4222"]. Empty: this node is a cluster of its own.
        restart servers: Vec<EngineServer> = default(Vec::new());

        /// The user that this node is to the servers; needs `password_file`.
        restart user: Option<EngineUser> = optional("\"ringfarm\"");

        /// File whose first line is that user's password.
        restart password_file: Option<FilePath> = optional("\"/etc/ringfarm/engine-password\"");

        /// File with credentials as NATS's own tools make them (a JWT and its key); goes before `user`.
        restart credentials: Option<FilePath> = optional("\"/etc/ringfarm/engine.creds\"");

        /// File with the authorities (PEM) that the servers' certificates have to be from. By default
        /// those that the system trusts.
        restart trust: Option<FilePath> = optional("\"/etc/ringfarm/engine-ca.pem\"");
    }
}

text_values!(EngineServer, EngineUser);

/// A server of the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineServer {
    /// Whether nothing but TLS will do.
    pub tls: bool,
    /// Where it is. Without a port, that is 4222.
    pub at: NextHop,
}

impl fmt::Display for EngineServer {
    /// As NATS's clients read it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", if self.tls { "tls://" } else { "nats://" }, self.at)
    }
}

impl Text for EngineServer {
    fn parse(text: &str) -> Result<EngineServer, Wrong> {
        let (tls, at) = match text.strip_prefix("tls://") {
            Some(at) => (true, at),
            None => (false, text.strip_prefix("nats://").unwrap_or(text)),
        };
        let at = NextHop::parse(at)?;
        at.can_be_sent_to()?;
        Ok(EngineServer { tls, at })
    }

    fn show(&self) -> String {
        if self.tls { self.to_string() } else { self.at.to_string() }
    }
}

/// A user of the engine's servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineUser(String);

impl fmt::Display for EngineUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for EngineUser {
    fn parse(text: &str) -> Result<EngineUser, Wrong> {
        name(text, "a user of the engine").map(EngineUser)
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Cluster {
    /// Where other members reach this one.
    #[must_use]
    pub fn reached_at(&self) -> Option<SocketAddr> {
        self.advertise.or(self.listen)
    }
}

impl Rules for Cluster {
    fn check(&self, path: &str, reader: &mut Reader) {
        let mut tell = |key: &str, what: String, fix: &str| {
            reader.tell(&format!("{path}.{key}"), Wrong::new(what, fix));
        };
        if self.state.is_some() && self.listen.is_none() {
            let what = "other members could not connect to this one".to_owned();
            tell("state", what, "add listen = \"ADDRESS:PORT\"");
        }
        let key = if self.advertise.is_some() { "advertise" } else { "listen" };
        let Some(reached) = self.reached_at() else { return };
        if let Some(why) = not_unicast(reached.ip()) {
            let fix = "name an address that other members can connect to in advertise";
            tell(key, format!("{} {why}", reached.ip()), fix);
        } else if reached.port() == 0 {
            let what = "no other member could know which port that is".to_owned();
            tell(key, what, "choose a port, for example 7443");
        }
    }
}

impl Rules for Engine {
    fn check(&self, path: &str, reader: &mut Reader) {
        let servers = format!("{path}.servers");
        if self.servers.len() > SERVERS_MAX {
            let what = format!("{} servers are listed", self.servers.len());
            reader.tell(&servers, Wrong::new(what, format!("list at most {SERVERS_MAX}")));
        }
        for (index, server) in self.servers.iter().enumerate() {
            if self.servers[..index].contains(server) {
                let at = reader.places.entry(&servers, index);
                let what = format!("{server} is listed twice");
                reader.tell(&at, Wrong::new(what, "list each server once"));
            }
        }
        self.check_access(path, reader);
    }
}

impl Engine {
    fn check_access(&self, path: &str, reader: &mut Reader) {
        let mut tell = |key: &str, what: &str, fix: &str| {
            reader.tell(&format!("{path}.{key}"), Wrong::new(what, fix));
        };
        match (&self.user, &self.password_file) {
            (Some(_), None) => {
                tell("user", "a user needs a password", "add password_file = \"/FILE\"");
            }
            (None, Some(_)) => {
                tell("password_file", "a password needs a user", "add user = \"NAME\"");
            }
            (Some(_), Some(_)) | (None, None) => {}
        }
    }
}
