//! Commands of the ng protocol, as far as a relay that neither transcodes nor encrypts can obey
//! them. What each key does is said in the table of README.md; keys that are not known are ignored
//! and counted, values of a wrong type are refused.

use std::borrow::Cow;
use std::net::IpAddr;

use smallvec::SmallVec;

use super::bencode::{BencodeError, Dictionary, Value};
use crate::call::media::MuxWish;

/// Longest cookie. Kamailio's and OpenSIPS' are a process id and a number.
pub(super) const COOKIE_BYTES_MAX: usize = 128;

/// Longest call-id, tag, branch, label or name: far beyond what any phone writes, and it bounds what
/// the call table keeps.
pub(super) const NAME_BYTES_MAX: usize = 512;

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verb {
    Ping,
    Offer,
    Answer,
    Delete,
    Query,
    List,
    Statistics,
}

/// How many verbs there are.
pub(super) const VERBS: usize = 7;

impl Verb {
    pub(super) const ALL: [Verb; VERBS] = [
        Verb::Ping,
        Verb::Offer,
        Verb::Answer,
        Verb::Delete,
        Verb::Query,
        Verb::List,
        Verb::Statistics,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Verb::Ping => "ping",
            Verb::Offer => "offer",
            Verb::Answer => "answer",
            Verb::Delete => "delete",
            Verb::Query => "query",
            Verb::List => "list",
            Verb::Statistics => "statistics",
        }
    }

    fn parse(name: &[u8]) -> Option<Verb> {
        Verb::ALL.into_iter().find(|verb| verb.name().as_bytes() == name)
    }
}

/// An address family by its name in SDP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    Ip4,
    Ip6,
}

impl Family {
    pub(super) const fn of(address: IpAddr) -> Family {
        if address.is_ipv4() { Family::Ip4 } else { Family::Ip6 }
    }
}

/// Everything that a command says besides its verb.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Params<'a> {
    pub(super) call_id: Option<&'a [u8]>,
    pub(super) from_tag: Option<&'a [u8]>,
    pub(super) to_tag: Option<&'a [u8]>,
    pub(super) via_branch: Option<&'a [u8]>,
    pub(super) label: Option<&'a [u8]>,
    pub(super) sdp: Option<&'a [u8]>,
    /// Names of interfaces: the sender's side, then the other.
    pub(super) direction: SmallVec<[&'a [u8]; 2]>,
    /// Where the SIP message came from.
    pub(super) received_from: Option<IpAddr>,
    /// Stands in for the addresses of the description.
    pub(super) media_address: Option<IpAddr>,
    /// Of the rewritten description.
    pub(super) family: Option<Family>,
    /// The profile that the other side shall see.
    pub(super) transport: Option<&'a [u8]>,
    pub(super) mux: MuxWish,
    /// `ICE=force` or `ICE=force-relay`: the controller counts on ICE.
    pub(super) needs_ice: bool,
    /// Flag `asymmetric`: nothing is learned.
    pub(super) asymmetric: bool,
    /// Flag `SIP source address`: the message's source stands in for the addresses of the SDP.
    pub(super) sip_source: bool,
    /// Flag `fatal`: deleting what is not there is an error.
    pub(super) fatal: bool,
    /// The controller understands `load limit` as a result.
    pub(super) knows_load_limit: bool,
    /// Most entries of a list.
    pub(super) limit: Option<u32>,
    /// Keys, flags and values that change nothing here.
    pub(super) ignored: u32,
}

