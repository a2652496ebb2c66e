//! `offer` and `answer`: a description becomes the wanted state of a relay session, and goes back
//! with this node's ports once the relay has opened them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Instant;

use bytes::Bytes;
use ipnet::IpNet;
use relay_core::api::{Command, Learning, Leg, SessionId};
use smallvec::smallvec;

use super::calls::{Branch, NoPlace};
use super::command::{self, CommandError, Family, Params, Verb};
use super::{Asker, Failure, Ng, Session, Step, Timer, Work, too_busy};
use crate::call::media::OfferId;
use crate::call::{LearningPolicy, MediaSession, OfferAnswerError};
use crate::sdp::{Media, Sdp};
use crate::table::Key;

/// What every offer and answer must say.
#[derive(Clone, Copy)]
struct Names<'a> {
    call_id: &'a [u8],
    from: &'a [u8],
    sdp: &'a [u8],
}

/// What a description asks of its session.
struct Change {
    call: Key,
    session: SessionId,
    /// The leg that the description comes from.
    leg: Leg,
    /// The offer that it is, if it is one.
    offer: Option<OfferId>,
    /// `None`: nothing, the session is as wanted.
    command: Option<Command>,
}

impl<'a> Names<'a> {
    fn of(verb: Verb, params: &Params<'a>) -> Result<Names<'a>, CommandError> {
        if verb == Verb::Answer && params.to_tag.is_none() {
            return Err(CommandError::Missing("to-tag"));
        }
        Ok(Names {
            call_id: params.call_id.ok_or(CommandError::Missing("call-id"))?,
            from: params.from_tag.ok_or(CommandError::Missing("from-tag"))?,
            sdp: params.sdp.ok_or(CommandError::Missing("sdp"))?,
        })
    }
}

impl Ng {
    pub(super) fn exchange(
        &mut self,
        now: Instant,
        asker: &Asker,
        verb: Verb,
        params: &Params<'_>,
        datagram: &Bytes,
    ) -> Result<Step, Failure> {
        let names = Names::of(verb, params)?;
        let sdp = read(params, names.sdp)?;
        if self.requests.len() >= self.requests.limit() {
            return Err(too_busy());
        }
        let change = match verb {
            Verb::Answer => self.answer(now, params, &sdp)?,
            Verb::Offer
            | Verb::Ping
            | Verb::Delete
            | Verb::Query
            | Verb::List
            | Verb::Statistics => self.offer(now, names, params, &sdp)?,
        };
        let Change { call, session, leg, offer, command } = change;
        self.touch(now, call);
        let Some(command) = command else {
            let to = leg.other();
            let sdp = self.rewritten(session, to, names.sdp).ok_or_else(gone)?;
            return Ok(Step::Described { session, to, sdp });
        };
        self.know(session, call, names.call_id);
        self.media(command);
        let sdp = datagram.slice_ref(names.sdp);
        let work = Work::Describe { session, to: leg.other(), offer, sdp };
        self.await_relay(now, asker, smallvec![self.last_token], work)?;
        Ok(Step::Waits)
    }

    fn offer(
        &mut self,
        now: Instant,
        names: Names<'_>,
        params: &Params<'_>,
        sdp: &Sdp<'_>,
    ) -> Result<Change, Failure> {
        let is_new = self.calls.offered(params).is_none();
        let token = self.next_token();
        let policy = self.config.learning;
        if is_new && self.is_stopping {
            return Err(Failure::Overload("this node is stopping".to_owned()));
        }
        let place = if is_new {
            let media = self.new_media(params, sdp)?;
            let added = self.calls.add(now, names.call_id, names.from, params, media);
            added.map_err(no_place)?
        } else {
            self.calls.offered(params).ok_or_else(gone)?
        };
        let (call, leg, session) = (place.call, place.leg, place.branch.media.id());
        note(place.branch, leg, params, sdp);
        let media = &mut place.branch.media;
        match media.offer(leg, sdp, &|ip| learning(policy, params, ip)) {
            Ok(offer) => {
                media.wish_mux(offer, params.mux);
                let command = media.command(token);
                Ok(Change { call, session, leg, offer: Some(offer), command })
            }
            Err(error) => {
                if is_new && let Some(taken) = self.calls.take_session(call, session) {
                    self.close(&taken);
                }
                Err(not_agreed(error))
            }
        }
    }

