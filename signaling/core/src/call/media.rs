//! Offer/answer (RFC 3264) of one Media Proxy session, turned into what the relay shall do.
//!
//! Knows SDP and the relay's [`SessionSpec`]; knows neither SIP messages nor who the parties are.
//! The caller of these functions says which leg a description came from and whether it is an offer
//! or an answer: that follows from the SIP transaction that carried it.
//!
//! What the relay shall do is never kept but worked out: it is what both sides have agreed on, plus
//! what the offers that are open need. Hence an offer that is refused leaves no trace, and two that
//! cross (glare, RFC 3261 14.1) do not disturb each other.

mod streams;
#[cfg(test)]
mod tests;

use std::net::{IpAddr, SocketAddr};

use relay_core::api::{
    Command, Learning, Leg, LocalPorts, RtcpMode, STREAMS_MAX, SessionId, SessionSpec, StreamSpec,
};
use smallvec::SmallVec;

use super::addresses::{Family, Place};
use crate::sdp::{Media, MediaTarget, Rewrite, Sdp};
pub use streams::Unreachable;
use streams::{Views, agreed_stream, closed_stream, is_served_by, offered_stream, views, widen};

/// The local ports of a session: one entry a stream, `None` for a closed one.
pub type Ports = SmallVec<[Option<[LocalPorts; 2]>; 2]>;

/// Names an offer of one session, so that an answer is never held against another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OfferId(u64);

impl OfferId {
    /// Whether it was made no later than `other`.
    pub(crate) const fn is_not_after(self, other: OfferId) -> bool {
        self.0 <= other.0
    }
}

/// How rtcp-mux (RFC 5761) shall differ between the two sides of an exchange; by default each side
/// is told what the other says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MuxWish {
    /// Whether the answerer is offered it, whatever the offerer says.
    pub answerer: Option<bool>,
    /// Whether it is accepted to an offerer who offers it, whatever the answerer says.
    pub offerer: Option<bool>,
}

/// The last offer of a leg. It is kept once answered, for a later answer to the same offer: another
/// fork's, or that of the 2xx after an early 183.
#[derive(Clone, Debug)]
struct Offered {
    id: OfferId,
    views: Views,
    mux: MuxWish,
    answered: bool,
}

/// Why a description cannot be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferAnswerError {
    /// More m= lines than a session holds.
    #[error("more than {STREAMS_MAX} m= lines")]
    TooManyStreams,
    /// An offer has fewer m= lines than the session (RFC 3264 8 forbids to remove one).
    #[error("an offer that drops m= lines")]
    FewerStreams,
    /// An offer names an address of a family that its leg does not have.
    #[error("a media address of {0}, where this side's media runs over {other}", other = .0.other())]
    OtherFamily(Family),
    /// An offer names an address that is no peer's.
    #[error("a media address that is a group's")]
    Group,
}

/// The spec that the relay has carried out last.
#[derive(Debug)]
enum Confirmed {
    /// It has carried out none.
    Nothing,
    /// The wanted one, of which no copy is kept: most of its life a session is here.
    Wanted,
    /// One that was wanted earlier.
    Earlier(Box<SessionSpec>),
}

/// The ports of one leg of a stream. Their address is the leg's.
#[derive(Clone, Copy, Debug)]
struct PortNumbers {
    rtp: u16,
    rtcp: u16,
}

/// One relay session and the state of its offer/answer exchanges.
#[derive(Debug)]
pub struct MediaSession {
    id: SessionId,
    local: [IpAddr; 2],
    advertised: [IpAddr; 2],
    /// What both sides have agreed on last.
    agreed: SmallVec<[StreamSpec; 2]>,
    /// The last offer of each leg (caller, callee), if no later exchange has replaced it.
    offers: [Option<Box<Offered>>; 2],
    last_offer: u64,
    /// The call has been answered: whoever announced that it sends is expected to.
    established: bool,
    /// Most streams that the relay was ever asked for; they are closed, never removed.
    longest: usize,
    ports: SmallVec<[Option<[PortNumbers; 2]>; 2]>,
    confirmed: Confirmed,
    /// Commands that the relay has not answered yet, by token.
    in_flight: SmallVec<[Box<(u64, SessionSpec)>; 1]>,
    known_to_relay: bool,
}

