//! What one m= line says.

use std::net::{IpAddr, SocketAddr};

use smallvec::SmallVec;

/// Where media is to be sent (a c= line).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Connection<'a> {
    /// An address. The unspecified one means "on hold" (RFC 3264 8.4).
    Ip(IpAddr),
    /// A domain name, or an address of a network other than `IN`: nothing can be sent there as it is.
    Unresolved(&'a str),
}

impl Connection<'_> {
    /// The address, if it is one.
    #[must_use]
    pub const fn ip(&self) -> Option<IpAddr> {
        match self {
            Connection::Ip(ip) => Some(*ip),
            Connection::Unresolved(_) => None,
        }
    }

    /// Whether it is `0.0.0.0` or `::`.
    #[must_use]
    pub fn is_hold(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_unspecified())
    }
}

/// The direction of a stream, as its sender sees it (RFC 8866 6.7).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Direction {
    /// It sends and receives; also where nothing is said.
    #[default]
    SendRecv,
    /// It sends only.
    SendOnly,
    /// It receives only.
    RecvOnly,
    /// Neither.
    Inactive,
}

impl Direction {
    /// Whether the sender of the description sends media.
    #[must_use]
    pub const fn sends(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::SendOnly)
    }

    /// Whether the sender of the description receives media.
    #[must_use]
    pub const fn receives(self) -> bool {
        matches!(self, Direction::SendRecv | Direction::RecvOnly)
    }

    pub(super) fn from_attribute(value: &[u8]) -> Option<Direction> {
        match value {
            b"sendrecv" => Some(Direction::SendRecv),
            b"sendonly" => Some(Direction::SendOnly),
            b"recvonly" => Some(Direction::RecvOnly),
            b"inactive" => Some(Direction::Inactive),
            _ => None,
        }
    }
}

/// An `a=rtcp` attribute (RFC 3605).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rtcp {
    /// The port.
    pub port: u16,
    /// The address, if one is written and is an IP address.
    pub address: Option<IpAddr>,
}

/// One m= line with its section.
#[derive(Clone, Debug)]
pub struct Media<'a> {
    /// `audio`, `video`, `image`, ...
    pub kind: &'a str,
    /// The port; 0 refuses or closes the stream (RFC 3264 6, 8.2).
    pub port: u16,
    /// How many ports: 1, or what follows `/`.
    pub port_count: u16,
    /// The transport as written, for example `RTP/AVP`.
    pub proto: &'a str,
    /// The formats as written; for RTP payload type numbers.
    pub formats: SmallVec<[&'a str; 8]>,
    /// The c= line that holds for it: its own, else the session's. `None` if there is neither.
    pub connection: Option<Connection<'a>>,
    /// `a=rtcp`, if there is one.
    pub rtcp: Option<Rtcp>,
    /// Whether it has `a=rtcp-mux` (RFC 5761).
    pub rtcp_mux: bool,
    /// Its direction, inherited from the session if it has none of its own.
    pub direction: Direction,
    /// `a=mid` (RFC 5888).
    pub mid: Option<&'a str>,
    /// Whether it, or the session, has ICE attributes.
    pub ice: bool,
    /// Whether a BUNDLE group (RFC 9143) names it.
    pub bundled: bool,
    /// The lines of its section, by number.
    pub(super) lines: std::ops::Range<usize>,
    /// Whether the c= line that holds for it is its own.
    pub(super) own_connection: bool,
}

/// RTP profiles by their names in a m= line.
const RTP: [&str; 6] =
    ["RTP/AVP", "RTP/AVPF", "RTP/SAVP", "RTP/SAVPF", "UDP/TLS/RTP/SAVP", "UDP/TLS/RTP/SAVPF"];

impl Media<'_> {
    /// Whether it is RTP over UDP, in any of its profiles.
    #[must_use]
    pub fn is_rtp(&self) -> bool {
        RTP.iter().any(|name| name.eq_ignore_ascii_case(self.proto))
    }

    /// Whether DTLS shares its port (`UDP/TLS/...`, `UDP/DTLS/...`; RFC 5764, 7345, 8841).
    #[must_use]
    pub fn is_dtls(&self) -> bool {
        starts_with(self.proto, "UDP/TLS/") || starts_with(self.proto, "UDP/DTLS/")
    }

    /// Whether it runs over UDP: RTP, `udp`, `udptl` (RFC 3362, 7345) or `UDP/...`.
    #[must_use]
    pub fn is_udp(&self) -> bool {
        self.is_rtp()
            || self.proto.eq_ignore_ascii_case("udp")
            || self.proto.eq_ignore_ascii_case("udptl")
            || starts_with(self.proto, "UDP/")
    }

    /// Whether it is on hold by its address (`c=0.0.0.0`, RFC 3264 8.4).
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.connection.is_some_and(|connection| connection.is_hold())
    }

    /// Its payload types: the formats that are numbers up to 127, if it is RTP.
    pub fn payload_types(&self) -> impl Iterator<Item = u8> + '_ {
        let formats = if self.is_rtp() { &self.formats[..] } else { &[] };
        formats.iter().filter_map(|format| format.parse().ok()).filter(|number| *number <= 127)
    }

    /// Where its media goes; `None` if it is closed, on hold by its address, or names no IP address.
    #[must_use]
    pub fn rtp_address(&self) -> Option<SocketAddr> {
        let ip = self.connection?.ip().filter(|ip| !ip.is_unspecified())?;
        if self.port == 0 { None } else { Some(SocketAddr::new(ip, self.port)) }
    }

    /// Where its RTCP goes when it is not muxed: `a=rtcp`, else the port above (RFC 3550 11); `None`
    /// where [`Media::rtp_address`] is, and where there is no port above.
    #[must_use]
    pub fn rtcp_address(&self) -> Option<SocketAddr> {
        let rtp = self.rtp_address()?;
        match self.rtcp {
            Some(rtcp) => {
                Some(SocketAddr::new(rtcp.address.unwrap_or_else(|| rtp.ip()), rtcp.port))
            }
            None => Some(SocketAddr::new(rtp.ip(), rtp.port().checked_add(1)?)),
        }
    }
}

fn starts_with(text: &str, prefix: &str) -> bool {
    text.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}
