//! Finding out where a peer behind NAT sends from.
//!
//! Whoever is taken for the peer hears the call and can speak in it, so the rules are strict, and
//! what a stranger can reach under them is a stated number (CVE-2025-53399, "RTP bleed"):
//!
//! - from outside the network that signaling named (the one host that it named, for a peer that may
//!   send from any of its ports): nothing, at any time;
//! - from inside it (the same NAT, or a forged source address) before the peer is learned: at most
//!   [`PROVISIONAL_MAX`] packets in all reach the other side without their sender being taken for
//!   the peer, and these must be RTP of a negotiated payload type. A stranger whose consistent run
//!   of [`RUN`] packets comes before the peer's *is* taken for the peer: without SRTP nothing in
//!   the packets tells them apart;
//! - after the peer is learned: nothing, from anywhere; but for 32 s after signaling has moved it, a
//!   peer that is heard where it was before may still be replaced by a run from inside the network
//!   (none of whose packets is relayed before the last) or by the signalled address, since it may not
//!   have heard of the move.
//!
//! A peer's RTCP port is learned after its RTP port, by the first packet from the same address that
//! bears an SSRC heard in its RTP. Before its RTP has been heard, a run of RTCP alone makes its source
//! the RTCP peer, and that source's RTCP is relayed: a peer that only listens sends nothing else.
//! Whoever does that from inside the network gets reports, never media.

use std::net::SocketAddr;

/// Packets in sequence that make a source the peer. Three are 60 ms of audio; RFC 3550 A.1 asks
/// for two (MIN_SEQUENTIAL) only to tell RTP from noise.
pub const RUN: u8 = 3;

/// Packets that are relayed before their source is locked, so that a call does not lose its first
/// ones: those of one run before the packet that completes it. Not per source: a second source
/// finds the allowance used up.
pub const PROVISIONAL_MAX: u8 = RUN - 1;

/// Sources whose runs are followed at once, so that one stranger cannot keep the peer from
/// completing its run by sending in between.
const CANDIDATES_MAX: usize = 4;

/// A run goes on over a gap of fewer than this many lost packets.
const STEP_MAX: i16 = 16;

/// What of a packet must be consistent within a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Rtp {
        ssrc: u32,
        sequence: u16,
    },
    Rtcp {
        ssrc: u32,
    },
    /// Nothing can be checked.
    Opaque,
}

impl Mark {
    /// Whether a packet with this mark goes on a run after one marked `last`; `None`: it neither
    /// goes on nor breaks it (a duplicate, or out of order).
    fn follows(self, last: Mark) -> Option<bool> {
        match (last, self) {
            (Mark::Rtp { ssrc: a, sequence: from }, Mark::Rtp { ssrc: b, sequence: to }) => {
                let step = to.wrapping_sub(from) as i16;
                if a != b || step >= STEP_MAX || step <= -STEP_MAX {
                    Some(false)
                } else if step > 0 {
                    Some(true)
                } else {
                    None
                }
            }
            (Mark::Rtcp { ssrc: a }, Mark::Rtcp { ssrc: b }) => Some(a == b),
            (Mark::Opaque, Mark::Opaque) => Some(true),
            (Mark::Rtp { .. } | Mark::Rtcp { .. } | Mark::Opaque, _) => Some(false),
        }
    }
}

/// What a packet from a candidate means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    /// Its source is the peer from now on.
    Learned,
    /// It is relayed, and its source stays a candidate.
    Provisional,
    /// It is not relayed.
    Held,
}

#[derive(Clone, Copy, Debug)]
struct Candidate {
    source: SocketAddr,
    last: Mark,
    run: u8,
}

/// The candidates for one socket's peer.
#[derive(Debug)]
pub(crate) struct Learner {
    candidates: [Option<Candidate>; CANDIDATES_MAX],
    provisional_left: u8,
}

impl Learner {
    /// Nothing was heard; up to `provisional` packets are relayed before the peer is learned.
    pub(crate) fn new(provisional: u8) -> Learner {
        Learner { candidates: [None; CANDIDATES_MAX], provisional_left: provisional }
    }

