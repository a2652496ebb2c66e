//! One agent's end of a call.

use std::net::{IpAddr, SocketAddr};

use signaling_core::wire::{Message, Uri};

use super::sdp::{Description, Direction};
use crate::scenario::{Change, Side};

/// How far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The INVITE is under way and not answered.
    Inviting,
    /// The callee has answered and waits for the ACK.
    Accepted,
    /// In conversation.
    Up,
    /// Its BYE is under way.
    Ending,
    /// It has ended.
    Over,
    /// Its agent has fallen silent in this call.
    Dead,
}

/// A dialog (RFC 3261 12).
#[derive(Clone, Debug)]
pub(super) struct Dialog {
    /// From of its requests.
    pub(super) local: String,
    /// To of its requests.
    pub(super) remote: String,
    pub(super) remote_tag: String,
    pub(super) target: String,
    pub(super) routes: Vec<String>,
    pub(super) cseq: u32,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn contact(message: &Message) -> String {
    let contact = message.contacts().flatten().find_map(|c| c.addr());
    contact.map_or_else(String::new, |addr| addr.uri_text().to_owned())
}

fn record_routes(message: &Message) -> Vec<String> {
    message.record_routes().flatten().map(|route| text(route.as_bytes())).collect()
}

impl Dialog {
    /// As the one who sent the INVITE sees it (RFC 3261 12.1.2).
    pub(super) fn of_caller(response: &Message) -> Dialog {
        let mut routes = record_routes(response);
        routes.reverse();
        Dialog {
            local: text(response.from().as_bytes()),
            remote: text(response.to().as_bytes()),
            remote_tag: response.to().tag().unwrap_or_default().to_owned(),
            target: contact(response),
            routes,
            cseq: response.cseq().number,
        }
    }

    /// As the one who answers sees it (RFC 3261 12.1.1).
    pub(super) fn of_callee(invite: &Message, tag: &str) -> Dialog {
        Dialog {
            local: format!("{};tag={tag}", text(invite.to().as_bytes())),
            remote: text(invite.from().as_bytes()),
            remote_tag: invite.from().tag().unwrap_or_default().to_owned(),
            target: contact(invite),
            routes: record_routes(invite),
            cseq: 0,
        }
    }

    /// Where its requests go: to the first route.
    pub(super) fn next_hop(&self) -> Option<SocketAddr> {
        let route = self.routes.first()?;
        let inner = route.split('<').nth(1)?.split('>').next()?;
        let uri = Uri::parse(inner).ok()?;
        Some(SocketAddr::new(uri.host().ip()?, uri.port().unwrap_or(5060)))
    }
}

/// A stream of media.
#[derive(Clone, Debug)]
pub(super) struct Stream {
    pub(super) local: u16,
    pub(super) remote: Option<SocketAddr>,
    pub(super) sequence: u16,
    /// Packets sent; names each of them.
    pub(super) sent: u32,
}

/// What is agreed on media.
#[derive(Clone, Debug)]
pub(super) struct Media {
    pub(super) ip: IpAddr,
    pub(super) streams: Vec<Stream>,
    pub(super) direction: Direction,
    /// Of the description.
    pub(super) version: u32,
}

impl Media {
    pub(super) fn new(ip: IpAddr, ports: Vec<u16>) -> Media {
        let stream = |local| Stream { local, remote: None, sequence: 0, sent: 0 };
        let streams = ports.into_iter().map(stream).collect();
        Media { ip, streams, direction: Direction::Both, version: 0 }
    }

    pub(super) fn ports(&self) -> Vec<u16> {
        self.streams.iter().map(|s| s.local).collect()
    }

    pub(super) fn describe(&mut self, proposal: &Proposal) -> String {
        self.version += 1;
        let ip = if proposal.old_hold { IpAddr::from([0, 0, 0, 0]) } else { self.ip };
        let description =
            Description { ip, ports: proposal.ports.clone(), direction: proposal.direction };
        description.write(self.version)
    }

    /// As it is.
    pub(super) fn proposal(&self) -> Proposal {
        Proposal { direction: self.direction, old_hold: false, ports: self.ports() }
    }

    /// Adds streams on these ports.
    pub(super) fn widen(&mut self, ports: &[u16]) {
        let stream = |local: &u16| Stream { local: *local, remote: None, sequence: 0, sent: 0 };
        self.streams.extend(ports.iter().map(stream));
    }

    /// As an answer to `offer`: a stream that is offered closed stays closed (RFC 3264 6).
    pub(super) fn answer_to(&self, offer: &Description) -> Proposal {
        let own = self.ports();
        let ports = offer.ports.iter().zip(own).map(|(o, own)| if *o == 0 { 0 } else { own });
        Proposal { ports: ports.collect(), ..self.proposal() }
    }

    /// Both sides agree on what this side has said and what the other has.
    pub(super) fn agree(&mut self, own: &Proposal, other: &Description) {
        self.widen(own.ports.get(self.streams.len()..).unwrap_or_default());
        self.direction = own.direction;
        for (place, stream) in self.streams.iter_mut().enumerate() {
            match own.ports.get(place) {
                Some(0) | None => stream.remote = None,
                Some(port) => {
                    stream.local = *port;
                    stream.remote = other.remote(place);
                }
            }
        }
    }
}

/// What one side says of its media.
#[derive(Clone, Debug)]
pub(super) struct Proposal {
    pub(super) direction: Direction,
    pub(super) old_hold: bool,
    pub(super) ports: Vec<u16>,
}

/// A re-INVITE of this side.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) client: u64,
    pub(super) change: Change,
    pub(super) proposal: Proposal,
}

/// A re-INVITE of the other side, which this side has answered 2xx.
#[derive(Clone, Debug)]
pub(super) struct Answered {
    pub(super) server: u64,
    /// Media flows both ways when it is done; `None`: the ACK will say.
    pub(super) two_way: Option<bool>,
    /// What this side has offered, where the ACK answers.
    pub(super) offer: Option<Proposal>,
}

#[derive(Debug)]
pub(super) struct Leg {
    pub(super) side: Side,
    pub(super) phase: Phase,
    pub(super) dialog: Option<Dialog>,
    pub(super) media: Media,
    /// The caller's INVITE transaction.
    pub(super) invite: Option<u64>,
    /// The callee's INVITE transaction.
    pub(super) invited: Option<u64>,
    pub(super) wants_cancel: bool,
    pub(super) cancelled: bool,
    pub(super) authenticated: bool,
    /// The 2xx carried the offer: the ACK answers.
    pub(super) late_offer: bool,
    pub(super) asked: Option<Asked>,
    pub(super) answered: Option<Answered>,
    /// Media is being sent.
    pub(super) plays: bool,
}

impl Leg {
    pub(super) fn new(side: Side, media: Media) -> Leg {
        Leg {
            side,
            phase: Phase::Inviting,
            dialog: None,
            media,
            invite: None,
            invited: None,
            wants_cancel: false,
            cancelled: false,
            authenticated: false,
            late_offer: false,
            asked: None,
            answered: None,
            plays: false,
        }
    }

    /// Whether it takes no part in anything any more.
    pub(super) const fn is_done(&self) -> bool {
        matches!(self.phase, Phase::Over | Phase::Dead)
    }
}
