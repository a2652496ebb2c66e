//! What a site has: the addresses of its balancer and of its members.

use std::fmt;
use std::net::IpAddr;

use super::Method;
use crate::cluster::MemberName;
use crate::settings::{AddressPair, PortRange};

/// Most members behind one balancer: with the single-IP method each has a thousand ports then, and what a balancer
/// holds of them stays small enough to be replaced in one transaction.
pub const MEMBERS_MAX: usize = 64;

/// How new SIP is spread over the members. The farm works with either (S34, S35).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Spread {
    /// By the sender's address and port: what comes from one phone goes to one member, which spares most messages
    /// the way from member to member.
    #[default]
    Source,
    /// Each packet for itself.
    Packet,
}

impl Spread {
    /// The spread with this word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Spread> {
        match word {
            "source" => Some(Spread::Source),
            "packet" => Some(Spread::Packet),
            _ => None,
        }
    }
}

/// A member that the balancer spreads over: one that is in the SIP Farm.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteMember {
    /// Its name.
    pub name: MemberName,
    /// Its own addresses, as the balancer reaches them (L1, F1).
    pub lan: AddressPair,
    /// The balancer's addresses that stand for it alone (G1).
    pub wan: AddressPair,
    /// Its media ports.
    pub ports: Option<PortRange>,
}

/// What a configuration is made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// The addresses that clients use (VIP, G0).
    pub vip: AddressPair,
    /// UDP ports of SIP.
    pub udp_ports: Vec<u16>,
    /// TCP ports of SIP, over TLS or WebSocket or not. Empty: another program balances TCP.
    pub tcp_ports: Vec<u16>,
    /// The device towards the clients, on a Linux balancer.
    pub outside: Option<String>,
    /// The device towards the members, where that is another one.
    pub inside: Option<String>,
    /// How SIP is spread.
    pub spread: Spread,
    /// Where the members' `/readyz` is asked (`metrics.listen`), if it can be from the balancer.
    pub ready_port: Option<u16>,
    /// Who it is spread over.
    pub members: Vec<SiteMember>,
}

/// Something about a site that does not go with what is wanted of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong.
    pub what: String,
    /// What to do.
    pub fix: String,
}

impl Trouble {
    pub(super) fn new(what: impl Into<String>, fix: impl Into<String>) -> Trouble {
        Trouble { what: what.into(), fix: fix.into() }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.what, self.fix)
    }
}

impl Site {
    /// Everything that keeps `method` from working with these addresses, whatever the balancer is.
    pub(super) fn check(&self, method: Method) -> Vec<Trouble> {
        let mut troubles = Vec::new();
        self.check_size(&mut troubles);
        self.check_sip_ports(&mut troubles);
        for (index, member) in self.members.iter().enumerate() {
            self.check_member(method, member, &mut troubles);
            for other in &self.members[..index] {
                check_pair(method, other, member, &mut troubles);
            }
        }
        troubles
    }

    /// Every port of SIP, each once.
    pub(super) fn all_ports(&self) -> Vec<u16> {
        let tcp = self.tcp_ports.iter().filter(|port| !self.udp_ports.contains(port));
        self.udp_ports.iter().chain(tcp).copied().collect()
    }

    fn check_size(&self, troubles: &mut Vec<Trouble>) {
        if self.vip.addresses().is_empty() {
            let what = "the address that clients use is missing";
            troubles.push(Trouble::new(what, "add --vip ADDRESS"));
        }
        match self.members.len() {
            0 => troubles
                .push(Trouble::new("there is no member", "add --member name=NAME,lan=ADDRESS")),
            1..=MEMBERS_MAX => {}
            count => {
                let fix = format!("{MEMBERS_MAX} is the most behind one balancer");
                troubles.push(Trouble::new(format!("there are {count} members"), fix));
            }
        }
    }

