//! Via values (RFC 3261 20.42, RFC 3581).

use std::net::IpAddr;

use super::chars;
use super::host::Host;
use super::params::{self, Params};
use super::span::Span;
use super::uri::port;

/// Port of a SIP hop that names none (RFC 3261 18.2.2).
pub const SIP_PORT_DEFAULT: u16 = 5060;
/// Port of a SIP-over-TLS hop that names none.
pub const SIPS_PORT_DEFAULT: u16 = 5061;
/// What every branch of an RFC 3261 element starts with (8.1.1.7).
pub const BRANCH_MAGIC: &str = "z9hG4bK";

/// The `rport` parameter of a Via (RFC 3581).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rport {
    /// There is none.
    #[default]
    Absent,
    /// `;rport`: the sender asks for the response to go to its source port.
    Empty,
    /// `;rport=PORT`: the next hop filled it in.
    Port(u16),
}

/// Where the parts of a Via value are.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ViaSpans {
    transport: Span,
    host: Span,
    params: Span,
    branch: Span,
    received: Span,
    port: Option<u16>,
    rport: Rport,
}

impl ViaSpans {
    /// Reads the Via value at the start of `text`, which may go on with `,` and further values.
    /// Returns it and where it ends.
    pub(super) fn parse_prefix(text: &[u8]) -> Option<(ViaSpans, usize)> {
        let mut via = ViaSpans::default();
        let at = via.sender(text)?;
        via.parameters(text, at).map(|end| (via, end))
    }

    /// Whether protocol and sent-by at the start of `text` can be read, whatever follows them.
    pub(super) fn names_sender(text: &[u8]) -> bool {
        ViaSpans::default().sender(text).is_some()
    }

    #[inline]
    fn sender(&mut self, text: &[u8]) -> Option<usize> {
        let mut at = match text.first_chunk() {
            Some(b"SIP/2.0/") => chars::skip_lws(text, 8),
            Some(_) | None => protocol_end(text)?,
        };
        let end = token_end(text, at)?;
        self.transport = Span::new(at, end);
        at = chars::skip_lws(text, end);
        if at == end { None } else { self.sent_by(text, at) }
    }

    fn sent_by(&mut self, text: &[u8], start: usize) -> Option<usize> {
        let end = Host::scan(text, start)?;
        self.host = Span::new(start, end);
        let at = chars::skip_lws(text, end);
        if text.get(at) != Some(&b':') {
            return Some(end);
        }
        let (port, end) = port(text, chars::skip_lws(text, at + 1))?;
        self.port = Some(port);
        Some(end)
    }

    fn parameters(&mut self, text: &[u8], start: usize) -> Option<usize> {
        let mut at = start;
        while let Some(param) = params::next_param(text, at) {
            let value = param.value;
            at = param.end;
            let span = Span::new(at - value.len(), at);
            match param.name.len() {
                6 if param.name.eq_ignore_ascii_case(b"branch") => {
                    set_once(&mut self.branch, span, value)?;
                }
                8 if param.name.eq_ignore_ascii_case(b"received") => {
                    set_once(&mut self.received, span, value)?;
                }
                5 if param.name.eq_ignore_ascii_case(b"rport") => self.rport = read_rport(value)?,
                _ => {}
            }
        }
        self.params = Span::new(start, at);
        match text.get(chars::skip_lws(text, at)) {
            None | Some(b',') => Some(at),
            Some(_) => None,
        }
    }
}

fn token_end(text: &[u8], at: usize) -> Option<usize> {
    let end = chars::run(text, at, chars::TOKEN);
    if end > at { Some(end) } else { None }
}

/// Where the transport starts, after whatever white space stands around the slashes.
fn protocol_end(text: &[u8]) -> Option<usize> {
    let at = skip_slash(text, token_end(text, chars::skip_lws(text, 0))?)?;
    skip_slash(text, token_end(text, at)?)
}

fn skip_slash(text: &[u8], at: usize) -> Option<usize> {
    let at = chars::skip_lws(text, at);
    if text.get(at) == Some(&b'/') { Some(chars::skip_lws(text, at + 1)) } else { None }
}

/// RFC 3261 7.3.1: a parameter must not appear twice; two branches would let two elements disagree
/// on which transaction this is.
fn set_once(slot: &mut Span, span: Span, value: &[u8]) -> Option<()> {
    if !slot.is_empty() || value.is_empty() || !value.is_ascii() {
        return None;
    }
    *slot = span;
    Some(())
}

fn read_rport(value: &[u8]) -> Option<Rport> {
    if value.is_empty() {
        return Some(Rport::Empty);
    }
    chars::number(value, u64::from(u16::MAX)).map(|port| Rport::Port(port as u16))
}

/// One Via value.
#[derive(Clone, Copy, Debug)]
pub struct Via<'a> {
    text: &'a [u8],
    spans: ViaSpans,
}

