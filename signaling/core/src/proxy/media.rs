//! The Media Proxy's part of a proxied request: descriptions are handed to the relay before the
//! message that carries them goes on, and carry this node's ports when it does.

use std::collections::hash_map::Entry;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Instant;

use relay_core::api::{Learning, Leg, SessionId};

use super::Proxy;
use super::addresses::Addresses;
use super::config::{Config, MediaAddresses};
use super::context::Purpose;
use super::farm::NO_LISTENER;
use super::output::{Notice, Output};
use super::relay::{Continuation, Place};
use crate::call::media::Unreachable;
use crate::call::{
    self, CallId, Family, LateOffer, MediaSession, OfferAnswerError, OfferId, Party, Unserved,
    log_name,
};
use crate::sdp::{MediaTarget, Rewrite, Sdp, SdpPart, find_sdp};
use crate::table::Key;
use crate::transport::Target;
use crate::wire::{HeaderName, Message, Method};

/// Which leg of which branch of a call a description came from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Origin {
    pub(super) call: CallId,
    pub(super) branch: usize,
    pub(super) leg: Leg,
}

/// What a description is to its session; the transaction that carries it tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// It opens an exchange. `earlier`: the offer that the same transaction has made already.
    Offer { earlier: Option<OfferId> },
    /// It closes the exchange that this offer opened.
    Answer(OfferId),
    /// It has no meaning, but names addresses all the same, which are not to get out.
    Copy,
}

/// What became of a description.
pub(super) enum Prepared {
    /// There is none, or its session is as wanted already: the message goes on with this body.
    Ready { body: Option<Vec<u8>>, offer: Option<OfferId> },
    /// The relay has been asked; its answer carries this token.
    Asked { session: SessionId, token: u64, offer: Option<OfferId> },
}

