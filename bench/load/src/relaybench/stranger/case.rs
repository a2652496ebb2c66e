//! What is tried, and what the documentation states of it.

use serde::Serialize;

use crate::relaybench::systems::{Habits, System};

/// Where the stranger sends from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Place {
    /// Another address than the peer's.
    OtherAddress,
    /// Another port of the peer's address: the same host, or the same NAT.
    SameAddress,
}

/// When the stranger sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Time {
    /// Before the peer's first packet.
    Before,
    /// In turns with the peer from the peer's first packet on.
    During,
    /// Once the call has had media and RTCP both ways for a while.
    After,
}

/// What the stranger sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// RTP of the negotiated payload type, each packet with another SSRC and sequence number.
    RandomSsrc,
    /// RTP of the negotiated payload type, one SSRC, in sequence.
    OwnStream,
    /// The same with the peer's SSRC and sequence numbers, guessed.
    GuessedSsrc,
    /// The same with a payload type that was not negotiated.
    WrongType,
    /// RTCP with the peer's SSRC, to the RTCP port.
    Rtcp,
    /// RTCP with the peer's SSRC, to the RTP port.
    RtcpOnRtp,
    /// What is neither: STUN, DTLS and random bytes.
    Noise,
}

impl Place {
    pub(crate) const ALL: [Place; 2] = [Place::OtherAddress, Place::SameAddress];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Place::OtherAddress => "other address",
            Place::SameAddress => "same address",
        }
    }
}

impl Time {
    pub(crate) const ALL: [Time; 3] = [Time::Before, Time::During, Time::After];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Time::Before => "before",
            Time::During => "during",
            Time::After => "after",
        }
    }
}

impl Kind {
    pub(crate) const ALL: [Kind; 7] = [
        Kind::RandomSsrc,
        Kind::OwnStream,
        Kind::GuessedSsrc,
        Kind::WrongType,
        Kind::Rtcp,
        Kind::RtcpOnRtp,
        Kind::Noise,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Kind::RandomSsrc => "random SSRC",
            Kind::OwnStream => "own stream",
            Kind::GuessedSsrc => "guessed SSRC",
            Kind::WrongType => "wrong type",
            Kind::Rtcp => "RTCP",
            Kind::RtcpOnRtp => "RTCP on RTP",
            Kind::Noise => "noise",
        }
    }
}

/// One attack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Case {
    /// Where from.
    pub(crate) place: Place,
    /// When.
    pub(crate) time: Time,
    /// What.
    pub(crate) kind: Kind,
}

impl Case {
    pub(crate) fn all() -> impl Iterator<Item = Case> {
        let times = Place::ALL.into_iter().flat_map(|place| Time::ALL.map(|time| (place, time)));
        times.flat_map(|(place, time)| Kind::ALL.map(|kind| Case { place, time, kind }))
    }
}

/// What a mode makes of a peer that sends from elsewhere than its SDP says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    /// Ringfarm's `Signalled`: it is nobody.
    Signalled,
    /// Ringfarm's `Within`, the network being the address that its SIP came from: it may be the peer.
    Within,
    /// Ringfarm's `AnyPort`: from the address that its SDP names it may be the peer, but nothing is
    /// sent to it.
    AnyPort,
    /// Not ours to state.
    Unstated,
}

/// A way in which a system and its SIP proxy treat peers.
#[derive(Debug)]
pub(crate) struct Mode {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) rule: Rule,
    pub(crate) habits: Habits,
    /// Of the controller's commands.
    pub(crate) flags: &'static [&'static str],
    /// The caller's SDP has a private address, and its SIP and media come from a public one.
    pub(crate) needs_nat: bool,
    /// How long a call takes to be one whose peers are known, in beats.
    pub(crate) settle_beats: u32,
}

const fn ours(learning: &'static str) -> Habits {
    Habits { learning, ..Habits::FASTEST }
}

const fn theirs(endpoint_learning: &'static str) -> Habits {
    Habits { endpoint_learning, ..Habits::FASTEST }
}

/// Half a second: 25 packets and two reports of each side.
const SETTLE_BEATS: u32 = 25;

/// Rtpengine's delayed learning ends between 3 and 4 s after the signalling.
const SETTLE_BEATS_DELAYED: u32 = 250;

const RINGFARM: [Mode; 6] = [
    Mode {
        name: "strict",
        description: "learning = \"strict\", the SDP is true: signalled addresses only",
        rule: Rule::Signalled,
        habits: ours("strict"),
        flags: &[],
        needs_nat: false,
        settle_beats: SETTLE_BEATS,
    },
    Mode {
        name: "strict-nat",
        description: "learning = \"strict\", the caller is seen to be behind NAT: it is learned",
        rule: Rule::Within,
        habits: ours("strict"),
        flags: &[],
        needs_nat: true,
        settle_beats: SETTLE_BEATS,
    },
    Mode {
        name: "nat",
        description: "learning = \"nat\": everybody is learned",
        rule: Rule::Within,
        habits: ours("nat"),
        flags: &[],
        needs_nat: false,
        settle_beats: SETTLE_BEATS,
    },
    Mode {
        name: "asymmetric",
        description: "learning = \"asymmetric\": any port of the address in the SDP, which is sent to",
        rule: Rule::AnyPort,
        habits: ours("asymmetric"),
        flags: &[],
        needs_nat: false,
        settle_beats: SETTLE_BEATS,
    },
    Mode {
        name: "flag-sip-source",
        description: "flag SIP-source-address: everybody is learned, the SDP's addresses are not believed",
        rule: Rule::Within,
        habits: ours("strict"),
        flags: &["SIP-source-address"],
        needs_nat: false,
        settle_beats: SETTLE_BEATS,
    },
    Mode {
        name: "flag-asymmetric",
        description: "learning = \"nat\" and flag asymmetric: signalled addresses only",
        rule: Rule::Signalled,
        habits: ours("nat"),
        flags: &["asymmetric"],
        needs_nat: false,
        settle_beats: SETTLE_BEATS,
    },
];