    /// A well-formed packet from a source that may be the peer.
    pub(crate) fn hear(&mut self, source: SocketAddr, mark: Mark) -> Heard {
        let run = match self.candidates.iter_mut().flatten().find(|c| c.source == source) {
            Some(candidate) => candidate.hear(mark),
            None => {
                self.enter(Candidate { source, last: mark, run: 1 });
                1
            }
        };
        if run >= RUN {
            Heard::Learned
        } else if self.provisional_left > 0 {
            self.provisional_left -= 1;
            Heard::Provisional
        } else {
            Heard::Held
        }
    }

    /// Puts a new candidate last; with all places taken the one with the shortest run leaves, of
    /// several such the one that came first.
    fn enter(&mut self, candidate: Candidate) {
        let run = |place: &usize| self.candidates[*place].map_or(0, |c| c.run);
        let place = (0..CANDIDATES_MAX).min_by_key(run).unwrap_or(0);
        self.candidates[place..].rotate_left(1);
        self.candidates[CANDIDATES_MAX - 1] = Some(candidate);
    }
}

impl Candidate {
    fn hear(&mut self, mark: Mark) -> u8 {
        match mark.follows(self.last) {
            Some(true) => (self.run, self.last) = (self.run.saturating_add(1), mark),
            Some(false) => (self.run, self.last) = (1, mark),
            None => {}
        }
        self.run
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(port: u16) -> SocketAddr {
        SocketAddr::from(([203, 0, 113, 9], port))
    }

    fn rtp(sequence: u16) -> Mark {
        Mark::Rtp { ssrc: 7, sequence }
    }

    #[test]
    fn a_lone_source_is_learned_with_its_third_packet_and_loses_none() {
        let mut learner = Learner::new(PROVISIONAL_MAX);
        let heard = [1, 2, 3].map(|n| learner.hear(source(1), rtp(n)));
        assert_eq!(heard, [Heard::Provisional, Heard::Provisional, Heard::Learned]);
    }

    #[test]
    fn gaps_and_the_16_bit_wrap_do_not_break_a_run() {
        let mut learner = Learner::new(0);
        let heard = [65_530, 65_535, 4].map(|n| learner.hear(source(1), rtp(n)));
        assert_eq!(heard, [Heard::Held, Heard::Held, Heard::Learned]);
    }

    #[test]
    fn a_repeated_packet_does_not_complete_a_run() {
        let mut learner = Learner::new(0);
        for _ in 0..10 {
            assert_eq!(learner.hear(source(1), rtp(5)), Heard::Held);
        }
        assert_eq!(learner.hear(source(1), rtp(4)), Heard::Held);
    }

    #[test]
    fn a_run_of_another_ssrc_or_far_off_numbers_starts_anew() {
        for odd_one in [Mark::Rtp { ssrc: 8, sequence: 3 }, rtp(300), Mark::Opaque] {
            let mut learner = Learner::new(0);
            learner.hear(source(1), rtp(1));
            learner.hear(source(1), rtp(2));
            assert_eq!(learner.hear(source(1), odd_one), Heard::Held);
        }
    }

    /// The stated figure: whatever a stranger does, short of completing a run.
    #[test]
    fn strangers_bring_two_packets_across_in_all_before_the_peer_is_learned() {
        let mut learner = Learner::new(PROVISIONAL_MAX);
        let mut across = 0;
        for port in 1..2000 {
            for mark in [rtp(port), Mark::Rtp { ssrc: u32::from(port), sequence: 0 }] {
                match learner.hear(source(port), mark) {
                    Heard::Provisional => across += 1,
                    Heard::Held => {}
                    Heard::Learned => panic!("no source completed a run"),
                }
            }
        }
        assert_eq!(across, PROVISIONAL_MAX);
    }

    #[test]
    fn a_stranger_in_between_does_not_keep_the_peer_from_being_learned() {
        let mut learner = Learner::new(PROVISIONAL_MAX);
        for n in 1..=2 {
            learner.hear(source(1), rtp(n));
            learner.hear(source(2), Mark::Rtp { ssrc: u32::from(n), sequence: n * 1000 });
        }
        assert_eq!(learner.hear(source(1), rtp(3)), Heard::Learned);
    }

    #[test]
    fn many_strangers_push_each_other_out_before_a_source_with_a_run() {
        let mut learner = Learner::new(0);
        learner.hear(source(1), rtp(1));
        learner.hear(source(1), rtp(2));
        for port in 100..200 {
            learner.hear(source(port), rtp(1));
        }
        assert_eq!(learner.hear(source(1), rtp(3)), Heard::Learned);
    }
}
