//! Offer/answer (RFC 3264) of one Media Proxy session, turned into what the relay shall do.
//!
//! Knows SDP and the relay's [`SessionSpec`]; knows neither SIP messages nor who the parties are.
//! The caller of these functions says which leg a description came from and whether it is an offer
//! or an answer: that follows from the SIP transaction that carried it.

use std::net::IpAddr;

use relay_core::api::{
    Command, Learning, Leg, LocalPorts, Payload, PayloadTypes, Remote, RtcpMode, STREAMS_MAX,
    SessionId, SessionSpec, StreamLeg, StreamSpec,
};
use smallvec::SmallVec;

use crate::sdp::{Media, MediaTarget, Rewrite, Sdp};

/// The local ports of a session: one entry a stream, `None` for a closed one.
pub type Ports = SmallVec<[Option<[LocalPorts; 2]>; 2]>;

/// What one description says of one m= line.
#[derive(Clone, Debug)]
struct View {
    open: bool,
    payload: Payload,
    remote: Option<Remote>,
    mux: bool,
    sends: bool,
    receives: bool,
    payload_types: PayloadTypes,
}

/// A description as it was offered, kept until the next one: a later answer (another fork's, or the
/// 2xx after an early 183) is held against the same offer.
#[derive(Clone, Debug)]
struct Offered {
    leg: Leg,
    mux: MuxWish,
    views: SmallVec<[View; 2]>,
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

/// Why a description cannot be carried.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OfferAnswerError {
    /// More m= lines than a session holds.
    #[error("more than {STREAMS_MAX} m= lines")]
    TooManyStreams,
    /// An answer came although nothing was offered from the other side.
    #[error("an answer without an offer")]
    NoOffer,
    /// An offer has fewer m= lines than the session (RFC 3264 8 forbids to remove one).
    #[error("an offer that drops m= lines")]
    FewerStreams,
}

/// One relay session and the state of its offer/answer exchange.
#[derive(Debug)]
pub struct MediaSession {
    id: SessionId,
    wanted: SessionSpec,
    /// The state before the offer that is open; restored when the offer is refused.
    before_offer: Option<SessionSpec>,
    offered: Option<Offered>,
    ports: Ports,
    /// The spec that the relay has confirmed last.
    confirmed: Option<SessionSpec>,
    /// Commands sent and not answered yet.
    pending: u32,
    /// The token of the last command.
    token: u64,
    advertised: [IpAddr; 2],
}

