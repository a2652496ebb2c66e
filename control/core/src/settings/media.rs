//! `[media]`: ports and addresses of the media that this node relays.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::RangeInclusive;

use toml::Spanned;
use toml::de::DeValue;

use super::problem::Wrong;
use super::read::{Reader, Text, quoted};
use super::table::{Rules, Shape, Value, settings_table};
use super::values::{Seconds, not_unicast, one_of, text_values};

settings_table! {
    /// Ports and addresses of the media that this node relays.
    section Media {
        /// UDP ports for media, "FIRST-LAST", FIRST even and LAST odd: ports are used in pairs (RTP
        /// and RTCP). A call with audio and video takes 8.
        drain ports: PortRange = default(PortRange::DEFAULT);

        /// The address that peers are told to send media to, where a NAT or a balancer stands before
        /// this server. One IPv4 address, one IPv6 address or both: ["203.0.113.5", "2001:db8::5"].
        /// Empty: `cluster_wan_ip`, and if that is empty, too, the local address.
        drain wan_ip: WanIp = default(WanIp::default());

        /// The same for every server of the cluster that has no `wan_ip` of its own.
        drain cluster_wan_ip: WanIp = default(WanIp::default());

        /// Local addresses that media may use, for example ["10.0.0.5"]. Empty: the address that the
        /// call's SIP messages use. A call whose SIP uses another address gets the first listed one
        /// of the same family.
        drain addresses: Vec<IpAddr> = default(Vec::new());

        /// Seconds for which a port rests after a call, so that late packets meet nobody.
        live rest_s: Seconds = default(Seconds(30)) in 0..=3600;

        /// Seconds without any packet after which a call's media is taken for dead.
        live idle_timeout_s: Seconds = default(Seconds(60)) in 5..=86_400;

        /// Whose packets are taken for a peer's media. "strict": those from the address in its SDP;
        /// if the peer is seen to be behind NAT, the first consistent stream from the address that
        /// its SIP came from. "nat": that also where NAT cannot be seen.
        live learning: Learning = default(Learning::Strict);

        /// The Differentiated Services code point of audio, fax (T.38) and real-time text (46:
        /// expedited forwarding, RFC 4594 4.1).
        restart dscp: u32 = default(46) in 0..=63;

        /// That of video (34: AF41, RFC 4594 4.3).
        restart dscp_video: u32 = default(34) in 0..=63;

        /// That of all other media, for example data channels (0: best effort, as RFC 8837 has it
        /// for data of which nothing is known; expedited forwarding is no place for what may be
        /// bulk).
        restart dscp_other: u32 = default(0) in 0..=63;

        /// Seconds without a sign of life after which a media worker is taken for lost: its calls
        /// end, the other workers go on. Below 5 a busy host may make a healthy worker look hung.
        restart stall_s: Seconds = default(Seconds(5)) in 1..=60;

        /// Whether packets of one length that follow each other on the same way (a video frame) are
        /// handed to the kernel as one (UDP_SEGMENT). They travel and arrive as single packets.
        restart segments: bool = default(true);

        /// Microseconds that a worker under load lets packets come together, so that they share a
        /// wake-up: the most that this adds to a packet's way. A packet after a longer pause goes at
        /// once. 0: each goes at once, which costs up to a third more processor time. Needs
        /// Linux 6.12; before that it is as with 0.
        restart gather_us: u32 = default(1000) in 0..=10_000;
    }
}

text_values!(PortRange, Learning);

/// Media ports that a session with audio and video takes: 2 legs, 2 streams, RTP and RTCP.
pub const PORTS_PER_AV_SESSION: usize = 8;

/// UDP ports, both ends included: the first even, the last odd, none below 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortRange {
    first: u16,
    last: u16,
}

/// Lowest port that needs no privilege (RFC 6335 6: above the system ports).
const PORT_MIN: u16 = 1024;