/// Why a command cannot be obeyed, for its sender to read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CommandError {
    #[error("{0}")]
    Bencode(#[from] BencodeError),
    #[error("a command is a dictionary")]
    NotADictionary,
    #[error(
        "unknown command \"{0}\"; this relay knows ping, offer, answer, delete, query, list and statistics"
    )]
    Unknown(String),
    #[error("\"{0}\" is missing")]
    Missing(&'static str),
    #[error("\"{key}\" has to be {wanted}")]
    Wrong { key: String, wanted: &'static str },
}

/// Cuts a datagram into cookie and document; `None` if there is no cookie to answer under.
pub(super) fn split(datagram: &[u8]) -> Option<(&[u8], &[u8])> {
    let head = &datagram[..datagram.len().min(COOKIE_BYTES_MAX + 1)];
    let space = memchr::memchr(b' ', head).filter(|length| *length > 0)?;
    Some((&datagram[..space], &datagram[space + 1..]))
}

/// Reads a document.
pub(super) fn parse(document: &[u8]) -> Result<(Verb, Params<'_>), CommandError> {
    let Value::Dictionary(dictionary) = Value::parse(document)? else {
        return Err(CommandError::NotADictionary);
    };
    let command = dictionary.get(b"command").ok_or(CommandError::Missing("command"))?;
    let command = text(b"command", command)?;
    let verb = Verb::parse(command)
        .ok_or_else(|| CommandError::Unknown(String::from_utf8_lossy(command).into_owned()))?;
    Ok((verb, Params::read(&dictionary)?))
}

impl<'a> Params<'a> {
    fn read(dictionary: &Dictionary<'a>) -> Result<Params<'a>, CommandError> {
        let mut params = Params::default();
        for (key, value) in dictionary.iter() {
            params.take(&dashed(key), value)?;
        }
        Ok(params)
    }

    fn take(&mut self, key: &[u8], value: &Value<'a>) -> Result<(), CommandError> {
        match key {
            b"command" => {}
            b"sdp" | b"SDP" => self.sdp = Some(text(key, value)?),
            b"flags" => {
                for flag in texts(key, value)? {
                    self.flag(flag)?;
                }
            }
            b"rtpp-flags" | b"rtpp_flags" => {
                let words = text(key, value)?.split(|b| *b == b' ');
                for word in words.filter(|word| !word.is_empty()) {
                    self.flag(word)?;
                }
            }
            // Origin and connection are always replaced; the rest of the list is the sender's.
            b"replace" => drop(texts(key, value)?),
            b"rtcp-mux" | b"RTCP-mux" => {
                for word in texts(key, value)? {
                    self.rtcp_mux(word);
                }
            }
            b"direction" => {
                for name in texts(key, value)? {
                    self.direction(name)?;
                }
            }
            b"received-from" => self.received_from = received_from(key, value)?,
            b"supports" => {
                self.knows_load_limit =
                    texts(key, value)?.iter().any(|s| &*dashed(s) == b"load-limit");
            }
            b"limit" => self.limit = Some(positive(key, value)?),
            _ => match value {
                Value::Text(text) => self.take_text(key, text)?,
                Value::Integer(_) | Value::List(_) | Value::Dictionary(_) => {
                    if is_text(key) {
                        return Err(wrong(key, "a string"));
                    }
                    self.ignored += 1;
                }
            },
        }
        Ok(())
    }

    /// A key whose value is text; these may stand among the flags, too, as `key=value`.
    fn take_text(&mut self, key: &[u8], value: &'a [u8]) -> Result<(), CommandError> {
        match key {
            b"call-id" => self.call_id = name(key, value)?,
            b"from-tag" => self.from_tag = name(key, value)?,
            b"to-tag" => self.to_tag = name(key, value)?,
            b"via-branch" => self.via_branch = name(key, value)?,
            b"label" | b"from-label" => self.label = name(key, value)?,
            b"media-address" => self.media_address = Some(ip(key, value)?),
            b"address-family" => self.family = Some(family(key, value)?),
            b"transport-protocol" => self.transport = Some(value),
            b"ICE" => self.ice(value)?,
            _ => self.ignored += 1,
        }
        Ok(())
    }

    fn flag(&mut self, flag: &'a [u8]) -> Result<(), CommandError> {
        if let Some(equals) = memchr::memchr(b'=', flag) {
            let (key, value) = (&flag[..equals], &flag[equals + 1..]);
            return match &*dashed(key) {
                b"direction" => self.direction(value),
                b"received-from" => {
                    self.received_from = Some(ip(key, value)?);
                    Ok(())
                }
                key => self.take_text(key, value),
            };
        }
        let flag_dashed = dashed(flag);
        match &*flag_dashed {
            b"asymmetric" => self.asymmetric = true,
            b"SIP-source-address" => self.sip_source = true,
            b"fatal" => self.fatal = true,
            // What this relay does anyway.
            b"trust-address" | b"symmetric" | b"strict-source" | b"original-sendrecv"
            | b"reject-ICE" | b"port-latching" => {}
            profile if is_profile(profile) => self.transport = Some(flag),
            other => {
                if let Some(word) = other.strip_prefix(b"rtcp-mux-") {
                    self.rtcp_mux(word);
                } else if !other.starts_with(b"replace-") {
                    self.ignored += 1;
                }
            }
        }
        Ok(())
    }

    fn rtcp_mux(&mut self, word: &[u8]) {
        let MuxWish { answerer, offerer } = &mut self.mux;
        match word {
            // "require" would also hide that the offer is one; a peer that refuses is believed.
            b"offer" | b"require" => *answerer = Some(true),
            b"demux" => (*answerer, *offerer) = (Some(false), Some(true)),
            b"accept" => *offerer = Some(true),
            b"reject" => {
                *offerer = Some(false);
                answerer.get_or_insert(false);
            }
            _ => self.ignored += 1,
        }
    }

    fn direction(&mut self, interface: &'a [u8]) -> Result<(), CommandError> {
        self.direction.push(interface);
        if self.direction.len() > 2 { Err(wrong(b"direction", "two names")) } else { Ok(()) }
    }

    fn ice(&mut self, value: &[u8]) -> Result<(), CommandError> {
        match value {
            // ICE is always removed, which every agent falls back from (RFC 8839 4.2.5).
            b"remove" | b"default" | b"optional" => Ok(()),
            b"force" | b"force-relay" => {
                self.needs_ice = true;
                Ok(())
            }
            _ => Err(wrong(b"ICE", "remove, default, optional, force or force-relay")),
        }
    }
}

/// Keys that are text wherever they are known.
fn is_text(key: &[u8]) -> bool {
    [
        &b"call-id"[..],
        b"from-tag",
        b"to-tag",
        b"via-branch",
        b"label",
        b"from-label",
        b"media-address",
        b"address-family",
        b"transport-protocol",
        b"ICE",
    ]
    .contains(&key)
}

fn is_profile(word: &[u8]) -> bool {
    [
        &b"RTP/AVP"[..],
        b"RTP/AVPF",
        b"RTP/SAVP",
        b"RTP/SAVPF",
        b"UDP/TLS/RTP/SAVP",
        b"UDP/TLS/RTP/SAVPF",
    ]
    .contains(&word)
}

/// Spaces in keys and flags may be written as hyphens.
fn dashed(name: &[u8]) -> Cow<'_, [u8]> {
    if name.contains(&b' ') {
        Cow::Owned(name.iter().map(|b| if *b == b' ' { b'-' } else { *b }).collect())
    } else {
        Cow::Borrowed(name)
    }
}

fn wrong(key: &[u8], wanted: &'static str) -> CommandError {
    CommandError::Wrong { key: String::from_utf8_lossy(key).into_owned(), wanted }
}

fn text<'a>(key: &[u8], value: &Value<'a>) -> Result<&'a [u8], CommandError> {
    match value {
        Value::Text(text) => Ok(text),
        Value::Integer(_) | Value::List(_) | Value::Dictionary(_) => Err(wrong(key, "a string")),
    }
}

