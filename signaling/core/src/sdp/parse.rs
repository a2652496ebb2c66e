//! Reading a session description.

use std::net::IpAddr;

use smallvec::SmallVec;

use super::error::SdpError;
use super::lines::{self, Line};
use super::media::{Connection, Direction, Media, Rtcp};

/// Most lines. A WebRTC offer has about 60 a stream; this leaves room for 30 of them, and bounds what a
/// body of nothing but line ends costs.
pub const LINES_MAX: usize = 2000;

/// Most m= lines. Far above what the relay carries in one session, so that it can refuse by itself.
pub const MEDIA_MAX: usize = 64;

/// A session description that has been read. Borrows its text.
#[derive(Clone, Debug)]
pub struct Sdp<'a> {
    pub(super) lines: Vec<Line<'a>>,
    pub(super) media: SmallVec<[Media<'a>; 2]>,
    /// The number of the session's c= line.
    pub(super) connection: Option<usize>,
    /// How many lines come before the first m= line.
    pub(super) session_len: usize,
}

/// What the session part says for every stream.
#[derive(Default)]
struct Session<'a> {
    connection: Option<Connection<'a>>,
    direction: Direction,
    ice: bool,
    bundle: Vec<&'a [u8]>,
}

impl<'a> Sdp<'a> {
    /// Reads a session description. `v=0` must come first and there must be an o= line; other lines that
    /// RFC 8866 wants but a Media Proxy does not need (s=, t=) may be missing.
    ///
    /// # Errors
    /// [`SdpError`] with the first line that is not `k=value`, or whose v=, o=, c=, m= or a=rtcp value is
    /// against the grammar, or at which [`LINES_MAX`] or [`MEDIA_MAX`] is exceeded.
    pub fn parse(text: &'a [u8]) -> Result<Sdp<'a>, SdpError> {
        let lines = split(text)?;
        if lines.first().is_none_or(|line| line.kind != b'v' || line.value != b"0") {
            return Err(SdpError { line: 1, what: "does not start with v=0" });
        }
        let session_len = lines.iter().position(|line| line.kind == b'm').unwrap_or(lines.len());
        let mut sdp = Sdp { lines, media: SmallVec::new(), connection: None, session_len };
        sdp.check_origin()?;
        let session = sdp.read_session()?;
        sdp.read_media(&session)?;
        Ok(sdp)
    }

    /// What its m= lines say, in order.
    #[must_use]
    pub fn media(&self) -> &[Media<'a>] {
        &self.media
    }

    /// Takes every stream to be at `address`, RTCP included, whatever its c= and a=rtcp lines say;
    /// a stream on hold by its address stays so. For reading: [`Sdp::rewrite`] is not affected in what
    /// it keeps, so rewrite a description that was read anew.
    pub fn move_media(&mut self, address: IpAddr) {
        for media in self.media.iter_mut().filter(|media| !media.is_held()) {
            media.connection = Some(Connection::Ip(address));
            if let Some(rtcp) = &mut media.rtcp {
                rtcp.address = None;
            }
        }
    }

    /// The session id and version of the o= line, as written.
    #[must_use]
    pub fn origin_version(&self) -> Option<(&'a str, &'a str)> {
        let line = self.lines.iter().find(|line| line.kind == b'o')?;
        let mut words = std::str::from_utf8(line.value).ok()?.split(' ').skip(1);
        Some((words.next()?, words.next()?))
    }

    fn check_origin(&self) -> Result<(), SdpError> {
        let session = &self.lines[..self.session_len];
        let Some(number) = session.iter().position(|line| line.kind == b'o') else {
            return Err(SdpError { line: self.session_len + 1, what: "no o= line before here" });
        };
        if session[number].value.split(|b| *b == b' ').filter(|word| !word.is_empty()).count() != 6
        {
            return Err(SdpError { line: number + 1, what: "o= does not have six fields" });
        }
        Ok(())
    }

    fn read_session(&mut self) -> Result<Session<'a>, SdpError> {
        let mut session = Session::default();
        for (i, line) in self.lines[..self.session_len].iter().enumerate() {
            if line.kind == b'c' && self.connection.is_none() {
                session.connection = Some(connection(line, i)?);
                self.connection = Some(i);
            }
            if let Some(direction) = direction(line) {
                session.direction = direction;
            }
            session.ice |= lines::is_ice(line);
            session.bundle.extend(lines::bundle_tags(line).into_iter().flatten());
        }
        Ok(session)
    }