impl PortRange {
    const DEFAULT: PortRange = PortRange { first: 20_000, last: 29_999 };

    /// The range from `first` to `last`.
    ///
    /// # Errors
    /// In words, if `first` is odd or below 1024, `last` is even, or `last` is below `first`.
    pub fn new(first: u16, last: u16) -> Result<PortRange, String> {
        PortRange::checked(first, last).map_err(|wrong| format!("{}; {}", wrong.what, wrong.fix))
    }

    fn checked(first: u16, last: u16) -> Result<PortRange, Wrong> {
        if first < PORT_MIN {
            let what = format!("port {first} needs privileges");
            return Err(Wrong::new(what, format!("start at {PORT_MIN} or above")));
        }
        if !first.is_multiple_of(2) {
            let what = format!("the first port, {first}, is odd, and RTP uses even ports");
            return Err(Wrong::new(what, format!("start at {}", first - 1)));
        }
        if last < first {
            let fix = format!("write \"{last}-{first}\"");
            return Err(Wrong::new("the range ends before it starts", fix));
        }
        if last.is_multiple_of(2) {
            let what = format!("the last port, {last}, is even and would stay without its pair");
            return Err(Wrong::new(what, format!("end at {}", last + 1)));
        }
        Ok(PortRange { first, last })
    }

    /// The first port; even.
    #[must_use]
    pub const fn first(self) -> u16 {
        self.first
    }

    /// The last port; odd.
    #[must_use]
    pub const fn last(self) -> u16 {
        self.last
    }

    /// How many ports these are; even.
    #[must_use]
    pub const fn count(self) -> usize {
        (self.last - self.first) as usize + 1
    }

    /// Whether `port` is one of them.
    #[must_use]
    pub const fn contains(self, port: u16) -> bool {
        self.first <= port && port <= self.last
    }

    /// From the first to the last port.
    #[must_use]
    pub const fn range(self) -> RangeInclusive<u16> {
        self.first..=self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.first, self.last)
    }
}

impl Text for PortRange {
    fn parse(text: &str) -> Result<PortRange, Wrong> {
        let port = |text: &str| text.trim().parse::<u16>().ok();
        let ends = text.split_once('-').and_then(|(a, b)| Some((port(a)?, port(b)?)));
        let Some((first, last)) = ends else {
            let fix = "write \"FIRST-LAST\" with ports up to 65535, for example \"20000-29999\"";
            return Err(Wrong::new(format!("{} is not a range of ports", quoted(text)), fix));
        };
        PortRange::checked(first, last)
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

/// Whose packets are taken for a peer's media.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learning {
    /// The signalled address; learned only where the peer is seen to be behind NAT.
    Strict,
    /// Learned also where NAT cannot be seen.
    Nat,
}

impl Text for Learning {
    fn parse(text: &str) -> Result<Learning, Wrong> {
        match text {
            "strict" => Ok(Learning::Strict),
            "nat" => Ok(Learning::Nat),
            other => Err(one_of(other, "way of learning", "\"strict\" or \"nat\"")),
        }
    }

    fn show(&self) -> String {
        match self {
            Learning::Strict => "strict".to_owned(),
            Learning::Nat => "nat".to_owned(),
        }
    }
}

/// What media peers are told instead of a local address; one address a family at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WanIp {
    /// Instead of a local IPv4 address.
    pub v4: Option<Ipv4Addr>,
    /// Instead of a local IPv6 address.
    pub v6: Option<Ipv6Addr>,
}

impl WanIp {
    /// The address for the family of `local`.
    #[must_use]
    pub fn like(self, local: IpAddr) -> Option<IpAddr> {
        match local {
            IpAddr::V4(_) => self.v4.map(IpAddr::V4),
            IpAddr::V6(_) => self.v6.map(IpAddr::V6),
        }
    }

    fn addresses(self) -> Vec<IpAddr> {
        let (v4, v6) = (self.v4.map(IpAddr::V4), self.v6.map(IpAddr::V6));
        v4.into_iter().chain(v6).collect()
    }

