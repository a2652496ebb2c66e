//! Replacing addresses and ports in a session description.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

use super::lines::{self, Line};
use super::media::{Connection, Media};
use super::parse::Sdp;

/// Where a stream is to go instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MediaTarget {
    /// The address that the other side sends to.
    pub address: IpAddr,
    /// The port for it.
    pub port: u16,
    /// The port for RTCP: that of the stream when muxed, `None` if the stream has no RTCP.
    pub rtcp_port: Option<u16>,
    /// Whether `a=rtcp-mux` (RFC 5761) shall be there; `None` leaves it to the sender.
    pub mux: Option<bool>,
}

/// What to replace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// The address for the o= line; `None` leaves it.
    pub origin: Option<IpAddr>,
    /// One entry a m= line, in order; `None` (also for those past the end) leaves its address and port as
    /// they are.
    pub media: SmallVec<[Option<MediaTarget>; 2]>,
}

impl Sdp<'_> {
    /// A copy with the addresses and ports of `rewrite`:
    ///
    /// - m= gets the port (and no port count: one pair is promised), unless its port is 0, which stays 0;
    /// - c= gets the address, its own line or, where it has none, the session's; where that one cannot hold
    ///   for all streams, a stream gets a line of its own. Hold by `0.0.0.0` or `::` stays hold, in the
    ///   family of the address that would have been there;
    /// - a=rtcp is brought in line, added where the port is not the one above, removed where the stream has
    ///   no RTCP or is closed;
    /// - a=rtcp-mux is added or removed if the target says so;
    /// - ICE attributes are removed everywhere: they name addresses that no longer hold;
    /// - BUNDLE groups (RFC 9143) are removed, and with them a=bundle-only, which means nothing
    ///   outside of one: both sides are told what an endpoint without BUNDLE would tell them, and each
    ///   m= line has ports of its own. One that is bundle-only has port 0, and stays refused by that.
    ///
    /// Every other line keeps its bytes.
    #[must_use]
    pub fn rewrite(&self, rewrite: &Rewrite) -> Vec<u8> {
        Writer::new(self, rewrite).run()
    }
}

/// What happens to the session's c= line.
#[derive(Clone, Copy)]
enum SessionAddress {
    /// There is none.
    Absent,
    /// It stays as it is.
    Kept,
    /// It becomes this.
    Replaced(IpAddr),
    /// It says hold, and goes on to say so in another family.
    Held(IpAddr),
}

struct Writer<'s, 'a> {
    sdp: &'s Sdp<'a>,
    rewrite: &'s Rewrite,
    session: SessionAddress,
    /// For lines that are added: that of the first line.
    ending: &'a [u8],
    out: Vec<u8>,
}

impl<'s, 'a> Writer<'s, 'a> {
    fn new(sdp: &'s Sdp<'a>, rewrite: &'s Rewrite) -> Writer<'s, 'a> {
        let size: usize = sdp.lines.iter().map(|line| line.raw.len()).sum();
        let ending = sdp.lines.first().map_or(&b"\r\n"[..], |line| line.ending);
        Writer {
            sdp,
            rewrite,
            session: session_address(sdp, rewrite),
            ending: if ending.is_empty() { b"\r\n" } else { ending },
            out: Vec::with_capacity(size + 64 * (1 + sdp.media.len())),
        }
    }

    fn run(mut self) -> Vec<u8> {
        for i in 0..self.sdp.session_len {
            self.session_line(i);
        }
        for (i, media) in self.sdp.media.iter().enumerate() {
            match self.rewrite.media.get(i).copied().flatten() {
                None => self.untouched_section(media),
                Some(target) => self.section(media, target),
            }
        }
        self.out
    }

    fn session_line(&mut self, i: usize) {
        let line = &self.sdp.lines[i];
        match (line.kind, self.session, self.rewrite.origin) {
            (b'o', _, Some(address)) => self.origin(line, address),
            (b'c', SessionAddress::Replaced(address) | SessionAddress::Held(address), _)
                if self.sdp.connection == Some(i) =>
            {
                self.connection(address, line.ending);
            }
            _ if is_dropped(line) => {}
            _ => self.out.extend_from_slice(line.raw),
        }
    }