impl MediaSession {
    /// A session that does not exist at the relay yet. `local` is what each leg's ports are bound
    /// to and `advertised` what SDP says instead (caller, callee).
    #[must_use]
    pub fn new(id: SessionId, local: [IpAddr; 2], advertised: [IpAddr; 2]) -> Self {
        MediaSession {
            id,
            wanted: SessionSpec { local, streams: SmallVec::new() },
            before_offer: None,
            offered: None,
            ports: Ports::new(),
            confirmed: None,
            pending: 0,
            token: 0,
            advertised,
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
        self.token != 0
    }

    /// Takes an offer from `leg`'s peer. On success the session wants every port that the offer
    /// needs; peers that are already being served are not moved before the answer.
    pub fn offer(
        &mut self,
        leg: Leg,
        sdp: &Sdp<'_>,
        learning: &dyn Fn(IpAddr) -> Learning,
    ) -> Result<(), OfferAnswerError> {
        let views = views(sdp, learning)?;
        if views.len() < self.wanted.streams.len() {
            return Err(OfferAnswerError::FewerStreams);
        }
        // An offer that nobody answered is superseded as if it had been refused.
        self.refuse_offer();
        self.before_offer = Some(self.wanted.clone());
        for (i, view) in views.iter().enumerate() {
            match self.wanted.streams.get_mut(i) {
                Some(stream) if stream.open => widen(stream, view),
                Some(stream) => *stream = offered_stream(leg, view),
                None => self.wanted.streams.push(offered_stream(leg, view)),
            }
        }
        self.offered = Some(Offered { leg, mux: MuxWish::default(), views });
        Ok(())
    }

    /// What the controller of this session wants of rtcp-mux in the exchange that the last
    /// [`MediaSession::offer`] has opened.
    pub fn wish_mux(&mut self, wish: MuxWish) {
        if let Some(offered) = &mut self.offered {
            offered.mux = wish;
        }
    }

    /// Takes an answer from `leg`'s peer to the offer of the other leg.
    pub fn answer(
        &mut self,
        leg: Leg,
        sdp: &Sdp<'_>,
        learning: &dyn Fn(IpAddr) -> Learning,
    ) -> Result<(), OfferAnswerError> {
        let answers = views(sdp, learning)?;
        let offered = match &self.offered {
            Some(offered) if offered.leg == leg.other() => offered,
            Some(_) | None => return Err(OfferAnswerError::NoOffer),
        };
        for (i, offer) in offered.views.iter().enumerate() {
            if let Some(stream) = self.wanted.streams.get_mut(i) {
                *stream = agreed_stream(offered, offer, answers.get(i));
            }
        }
        self.before_offer = None;
        Ok(())
    }

    /// The open offer was refused: the session wants again what it had before.
    pub fn refuse_offer(&mut self) {
        if let Some(before) = self.before_offer.take() {
            self.wanted = before;
            // A stream that only the refused offer asked for stays in the list, closed.
            if let Some(confirmed) = &self.confirmed {
                for extra in confirmed.streams.iter().skip(self.wanted.streams.len()) {
                    self.wanted.streams.push(StreamSpec { open: false, ..extra.clone() });
                }
            }
        }
    }

    /// The command that brings the relay to the wanted state, or `None` if it is there already and
    /// nothing is under way.
    pub fn command(&mut self, next_token: u64) -> Option<Command> {
        if self.pending == 0 && self.confirmed.as_ref() == Some(&self.wanted) {
            return None;
        }
        self.pending += 1;
        self.token = next_token;
        Some(Command::Apply { session: self.id, token: next_token, spec: self.wanted.clone() })
    }

    /// The relay has carried out a command that wanted the state at that time.
    pub fn applied(&mut self, token: u64, ports: Ports) {
        self.pending = self.pending.saturating_sub(1);
        self.ports = ports;
        if token == self.token {
            self.confirmed = Some(self.wanted.clone());
        }
    }

    /// The relay has refused a command: the wanted state goes back to the last confirmed one.
    pub fn refused(&mut self) {
        self.pending = self.pending.saturating_sub(1);
        if self.pending == 0 {
            self.before_offer = None;
            if let Some(confirmed) = &self.confirmed {
                self.wanted = confirmed.clone();
            }
        }
    }

    /// `sdp`, which came from the other leg's peer, as `to`'s peer shall see it: with this node's
    /// address and ports in place of the sender's.
    #[must_use]
    pub fn rewrite_for(&self, to: Leg, sdp: &Sdp<'_>) -> Vec<u8> {
        let address = self.advertised[to.index()];
        let target = |i: usize| {
            let ports = self.ports.get(i).copied().flatten()?[to.index()];
            let is_rtp = sdp.media().get(i).is_some_and(Media::is_rtp);
            let rtcp_port = is_rtp.then(|| ports.rtcp.port());
            let mux = self.mux_towards(to, i);
            Some(MediaTarget { address, port: ports.rtp.port(), rtcp_port, mux })
        };
        let media: SmallVec<[Option<MediaTarget>; 2]> =
            (0..sdp.media().len()).map(target).collect();
        // A description none of whose streams is relayed keeps the address of its origin too.
        let origin = media.iter().any(Option::is_some).then_some(address);
        sdp.rewrite(&Rewrite { origin, media })
    }

    /// What the peer of `to` shall read of rtcp-mux; `None`: what the other side has written.
    fn mux_towards(&self, to: Leg, stream: usize) -> Option<bool> {
        let offered = self.offered.as_ref()?;
        if to != offered.leg {
            return offered.mux.answerer;
        }
        let is_wished = offered.mux != MuxWish::default();
        let leg = &self.wanted.streams.get(stream)?.legs[to.index()];
        is_wished.then_some(leg.rtcp == RtcpMode::Mux)
    }

    /// The state that the relay shall have.
    #[must_use]
    pub const fn wanted(&self) -> &SessionSpec {
        &self.wanted
    }

    /// The local ports, as the relay has told them last.
    #[must_use]
    pub fn ports(&self) -> &[Option<[LocalPorts; 2]>] {
        &self.ports
    }

    /// Whether the relay has still to answer a command.
    #[must_use]
    pub const fn is_awaited(&self) -> bool {
        self.pending > 0
    }

    /// Whether the relay has ever brought this session into being.
    #[must_use]
    pub const fn exists_at_relay(&self) -> bool {
        self.confirmed.is_some()
    }
}

fn views(
    sdp: &Sdp<'_>,
    learning: &dyn Fn(IpAddr) -> Learning,
) -> Result<SmallVec<[View; 2]>, OfferAnswerError> {
    if sdp.media().len() > STREAMS_MAX {
        return Err(OfferAnswerError::TooManyStreams);
    }
    Ok(sdp.media().iter().map(|media| view(media, learning)).collect())
}

fn view(media: &Media<'_>, learning: &dyn Fn(IpAddr) -> Learning) -> View {
    let remote = media.rtp_address().map(|rtp| Remote {
        rtp,
        // Until muxing is agreed, RTCP goes to its own port (RFC 5761 5.1.1).
        rtcp: media.rtcp_address().unwrap_or(rtp),
        learning: learning(rtp.ip()),
    });
    View {
        open: media.port != 0 && media.is_udp(),
        payload: if media.is_rtp() {
            Payload::Rtp { dtls: media.is_dtls() }
        } else {
            Payload::Opaque
        },
        remote,
        mux: media.rtcp_mux,
        sends: media.direction.sends() && !media.is_held(),
        receives: media.direction.receives() && !media.is_held(),
        payload_types: media.payload_types().fold(PayloadTypes::NONE, PayloadTypes::with),
    }
}

fn leg_of(view: &View) -> StreamLeg {
    StreamLeg {
        rtcp: RtcpMode::Separate,
        remote: view.remote,
        sends: view.sends,
        payload_types: view.payload_types,
    }
}

/// A stream as it is while only one side has described it.
fn offered_stream(leg: Leg, view: &View) -> StreamSpec {
    let unknown = StreamLeg {
        rtcp: RtcpMode::Separate,
        remote: None,
        sends: false,
        payload_types: view.payload_types,
    };
    let mut legs = [unknown.clone(), unknown];
    legs[leg.index()] = leg_of(view);
    StreamSpec { open: view.open, payload: view.payload, legs }
}

/// A running stream for which a new offer is open: what it adds is let through, nothing is taken
/// away before the answer.
fn widen(stream: &mut StreamSpec, view: &View) {
    for leg in &mut stream.legs {
        leg.payload_types = leg.payload_types.union(view.payload_types);
    }
}

/// A stream on which both sides have agreed. `answer` is `None` where the answer has too few m=
/// lines: that stream is refused.
fn agreed_stream(offered: &Offered, offer: &View, answer: Option<&View>) -> StreamSpec {
    let Some(answer) = answer else {
        return StreamSpec { open: false, ..offered_stream(offered.leg, offer) };
    };
    // A payload type is listed by the one who wants to receive it (RFC 3264 5.1), and some peers
    // send what only they listed: each side may send whatever either side has named.
    let payload_types = offer.payload_types.union(answer.payload_types);
    let answerer_muxes = answer.mux && offered.mux.answerer.unwrap_or(offer.mux);
    let offerer_muxes = offer.mux && offered.mux.offerer.unwrap_or(answerer_muxes);
    let leg = |view: &View, other: &View, muxes: bool| StreamLeg {
        rtcp: if muxes { RtcpMode::Mux } else { RtcpMode::Separate },
        remote: view
            .remote
            .map(|remote| Remote { rtcp: if muxes { remote.rtp } else { remote.rtcp }, ..remote }),
        sends: view.sends && other.receives,
        payload_types,
    };
    let offering = leg(offer, answer, offerer_muxes);
    let answering = leg(answer, offer, answerer_muxes);
    let legs = match offered.leg {
        Leg::Caller => [offering, answering],
        Leg::Callee => [answering, offering],
    };
    StreamSpec { open: offer.open && answer.open, payload: offer.payload, legs }
}