    fn answer(
        &mut self,
        now: Instant,
        params: &Params<'_>,
        sdp: &Sdp<'_>,
    ) -> Result<Change, Failure> {
        let token = self.next_token();
        let policy = self.config.learning;
        let unknown =
            || Failure::Refused("an answer to an offer that is not known here".to_owned());
        let place = self.calls.answered(now, params).ok_or_else(unknown)?;
        let (call, leg, session) = (place.call, place.leg, place.branch.media.id());
        note(place.branch, leg, params, sdp);
        let media = &mut place.branch.media;
        let offer = media.last_offer(leg.other());
        let offer =
            offer.ok_or_else(|| Failure::Refused("an answer without an offer".to_owned()))?;
        media.answer(leg, offer, sdp, &|ip| learning(policy, params, ip)).map_err(not_agreed)?;
        // An early answer is not told from a final one here.
        media.establish();
        Ok(Change { call, session, leg, offer: None, command: media.command(token) })
    }

    /// A session for the offer of a new branch, with local addresses that face its two sides.
    fn new_media(&mut self, params: &Params<'_>, sdp: &Sdp<'_>) -> Result<MediaSession, Failure> {
        let described = sdp.media().iter().find_map(|m| m.rtp_address()).map(|a| a.ip());
        let peer = described.or(params.received_from);
        let family = peer.map_or(Family::Ip4, Family::of);
        let wanted = params.family.unwrap_or(family);
        let offerer = self.face(params.direction.first().copied(), family, peer)?;
        // Who will answer is not known yet: the way to the offerer is the best guess.
        let facing = peer.filter(|_| wanted == family);
        let answerer = self.face(params.direction.get(1).copied(), wanted, facing)?;
        let id = self.session_ids.fresh();
        Ok(MediaSession::new(id, [offerer.0, answerer.0], [offerer.1, answerer.1]))
    }

    /// The local address, and what SDP calls it, of the interface with this name; without a name, of
    /// the way to `peer` or, if it is not known, to anywhere.
    fn face(
        &mut self,
        name: Option<&[u8]>,
        family: Family,
        peer: Option<IpAddr>,
    ) -> Result<(IpAddr, IpAddr), Failure> {
        match name {
            Some(name) if !self.config.interfaces.is_empty() => {
                let named = |i: &&super::Interface| {
                    i.name.as_bytes() == name && Family::of(i.address) == family
                };
                let interface = self.config.interfaces.iter().find(named);
                let found = interface.map(|i| {
                    let usual = || self.addresses.advertised(i.address);
                    (i.address, i.advertised.unwrap_or_else(usual))
                });
                found.ok_or_else(|| {
                    let name = String::from_utf8_lossy(name);
                    let family = match family {
                        Family::Ip4 => "IPv4",
                        Family::Ip6 => "IPv6",
                    };
                    Failure::Refused(format!(
                        "ng.interfaces has no {family} address named {name:?}"
                    ))
                })
            }
            Some(_) | None => {
                self.counters.ignored += u64::from(name.is_some());
                let peer = peer.unwrap_or(match family {
                    Family::Ip4 => ANYWHERE_V4,
                    Family::Ip6 => ANYWHERE_V6,
                });
                let route = self.local.local_for(SocketAddr::new(peer, DISCARD));
                let way = route.ok_or_else(|| Failure::Refused(format!("no route to {peer}")))?;
                let local = self.addresses.bind(way);
                Ok((local, self.addresses.advertised(local)))
            }
        }
    }

    /// A command for the call has come: its life begins anew.
    fn touch(&mut self, now: Instant, key: Key) {
        let Some(call) = self.calls.get_mut(key) else { return };
        call.signalled = now;
        if let Some(old) = call.timer.take() {
            self.timers.cancel(old);
        }
        // The wheel holds a timer for every call and every request.
        call.timer = self.timers.schedule(now + self.config.call_lifetime, Timer::Call(key)).ok();
    }

    fn know(&mut self, session: SessionId, call: Key, call_id: &[u8]) {
        let counters = &mut self.counters;
        self.sessions.entry(session).or_insert_with(|| {
            counters.sessions += 1;
            Session { call, call_id: call_id.into(), tally: None }
        });
    }

    pub(super) fn branch_of(&mut self, session: SessionId) -> Option<&mut Branch> {
        self.calls.branch_mut(self.sessions.get(&session)?.call, session)
    }

    /// A session that never came into being is forgotten, with its branch.
    pub(super) fn session_refused(&mut self, id: SessionId, token: u64) {
        let Some(branch) = self.branch_of(id) else { return };
        branch.media.refused(token);
        if branch.media.exists_at_relay() || branch.media.is_awaited() {
            return;
        }
        if let Some(session) = self.sessions.remove(&id)
            && let Some(taken) = self.calls.take_session(session.call, id)
        {
            self.close(&taken);
        }
    }