    /// Keeps user, session id and version; the last three of six fields are network, family and address.
    fn origin(&mut self, line: &Line<'_>, address: IpAddr) {
        let mut kept = without_spaces_after(line.value);
        for _ in 0..3 {
            let word = memchr::memrchr(b' ', kept).unwrap_or(0);
            kept = without_spaces_after(&kept[..word]);
        }
        self.out.extend_from_slice(b"o=");
        self.out.extend_from_slice(kept);
        self.out.push(b' ');
        self.address(address);
        self.out.extend_from_slice(line.ending);
    }

    /// A section without a target: its address must go on holding when the session's changes.
    fn untouched_section(&mut self, media: &Media<'_>) {
        let old = media.connection.and_then(|connection| connection.ip());
        let inherits = !media.own_connection && media.port != 0;
        let session = self.sdp.connection.map(|i| self.sdp.lines[i]);
        let inserted = match (self.session, session) {
            (SessionAddress::Replaced(new), Some(line)) if inherits && old != Some(new) => {
                Some(line)
            }
            _ => None,
        };
        let connection_at = connection_place(self.sdp, media);
        for i in media.lines.clone() {
            let line = &self.sdp.lines[i];
            if !is_dropped(line) {
                self.out.extend_from_slice(line.raw);
            }
            if let Some(session) = inserted
                && i == connection_at
            {
                self.begin_line();
                self.out.extend_from_slice(b"c=");
                self.out.extend_from_slice(session.value);
                self.out.extend_from_slice(self.ending);
            }
        }
    }

    fn section(&mut self, media: &Media<'_>, target: MediaTarget) {
        let insert = self.needs_connection(media, target);
        let connection_at = connection_place(self.sdp, media);
        let rtcp_port = if media.port == 0 { None } else { target.rtcp_port };
        let (mut connection_done, mut rtcp_done) = (false, false);
        for i in media.lines.clone() {
            let line = &self.sdp.lines[i];
            if i == media.lines.start {
                self.media_line(line, media, target.port);
            } else if line.kind == b'c' {
                if !connection_done {
                    self.own_connection(line, media, target.address);
                }
                connection_done = true;
            } else if let Some(value) = line.attribute("rtcp") {
                if let (Some(port), false) = (rtcp_port, rtcp_done) {
                    self.rtcp(port, value.contains(&b' ').then_some(target.address), line.ending);
                }
                rtcp_done = true;
            } else if !is_dropped(line) && (target.mux != Some(false) || !is_mux(line)) {
                self.out.extend_from_slice(line.raw);
            }
            if insert && i == connection_at {
                self.begin_line();
                self.connection(target.address, self.ending);
            }
        }
        // RFC 3605 2.1: needed where RTCP is not on the port above.
        let expected = [Some(target.port), target.port.checked_add(1)];
        if let Some(port) = rtcp_port
            && !rtcp_done
            && !expected.contains(&Some(port))
        {
            self.begin_line();
            self.rtcp(port, None, self.ending);
        }
        if target.mux == Some(true) && !media.rtcp_mux && media.is_rtp() && media.port != 0 {
            self.begin_line();
            self.out.extend_from_slice(b"a=rtcp-mux");
            self.out.extend_from_slice(self.ending);
        }
    }

    /// Whether the stream needs a c= line that it does not have.
    fn needs_connection(&self, media: &Media<'_>, target: MediaTarget) -> bool {
        if media.own_connection || media.port == 0 {
            return false;
        }
        match self.session {
            SessionAddress::Absent => true,
            // Kept although a stream that inherits it has a target: it says hold.
            SessionAddress::Kept | SessionAddress::Held(_) => false,
            SessionAddress::Replaced(address) => address != target.address,
        }
    }

    /// `m=kind port[/count] rest`, with the port replaced unless it is 0.
    fn media_line(&mut self, line: &Line<'_>, media: &Media<'_>, port: u16) {
        if media.port == 0 {
            self.out.extend_from_slice(line.raw);
            return;
        }
        let value = line.value;
        let kind_end = next_space(value, next_word(value, 0));
        let port_start = next_word(value, kind_end);
        let port_end = next_space(value, port_start);
        self.out.extend_from_slice(b"m=");
        self.out.extend_from_slice(&value[..port_start]);
        // Writing to a Vec does not fail.
        let _ = write!(self.out, "{port}");
        self.out.extend_from_slice(&value[port_end..]);
        self.out.extend_from_slice(line.ending);
    }

