//! Settings: read from TOML, checked as a whole before anything is bound, every key with a default.
//!
//! Each key is declared once, by [`settings_table`](table): its documentation becomes the comment in
//! [`default_file`]. [`check`] finds every problem of a text, not just the first.

mod cluster;
mod control;
mod defence;
mod dns;
mod events;
mod hint;
mod limits;
mod media;
mod metrics;
mod networks;
mod next_hop;
mod ng;
mod node;
mod overload;
mod pair;
mod print;
pub(crate) mod problem;
pub(crate) mod read;
mod routing;
mod rules;
mod sip;
pub(crate) mod table;
mod tls;
mod users;
pub(crate) mod values;

use std::net::SocketAddr;

use toml::de::DeTable;

pub use cluster::{Cluster, Engine, EngineServer, EngineUser};
pub use control::{Control, ControlSocket};
pub use defence::{Defence, Word};
pub use dns::Dns;
pub use events::{Aor, EventList, EventPackage, Events, Watch};
pub use limits::Limits;
pub use media::{Learning, Media, MediaPlace, PORTS_PER_AV_SESSION, PortRange, RelayMode};
pub use metrics::Metrics;
pub use networks::{Network, NetworkName};
pub use next_hop::{NextHop, NextHops};
pub use ng::{Interface, InterfaceName, Ng};
pub use node::{AbsentAddresses, LogFilter, Node, NodeName, WORKERS_MAX, WorkerPriority, Workers};
pub use overload::{Number, Overload};
pub use pair::AddressPair;
pub use print::default_file;
pub use problem::{Position, Problem};
pub use routing::{Peers, Route};
pub use rules::Host;
pub use sip::{Listen, Origin, Realm, Redirects, Registrar, Sip};
pub use table::{Effect, Key, Shape};
pub use tls::{Certificate, ClientCertificates, FilePath, Tls};
pub use users::{Credentials, Open, User, UserName, Users};
pub use values::{Digest, Domain, Seconds, Secret, Transport};

use problem::{Places, Wrong};
use read::Reader;
use table::{Rules, Table, settings_table};

/// Longest settings text, in bytes: ten thousand users, a hundred bytes each, with room to spare.
pub const TEXT_BYTES_MAX: usize = 4 << 20;

settings_table! {
    /// All settings of a node.
    section Settings {
        /// The process itself.
        table node: Node = default(Node::default());

        /// SIP: where it is listened for, and whom the node serves.
        table sip: Sip = default(Sip::default());

        /// Who may register and call.
        table users: Users = default(Users::default());

        /// The way to domains that DNS is not asked for; any other is looked up (RFC 3263).
        live routes: Vec<Route> = default(Vec::new());

        /// How names are looked up.
        table dns: Dns = default(Dns::default());

        /// Other SIP servers.
        table peers: Peers = default(Peers::default());

        /// Ports and addresses of the media that this node relays.
        table media: Media = default(Media::default());

        /// The ng control protocol: other SIP servers have this node relay the media of their calls.
        table ng: Ng = default(Ng::default());

        /// Figures and health over HTTP.
        table metrics: Metrics = default(Metrics::default());

        /// Several nodes that act as one.
        table cluster: Cluster = default(Cluster::default());

        /// Commands to the running node, as `ringfarm refresh` gives them.
        table control: Control = default(Control::default());

        /// The node on the open Internet: what keeps strangers from using it up.
        table defence: Defence = default(Defence::default());

        /// What is refused when there is too much.
        table overload: Overload = default(Overload::default());

        /// Subscriptions and publications: what the node tells of its users.
        table events: Events = default(Events::default());

        /// How much the node takes on. At each bound new work is refused and what exists goes on.
        table limits: Limits = default(Limits::default());
    }
}

/// What the command line says in place of the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// `--listen`: listen here, on UDP and TCP, and nowhere else. Empty: as the text says.
    pub listen: Vec<SocketAddr>,
}

/// Settings that are right in themselves, with the places of their keys, so that they can still be
/// compared with a machine ([`Checked::against`]).
pub struct Checked {
    /// The settings.
    pub settings: Settings,
    places: Places,
}

/// Reads and checks a settings text.
///
/// # Errors
/// Every problem of the text, in its order; where the text is not TOML, only how it is not.
pub fn check(text: &str) -> Result<Settings, Vec<Problem>> {
    check_with(text, &Overrides::default()).map(|checked| checked.settings)
}

/// Reads a settings text, puts `overrides` in its place and checks the whole.
///
/// # Errors
/// As [`check`].
pub fn check_with(text: &str, overrides: &Overrides) -> Result<Checked, Vec<Problem>> {
    let mut reader = Reader::new(text, paths("", &Settings::keys(None)));
    let Some(mut settings) = parse(text, &mut reader) else {
        return Err(reader.finish().1);
    };
    if !overrides.listen.is_empty() {
        settings.sip.listen = everywhere(&overrides.listen);
        reader.places.note_outside("sip.listen", "--listen");
        check_overridden(&settings.sip.listen, &mut reader);
    }
    settings.check("", &mut reader);
    match reader.finish() {
        (places, problems) if problems.is_empty() => Ok(Checked { settings, places }),
        (_, problems) => Err(problems),
    }
}

/// `None`: not TOML, or the whole of it is unreadable; the reader has been told.
fn parse(text: &str, reader: &mut Reader) -> Option<Settings> {
    if text.len() > TEXT_BYTES_MAX {
        let what = format!("the text is longer than {TEXT_BYTES_MAX} bytes");
        reader.tell("", Wrong::new(what, "is this a settings file?"));
        return None;
    }
    let (table, errors) = DeTable::parse_recoverable(text);
    if errors.is_empty() {
        return Settings::read_keys("", table.get_ref(), reader);
    }
    for error in errors {
        let at = error.span().map_or(0, |span| span.start);
        reader.not_toml(at, error.message());
    }
    None
}

fn everywhere(addresses: &[SocketAddr]) -> Vec<Listen> {
    let on = |address| Transport::PLAIN.map(|transport| Listen::on(transport, address));
    addresses.iter().copied().flat_map(on).collect()
}

/// What reading an entry of the text would have checked. UDP and TCP have the same address, so
/// every second entry is enough.
fn check_overridden(listen: &[Listen], reader: &mut Reader) {
    for (index, entry) in listen.iter().enumerate().step_by(Transport::PLAIN.len()) {
        entry.check(&reader.places.entry("sip.listen", index), reader);
    }
}

/// Every key under `keys`, as paths without indexes.
fn paths(path: &str, keys: &[Key]) -> Vec<String> {
    let mut found = Vec::new();
    for key in keys {
        let path = read::join(path, key.name);
        match &key.shape {
            Shape::Table(inner) | Shape::Tables { example: inner, .. } => {
                found.extend(paths(&path, inner));
            }
            Shape::Scalar(_) | Shape::Absent(_) => {}
        }
        found.push(path);
    }
    found
}

/// Every key of the settings with its documentation and default, for tools that list them.
#[must_use]
pub fn keys() -> Vec<Key> {
    Settings::keys(Some(&Settings::default()))
}
