//! What descriptions say of streams, and what the relay shall do for them.

use std::net::{IpAddr, SocketAddr};

use relay_core::api::{
    Learning, Leg, Payload, PayloadTypes, Remote, RtcpMode, STREAMS_MAX, StreamLeg, StreamSpec,
    Traffic,
};
use smallvec::SmallVec;

use super::{MuxWish, OfferAnswerError};
use crate::call::addresses::Family;
use crate::sdp::{Media, Sdp};

/// Why nothing can be sent to an address that a description names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreachable {
    /// It is of this family, and its leg of the other: the relay does not translate between them
    /// within a leg.
    OtherFamily(Family),
    /// A group is no peer.
    Group,
}

/// What one description says of one m= line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct View {
    pub(super) open: bool,
    payload: Payload,
    traffic: Traffic,
    remote: Option<Remote>,
    /// It is open and names an address that cannot be sent to from this leg.
    pub(super) unreachable: Option<Unreachable>,
    mux: bool,
    sends: bool,
    receives: bool,
    payload_types: PayloadTypes,
}

pub(super) type Views = SmallVec<[View; 2]>;

/// Reads the streams of a description whose sender is served from `local`.
pub(super) fn views(
    sdp: &Sdp<'_>,
    local: IpAddr,
    learning: &dyn Fn(IpAddr) -> Learning,
) -> Result<Views, OfferAnswerError> {
    if sdp.media().len() > STREAMS_MAX {
        return Err(OfferAnswerError::TooManyStreams);
    }
    Ok(sdp.media().iter().map(|media| view(media, local, learning)).collect())
}

fn view(media: &Media<'_>, local: IpAddr, learning: &dyn Fn(IpAddr) -> Learning) -> View {
    let open = media.port != 0 && media.is_udp();
    let named = media.rtp_address();
    let unreachable = named.and_then(|rtp| unreachable(rtp.ip(), local));
    let remote = named.filter(|_| unreachable.is_none()).map(|rtp| Remote {
        rtp,
        // Until muxing is agreed, RTCP goes to its own port (RFC 5761 5.1.1).
        rtcp: rtcp_address(media, rtp, local),
        learning: learning(rtp.ip()),
    });
    View {
        open,
        payload: if media.is_rtp() {
            Payload::Rtp { dtls: media.is_dtls() }
        } else {
            Payload::Opaque
        },
        traffic: traffic(media.kind),
        unreachable: unreachable.filter(|_| open),
        remote,
        mux: media.rtcp_mux,
        sends: media.direction.sends() && !media.is_held(),
        receives: media.direction.receives() && !media.is_held(),
        payload_types: payload_types(media),
    }
}

/// Comfort noise for codecs of 8 kHz. Its number is static (RFC 3551 6, RFC 3389 4), so senders with
/// voice activity detection use it whether or not a description lists it; a receiver that does not
/// know it ignores it, but a relay that took it away would turn each pause into loss.
const COMFORT_NOISE: u8 = 13;

/// The types that may be sent where the other side has described this.
fn payload_types(media: &Media<'_>) -> PayloadTypes {
    let listed = media.payload_types().fold(PayloadTypes::NONE, PayloadTypes::with);
    if media.kind == "audio" && media.is_rtp() { listed.with(COMFORT_NOISE) } else { listed }
}

/// RFC 4594 4.1 counts fax over IP (T.38, `image`) to telephony; so is real-time text (RFC 4103),
/// which is a few bytes a second that belong to what is said. Of other media (`application`,
/// `message`) nothing is known.
fn traffic(kind: &str) -> Traffic {
    match kind {
        "audio" | "image" | "text" => Traffic::Audio,
        "video" => Traffic::Video,
        _ => Traffic::Other,
    }
}

/// An RTCP address that cannot be sent to costs the stream its reports, not its media.
fn rtcp_address(media: &Media<'_>, rtp: SocketAddr, local: IpAddr) -> SocketAddr {
    let reachable = |rtcp: &SocketAddr| rtcp.port() != 0 && unreachable(rtcp.ip(), local).is_none();
    media.rtcp_address().filter(reachable).unwrap_or(rtp)
}

fn unreachable(remote: IpAddr, local: IpAddr) -> Option<Unreachable> {
    let is_broadcast = matches!(remote, IpAddr::V4(ip) if ip.is_broadcast());
    if remote.is_multicast() || is_broadcast {
        Some(Unreachable::Group)
    } else if Family::of(remote) != Family::of(local) {
        Some(Unreachable::OtherFamily(Family::of(remote)))
    } else {
        None
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
pub(super) fn offered_stream(leg: Leg, view: &View) -> StreamSpec {
    let unknown = StreamLeg {
        rtcp: RtcpMode::Separate,
        remote: None,
        sends: false,
        payload_types: view.payload_types,
    };
    let mut legs = [unknown.clone(), unknown];
    legs[leg.index()] = leg_of(view);
    StreamSpec { open: view.open, payload: view.payload, traffic: view.traffic, legs }
}

/// A stream that holds no ports.
pub(super) fn closed_stream() -> StreamSpec {
    let leg = StreamLeg {
        rtcp: RtcpMode::Separate,
        remote: None,
        sends: false,
        payload_types: PayloadTypes::NONE,
    };
    StreamSpec {
        open: false,
        payload: Payload::Opaque,
        traffic: Traffic::Other,
        legs: [leg.clone(), leg],
    }
}

/// Whether two states of a stream are one to its peers: who is expected to send is not seen outside.
pub(super) fn is_served_by(one: &StreamSpec, other: &StreamSpec) -> bool {
    let same_leg = |(a, b): (&StreamLeg, &StreamLeg)| {
        (a.rtcp, a.remote, a.payload_types) == (b.rtcp, b.remote, b.payload_types)
    };
    one.open == other.open
        && one.payload == other.payload
        && one.legs.iter().zip(&other.legs).all(same_leg)
}

/// A running stream for which a new offer is open: what it adds is let through, nothing is taken
/// away before the answer.
pub(super) fn widen(stream: &mut StreamSpec, view: &View) {
    for leg in &mut stream.legs {
        leg.payload_types = leg.payload_types.union(view.payload_types);
    }
}

/// A stream on which both sides have agreed. `answer` is `None` where the answer has too few m=
/// lines: that stream is refused.
pub(super) fn agreed_stream(
    offerer: Leg,
    mux: MuxWish,
    offer: &View,
    answer: Option<&View>,
) -> StreamSpec {
    let Some(answer) = answer else {
        return StreamSpec { open: false, ..offered_stream(offerer, offer) };
    };
    // A payload type is listed by the one who wants to receive it (RFC 3264 5.1), and some peers
    // send what only they listed: each side may send whatever either side has named.
    let payload_types = offer.payload_types.union(answer.payload_types);
    let answerer_muxes = answer.mux && mux.answerer.unwrap_or(offer.mux);
    let offerer_muxes = offer.mux && mux.offerer.unwrap_or(answerer_muxes);
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
    let legs = match offerer {
        Leg::Caller => [offering, answering],
        Leg::Callee => [answering, offering],
    };
    let open = offer.open && answer.open && answer.unreachable.is_none();
    StreamSpec { open, payload: offer.payload, traffic: offer.traffic, legs }
}