    fn add(&mut self, address: IpAddr) -> Result<(), Wrong> {
        if let Some(why) = not_unicast(address) {
            let fix = "write the address that peers send media to, or leave the key empty";
            return Err(Wrong::new(format!("{address} {why}"), fix));
        }
        let taken = match address {
            IpAddr::V4(v4) => self.v4.replace(v4).is_some(),
            IpAddr::V6(v6) => self.v6.replace(v6).is_some(),
        };
        if taken {
            let what = format!("{address} is the second address of its family");
            return Err(Wrong::new(what, "list one IPv4 address and one IPv6 address at most"));
        }
        Ok(())
    }
}

/// `""`, one address or an array of addresses.
impl Value for WanIp {
    fn read(path: &str, value: &Spanned<DeValue<'_>>, reader: &mut Reader) -> Option<WanIp> {
        let listed: Vec<(String, IpAddr)> = match value.get_ref() {
            DeValue::String(text) if text.is_empty() => Vec::new(),
            DeValue::Array(_) => {
                let addresses = Vec::read(path, value, reader)?;
                let at = |(index, address)| (reader.places.entry(path, index), address);
                addresses.into_iter().enumerate().map(at).collect()
            }
            DeValue::String(_)
            | DeValue::Integer(_)
            | DeValue::Float(_)
            | DeValue::Boolean(_)
            | DeValue::Datetime(_)
            | DeValue::Table(_) => vec![(path.to_owned(), reader.text(path, value)?)],
        };
        let mut wan_ip = WanIp::default();
        for (at, address) in listed {
            if let Err(wrong) = wan_ip.add(address) {
                reader.tell(&at, wrong);
            }
        }
        Some(wan_ip)
    }

    fn shape(&self) -> Shape {
        let quoted_all: Vec<_> = self.addresses().iter().map(|a| quoted(&a.to_string())).collect();
        Shape::Scalar(match quoted_all.as_slice() {
            [] => quoted(""),
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        })
    }
}

impl Media {
    /// The address that an SDP carries for media that is received on `local`: the server-wide WAN
    /// IP, else the cluster-wide one, else `local` (rows S63, S71 and their interpretation). A WAN
    /// IP stands for local addresses of its own family only.
    #[must_use]
    pub fn advertised_address(&self, local: IpAddr) -> IpAddr {
        self.wan_ip.like(local).or_else(|| self.cluster_wan_ip.like(local)).unwrap_or(local)
    }

    /// The WAN IPs in force, one a family at most.
    #[must_use]
    pub fn wan_ips(&self) -> Vec<IpAddr> {
        let (own, cluster) = (self.wan_ip, self.cluster_wan_ip);
        WanIp { v4: own.v4.or(cluster.v4), v6: own.v6.or(cluster.v6) }.addresses()
    }

    /// The address that media is bound to for a call whose SIP uses the local address `signaling`.
    #[must_use]
    pub fn local_address(&self, signaling: IpAddr) -> IpAddr {
        if self.addresses.contains(&signaling) {
            return signaling;
        }
        let alike = self.addresses.iter().find(|a| a.is_ipv4() == signaling.is_ipv4());
        alike.copied().unwrap_or(signaling)
    }
}

impl Rules for Media {
    fn check(&self, path: &str, reader: &mut Reader) {
        for (index, address) in self.addresses.iter().enumerate() {
            let at = reader.places.entry(&format!("{path}.addresses"), index);
            if let Some(why) = not_unicast(*address) {
                let fix = "write an address of this host, or leave the list empty";
                reader.tell(&at, Wrong::new(format!("{address} {why}"), fix));
            } else if self.addresses[..index].contains(address) {
                let wrong = Wrong::new(format!("{address} is listed twice"), "list it once");
                reader.tell(&at, wrong);
            }
        }
    }
}
