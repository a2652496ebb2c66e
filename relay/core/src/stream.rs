//! One stream (m= line) that is open: its two legs.

use std::time::Instant;

use crate::api::{DirectionReport, Leg, LocalPorts, Payload, SessionId, StreamSpec, Traffic};
use crate::leg::LegState;
use crate::ports::Width;

/// An open stream, or one that is being opened.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) session: SessionId,
    pub(crate) payload: Payload,
    /// How its sockets mark what they send.
    pub(crate) traffic: Traffic,
    pub(crate) legs: [LegState; 2],
}

impl Stream {
    /// The leg that a packet came in on, and the one that it goes out on.
    pub(crate) fn near_and_far(&mut self, leg: Leg) -> (&mut LegState, &mut LegState) {
        let [caller, callee] = &mut self.legs;
        match leg {
            Leg::Caller => (caller, callee),
            Leg::Callee => (callee, caller),
        }
    }

    /// Brings both legs to the wanted state. Returns when the last hand-over ends that this starts.
    pub(crate) fn apply(&mut self, now: Instant, wanted: &StreamSpec) -> Option<Instant> {
        self.payload = wanted.payload;
        let [caller, callee] = &mut self.legs;
        let first = caller.apply(now, &wanted.legs[0], wanted.payload);
        let second = callee.apply(now, &wanted.legs[1], wanted.payload);
        first.max(second)
    }

    /// Whether its ports serve such a payload: a pair serves every one.
    pub(crate) fn fits(&self, payload: Payload) -> bool {
        self.legs[0].ports.lease().width() == Width::Pair || width_of(payload) == Width::Single
    }

    pub(crate) fn local_ports(&self) -> [LocalPorts; 2] {
        [self.legs[0].local_ports(), self.legs[1].local_ports()]
    }

    /// What came from each peer, for a session that was born then.
    pub(crate) fn report(&self, now: Instant, born: Instant) -> [DirectionReport; 2] {
        let [caller, callee] = &self.legs;
        [caller.report(callee, now, born), callee.report(caller, now, born)]
    }

    /// Whether packets should be coming from either peer.
    pub(crate) fn expects_packets(&self) -> bool {
        let [caller, callee] = &self.legs;
        caller.should_send_to(callee) || callee.should_send_to(caller)
    }

    /// When a packet was last accepted.
    pub(crate) fn heard(&self) -> Option<Instant> {
        self.legs[0].heard().max(self.legs[1].heard())
    }
}

/// What a stream of this payload needs. A muxed stream has a pair too: its answerer may turn
/// muxing down, and a port that would only then be opened might not be had.
pub(crate) fn width_of(payload: Payload) -> Width {
    match payload {
        Payload::Rtp { .. } => Width::Pair,
        Payload::Opaque => Width::Single,
    }
}