impl<'a> Via<'a> {
    /// Reads one Via value; `None` if it is none.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Via<'a>> {
        let (spans, end) = ViaSpans::parse_prefix(value)?;
        if chars::skip_lws(value, end) == value.len() {
            Some(Via { text: value, spans })
        } else {
            None
        }
    }

    pub(super) const fn from_spans(text: &'a [u8], spans: ViaSpans) -> Via<'a> {
        Via { text, spans }
    }

    /// The value as written.
    #[must_use]
    pub const fn as_bytes(&self) -> &'a [u8] {
        self.text
    }

    /// The transport as written, for example `UDP`. Compare without case.
    #[must_use]
    pub fn transport(&self) -> &'a str {
        chars::text(self.spans.transport.of(self.text))
    }

    /// The sent-by host.
    #[must_use]
    pub fn host(&self) -> Host<'a> {
        // Read once already when the value was parsed.
        Host::parse(chars::text(self.spans.host.of(self.text))).unwrap_or(Host::Name(""))
    }

    /// The sent-by host as written, an IPv6 address with its brackets.
    #[must_use]
    pub fn host_text(&self) -> &'a str {
        chars::text(self.spans.host.of(self.text))
    }

    /// The sent-by port, if one is written.
    #[must_use]
    pub const fn port(&self) -> Option<u16> {
        self.spans.port
    }

    /// The sent-by port, or the one that the transport implies.
    #[must_use]
    pub fn port_or_default(&self) -> u16 {
        self.spans.port.unwrap_or(if self.transport().eq_ignore_ascii_case("TLS") {
            SIPS_PORT_DEFAULT
        } else {
            SIP_PORT_DEFAULT
        })
    }

    /// The branch, if there is one (RFC 2543 elements may send none).
    #[must_use]
    pub fn branch(&self) -> Option<&'a str> {
        some_text(self.spans.branch.of(self.text))
    }

    /// The branch without the magic cookie if it starts with it and is longer (RFC 3261 17.2.3): only
    /// then does it identify the transaction.
    #[must_use]
    pub fn unique_branch(&self) -> Option<&'a str> {
        let branch = self.branch()?;
        let magic = branch.get(..BRANCH_MAGIC.len())?;
        let rest = &branch[BRANCH_MAGIC.len()..];
        if magic.eq_ignore_ascii_case(BRANCH_MAGIC) && !rest.is_empty() { Some(rest) } else { None }
    }

    /// The `received` parameter, an IPv6 address with or without brackets (RFC 5118 4.5).
    #[must_use]
    pub fn received(&self) -> Option<IpAddr> {
        let text = some_text(self.spans.received.of(self.text))?;
        text.strip_prefix('[').and_then(|t| t.strip_suffix(']')).unwrap_or(text).parse().ok()
    }

    /// Whether there is a `received` parameter, of whatever value.
    #[must_use]
    pub(super) fn has_received(&self) -> bool {
        // A Via in which it has no value is none.
        !self.spans.received.is_empty()
    }

    /// The `rport` parameter.
    #[must_use]
    pub const fn rport(&self) -> Rport {
        self.spans.rport
    }

    /// The `ttl` parameter; `None` also if it is not 0..=255.
    #[must_use]
    pub fn ttl(&self) -> Option<u8> {
        chars::number(self.params().find("ttl")?.value?, 255).map(|ttl| ttl as u8)
    }

    /// The `maddr` parameter; `None` also if it is no host.
    #[must_use]
    pub fn maddr(&self) -> Option<Host<'a>> {
        Host::parse(self.params().get("maddr")?)
    }

    /// All parameters.
    #[must_use]
    pub fn params(&self) -> Params<'a> {
        Params::new(self.spans.params.of(self.text))
    }

    /// The value up to its parameters, as written.
    pub(super) fn before_params(&self) -> &'a [u8] {
        Span { start: 0, end: self.spans.params.start }.of(self.text)
    }

    /// The host that a response with this top Via goes to over an unreliable transport, or when the
    /// connection of the request is gone: maddr, else received, else sent-by (RFC 3261 18.2.2).
    #[must_use]
    pub fn reply_host(&self) -> Host<'a> {
        self.maddr().or_else(|| self.received().map(Host::from)).unwrap_or_else(|| self.host())
    }

    /// The port that goes with [`Via::reply_host`]: the rport where there is one with a received
    /// address and no maddr (RFC 3581 4), else sent-by's.
    #[must_use]
    pub fn reply_port(&self) -> u16 {
        match self.spans.rport {
            Rport::Port(port) if !self.spans.received.is_empty() && !self.params().has("maddr") => {
                port
            }
            Rport::Port(_) | Rport::Absent | Rport::Empty => self.port_or_default(),
        }
    }
}

fn some_text(bytes: &[u8]) -> Option<&str> {
    if bytes.is_empty() { None } else { Some(chars::text(bytes)) }
}
