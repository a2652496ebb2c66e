//! `[sip]`: where SIP is listened for, and whom the node serves.

use std::net::SocketAddr;

use super::problem::Wrong;
use super::read::{Reader, Text, quoted};
use super::table::{Rules, settings_table};
use super::tls::{FilePath, Tls};
use super::values::{Digest, Domain, Seconds, Transport, not_unicast, one_of, text_values};

settings_table! {
    /// SIP: where it is listened for, and whom the node serves.
    section Sip {
        /// Domains whose users register here, besides the node's own addresses, for example
        /// ["example.com"].
        live domains: Vec<Domain> = default(Vec::new());

        /// Digest realm. By default the first of `domains`, else "ringfarm". HA1 hashes (see users)
        /// hold for one realm only.
        live realm: Option<Realm> = optional("\"example.com\"");

        /// The digest algorithms that clients are offered, in this order: "md5" and "sha-256". Many
        /// phones know MD5 alone, and some of them give up at the mere sight of another algorithm,
        /// so only MD5 is offered by default. Where every client knows what to choose, list
        /// ["sha-256", "md5"] (RFC 8760), or "sha-256" alone.
        live digest: Vec<Digest> = default(vec![Digest::Md5]);

        /// Seconds for which a digest nonce is good; afterwards clients are given a fresh one and
        /// answer by themselves.
        live nonce_life_s: Seconds = default(Seconds(300)) in 10..=86_400;

        /// File with the secret that nonces and tokens are proved by: 64 hexadecimal digits (`openssl rand
        /// -hex 32`), the same on each member, for root's eyes alone. What was made under those on
        /// further lines holds, too, so that a secret can be exchanged. By default node.secret in the
        /// state directory that systemd gives, where it is made, else one that ends with the process.
        restart secret_file: Option<FilePath> = optional("\"/etc/ringfarm/node.secret\"");

        /// Whether a user who has authenticated is named in P-Asserted-Identity (RFC 3325) to whoever is
        /// called, unless `Privacy: id` keeps that from phones and from peers that are not trusted.
        /// What others assert is taken off in any case, unless they are in peers.trusted.
        live assert_identity: bool = default(true);

        /// Microseconds for which messages are let come together under load (some 2,000 a second and
        /// more), so that they share a wake-up: the most that this adds to a message's way. Where messages
        /// come faster it is less. 0: each goes at once, which costs up to twice the processor time.
        restart gather_us: u32 = default(1000) in 0..=10_000;

        /// The Differentiated Services code point of SIP (40: CS5, signaling by RFC 4594 4.2; many
        /// networks have 24, CS3).
        restart dscp: u32 = default(40) in 0..=63;

        /// Bytes from which a request goes over TCP rather than UDP (RFC 3261 18.1.1), as datagrams of
        /// several fragments are lost where a firewall or a NAT drops fragments. It stays with UDP
        /// where the peer's address or a route asks for UDP, where the peer is behind NAT, and
        /// where it takes no TCP. Where some link carries less than 1500 bytes: its MTU less 200.
        /// 65535: never, for a network of your own that carries fragments.
        live udp_max_bytes: usize = default(1300) in 376..=65_535;

        /// Seconds for which a user's devices of one preference (q) ring before those of the next are
        /// called.
        live fork_timeout_s: Seconds = default(Seconds(20)) in 5..=180;

        /// Seconds for which a server of another domain may say nothing to an INVITE before the next one
        /// is tried, where there is one (RFC 3263 4.3); the last one has 32.
        live server_timeout_s: Seconds = default(Seconds(4)) in 1..=32;

        /// Which redirections (a phone that forwards its calls answers 302) the node follows itself:
        /// "served", those to users of its own domains; "anywhere", those to other domains, too, for
        /// callers who may call there; "never", none: the caller is told, and may call again.
        live follow_redirects: Redirects = default(Redirects::Served);

        /// Session timers (RFC 4028): seconds after which a call ends that nobody has refreshed. Asked for
        /// where the caller asks for nothing or for more; what phones know nothing of it goes on for as
        /// long as before. 0: session timers are left to the phones.
        live session_expires_s: u32 = default(1800) in 0..=86_400;

        /// The shortest session timer that is taken, in seconds; a caller that asks for less is told this
        /// (422 Session Interval Too Small).
        live min_se_s: u32 = default(90) in 90..=86_400;

        /// For how long registrations hold.
        table registrar: Registrar = default(Registrar::default());

        /// TLS: certificates, and whose are believed.
        table tls: Tls = default(Tls::default());

        /// The web pages that may open a WebSocket from a browser, by their origins, for example
        /// ["https://phone.example.com"]. Empty: all of them. Clients that are no browsers name no
        /// origin, and are not asked for one.
        restart ws_origins: Vec<Origin> = default(Vec::new());

        /// The sockets that SIP is received on, at least one. An IPv6 wildcard, "[::]:5060", receives
        /// IPv6 alone.
        restart listen: Vec<Listen> = default(vec![
            Listen::on(Transport::Udp, SIP_ANY),
            Listen::on(Transport::Tcp, SIP_ANY),
        ]);
    }
}