    /// The relay has answered what a description asked of it.
    pub(super) fn described(&mut self, token: u64, outcome: Result<(), Failure>) {
        let Some(key) = self.by_token.remove(&token) else { return };
        let Some(request) = self.take_request(key) else { return };
        let Work::Describe { session, to, offer, sdp } = request.work else { return };
        if let (Err(_), Some(offer), Some(branch)) = (&outcome, offer, self.branch_of(session)) {
            branch.media.refuse(offer);
        }
        let sdp = outcome.and_then(|()| self.rewritten(session, to, &sdp).ok_or_else(gone));
        let step = sdp.map(|sdp| Step::Described { session, to, sdp });
        self.take_step(&request.asker, step);
    }

    /// A command whose answer was a description has come again: what it was answered with is made
    /// once more from what it brings along. It changes nothing.
    pub(super) fn describe_again(
        &mut self,
        asker: &Asker,
        session: SessionId,
        to: Leg,
        document: &[u8],
    ) {
        let params = command::parse(document).map_err(Failure::from);
        let text = params.and_then(|(_, params)| params.sdp.ok_or_else(gone));
        let sdp = text.and_then(|text| self.rewritten(session, to, text).ok_or_else(gone));
        self.take_step(asker, sdp.map(|sdp| Step::Described { session, to, sdp }));
    }

    /// A description as `to`'s peer shall see it; `None` if its session has gone.
    fn rewritten(&mut self, session: SessionId, to: Leg, text: &[u8]) -> Option<Vec<u8>> {
        let sdp = Sdp::parse(text).ok()?;
        Some(self.branch_of(session)?.media.rewrite_for(to, &sdp))
    }
}

/// Addresses of documentation (RFC 5737, 3849): whatever the default route leads to.
const ANYWHERE_V4: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 1));
const ANYWHERE_V6: IpAddr = IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1));
/// A port that has to be named to ask for a route; nothing is sent there.
const DISCARD: u16 = 9;

/// Reads the description with the addresses that shall hold, if this relay can do what is asked of it.
fn read<'a>(params: &Params<'_>, text: &'a [u8]) -> Result<Sdp<'a>, Failure> {
    let mut sdp =
        Sdp::parse(text).map_err(|error| Failure::Refused(format!("bad SDP: {error}")))?;
    if params.needs_ice {
        return Err(Failure::Refused("this relay does not speak ICE; use ICE=remove".to_owned()));
    }
    if let Some(profile) = params.transport
        && let Some(media) = sdp.media().iter().find(|media| !carries(media, profile))
    {
        let profile = String::from_utf8_lossy(profile);
        let why = format!("this relay cannot turn {} into {profile}", media.proto);
        return Err(Failure::Refused(why));
    }
    let source = params.received_from.filter(|_| params.sip_source);
    if let Some(address) = params.media_address.or(source) {
        sdp.move_media(address);
    }
    Ok(sdp)
}

/// Whether a stream may stay as it is where the controller wants this profile: a relay that neither
/// encrypts nor decrypts can pass RTP/AVPF for RTP/AVP, but not RTP/SAVP.
fn carries(media: &Media<'_>, profile: &[u8]) -> bool {
    let secured = |name: &[u8]| {
        let ends = |end: &[u8]| name.ends_with(end);
        (ends(b"/SAVP") || ends(b"/SAVPF"), name.starts_with(b"UDP/TLS/"))
    };
    let own = media.proto.to_ascii_uppercase();
    !media.is_rtp()
        || media.port == 0
        || profile == b"accept"
        || secured(own.as_bytes()) == secured(profile)
}

/// Which sources are accepted for media whose description names `signalled`.
fn learning(policy: LearningPolicy, params: &Params<'_>, signalled: IpAddr) -> Learning {
    match params.received_from {
        Some(_) | None if params.asymmetric => Learning::Signalled,
        // Its SDP is not believed: only the source of its SIP is known.
        Some(source) if params.sip_source => Learning::Within(IpNet::from(source)),
        Some(source) => policy.sources(source, signalled),
        None => policy.sources_afar(),
    }
}

/// Keeps what a query is told of a branch.
fn note(branch: &mut Branch, leg: Leg, params: &Params<'_>, sdp: &Sdp<'_>) {
    if let (Some(label), Some(party)) = (params.label, branch.party_mut(leg)) {
        party.label = Some(label.into());
    }
    let new = sdp.media().iter().skip(branch.lines.len());
    branch.lines.extend(new.map(|media| (media.kind.into(), media.proto.into())));
}

fn no_place(error: NoPlace) -> Failure {
    match error {
        NoPlace::Calls(limit) => Failure::Overload(format!("all {limit} calls are in use")),
        NoPlace::Branches => {
            let most = super::calls::BRANCHES_MAX;
            Failure::Refused(format!("a call has {most} branches at most"))
        }
    }
}

fn not_agreed(error: OfferAnswerError) -> Failure {
    Failure::Refused(format!("bad SDP: {error}"))
}

fn gone() -> Failure {
    Failure::Refused("the call was deleted meanwhile".to_owned())
}