/// Why a description cannot be carried.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum DescriptionError {
    #[error("Bad SDP: {0}")]
    Sdp(#[from] crate::sdp::SdpError),
    #[error("Bad SDP: {0}")]
    Exchange(OfferAnswerError),
    #[error("{} Media Not Available", .0.family())]
    Unserved(#[from] Unserved),
}

impl From<OfferAnswerError> for DescriptionError {
    fn from(error: OfferAnswerError) -> DescriptionError {
        match error {
            OfferAnswerError::OtherFamily(family) => {
                DescriptionError::Unserved(Unserved::OtherLeg(family))
            }
            OfferAnswerError::TooManyStreams
            | OfferAnswerError::FewerStreams
            | OfferAnswerError::Group => DescriptionError::Exchange(error),
        }
    }
}

impl DescriptionError {
    /// The Warning (RFC 3261 20.43) that goes with the 488.
    fn warning(&self) -> Option<String> {
        match self {
            // 301: incompatible network address formats.
            DescriptionError::Unserved(why) => {
                Some(format!("301 ringfarm \"no {} address for this media\"", why.family()))
            }
            DescriptionError::Sdp(_) | DescriptionError::Exchange(_) => None,
        }
    }
}

impl Proxy {
    /// Prepares the branch's media and sends its request, now or once the relay has answered.
    pub(super) fn prepare_branch(&mut self, now: Instant, key: Key, index: usize) {
        let Some((origin, role)) = self.request_origin(key, index) else {
            return self.send_branch(now, key, index, None);
        };
        let Some(request) = self.contexts.get(key).map(|c| c.request.clone()) else { return };
        match self.prepare(origin, &request, role) {
            Ok(Prepared::Ready { body, offer }) => {
                self.note_offered(key, index, offer);
                self.send_branch(now, key, index, body);
            }
            Ok(Prepared::Asked { session, token, offer }) => {
                self.note_offered(key, index, offer);
                let next = Continuation::SendBranch { context: key, branch: index };
                self.await_relay(session, token, next);
            }
            Err(error) => {
                let warning = error.warning();
                let warning = warning.as_deref().map(|text| (HeaderName::Warning, text));
                self.fail_branch_with(now, key, index, 488, &error.to_string(), warning);
            }
        }
    }

    fn note_offered(&mut self, key: Key, index: usize, offer: Option<OfferId>) {
        if let Some(branch) = self.branch_mut(key, index) {
            branch.offered = offer;
        }
    }

    /// A response to an INVITE has carried an offer.
    pub(super) fn note_late_offer(
        &mut self,
        key: Key,
        index: usize,
        origin: Origin,
        offer: Option<OfferId>,
    ) {
        let Some(offer) = offer else { return };
        let Some(context) = self.contexts.get_mut(key) else { return };
        let cseq = context.request.cseq().number;
        if let Some(branch) = context.branches.get_mut(index) {
            branch.late_offer = Some(offer);
        }
        let call = self.calls.get_mut(origin.call.0);
        // A copy of an earlier one does not take the place of what was offered since.
        if let Some(branch) = call.and_then(|c| c.branches.get_mut(origin.branch))
            && branch.late_offer.is_none_or(|late| late.offer.is_not_after(offer))
        {
            branch.late_offer = Some(LateOffer { offer, cseq });
        }
    }

    /// Where the description in a request comes from and what it is; `None` if the request is not one
    /// that carries offers or answers (RFC 3261, 3262, 3311): what OPTIONS or INFO describe is no
    /// session of ours.
    pub(super) fn request_origin(&self, key: Key, index: usize) -> Option<(Origin, Role)> {
        let context = self.contexts.get(key)?;
        let origin = match context.purpose {
            Purpose::NewCall(call) => Origin { call, branch: index, leg: Leg::Caller },
            Purpose::InCall { call, from, branch } => Origin { call, branch, leg: from },
            Purpose::Plain => return None,
        };
        let offer = Role::Offer { earlier: None };
        match context.method {
            Method::Invite | Method::Update => Some((origin, offer)),
            // RFC 3262 5: the answer if the provisional response carried the offer, else an offer.
            Method::Prack => {
                let late = self.late_offer(origin).map(|late| late.offer);
                let open = late.filter(|offer| self.is_open(origin, *offer));
                Some((origin, open.map_or(offer, Role::Answer)))
            }
            Method::Ack
            | Method::Bye
            | Method::Cancel
            | Method::Register
            | Method::Options
            | Method::Info
            | Method::Message
            | Method::Subscribe
            | Method::Notify
            | Method::Publish
            | Method::Refer
            | Method::Other(_) => None,
        }
    }

    /// Where the description in a response comes from and what it is.
    pub(super) fn response_origin(&self, key: Key, index: usize) -> Option<(Origin, Role)> {
        let context = self.contexts.get(key)?;
        let (request, _) = self.request_origin(key, index)?;
        let origin = Origin { leg: request.leg.other(), ..request };
        let branch = context.branches.get(index)?;
        let role = match (branch.offered, &context.method) {
            (Some(offer), _) => Role::Answer(offer),
            (None, Method::Invite) => Role::Offer { earlier: branch.late_offer },
            (None, _) => Role::Copy,
        };
        Some((origin, role))
    }

    /// The last offer that a response on this branch of the call has carried.
    pub(super) fn late_offer(&self, origin: Origin) -> Option<LateOffer> {
        self.calls.get(origin.call.0)?.branches.get(origin.branch)?.late_offer
    }

    fn is_open(&self, origin: Origin, offer: OfferId) -> bool {
        self.media(origin).is_some_and(|media| media.is_open(offer, origin.leg.other()))
    }

    pub(super) fn media(&self, origin: Origin) -> Option<&MediaSession> {
        self.calls.get(origin.call.0)?.branches.get(origin.branch)?.media.as_deref()
    }

    /// Takes the description that `message` carries, if any, and asks the relay for what it needs.
    pub(super) fn prepare(
        &mut self,
        origin: Origin,
        message: &Message,
        role: Role,
    ) -> Result<Prepared, DescriptionError> {
        let nothing = Ok(Prepared::Ready { body: None, offer: None });
        if !self.config.relay_media {
            return nothing;
        }
        let Some(part) = description(message) else { return nothing };
        let sdp = Sdp::parse(part.of(message.body()))?;
        let taken = self.take_description(origin, &sdp, role);
        if let Err(DescriptionError::Unserved(why)) = &taken {
            self.note_unserved(origin.call, *why);
        }
        let offer = match taken? {
            Taken::Exchange(offer) => offer,
            Taken::Closed(family) => {
                self.note_unserved(origin.call, Unserved::Answered(family));
                None
            }
            Taken::Nothing => {
                let body = self.rewritten_sdp(origin, message, &part, &sdp);
                return Ok(Prepared::Ready { body: Some(body), offer: None });
            }
        };
        let is_ready = self.media(origin).is_some_and(MediaSession::is_ready);
        let asked = if is_ready { None } else { self.ask_relay(origin.call, origin.branch) };
        Ok(match asked {
            Some((session, token)) => Prepared::Asked { session, token, offer },
            None => {
                self.update_relay(origin.call, origin.branch);
                let body = self.rewritten_sdp(origin, message, &part, &sdp);
                Prepared::Ready { body: Some(body), offer }
            }
        })
    }

    fn take_description(
        &mut self,
        origin: Origin,
        sdp: &Sdp<'_>,
        role: Role,
    ) -> Result<Taken, DescriptionError> {
        let Some(call) = self.calls.get_mut(origin.call.0) else { return Ok(Taken::Nothing) };
        let Some(party) = call.party(origin.leg, origin.branch).copied() else {
            return Ok(Taken::Nothing);
        };
        let (caller, has_ended) = (call.caller, call.ended.is_some());
        let Some(branch) = call.branches.get_mut(origin.branch) else { return Ok(Taken::Nothing) };
        let learning = |ip| learning(&self.config, &party, ip);
        match role {
            Role::Offer { earlier } => {
                if branch.media.is_none() && has_ended {
                    return Ok(Taken::Nothing);
                }
                let is_established = branch.is_up();
                if branch.media.is_none() {
                    let named = sdp.media().iter().find_map(|m| m.rtp_address()).map(|at| at.ip());
                    let mut named_by = [None; 2];
                    named_by[origin.leg.index()] = named;
                    let mut place = |party: &Party, named| {
                        place(&mut self.addresses, &*self.media_addresses, party, named)
                    };
                    let places = [place(&caller, named_by[0])?, place(&branch.party, named_by[1])?];
                    branch.media = Some(Box::new(MediaSession::at(self.sessions.fresh(), places)));
                }
                let Some(media) = &mut branch.media else { return Ok(Taken::Nothing) };
                if is_established {
                    media.establish();
                }
                let offer = media.offer_again(earlier, origin.leg, sdp, &learning)?;
                Ok(Taken::Exchange(Some(offer)))
            }
            Role::Answer(offer) => {
                let Some(media) = &mut branch.media else { return Ok(Taken::Nothing) };
                Ok(match media.answer(origin.leg, offer, sdp, &learning)? {
                    Some(Unreachable::OtherFamily(family)) => Taken::Closed(family),
                    Some(Unreachable::Group) | None => Taken::Exchange(None),
                })
            }
            Role::Copy => Ok(Taken::Nothing),
        }
    }

    fn note_unserved(&mut self, id: CallId, why: Unserved) {
        let Some(call) = self.calls.get(id.0) else { return };
        let call_id = log_name(&call.sip_call_id).to_owned();
        self.notice(Notice::MediaFamily { call_id, why });
    }

    /// Asks the relay to bring the branch's session to the wanted state; `None` if it is there.
    fn ask_relay(&mut self, id: CallId, index: usize) -> Option<(SessionId, u64)> {
        let token = self.next_token();
        let call = self.calls.get_mut(id.0)?;
        let media = call.branches.get_mut(index)?.media.as_deref_mut()?;
        let command = media.command(token)?;
        let session = media.id();
        if let Entry::Vacant(place) = self.by_session.entry(session) {
            place.insert(Place::new(id, index));
            call.sessions.push(session);
        }
        self.outputs.push_back(Output::Media(Box::new(command)));
        Some((session, token))
    }

    /// Tells the relay of a wanted state that nothing waits for.
    pub(super) fn update_relay(&mut self, id: CallId, index: usize) {
        let media = self.calls.get(id.0).and_then(|c| c.branches.get(index)?.media.as_deref());
        if media.is_some_and(|media| media.is_known_to_relay() && !media.is_up_to_date()) {
            self.ask_relay(id, index);
        }
    }

    /// An offer of this branch has been refused: the relay goes back to what was.
    pub(super) fn refuse_offer(&mut self, id: CallId, index: usize, offer: OfferId) {
        let call = self.calls.get_mut(id.0);
        if let Some(media) = call.and_then(|c| c.branches.get_mut(index)?.media.as_deref_mut()) {
            media.refuse(offer);
            self.update_relay(id, index);
        }
    }

    /// The branch's callee has answered the call. The relay hears of it with what else the answer
    /// changes.
    pub(super) fn establish_media(&mut self, id: CallId, index: usize) {
        let call = self.calls.get_mut(id.0);
        if let Some(media) = call.and_then(|c| c.branches.get_mut(index)?.media.as_deref_mut()) {
            media.establish();
        }
    }

    /// The body of `message` with this node's ports in it; `None` if it carries no description.
    pub(super) fn rewritten(&self, origin: Origin, message: &Message) -> Option<Vec<u8>> {
        let part = description(message)?;
        let sdp = Sdp::parse(part.of(message.body())).ok()?;
        Some(self.rewritten_sdp(origin, message, &part, &sdp))
    }

    /// Without a session (the call has ended meanwhile, or never had one) the streams are closed: no
    /// media may go past this node.
    fn rewritten_sdp(
        &self,
        origin: Origin,
        message: &Message,
        part: &SdpPart,
        sdp: &Sdp<'_>,
    ) -> Vec<u8> {
        let rewritten = match self.media(origin) {
            Some(media) => media.rewrite_for(origin.leg.other(), sdp),
            None => closed(sdp, self.family_of(origin, origin.leg.other())),
        };
        part.put_back(message.body(), &rewritten)
    }

    /// The family that a party's SIP travels on.
    fn family_of(&self, origin: Origin, leg: Leg) -> Family {
        let call = self.calls.get(origin.call.0);
        let party = call.and_then(|call| call.party(leg, origin.branch));
        party.map_or(Family::V4, |party| Family::of(party.flow.remote.ip()))
    }
}

/// What a description has done to its session.
enum Taken {
    /// It has opened (with the offer's name) or closed an exchange.
    Exchange(Option<OfferId>),
    /// It has closed an exchange, and a stream with it: that names an address of this family, which
    /// its leg does not have.
    Closed(Family),
    /// It has none, or no meaning.
    Nothing,
}

/// A description all of whose streams are closed (RFC 3264 8.2), without an address of its sender.
fn closed(sdp: &Sdp<'_>, to: Family) -> Vec<u8> {
    let address = match to {
        Family::V4 => IpAddr::from(Ipv4Addr::UNSPECIFIED),
        Family::V6 => IpAddr::from(Ipv6Addr::UNSPECIFIED),
    };
    let stream = MediaTarget { address, port: 0, rtcp_port: None, mux: None };
    let media = sdp.media().iter().map(|_| Some(stream)).collect();
    sdp.rewrite(&Rewrite { origin: Some(address), media })
}

fn description(message: &Message) -> Option<SdpPart> {
    find_sdp(message.content_type()?, message.body())
}

/// Where media of `party` is received: by the way that its SIP travels, but for the family of the
/// address that it has `named` for its media.
fn place(
    addresses: &mut Addresses,
    media: &dyn MediaAddresses,
    party: &Party,
    named: Option<IpAddr>,
) -> Result<call::Place, Unserved> {
    let sip = match party.flow {
        // The address is that of the member by which its SIP travels: media does not.
        Target { listener: NO_LISTENER, remote, .. } => {
            let ip = remote.ip();
            addresses.facing(ip).ok_or(Unserved::NoRoute(Family::of(ip)))?
        }
        Target { local, .. } => local.ip(),
    };
    let facing = match named {
        Some(named) if Family::of(named) != Family::of(sip) => {
            addresses.facing(named).ok_or(Unserved::NoRoute(Family::of(named)))?
        }
        Some(_) | None => sip,
    };
    let place = media.place(party.flow.remote.ip(), facing);
    place.ok_or(Unserved::NotListed(Family::of(facing)))
}

/// Which sources are accepted from `party` when its description names `signalled`.
fn learning(config: &Config, party: &Party, signalled: IpAddr) -> Learning {
    if party.adjacent {
        config.learning.sources(party.flow.remote.ip(), signalled)
    } else {
        config.learning.sources_afar()
    }
}