    fn own_connection(&mut self, line: &Line<'_>, media: &Media<'_>, address: IpAddr) {
        let old = media.connection.and_then(|connection| connection.ip());
        if old.is_some_and(|ip| ip.is_unspecified()) {
            match old.and_then(|ip| translated_hold(ip, address)) {
                Some(hold) => self.connection(hold, line.ending),
                None => self.out.extend_from_slice(line.raw),
            }
        } else {
            self.connection(address, line.ending);
        }
    }

    fn connection(&mut self, address: IpAddr, ending: &[u8]) {
        self.out.extend_from_slice(b"c=");
        self.address(address);
        self.out.extend_from_slice(ending);
    }

    fn rtcp(&mut self, port: u16, address: Option<IpAddr>, ending: &[u8]) {
        let _ = write!(self.out, "a=rtcp:{port}");
        if let Some(address) = address {
            self.out.push(b' ');
            self.address(address);
        }
        self.out.extend_from_slice(ending);
    }

    fn address(&mut self, address: IpAddr) {
        let family = if address.is_ipv4() { "IP4" } else { "IP6" };
        let _ = write!(self.out, "IN {family} {address}");
    }

    /// The last line of a description may come without a line end.
    fn begin_line(&mut self) {
        if !self.out.ends_with(b"\n") {
            self.out.extend_from_slice(self.ending);
        }
    }
}

fn next_word(text: &[u8], mut at: usize) -> usize {
    while text.get(at) == Some(&b' ') {
        at += 1;
    }
    at
}

/// Spaces alone separate words: other white space at the end is part of one, as where lines are read.
fn without_spaces_after(value: &[u8]) -> &[u8] {
    let end = value.iter().rposition(|byte| *byte != b' ').map_or(0, |last| last + 1);
    &value[..end]
}

fn next_space(text: &[u8], at: usize) -> usize {
    memchr::memchr(b' ', &text[at..]).map_or(text.len(), |i| at + i)
}

/// `a=rtcp-mux` or `a=rtcp-mux-only` (RFC 8858).
fn is_mux(line: &Line<'_>) -> bool {
    line.attribute("rtcp-mux").is_some() || line.attribute("rtcp-mux-only").is_some()
}

fn is_dropped(line: &Line<'_>) -> bool {
    lines::is_ice(line)
        || lines::bundle_tags(line).is_some()
        || line.attribute("bundle-only").is_some()
}

/// The line of a section after which a c= line belongs: m=, or the i= that follows it (RFC 8866 5).
fn connection_place(sdp: &Sdp<'_>, media: &Media<'_>) -> usize {
    let start = media.lines.start;
    let titled = media.lines.contains(&(start + 1)) && sdp.lines[start + 1].kind == b'i';
    if titled { start + 1 } else { start }
}

/// The session's c= takes the address of the first stream that inherits it, else of the first that has a
/// target at all, so that the sender's own address does not go out in it.
fn session_address(sdp: &Sdp<'_>, rewrite: &Rewrite) -> SessionAddress {
    let Some(line) = sdp.connection else { return SessionAddress::Absent };
    let targets = || sdp.media.iter().zip(&rewrite.media).filter_map(|(m, t)| t.map(|t| (m, t)));
    let inherits = targets().find(|(media, _)| !media.own_connection && media.port != 0);
    let Some((_, target)) = inherits.or_else(|| targets().next()) else {
        return SessionAddress::Kept;
    };
    match held(&sdp.lines[line]) {
        Some(hold) => {
            translated_hold(hold, target.address).map_or(SessionAddress::Kept, SessionAddress::Held)
        }
        None => SessionAddress::Replaced(target.address),
    }
}

/// The address of a c= line that says hold.
fn held(line: &Line<'_>) -> Option<IpAddr> {
    let connection: Connection<'_> = super::parse::connection(line, 0).ok()?;
    connection.ip().filter(|ip| ip.is_unspecified())
}

/// What says hold to whom `address` would have been shown; `None`: what stands there does. A peer of one
/// family need not know what the other's unspecified address means.
const fn translated_hold(hold: IpAddr, address: IpAddr) -> Option<IpAddr> {
    match (hold, address) {
        (IpAddr::V4(_), IpAddr::V4(_)) | (IpAddr::V6(_), IpAddr::V6(_)) => None,
        (_, IpAddr::V4(_)) => Some(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
        (_, IpAddr::V6(_)) => Some(IpAddr::V6(Ipv6Addr::UNSPECIFIED)),
    }
}