const RTPENGINE: [Mode; 4] = [
    Mode {
        name: "delayed",
        description: "--endpoint-learning=delayed, its default",
        rule: Rule::Unstated,
        habits: theirs("delayed"),
        flags: &[],
        needs_nat: false,
        settle_beats: SETTLE_BEATS_DELAYED,
    },
    Mode {
        name: "immediate",
        description: "--endpoint-learning=immediate",
        rule: Rule::Unstated,
        habits: theirs("immediate"),
        flags: &[],
        needs_nat: false,
        settle_beats: SETTLE_BEATS,
    },
    Mode {
        name: "strict-source",
        description: "--endpoint-learning=delayed and flag strict-source",
        rule: Rule::Unstated,
        habits: theirs("delayed"),
        flags: &["strict-source"],
        needs_nat: false,
        settle_beats: SETTLE_BEATS_DELAYED,
    },
    Mode {
        name: "off",
        description: "--endpoint-learning=off and flag strict-source",
        rule: Rule::Unstated,
        habits: theirs("off"),
        flags: &["strict-source"],
        needs_nat: false,
        settle_beats: SETTLE_BEATS,
    },
];

/// The modes of a system.
pub(crate) const fn modes(system: System) -> &'static [Mode] {
    match system {
        System::Ringfarm => &RINGFARM,
        System::Rtpengine => &RTPENGINE,
        System::Epoll | System::Forward => &[],
    }
}

/// The most that may come of a case; `None` where the stranger may be taken for the peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Stated {
    /// The stranger's packets that reach a party.
    pub(crate) injected: Option<u32>,
    /// The parties' packets that reach the stranger.
    pub(crate) diverted: Option<u32>,
    /// The parties' RTP packets that reach nobody whom they were for.
    pub(crate) lost: Option<u32>,
}

impl Stated {
    const NOTHING: Stated = Stated { injected: Some(0), diverted: Some(0), lost: Some(0) };

    /// Two packets of a stranger go ahead before the third of a run would make it the peer; they
    /// are the two that the peer would have had, so that its own first two may be held back.
    const TWO: Stated = Stated { injected: Some(2), diverted: Some(0), lost: Some(2) };

    /// Without SRTP nothing tells the stranger from the peer.
    const TAKEN: Stated = Stated { injected: None, diverted: None, lost: None };

    /// The same for RTCP alone: media stays as it is.
    const TAKEN_RTCP: Stated = Stated { injected: None, diverted: None, lost: Some(0) };

    /// The same where packets for the peer go to the signalled address in any case.
    const fn undiverted(self) -> Stated {
        Stated { diverted: Some(0), ..self }
    }
}

/// What ringfarm's documentation states (`relay/core/src/learn.rs`); `None`: nothing.
pub(crate) const fn stated(rule: Rule, case: Case) -> Option<Stated> {
    match rule {
        Rule::Unstated => None,
        Rule::Signalled => Some(Stated::NOTHING),
        Rule::Within => Some(learned(case)),
        Rule::AnyPort => Some(learned(case).undiverted()),
    }
}

const fn learned(case: Case) -> Stated {
    match (case.place, case.time) {
        (Place::OtherAddress, _) | (Place::SameAddress, Time::After) => Stated::NOTHING,
        (Place::SameAddress, Time::Before) => before(case.kind),
        (Place::SameAddress, Time::During) => during(case.kind),
    }
}

const fn before(kind: Kind) -> Stated {
    match kind {
        Kind::RandomSsrc => Stated::TWO,
        Kind::OwnStream | Kind::GuessedSsrc => Stated::TAKEN,
        Kind::Rtcp => Stated::TAKEN_RTCP,
        Kind::WrongType | Kind::RtcpOnRtp | Kind::Noise => Stated::NOTHING,
    }
}

const fn during(kind: Kind) -> Stated {
    match kind {
        // The peer is ahead by a packet, so its run is complete first.
        Kind::RandomSsrc | Kind::OwnStream | Kind::GuessedSsrc => Stated::TWO,
        // RTCP's port is learned from the first packet that bears an SSRC of the peer's.
        Kind::Rtcp => Stated::TAKEN_RTCP,
        Kind::WrongType | Kind::RtcpOnRtp | Kind::Noise => Stated::NOTHING,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_place_time_and_kind_is_tried_once() {
        let cases: Vec<Case> = Case::all().collect();
        assert_eq!(cases.len(), Place::ALL.len() * Time::ALL.len() * Kind::ALL.len());
        for (at, case) in cases.iter().enumerate() {
            assert!(!cases[..at].contains(case), "{case:?}");
        }
    }

    #[test]
    fn nothing_is_allowed_from_another_address_or_once_the_peer_is_known() {
        for case in Case::all() {
            assert_eq!(stated(Rule::Signalled, case), Some(Stated::NOTHING));
            if case.place == Place::OtherAddress || case.time == Time::After {
                assert_eq!(stated(Rule::Within, case), Some(Stated::NOTHING), "{case:?}");
                assert_eq!(stated(Rule::AnyPort, case), Some(Stated::NOTHING), "{case:?}");
            }
        }
    }
}
