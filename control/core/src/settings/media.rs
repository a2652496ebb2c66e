//! `[media]`: ports and addresses of the media that this node relays.

use std::fmt;
use std::net::IpAddr;
use std::ops::RangeInclusive;

use super::networks::{self, Network};
use super::pair::AddressPair;
use super::problem::Wrong;
use super::read::{Reader, Text, quoted};
use super::table::{Rules, settings_table};
use super::values::{Seconds, not_unicast, one_of, text_serde, text_values};

settings_table! {
    /// Ports and addresses of the media that this node relays.
    section Media {
        /// Whether media of calls passes through this node. "always": peers are told addresses and
        /// ports of this node, which relays. "never": descriptions (SDP) pass as they are and media
        /// goes from peer to peer; the node is a SIP proxy alone. Calls over ng are relayed anyway.
        restart relay: RelayMode = default(RelayMode::Always);

        /// UDP ports for media, "FIRST-LAST", FIRST even and LAST odd: ports are used in pairs (RTP
        /// and RTCP). A call with audio and video takes 8.
        drain ports: PortRange = default(PortRange::DEFAULT);

        /// The address that peers are told to send media to, where a NAT or a balancer stands before
        /// this server. One IPv4 address, one IPv6 address or both: ["203.0.113.5", "2001:db8::5"].
        /// Empty: `cluster_wan_ip`, and if that is empty, too, the local address.
        drain wan_ip: AddressPair = default(AddressPair::default());

        /// The same for every server of the cluster that has no `wan_ip` of its own.
        drain cluster_wan_ip: AddressPair = default(AddressPair::default());

        /// Local addresses that media may use, for example ["10.0.0.5"]. Empty: the address that the
        /// call's SIP messages use. A call whose SIP uses another address gets the first listed one
        /// of the same family. A caller that offers media of the other family than its SIP has gets
        /// the first listed one of that family or, if the list is empty, the one that faces it.
        drain addresses: Vec<IpAddr> = default(Vec::new());

        /// Seconds for which a port rests after a call, so that late packets meet nobody.
        live rest_s: Seconds = default(Seconds(30)) in 0..=3600;

        /// Seconds without any packet after which a call's media is taken for dead.
        live idle_timeout_s: Seconds = default(Seconds(60)) in 5..=86_400;

        /// Whose packets are taken for a peer's media. "strict": those from the address in its SDP;
        /// if the peer is seen to be behind NAT, the first consistent stream from the address that
        /// its SIP came from. "nat": that also where NAT cannot be seen. "asymmetric": as "strict",
        /// but a peer that is not behind NAT may send from another port than the one in its SDP,
        /// which it is sent to: the first of its address with a consistent stream.
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

        /// Networks whose peers are served on, and told, addresses of their own: an inside and an
        /// outside, say. Peers of no network are served as the other keys say.
        drain networks: Vec<Network> = default(Vec::new());
    }
}

text_values!(PortRange, Learning, RelayMode);
text_serde!(PortRange);

/// Where media of a peer is received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaPlace {
    /// The local address that its ports are bound to.
    pub local: IpAddr,
    /// What the peer's SDP says instead; of the same family.
    pub advertised: IpAddr,
}

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
        PortRange::checked(first, last).map_err(|wrong| wrong.sentence())
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

    /// Whether a port is in both.
    #[must_use]
    pub const fn overlaps(self, other: PortRange) -> bool {
        self.first <= other.last && other.first <= self.last
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
    /// As strict, but from any port of the signalled address.
    Asymmetric,
}

impl Text for Learning {
    fn parse(text: &str) -> Result<Learning, Wrong> {
        match text {
            "strict" => Ok(Learning::Strict),
            "nat" => Ok(Learning::Nat),
            "asymmetric" => Ok(Learning::Asymmetric),
            other => {
                let known = "\"strict\", \"nat\" or \"asymmetric\"";
                Err(one_of(other, "way of learning", known))
            }
        }
    }

    fn show(&self) -> String {
        match self {
            Learning::Strict => "strict".to_owned(),
            Learning::Nat => "nat".to_owned(),
            Learning::Asymmetric => "asymmetric".to_owned(),
        }
    }
}

/// Whether media of calls passes through the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelayMode {
    /// Every call's media is relayed.
    Always,
    /// Descriptions pass as they are.
    Never,
}

impl Text for RelayMode {
    fn parse(text: &str) -> Result<RelayMode, Wrong> {
        match text {
            "always" => Ok(RelayMode::Always),
            "never" => Ok(RelayMode::Never),
            other => Err(one_of(other, "way of relaying", "\"always\" or \"never\"")),
        }
    }

    fn show(&self) -> String {
        match self {
            RelayMode::Always => "always".to_owned(),
            RelayMode::Never => "never".to_owned(),
        }
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
        own.or(cluster).addresses()
    }

    /// The address that media is bound to for a call whose SIP uses the local address `signaling`.
    #[must_use]
    pub fn local_address(&self, signaling: IpAddr) -> IpAddr {
        self.common_address(signaling).unwrap_or(signaling)
    }

    /// Where media is received from the peer whose SIP address is `peer`; `facing` is this host's
    /// address on the way to that media. `None`: `addresses` lists none of the family of `facing`.
    ///
    /// The local address is that of the peer's network, else one of `addresses`, else `facing`. What
    /// the peer is told is what its network advertises, else the server's WAN IP, else the cluster's,
    /// else the local address (rows S63, S66, S71 and their interpretation).
    #[must_use]
    pub fn place(&self, peer: IpAddr, facing: IpAddr) -> Option<MediaPlace> {
        let network = networks::network_of(&self.networks, peer);
        let own = network.and_then(|n| n.address?.like(facing));
        let local = own.or_else(|| self.common_address(facing))?;
        let told = network.and_then(|n| n.advertise?.like(local));
        Some(MediaPlace {
            local,
            advertised: told.unwrap_or_else(|| self.advertised_address(local)),
        })
    }

    /// Every local address that the settings name for media.
    pub fn named_addresses(&self) -> impl Iterator<Item = IpAddr> + '_ {
        let of_networks =
            self.networks.iter().flat_map(|n| n.address.unwrap_or_default().addresses());
        self.addresses.iter().copied().chain(of_networks)
    }

    /// The address for peers of no network.
    fn common_address(&self, facing: IpAddr) -> Option<IpAddr> {
        if self.addresses.is_empty() || self.addresses.contains(&facing) {
            return Some(facing);
        }
        self.addresses.iter().copied().find(|a| a.is_ipv4() == facing.is_ipv4())
    }
}

impl Rules for Media {
    fn check(&self, path: &str, reader: &mut Reader) {
        networks::check(&self.networks, &format!("{path}.networks"), reader);
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