settings_table! {
    /// For how long registrations hold (RFC 3261 10.3).
    section Registrar {
        /// The shortest, in seconds; a client that asks for less is told this (423 Interval Too Brief).
        live min_expires_s: Seconds = default(Seconds(60)) in 1..=86_400;

        /// The longest, in seconds; a client that asks for more is given this.
        live max_expires_s: Seconds = default(Seconds(7200)) in 60..=604_800;

        /// What a client is given that asks for nothing, in seconds.
        live default_expires_s: Seconds = default(Seconds(3600)) in 1..=604_800;

        /// What a client with a connection of its own to keep (RFC 5626) is told of how often to show
        /// that it is there, in seconds. 120 keeps the mappings of most NATs and firewalls alive; a
        /// shorter time finds dead connections sooner. 0: the client uses its own judgment.
        live flow_timer_s: Seconds = default(Seconds(120)) in 0..=3600;

        /// The proxies that registered clients are told to send through (Service-Route, RFC 3608), in
        /// this order: ["sip:edge.example.com;lr"].
        live service_route: Vec<ServiceRoute> = default(Vec::new());
    }
}

settings_table! {
    /// One socket that SIP is received on.
    entry Listen {
        /// "udp", "tcp", "tls", "ws" (WebSocket, for browsers) or "wss" (WebSocket over TLS). For
        /// "tls" and "wss" see sip.tls.
        restart transport: Transport = required("\"udp\"");

        /// Address and port; "0.0.0.0" and "[::]" stand for every address of the host. Port 0: any
        /// free one, which the node then prints.
        restart address: SocketAddr = required("\"0.0.0.0:5060\"");

        /// What peers are told instead, where they reach this socket through a NAT or a balancer.
        restart advertise: Option<SocketAddr> = optional("\"203.0.113.5:5060\"");
    }
}

text_values!(Redirects, Realm, Origin, ServiceRoute);

const SIP_ANY: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 5060);

impl Listen {
    /// A socket that advertises its own address.
    #[must_use]
    pub const fn on(transport: Transport, address: SocketAddr) -> Listen {
        Listen { transport, address, advertise: None }
    }
}

/// Which redirections are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Redirects {
    /// None.
    Never,
    /// Those to users here.
    Served,
    /// Those to other domains, too.
    Anywhere,
}

impl Text for Redirects {
    fn parse(text: &str) -> Result<Redirects, Wrong> {
        match text {
            "never" => Ok(Redirects::Never),
            "served" => Ok(Redirects::Served),
            "anywhere" => Ok(Redirects::Anywhere),
            other => {
                let words = "\"served\", \"anywhere\" or \"never\"";
                Err(one_of(other, "kind of redirection", words))
            }
        }
    }

    fn show(&self) -> String {
        match self {
            Redirects::Never => "never".to_owned(),
            Redirects::Served => "served".to_owned(),
            Redirects::Anywhere => "anywhere".to_owned(),
        }
    }
}

/// A digest realm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Realm(String);