fn texts<'a>(key: &[u8], value: &Value<'a>) -> Result<Vec<&'a [u8]>, CommandError> {
    let Value::List(items) = value else { return Err(wrong(key, "a list of strings")) };
    items.iter().map(|item| text(key, item).map_err(|_| wrong(key, "a list of strings"))).collect()
}

fn positive(key: &[u8], value: &Value<'_>) -> Result<u32, CommandError> {
    let number = match value {
        Value::Integer(number) => u32::try_from(*number).ok().filter(|number| *number > 0),
        Value::Text(_) | Value::List(_) | Value::Dictionary(_) => None,
    };
    number.ok_or_else(|| wrong(key, "a number above 0"))
}

/// A name; an empty one is as good as none.
fn name<'a>(key: &[u8], value: &'a [u8]) -> Result<Option<&'a [u8]>, CommandError> {
    if value.len() > NAME_BYTES_MAX {
        return Err(wrong(key, "shorter"));
    }
    Ok(Some(value).filter(|value| !value.is_empty()))
}

fn ip(key: &[u8], value: &[u8]) -> Result<IpAddr, CommandError> {
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| wrong(key, "an IP address"))
}

fn family(key: &[u8], value: &[u8]) -> Result<Family, CommandError> {
    match value {
        b"IP4" | b"ip4" => Ok(Family::Ip4),
        b"IP6" | b"ip6" => Ok(Family::Ip6),
        _ => Err(wrong(key, "IP4 or IP6")),
    }
}

/// Family and address. OpenSIPS leaves the list empty where there is no SIP message.
fn received_from(key: &[u8], value: &Value<'_>) -> Result<Option<IpAddr>, CommandError> {
    match texts(key, value)?[..] {
        [] => Ok(None),
        [_, address] => ip(key, address).map(Some),
        _ => Err(wrong(key, "a family and an address")),
    }
}
