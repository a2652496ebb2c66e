//! `[ng]`: other SIP servers that have this node relay the media of their calls.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

use super::Settings;
use super::problem::Wrong;
use super::read::{Reader, Text};
use super::table::{Rules, settings_table};
use super::values::{Transport, name, not_unicast, text_values};

settings_table! {
    /// The ng control protocol (bencode over UDP), by which the rtpengine modules of Kamailio and
    /// OpenSIPS have this node relay the media of their calls.
    section Ng {
        /// Address and port that commands are received on. Absent: there is no such socket.
        restart listen: Option<SocketAddr> = optional("\"127.0.0.1:2223\"");

        /// Networks or addresses of the servers whose commands are obeyed, for example
        /// ["10.0.0.7"]. Empty: this host alone, and `listen` has to be a loopback address. Whoever
        /// can send from one of these addresses controls media: keep them off the Internet.
        restart allow: Vec<IpNet> = default(Vec::new());

        /// Local addresses with names, for commands that name a `direction`. Without a name, media
        /// uses the address that faces the caller (see media.addresses).
        restart interfaces: Vec<Interface> = default(Vec::new());
    }
}

settings_table! {
    /// One local address with a name.
    entry Interface {
        /// As commands name it. An IPv4 and an IPv6 address may share one name.
        restart name: InterfaceName = required("\"pub\"");

        /// An address of this host.
        restart address: IpAddr = required("\"10.0.0.5\"");

        /// What SDP says instead, where a NAT stands before this address. By default as
        /// media.wan_ip says.
        restart advertise: Option<IpAddr> = optional("\"203.0.113.5\"");
    }
}

text_values!(InterfaceName);

/// The name of an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct InterfaceName(String);

/// Most interfaces: each offer of a new call is compared with all of them.
const INTERFACES_MAX: usize = 64;

impl fmt::Display for InterfaceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Text for InterfaceName {
    /// What the scripts of SIP servers can write in a list of flags.
    fn parse(text: &str) -> Result<InterfaceName, Wrong> {
        name(text, "an interface").map(InterfaceName)
    }

    fn show(&self) -> String {
        self.0.clone()
    }
}

impl Ng {
    /// Whose commands are obeyed: what is listed, else the loopback networks.
    #[must_use]
    pub fn controllers(&self) -> Vec<IpNet> {
        if self.allow.is_empty() {
            ["127.0.0.0/8", "::1/128"].iter().filter_map(|net| net.parse().ok()).collect()
        } else {
            self.allow.clone()
        }
    }
}

impl Rules for Ng {
    fn check(&self, path: &str, reader: &mut Reader) {
        if let Some(listen) = self.listen
            && !listen.ip().is_loopback()
            && self.allow.is_empty()
            && reader.sound(&[&format!("{path}.allow")])
        {
            let what = format!("whoever reaches {listen} would control this node's media");
            let fix = "list the SIP servers in ng.allow, or listen on 127.0.0.1";
            reader.tell(&format!("{path}.listen"), Wrong::new(what, fix));
        }
        for (index, net) in self.allow.iter().enumerate() {
            if net.prefix_len() == 0 {
                let at = reader.places.entry(&format!("{path}.allow"), index);
                let what = format!("{net} lets everybody control this node's media");
                reader.tell(&at, Wrong::new(what, "list the addresses of your own SIP servers"));
            }
        }
        self.check_interfaces(path, reader);
    }
}

impl Ng {
    fn check_interfaces(&self, path: &str, reader: &mut Reader) {
        let at = format!("{path}.interfaces");
        if self.interfaces.len() > INTERFACES_MAX {
            let what = format!("{} interfaces are listed", self.interfaces.len());
            reader.tell(&at, Wrong::new(what, format!("list at most {INTERFACES_MAX}")));
            return;
        }
        for (index, later) in self.interfaces.iter().enumerate() {
            let same = |earlier: &&Interface| {
                earlier.name == later.name && earlier.address.is_ipv4() == later.address.is_ipv4()
            };
            if self.interfaces[..index].iter().any(|earlier| same(&earlier)) {
                let family = if later.address.is_ipv4() { "IPv4" } else { "IPv6" };
                let what = format!("{} has two {family} addresses", later.name);
                let at = format!("{}.name", reader.places.entry(&at, index));
                reader.tell(&at, Wrong::new(what, "give each its own name"));
            }
        }
    }
}

impl Rules for Interface {
    fn check(&self, path: &str, reader: &mut Reader) {
        let mut check = |key: &str, ip: IpAddr, fix: &str| {
            if let Some(why) = not_unicast(ip) {
                reader.tell(&format!("{path}.{key}"), Wrong::new(format!("{ip} {why}"), fix));
            }
        };
        check("address", self.address, "write an address of this host");
        let Some(advertise) = self.advertise else { return };
        check("advertise", advertise, "write the address that peers send media to");
        if advertise.is_ipv4() != self.address.is_ipv4() {
            let what = format!("{advertise} and {} are of different families", self.address);
            let fix = "write an address of the same family";
            reader.tell(&format!("{path}.advertise"), Wrong::new(what, fix));
        }
    }
}

/// Its port is neither SIP's nor in the media ports.
pub(super) fn has_a_port_of_its_own(settings: &Settings, reader: &mut Reader) {
    let Some(listen) = settings.ng.listen else { return };
    let meets = |other: IpAddr| {
        let any = other.is_unspecified() || listen.ip().is_unspecified();
        other == listen.ip() || (any && other.is_ipv4() == listen.is_ipv4())
    };
    let sip = settings.sip.listen.iter().find(|sip| {
        let udp = sip.transport == Transport::Udp && listen.port() != 0;
        udp && sip.address.port() == listen.port() && meets(sip.address.ip())
    });
    let media = &settings.media;
    let shared = media.addresses.is_empty() || media.named_addresses().any(meets);
    let what = if let Some(sip) = sip {
        format!("{listen} is taken by SIP ({})", sip.address)
    } else if shared && media.ports.contains(listen.port()) {
        format!("port {} lies in the media ports, {}", listen.port(), media.ports)
    } else {
        return;
    };
    reader.tell("ng.listen", Wrong::new(what, "use another port, for example 2223"));
}
