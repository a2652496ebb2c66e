//! One leg of a stream: its sockets, what its peer may send, and what came of it.

use std::net::SocketAddr;
use std::time::Instant;

use crate::api::{
    DirectionReport, FLOW_GAP, Flow, Learning, LocalPorts, Payload, PayloadTypes, RtcpMode,
    StreamLeg,
};
use crate::learn::{Mark, PROVISIONAL_MAX};
use crate::path::{Path, Signalled, Standing};
use crate::ports::AddressLease;
use crate::rtp::{COMFORT_NOISE, Datagram, classify};
use crate::session::TRIES_MAX;
use crate::slot::{Part, SlotId};
use crate::stats::DirectionStats;
use crate::stats::quality::{self, Conditions};
use crate::verdict::{DropReason, PacketKind};

/// One leg of a stream.
#[derive(Debug)]
pub(crate) struct LegState {
    pub(crate) ports: AddressLease,
    rtp: Path,
    /// Absent where the lease is a single port.
    rtcp: Option<Path>,
    mode: RtcpMode,
    payload_types: PayloadTypes,
    sends: bool,
    has_remote: bool,
    /// The last RTP packet of this peer was comfort noise.
    pauses: bool,
    /// When a packet of this peer was last accepted.
    heard: Option<Instant>,
    /// Whether someone else on this host turned out to have one of its ports.
    pub(crate) contested: bool,
    /// Further ports that are tried if that is so.
    pub(crate) tries_left: u32,
    pub(crate) stats: DirectionStats,
}

impl LegState {
    /// A leg that hears nobody yet.
    pub(crate) fn new(ports: AddressLease, rtp: Path, rtcp: Option<Path>) -> LegState {
        LegState {
            ports,
            rtp,
            rtcp,
            mode: RtcpMode::Separate,
            payload_types: PayloadTypes::NONE,
            sends: false,
            has_remote: false,
            pauses: false,
            heard: None,
            contested: false,
            tries_left: TRIES_MAX,
            stats: DirectionStats::default(),
        }
    }

    pub(crate) fn paths_mut(&mut self) -> impl Iterator<Item = &mut Path> {
        [Some(&mut self.rtp), self.rtcp.as_mut()].into_iter().flatten()
    }

    pub(crate) fn path_mut(&mut self, part: Part) -> Option<&mut Path> {
        match part {
            Part::Rtp => Some(&mut self.rtp),
            Part::Rtcp => self.rtcp.as_mut(),
        }
    }

    /// Its sockets, RTP first.
    pub(crate) fn slots(&self) -> impl Iterator<Item = SlotId> + use<> {
        [Some(self.rtp.slot()), self.rtcp.as_ref().map(Path::slot)].into_iter().flatten()
    }

    /// Brings the leg to the wanted state. Returns when the last hand-over ends that this starts.
    pub(crate) fn apply(
        &mut self,
        now: Instant,
        wanted: &StreamLeg,
        payload: Payload,
    ) -> Option<Instant> {
        self.mode = wanted.rtcp;
        self.payload_types = wanted.payload_types;
        self.sends = wanted.sends;
        self.has_remote = wanted.remote.is_some();
        let signalled = |address, learning: Learning| Signalled { address, learning };
        let rtp = wanted.remote.map(|remote| signalled(remote.rtp, remote.learning));
        let own_rtcp_port = match (payload, wanted.rtcp) {
            (Payload::Rtp { .. }, RtcpMode::Separate) => true,
            (Payload::Rtp { .. }, RtcpMode::Mux) | (Payload::Opaque, _) => false,
        };
        let rtcp = wanted.remote.filter(|_| own_rtcp_port);
        let rtcp = rtcp.map(|remote| signalled(remote.rtcp, remote.learning));
        let rtp_until = self.rtp.signal(now, rtp, PROVISIONAL_MAX);
        // RTCP is periodic: the few packets before its source is learned are not missed.
        let rtcp_until = self.rtcp.as_mut().and_then(|path| path.signal(now, rtcp, 0));
        rtp_until.max(rtcp_until)
    }

    /// What an SDP may promise.
    pub(crate) fn local_ports(&self) -> LocalPorts {
        let rtp = self.ports.rtp();
        let rtcp = match self.mode {
            RtcpMode::Separate => self.ports.rtcp().unwrap_or(rtp),
            RtcpMode::Mux => rtp,
        };
        LocalPorts { rtp, rtcp }
    }

    /// Whether packets should be coming if `other` is ready to take them.
    pub(crate) fn should_send_to(&self, other: &LegState) -> bool {
        self.sends && self.has_remote && other.has_remote
    }

    /// What came from this leg's peer, which `other` sends on to its own.
    pub(crate) fn report(&self, other: &LegState, now: Instant, born: Instant) -> DirectionReport {
        let report = self.stats.report();
        let conditions = |jitter| Conditions {
            received: report.packets,
            lost: report.lost,
            jitter,
            round_trips: [self.stats.round_trip(), other.stats.round_trip()],
        };
        let since = |heard: Instant| heard.saturating_duration_since(born);
        DirectionReport {
            flow: self.flow(other, now),
            last_packet: self.heard.map(since),
            mos: self.stats.speech_jitter().map(conditions).and_then(quality::estimate),
            ..report
        }
    }