impl MediaSession {
    /// A session that does not exist at the relay yet, with the places of its legs (caller, callee).
    #[must_use]
    pub fn at(id: SessionId, places: [Place; 2]) -> Self {
        MediaSession::new(id, places.map(|at| at.local), places.map(|at| at.advertised))
    }

    /// A session that does not exist at the relay yet. `local` is what each leg's ports are bound
    /// to and `advertised` what SDP says instead (caller, callee).
    #[must_use]
    pub fn new(id: SessionId, local: [IpAddr; 2], advertised: [IpAddr; 2]) -> Self {
        MediaSession {
            id,
            local,
            advertised,
            agreed: SmallVec::new(),
            offers: [None, None],
            last_offer: 0,
            established: false,
            longest: 0,
            ports: SmallVec::new(),
            confirmed: Confirmed::Nothing,
            in_flight: SmallVec::new(),
            known_to_relay: false,
        }
    }

    /// The relay's name for it.
    #[must_use]
    pub const fn id(&self) -> SessionId {
        self.id
    }

    /// Whether the relay has ever been told of it.
    #[must_use]
    pub const fn is_known_to_relay(&self) -> bool {
        self.known_to_relay
    }

    /// Whether the relay has ever brought this session into being.
    #[must_use]
    pub const fn exists_at_relay(&self) -> bool {
        !matches!(self.confirmed, Confirmed::Nothing)
    }