    fn check_sip_ports(&self, troubles: &mut Vec<Trouble>) {
        for (ports, option) in [(&self.udp_ports, "--udp-port"), (&self.tcp_ports, "--tcp-port")] {
            if ports.contains(&0) {
                troubles
                    .push(Trouble::new("port 0 is no port of SIP", format!("correct {option}")));
            }
            let twice =
                ports.iter().enumerate().find(|(index, port)| ports[..*index].contains(port));
            if let Some((_, port)) = twice {
                let what = format!("port {port} is listed twice");
                troubles.push(Trouble::new(what, format!("list it once in {option}")));
            }
        }
        if self.udp_ports.is_empty() {
            let what = "there is no UDP port of SIP";
            troubles.push(Trouble::new(what, "add --udp-port 5060"));
        }
    }

    fn check_member(&self, method: Method, member: &SiteMember, troubles: &mut Vec<Trouble>) {
        let name = &member.name;
        for vip in self.vip.addresses() {
            let family = family(vip);
            match member.lan.like(vip) {
                None => troubles.push(Trouble::new(
                    format!("member {name} has no {family} address, and the VIP {vip} needs one"),
                    format!("add lan=ADDRESS to --member name={name}"),
                )),
                Some(lan) if lan == vip => troubles.push(Trouble::new(
                    format!("member {name} is to be reached at {lan}, which is the VIP"),
                    "name an address that this member alone has",
                )),
                Some(_) => {}
            }
            if method == Method::MultiIpNat && member.wan.like(vip).is_none() {
                troubles.push(Trouble::new(
                    format!("{method} needs an {family} address of the balancer for member {name}"),
                    format!("add wan=ADDRESS to --member name={name}"),
                ));
            }
        }
        if member.wan.addresses().iter().any(|wan| self.vip.addresses().contains(wan)) {
            troubles.push(Trouble::new(
                format!("the address that stands for member {name} is the VIP"),
                "give each member a WAN address of its own",
            ));
        }
        self.check_media(method, member, troubles);
    }

    fn check_media(&self, method: Method, member: &SiteMember, troubles: &mut Vec<Trouble>) {
        let name = &member.name;
        let Some(ports) = member.ports else {
            if method == Method::SingleIpNat {
                troubles.push(Trouble::new(
                    format!("{method} sends media by its port, and member {name} has no range"),
                    format!("add ports=FIRST-LAST to --member name={name}"),
                ));
            }
            return;
        };
        let sip = self.udp_ports.iter().find(|port| (ports.first()..=ports.last()).contains(port));
        if let Some(port) = sip {
            troubles.push(Trouble::new(
                format!("media ports {ports} of {name} include {port}, which is SIP's"),
                "choose a range without it",
            ));
        }
    }
}

/// Whether two members are in each other's way.
fn check_pair(method: Method, one: &SiteMember, other: &SiteMember, troubles: &mut Vec<Trouble>) {
    let (a, b) = (&one.name, &other.name);
    if a == b {
        troubles.push(Trouble::new(format!("there are two members {a}"), "give each its own name"));
        return;
    }
    for (key, of_one, of_other) in [("lan", one.lan, other.lan), ("wan", one.wan, other.wan)] {
        let of_other = of_other.addresses();
        for shared in of_one.addresses().into_iter().filter(|address| of_other.contains(address)) {
            let what = format!("{a} and {b} have the same address {shared}");
            troubles.push(Trouble::new(what, format!("give each its own in {key}=")));
        }
    }
    // S60: only under one shared address do ranges have to differ.
    if let (Method::SingleIpNat, Some(of_one), Some(of_other)) = (method, one.ports, other.ports)
        && of_one.overlaps(of_other)
    {
        troubles.push(Trouble::new(
            format!("media ports {of_other} of {b} overlap {of_one} of {a}"),
            format!("with {method} give each member a range of its own"),
        ));
    }
}

/// The name of an address's family.
const fn family(address: IpAddr) -> &'static str {
    match address {
        IpAddr::V4(_) => "IPv4",
        IpAddr::V6(_) => "IPv6",
    }
}