impl Realm {
    /// Its characters, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text for Realm {
    /// A quoted-string (RFC 3261 25.1) that needs no escapes.
    fn parse(text: &str) -> Result<Realm, Wrong> {
        let plain = |c: char| (c.is_ascii_graphic() || c == ' ') && c != '"' && c != '\\';
        if (1..=128).contains(&text.len()) && text.chars().all(plain) {
            return Ok(Realm(text.to_owned()));
        }
        let fix = "write 1 to 128 printable ASCII characters without quotes and backslashes";
        Err(Wrong::new(format!("{} is not a realm", quoted(text)), fix))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// The origin of a web page (RFC 6454 6.2), in lower case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin(String);

impl Origin {
    /// As browsers send it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text for Origin {
    fn parse(text: &str) -> Result<Origin, Wrong> {
        let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
        if rest.is_some_and(|host| (1..=260).contains(&host.len()) && host.chars().all(plain)) {
            return Ok(Origin(text.to_ascii_lowercase()));
        }
        let fix = "write scheme and host, and a port that is not the usual: \"https://phone.example.com\"";
        Err(Wrong::new(format!("{} is not the origin of a web page", quoted(text)), fix))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

/// The URI of a proxy that clients are to send through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRoute(String);

impl ServiceRoute {
    /// The URI, without `<>`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Text for ServiceRoute {
    /// A `sip` or `sips` URI with `lr` (RFC 3608 5), of characters that need no escapes in a header.
    fn parse(text: &str) -> Result<ServiceRoute, Wrong> {
        let rest = text.strip_prefix("sip:").or_else(|| text.strip_prefix("sips:"));
        let is_plain = |c: char| c.is_ascii_graphic() && !"<>\",\\?".contains(c);
        let mut params = rest.unwrap_or_default().split(';');
        let has_host = params.next().is_some_and(|host| !host.is_empty());
        if has_host
            && params.any(|param| param == "lr")
            && text.chars().all(is_plain)
            && text.len() <= 256
        {
            return Ok(ServiceRoute(text.to_owned()));
        }
        let fix =
            "write a URI as \"sip:edge.example.com;lr\" (loose routing, at most 256 characters)";
        Err(Wrong::new(format!("{} is not the URI of a proxy", quoted(text)), fix))
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Sip {
    /// The digest realm.
    #[must_use]
    pub fn realm(&self) -> &str {
        match (&self.realm, self.domains.first()) {
            (Some(realm), _) => realm.as_str(),
            (None, Some(domain)) => domain.as_str(),
            (None, None) => "ringfarm",
        }
    }
}

impl Rules for Sip {
    fn check(&self, path: &str, reader: &mut Reader) {
        for (index, domain) in self.domains.iter().enumerate() {
            if self.domains[..index].contains(domain) {
                let at = reader.places.entry(&format!("{path}.domains"), index);
                let wrong = Wrong::new(format!("{domain} is listed twice"), "list it once");
                reader.tell(&at, wrong);
            }
        }
        for (index, digest) in self.digest.iter().enumerate() {
            if self.digest[..index].contains(digest) {
                let at = reader.places.entry(&format!("{path}.digest"), index);
                let wrong = Wrong::new(format!("{digest} is listed twice"), "list it once");
                reader.tell(&at, wrong);
            }
        }
        if reader.sound(&[path])
            && self.session_expires_s != 0
            && self.session_expires_s < self.min_se_s
        {
            let what =
                format!("{} is less than min_se_s = {}", self.session_expires_s, self.min_se_s);
            let wrong = Wrong::new(what, "choose at least min_se_s, or 0 for none");
            reader.tell(&format!("{path}.session_expires_s"), wrong);
        }
        if reader.sound(&[path]) && self.digest.is_empty() {
            let wrong = Wrong::new(
                "no algorithm is listed, so nobody could authenticate",
                "list \"md5\", \"sha-256\" or both",
            );
            reader.tell(&format!("{path}.digest"), wrong);
        }
    }
}

impl Rules for Registrar {
    fn check(&self, path: &str, reader: &mut Reader) {
        if !reader.sound(&[path]) {
            return;
        }
        let Registrar {
            min_expires_s: min, max_expires_s: max, default_expires_s: default, ..
        } = self;
        if min > max {
            let what = format!("{} is more than max_expires_s = {}", min.0, max.0);
            let wrong = Wrong::new(what, "choose a minimum that is not above the maximum");
            reader.tell(&format!("{path}.min_expires_s"), wrong);
        } else if !(min..=max).contains(&default) {
            let what = format!("{} lies outside {} to {}", default.0, min.0, max.0);
            let wrong = Wrong::new(what, "choose it from min_expires_s to max_expires_s");
            reader.tell(&format!("{path}.default_expires_s"), wrong);
        }
    }
}

impl Rules for Listen {
    fn check(&self, path: &str, reader: &mut Reader) {
        let address = format!("{path}.address");
        let ip = self.address.ip();
        if !ip.is_unspecified()
            && let Some(why) = not_unicast(ip)
        {
            let fix = "write an address of this host, or a wildcard (\"0.0.0.0\", \"[::]\")";
            reader.tell(&address, Wrong::new(format!("{ip} {why}"), fix));
        }
        if let SocketAddr::V6(v6) = self.address
            && v6.ip().is_unicast_link_local()
            && v6.scope_id() == 0
        {
            let fix = format!("name it by its index: \"[{}%2]:{}\"", v6.ip(), v6.port());
            let wrong = Wrong::new(format!("{ip} is link-local and names no interface"), fix);
            reader.tell(&address, wrong);
        }
        if let Some(advertise) = self.advertise {
            self.check_advertise(advertise, path, reader);
        }
    }
}

impl Listen {
    fn check_advertise(&self, advertise: SocketAddr, path: &str, reader: &mut Reader) {
        let at = format!("{path}.advertise");
        if let Some(why) = not_unicast(advertise.ip()) {
            let wrong = Wrong::new(
                format!("{} {why}", advertise.ip()),
                "write the address that peers send to, or leave the key out",
            );
            reader.tell(&at, wrong);
        } else if advertise.port() == 0 {
            let wrong = Wrong::new("port 0 cannot be sent to", "write the port that peers send to");
            reader.tell(&at, wrong);
        } else if advertise.is_ipv4() != self.address.is_ipv4() {
            let wrong = Wrong::new(
                format!("{advertise} is not of the address family of {}", self.address),
                "use IPv4 for both or IPv6 for both",
            );
            reader.tell(&at, wrong);
        }
    }
}