    fn flow(&self, other: &LegState, now: Instant) -> Flow {
        match self.heard {
            _ if !self.should_send_to(other) => Flow::NotExpected,
            None => Flow::NeverStarted,
            // A sender that has announced a pause owes no packet before speech goes on.
            Some(_) if self.pauses => Flow::Flowing,
            Some(heard) if now.saturating_duration_since(heard) > FLOW_GAP => Flow::Stopped,
            Some(_) => Flow::Flowing,
        }
    }

    pub(crate) fn heard(&self) -> Option<Instant> {
        self.heard
    }

    /// A packet came on one of the leg's sockets. Learns from it; says what it is if it may go on.
    ///
    /// # Errors
    /// The reason if it must not be relayed.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        part: Part,
        source: SocketAddr,
        bytes: &[u8],
        payload: Payload,
    ) -> Result<PacketKind, DropReason> {
        let kind = match (payload, part) {
            (Payload::Opaque, Part::Rtp) => self.accept_opaque(source),
            (Payload::Opaque, Part::Rtcp) => Err(DropReason::NotRtcp),
            (Payload::Rtp { dtls }, Part::Rtp) => self.accept_on_rtp(now, source, bytes, dtls),
            (Payload::Rtp { .. }, Part::Rtcp) => self.accept_on_rtcp(source, bytes),
        }?;
        self.heard = Some(now);
        Ok(kind)
    }

    fn accept_opaque(&mut self, source: SocketAddr) -> Result<PacketKind, DropReason> {
        let standing = self.rtp.standing(source);
        self.rtp.admit(source, standing, Mark::Opaque)?;
        Ok(PacketKind::Other)
    }

    /// RTP's port, which RTCP and DTLS may share.
    fn accept_on_rtp(
        &mut self,
        now: Instant,
        source: SocketAddr,
        bytes: &[u8],
        dtls: bool,
    ) -> Result<PacketKind, DropReason> {
        let standing = self.rtp.standing(source);
        if standing == Standing::Stranger {
            return Err(DropReason::WrongSource);
        }
        match classify(bytes) {
            Datagram::Rtp(header) => {
                if !self.payload_types.contains(header.payload_type) {
                    return Err(DropReason::PayloadType);
                }
                let mark = Mark::Rtp { ssrc: header.ssrc, sequence: header.sequence };
                let was_searching = self.rtp.is_searching();
                self.rtp.admit(source, standing, mark)?;
                if was_searching && !self.rtp.is_searching() {
                    // What was heard before may have been a stranger.
                    self.stats.forget_sources();
                }
                self.pauses = header.payload_type == COMFORT_NOISE;
                self.stats.heard(now, header);
                Ok(PacketKind::Rtp)
            }
            Datagram::Rtcp { .. } => only_from_peer(standing, PacketKind::Rtcp),
            Datagram::Dtls { handshake } if dtls => {
                if handshake && standing == Standing::Candidate {
                    // Media waits for the handshake, so the handshake must find the peer. A
                    // stranger gains no media by it: fingerprints are signalled (RFC 5763).
                    self.rtp.settle(source);
                    return Ok(PacketKind::Other);
                }
                only_from_peer(standing, PacketKind::Other)
            }
            Datagram::Dtls { .. } => Err(DropReason::Dtls),
            Datagram::Stun => Err(DropReason::Stun),
            Datagram::Unknown => Err(DropReason::NotRtp),
        }
    }

    /// RTCP's own port.
    fn accept_on_rtcp(
        &mut self,
        source: SocketAddr,
        bytes: &[u8],
    ) -> Result<PacketKind, DropReason> {
        let Some(path) = self.rtcp.as_mut() else { return Err(DropReason::Closed) };
        let standing = path.standing(source);
        if standing == Standing::Stranger {
            return Err(DropReason::WrongSource);
        }
        let Datagram::Rtcp { ssrc } = classify(bytes) else { return Err(DropReason::NotRtcp) };
        match (standing, self.rtp.learned_ip()) {
            (Standing::Candidate, Some(ip)) if ip == source.ip() => {
                // RFC 3550 6.4: the sender's SSRC is that of its RTP, which a stranger who shares
                // the peer's address would have to guess.
                if !self.stats.knows(ssrc) {
                    return Err(DropReason::NotLearned);
                }
                path.settle(source);
            }
            (Standing::Candidate, Some(_)) => return Err(DropReason::WrongSource),
            (Standing::Candidate, None)
            | (Standing::Peer | Standing::Former | Standing::Stranger, _) => {
                path.admit(source, standing, Mark::Rtcp { ssrc })?;
            }
        }
        Ok(PacketKind::Rtcp)
    }

    /// The way to this leg's peer.
    ///
    /// # Errors
    /// [`DropReason::Nowhere`] while its address is not known.
    pub(crate) fn way_out(
        &self,
        kind: PacketKind,
    ) -> Result<(SlotId, Option<SocketAddr>), DropReason> {
        let path = match (kind, self.mode, &self.rtcp) {
            (PacketKind::Rtcp, RtcpMode::Separate, Some(path)) => path,
            (PacketKind::Rtcp, RtcpMode::Separate | RtcpMode::Mux, _)
            | (PacketKind::Rtp | PacketKind::Other, _, _) => &self.rtp,
        };
        path.way_out().ok_or(DropReason::Nowhere)
    }
}

/// What shares the RTP port proves nothing about its sender, so it passes only once that is known.
fn only_from_peer(standing: Standing, kind: PacketKind) -> Result<PacketKind, DropReason> {
    match standing {
        Standing::Peer | Standing::Former => Ok(kind),
        Standing::Candidate => Err(DropReason::NotLearned),
        Standing::Stranger => Err(DropReason::WrongSource),
    }
}
