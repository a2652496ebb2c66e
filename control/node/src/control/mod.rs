//! The control socket: how a running node is told what to do.
//!
//! A Unix domain socket (`control.socket`) that root and the user of the node may use. One request a
//! connection: the client writes one line of JSON, the node answers with one and closes.
//!
//! ```text
//! > {"command":"refresh"}
//! < {"ok":true,"result":{"certificates":1}}
//! > {"command":"refersh"}
//! < {"ok":false,"error":"unknown variant `refersh`, expected `refresh` at line 1 column 20"}
//! ```
//!
//! A request is at most [`server::REQUEST_BYTES_MAX`] long and has to be there within
//! [`server::CLIENT_WITHIN`]. One client is served at a time. What a command needs beside its name
//! stands beside `command`; a member that the node does not know is refused, so that a slip does not
//! pass for an order that was carried out.
//!
//! To add a command:
//! 1. a variant of [`Command`], documented, its members being its arguments (`{}` where there are none:
//!    serde would not refuse unknown ones of a variant without braces);
//! 2. its arm in `node/commands.rs`: there with what all threads share, or, for what only the signaling
//!    thread has (the proxy, the transports), as an `Ask` that `EventLoop::answer` answers;
//! 3. a subcommand in `cli.rs` that calls [`client::ask`] and prints the result.

pub(crate) mod client;
pub(crate) mod server;

use std::net::IpAddr;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Where a node under systemd has its socket, and where clients look unless they are told otherwise.
pub(crate) const SOCKET: &str = "/run/ringfarm/control.sock";

/// What a running node can be told.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(tag = "command", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Command {
    /// Read again what may have changed outside: certificates, the host's addresses.
    Refresh {},
    /// List the sources that are banned.
    Bans {},
    /// Ban a source.
    Ban {
        /// Its address; of IPv6 its /64 is banned.
        source: IpAddr,
        /// How long.
        minutes: u32,
        /// Why, for whoever reads the list.
        reason: String,
    },
    /// End the ban of a source.
    Unban {
        /// Its address, or another of its IPv6 /64.
        source: IpAddr,
    },
    /// Take nothing new, and go on with what there is (B4).
    Drain {},
    /// Say whether a node that drains has anything left.
    Drained {},
    /// List the members of the cluster.
    Members {},
    /// Take a member that is lost out of the cluster for good.
    Remove {
        /// Which.
        name: String,
        /// Who does so, for the audit log.
        by: String,
    },
    /// Change the key that the farm's tokens are made with.
    RotateKey {
        /// The one that was announced, to go on with it; without it, announce the next.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<u32>,
        /// Also if the present one is young.
        force: bool,
        /// Who does so, for the audit log.
        by: String,
    },
    /// Show settings that stand in the cluster's engine.
    Settings {
        /// Of this member; without it, those of the cluster.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        member: Option<String>,
        /// This one alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
    },
    /// Show who has changed settings that stand there, the last ones last.
    SettingsLog {
        /// Those of this member; without it, everybody's and the cluster's.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        member: Option<String>,
        /// So many at most.
        limit: usize,
    },
    /// Change a setting that stands there.
    Set {
        /// Of this member; without it, of the cluster.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        member: Option<String>,
        /// Which.
        key: String,
        /// To what; without it, to what it is without being set there.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        value: Option<String>,
        /// Who does so, for the audit log.
        by: String,
    },
}

/// What comes of a command: its result, or why there is none, for people.
pub(crate) type Answer = Result<Value, String>;

/// An answer as it is sent.
#[derive(Debug, Deserialize, Serialize)]
struct Reply {
    ok: bool,
    #[serde(default, skip_serializing_if = "Value::is_null")]
    result: Value,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Reply {
        match answer {
            Ok(result) => Reply { ok: true, result, error: None },
            Err(error) => Reply { ok: false, result: Value::Null, error: Some(error) },
        }
    }
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Answer {
        if reply.ok { Ok(reply.result) } else { Err(reply.error.unwrap_or_default()) }
    }
}