    fn read_media(&mut self, session: &Session<'a>) -> Result<(), SdpError> {
        let mut start = self.session_len;
        while start < self.lines.len() {
            let rest = &self.lines[start + 1..];
            let len = rest.iter().position(|line| line.kind == b'm').unwrap_or(rest.len());
            if self.media.len() == MEDIA_MAX {
                return Err(SdpError { line: start + 1, what: "more m= lines than allowed" });
            }
            let end = start + 1 + len;
            let mut media = media_line(&self.lines[start], start, session)?;
            media.lines = start..end;
            for i in start + 1..end {
                read_line(&mut media, &self.lines[i], i)?;
            }
            media.bundled = media.mid.is_some_and(|mid| session.bundle.contains(&mid.as_bytes()));
            self.media.push(media);
            start = end;
        }
        Ok(())
    }
}

fn split(mut text: &[u8]) -> Result<Vec<Line<'_>>, SdpError> {
    let mut lines = Vec::with_capacity(32);
    while !text.is_empty() {
        let number = lines.len() + 1;
        if number > LINES_MAX {
            return Err(SdpError { line: number, what: "more lines than allowed" });
        }
        let line = Line::take(&mut text);
        lines.push(line.ok_or(SdpError { line: number, what: "not of the form k=value" })?);
    }
    Ok(lines)
}

fn media_line<'a>(line: &Line<'a>, i: usize, session: &Session<'a>) -> Result<Media<'a>, SdpError> {
    let bad = SdpError { line: i + 1, what: "m= is not kind, port, transport and formats" };
    let text = std::str::from_utf8(line.value).map_err(|_| bad)?;
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let kind = words.next().ok_or(bad)?;
    let (port, port_count) = ports(words.next().ok_or(bad)?).ok_or(bad)?;
    let proto = words.next().ok_or(bad)?;
    Ok(Media {
        kind,
        port,
        port_count,
        proto,
        formats: words.collect(),
        connection: session.connection,
        rtcp: None,
        rtcp_mux: false,
        direction: session.direction,
        mid: None,
        ice: session.ice,
        bundled: false,
        lines: 0..0,
        own_connection: false,
    })
}

/// `port` or `port/count`.
fn ports(text: &str) -> Option<(u16, u16)> {
    let (port, count) = text.split_once('/').unwrap_or((text, "1"));
    let count = count.parse().ok().filter(|count| *count > 0)?;
    Some((digits(port)?, count))
}

/// A port in digits alone (`u16::from_str` would take a sign).
fn digits(text: &str) -> Option<u16> {
    if text.bytes().all(|b| b.is_ascii_digit()) { text.parse().ok() } else { None }
}

fn read_line<'a>(media: &mut Media<'a>, line: &Line<'a>, i: usize) -> Result<(), SdpError> {
    if line.kind == b'c' && !media.own_connection {
        media.connection = Some(connection(line, i)?);
        media.own_connection = true;
    }
    if let Some(direction) = direction(line) {
        media.direction = direction;
    } else if let Some(value) = line.attribute("rtcp") {
        let bad = SdpError { line: i + 1, what: "a=rtcp is not a port and an optional address" };
        media.rtcp = Some(rtcp(value).ok_or(bad)?);
    } else if let Some(value) = line.attribute("mid") {
        media.mid = std::str::from_utf8(value).ok();
    }
    media.rtcp_mux |= line.attribute("rtcp-mux").is_some();
    media.ice |= lines::is_ice(line);
    Ok(())
}

fn direction(line: &Line<'_>) -> Option<Direction> {
    if line.kind == b'a' { Direction::from_attribute(line.value) } else { None }
}

fn rtcp(value: &[u8]) -> Option<Rtcp> {
    let text = std::str::from_utf8(value).ok()?;
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let port = digits(words.next()?)?;
    let address = match (words.next(), words.next(), words.next()) {
        (Some("IN"), Some(_), Some(address)) => address.parse().ok(),
        _ => None,
    };
    Some(Rtcp { port, address })
}

/// Reads `IN IP4 address[/ttl[/count]]`.
pub(super) fn connection<'a>(line: &Line<'a>, i: usize) -> Result<Connection<'a>, SdpError> {
    let bad = |what| SdpError { line: i + 1, what };
    let text = std::str::from_utf8(line.value).map_err(|_| bad("c= is not text"))?;
    let mut words = text.split(' ').filter(|word| !word.is_empty());
    let (Some(network), Some(family), Some(address)) = (words.next(), words.next(), words.next())
    else {
        return Err(bad("c= does not have three fields"));
    };
    let address = address.split_once('/').map_or(address, |(address, _)| address);
    if !network.eq_ignore_ascii_case("IN") {
        return Ok(Connection::Unresolved(address));
    }
    match (address.parse::<IpAddr>(), family.to_ascii_uppercase().as_str()) {
        (Ok(ip @ IpAddr::V4(_)), "IP4") | (Ok(ip @ IpAddr::V6(_)), "IP6") => Ok(Connection::Ip(ip)),
        (Err(_), "IP4" | "IP6") => Ok(Connection::Unresolved(address)),
        _ => Err(bad("c= holds an address of another family than it says")),
    }
}