    /// Whether the relay has still to answer a command.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !self.in_flight.is_empty()
    }

    /// The local ports of one leg of a stream, as the relay has told them last; `None` if it is closed.
    #[must_use]
    pub fn ports(&self, stream: usize, leg: Leg) -> Option<LocalPorts> {
        let PortNumbers { rtp, rtcp } = self.ports.get(stream).copied().flatten()?[leg.index()];
        let at = |port| SocketAddr::new(self.local[leg.index()], port);
        Some(LocalPorts { rtp: at(rtp), rtcp: at(rtcp) })
    }

    /// The last offer of `leg`'s peer, unless a later exchange has replaced it.
    #[must_use]
    pub fn last_offer(&self, leg: Leg) -> Option<OfferId> {
        self.offers[leg.index()].as_ref().map(|offered| offered.id)
    }

    /// Whether this offer of `leg`'s peer waits for its answer.
    #[must_use]
    pub fn is_open(&self, offer: OfferId, leg: Leg) -> bool {
        self.offers[leg.index()].as_ref().is_some_and(|o| o.id == offer && !o.answered)
    }

    /// Whether the relay serves the wanted state but perhaps for who is expected to send, so that no
    /// message has to wait for it.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let is_served = match &self.confirmed {
            Confirmed::Nothing => false,
            Confirmed::Wanted => true,
            Confirmed::Earlier(earlier) => {
                let (earlier, wanted) = (&earlier.streams, &self.wanted().streams);
                earlier.len() == wanted.len()
                    && earlier.iter().zip(wanted).all(|(a, b)| is_served_by(a, b))
            }
        };
        self.in_flight.is_empty() && is_served
    }

    /// Whether the relay has been told of the wanted state.
    #[must_use]
    pub fn is_up_to_date(&self) -> bool {
        match self.in_flight.last() {
            Some(last) => last.1 == self.wanted(),
            None => self.is_confirmed(&self.wanted()),
        }
    }

    fn is_confirmed(&self, wanted: &SessionSpec) -> bool {
        match &self.confirmed {
            Confirmed::Nothing => false,
            Confirmed::Wanted => true,
            Confirmed::Earlier(earlier) => **earlier == *wanted,
        }
    }

    /// What is wanted is about to change.
    fn keep_confirmed(&mut self) {
        if matches!(self.confirmed, Confirmed::Wanted) {
            self.confirmed = Confirmed::Earlier(Box::new(self.wanted()));
        }
    }

    /// The call has been answered. Before that, silence is nobody's fault: phones that ring announce
    /// early media and send none.
    pub fn establish(&mut self) {
        if !self.established {
            self.keep_confirmed();
            self.established = true;
        }
    }

    /// Takes an offer from `leg`'s peer. On success the session wants every port that the offer
    /// needs; peers that are already being served are not moved before the answer.
    pub fn offer(
        &mut self,
        leg: Leg,
        sdp: &Sdp<'_>,
        learning: &dyn Fn(IpAddr) -> Learning,
    ) -> Result<OfferId, OfferAnswerError> {
        self.offer_again(None, leg, sdp, learning)
    }

    /// As [`MediaSession::offer`], for a transaction that has made an offer already: the same once
    /// more (a retransmitted 2xx) changes nothing, nor does any once a later exchange has replaced it.
    pub fn offer_again(
        &mut self,
        earlier: Option<OfferId>,
        leg: Leg,
        sdp: &Sdp<'_>,
        learning: &dyn Fn(IpAddr) -> Learning,
    ) -> Result<OfferId, OfferAnswerError> {
        let views = views(sdp, self.local[leg.index()], learning)?;
        if views.len() < self.agreed.len() {
            return Err(OfferAnswerError::FewerStreams);
        }
        if let Some(unreachable) = views.iter().find_map(|view| view.unreachable) {
            return Err(match unreachable {
                Unreachable::OtherFamily(family) => OfferAnswerError::OtherFamily(family),
                Unreachable::Group => OfferAnswerError::Group,
            });
        }
        let standing = self.offers[leg.index()].as_ref().filter(|o| Some(o.id) == earlier);
        if let Some(earlier) = earlier
            && standing.is_none_or(|o| o.views == views)
        {
            return Ok(earlier);
        }
        self.keep_confirmed();
        self.last_offer += 1;
        let id = OfferId(self.last_offer);
        // An offer of the same leg that nobody answered is superseded as if it had been refused.
        let offered = Offered { id, views, mux: MuxWish::default(), answered: false };
        self.offers[leg.index()] = Some(Box::new(offered));
        Ok(id)
    }

    /// What the controller of this session wants of rtcp-mux in the exchange that this offer has
    /// opened.
    pub fn wish_mux(&mut self, offer: OfferId, wish: MuxWish) {
        for offered in self.offers.iter_mut().flatten().filter(|o| o.id == offer) {
            offered.mux = wish;
        }
    }

    /// Takes `leg`'s peer's answer to an offer of the other leg. An answer to an offer that a later
    /// exchange has replaced changes nothing: it is a copy that came late.
    ///
    /// A stream whose address in the answer cannot be sent to is closed, as if the answer had refused
    /// it (RFC 3264 6), and the reason returned: nobody would hear a thing on it, and with port 0 both
    /// sides know.
    pub fn answer(
        &mut self,
        leg: Leg,
        offer: OfferId,
        sdp: &Sdp<'_>,
        learning: &dyn Fn(IpAddr) -> Learning,
    ) -> Result<Option<Unreachable>, OfferAnswerError> {
        let answers = views(sdp, self.local[leg.index()], learning)?;
        let offerer = leg.other();
        self.keep_confirmed();
        let Some(offered) = self.offers[offerer.index()].as_mut().filter(|o| o.id == offer) else {
            return Ok(None);
        };
        offered.answered = true;
        let mux = offered.mux;
        let agreed = |(i, view)| agreed_stream(offerer, mux, view, answers.get(i));
        self.agreed = offered.views.iter().enumerate().map(agreed).collect();
        // What this leg offered before is history now; what it offers at the moment is not.
        let own = &mut self.offers[leg.index()];
        if own.as_ref().is_some_and(|own| own.answered) {
            *own = None;
        }
        Ok(answers.iter().find_map(|view| view.unreachable))
    }

    /// This offer was refused: what it asked for is not wanted any more.
    pub fn refuse(&mut self, offer: OfferId) {
        self.keep_confirmed();
        for slot in &mut self.offers {
            if slot.as_ref().is_some_and(|o| o.id == offer && !o.answered) {
                *slot = None;
            }
        }
    }

    /// The state that the relay shall have.
    #[must_use]
    pub fn wanted(&self) -> SessionSpec {
        let mut streams = self.agreed.clone();
        for leg in Leg::BOTH {
            let Some(open) = self.offers[leg.index()].as_ref().filter(|o| !o.answered) else {
                continue;
            };
            for (i, view) in open.views.iter().enumerate() {
                match streams.get_mut(i) {
                    Some(stream) if stream.open => widen(stream, view),
                    Some(stream) => *stream = offered_stream(leg, view),
                    None => streams.push(offered_stream(leg, view)),
                }
            }
        }
        if !self.established {
            streams.iter_mut().flat_map(|s| &mut s.legs).for_each(|leg| leg.sends = false);
        }
        while streams.len() < self.longest {
            streams.push(closed_stream());
        }
        SessionSpec { local: self.local, streams }
    }

    /// The command that brings the relay to the wanted state, or `None` if it is there already and
    /// nothing is under way.
    pub fn command(&mut self, token: u64) -> Option<Command> {
        let spec = self.wanted();
        if self.in_flight.is_empty() && self.is_confirmed(&spec) {
            self.confirmed = Confirmed::Wanted;
            return None;
        }
        self.longest = self.longest.max(spec.streams.len());
        self.known_to_relay = true;
        self.in_flight.push(Box::new((token, spec.clone())));
        Some(Command::Apply { session: self.id, token, spec })
    }

    /// The relay has carried out a command.
    pub fn applied(&mut self, token: u64, ports: Ports) {
        if let Some(spec) = self.answered(token) {
            let numbers =
                |leg: LocalPorts| PortNumbers { rtp: leg.rtp.port(), rtcp: leg.rtcp.port() };
            self.ports = ports.into_iter().map(|stream| Some(stream?.map(numbers))).collect();
            self.confirmed = if spec == self.wanted() {
                Confirmed::Wanted
            } else {
                Confirmed::Earlier(Box::new(spec))
            };
        }
    }

    /// The relay has refused a command: it is still where the last one that it carried out brought it.
    pub fn refused(&mut self, token: u64) {
        self.answered(token);
    }

    fn answered(&mut self, token: u64) -> Option<SessionSpec> {
        let at = self.in_flight.iter().position(|sent| sent.0 == token)?;
        Some(self.in_flight.remove(at).1)
    }

    /// `sdp`, which came from the other leg's peer, as `to`'s peer shall see it: with this node's
    /// address and ports in place of the sender's. A stream that the relay would have to carry and has
    /// no ports for is closed: nobody is shown a way around the relay.
    #[must_use]
    pub fn rewrite_for(&self, to: Leg, sdp: &Sdp<'_>) -> Vec<u8> {
        let address = self.advertised[to.index()];
        let target = |i: usize| {
            let Some(ports) = self.ports.get(i).copied().flatten() else {
                let closed = MediaTarget { address, port: 0, rtcp_port: None, mux: None };
                return sdp.media().get(i)?.is_udp().then_some(closed);
            };
            let ports = ports[to.index()];
            let is_rtp = sdp.media().get(i).is_some_and(Media::is_rtp);
            let rtcp_port = is_rtp.then_some(ports.rtcp);
            let mux = self.mux_towards(to, i);
            Some(MediaTarget { address, port: ports.rtp, rtcp_port, mux })
        };
        let media: SmallVec<[Option<MediaTarget>; 2]> =
            (0..sdp.media().len()).map(target).collect();
        // A description none of whose streams is relayed keeps the address of its origin too.
        let origin = media.iter().any(Option::is_some).then_some(address);
        sdp.rewrite(&Rewrite { origin, media })
    }

    /// What the peer of `to` shall read of rtcp-mux; `None`: what the other side has written.
    fn mux_towards(&self, to: Leg, stream: usize) -> Option<bool> {
        let newest = |leg: &Leg| self.last_offer(*leg).map(|offer| offer.0);
        let offerer = Leg::BOTH.into_iter().max_by_key(newest)?;
        let mux = self.offers[offerer.index()].as_ref()?.mux;
        if to != offerer {
            return mux.answerer;
        }
        let leg = &self.agreed.get(stream)?.legs[to.index()];
        (mux != MuxWish::default()).then_some(leg.rtcp == RtcpMode::Mux)
    }
}
