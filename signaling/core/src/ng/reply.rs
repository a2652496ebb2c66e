//! What controllers are told.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use relay_core::api::{DirectionReport, Leg, SessionId, SessionReport};

use super::Failure;
use super::bencode::{Entries, Item};
use super::calls::{Branch, Party};

/// Most bytes of a reply: the largest UDP payload over IPv4.
pub(super) const REPLY_BYTES_MAX: usize = 65_507;

/// A point of the wall clock, told once: the core has no clock.
#[derive(Clone, Copy, Debug)]
pub(super) struct WallClock {
    pub(super) at: Instant,
    pub(super) unix: Duration,
}

impl WallClock {
    /// Seconds since 1970.
    fn seconds(self, at: Instant) -> u64 {
        (self.unix + at.saturating_duration_since(self.at)).as_secs()
    }
}

pub(super) fn ok() -> Entries {
    Entries::new().with("result", "ok")
}

/// `knows_load_limit`: the controller tries another relay if it is told of an overload.
pub(super) fn failure(failure: &Failure, knows_load_limit: bool) -> Entries {
    match failure {
        Failure::Overload(why) if knows_load_limit => {
            Entries::new().with("result", "load limit").with("message", why.as_str())
        }
        Failure::Overload(why) | Failure::Refused(why) => {
            Entries::new().with("result", "error").with("error-reason", why.as_str())
        }
    }
}

/// The datagram of a reply; one that does not fit becomes an error that says so.
pub(super) fn encode(cookie: &[u8], entries: &Entries) -> Bytes {
    let mut out = Vec::with_capacity(1500);
    out.extend_from_slice(cookie);
    out.push(b' ');
    let head = out.len();
    entries.write(&mut out);
    if out.len() > REPLY_BYTES_MAX {
        out.truncate(head);
        let why = Failure::Refused("the reply does not fit a datagram".to_owned());
        failure(&why, false).write(&mut out);
    }
    out.into()
}

/// What a query or a delete is told of a call.
pub(super) struct CallView<'a> {
    pub(super) created: Instant,
    pub(super) signalled: Instant,
    pub(super) branches: Vec<&'a Branch>,
    /// What the relay has told of their sessions.
    pub(super) reports: &'a [(SessionId, SessionReport)],
}

impl CallView<'_> {
    pub(super) fn entries(&self, clock: WallClock) -> Entries {
        let mut tags = Entries::new();
        for branch in &self.branches {
            let report = self.report(branch);
            for leg in Leg::BOTH {
                // A side that has not answered yet goes by the empty tag.
                let tag = branch.party(leg).map_or(&b""[..], |party| &party.tag);
                tags.put(tag, side(branch, leg, report, clock));
            }
        }
        ok().with("created", clock.seconds(self.created))
            .with("last signal", clock.seconds(self.signalled))
            .with("tags", tags)
            .with("totals", self.totals())
    }

    fn report(&self, branch: &Branch) -> Option<&SessionReport> {
        let session = branch.media.id();
        self.reports.iter().find(|(id, _)| *id == session).map(|(_, report)| report)
    }

    fn totals(&self) -> Entries {
        let directions = || self.reports.iter().flat_map(|(_, r)| r.streams.iter().flatten());
        let sum = |count: fn(&DirectionReport) -> u64| directions().map(count).sum::<u64>();
        let rtp = Entries::new()
            .with("packets", sum(|d| d.packets))
            .with("bytes", sum(|d| d.bytes))
            .with("errors", sum(|d| d.dropped));
        Entries::new().with("RTP", rtp).with("RTCP", rtcp(sum(|d| d.rtcp_packets)))
    }
}

/// Bytes of RTCP are not counted.
fn rtcp(packets: u64) -> Entries {
    Entries::new().with("packets", packets).with("bytes", 0_u64).with("errors", 0_u64)
}

fn side(branch: &Branch, leg: Leg, report: Option<&SessionReport>, clock: WallClock) -> Entries {
    let mut entries = Entries::new().with("medias", medias(branch, leg, report));
    if let Some(Party { tag, label, created }) = branch.party(leg) {
        entries.put("tag", &**tag);
        entries.put("created", clock.seconds(*created));
        if let Some(label) = label {
            entries.put("label", &**label);
        }
    }
    if let Some(other) = branch.party(leg.other()) {
        entries.put("in dialogue with", &*other.tag);
    }
    entries
}

fn medias(branch: &Branch, leg: Leg, report: Option<&SessionReport>) -> Vec<Item> {
    let wanted = branch.media.wanted();
    let streams = wanted.streams.iter().enumerate();
    streams
        .map(|(place, stream)| {
            let side = &stream.legs[leg.index()];
            let ports = branch.media.ports(place, leg);
            let direction = report.and_then(|r| r.streams.get(place)).map(|d| d[leg.index()]);
            let remote = side.remote;
            let rtp = component("RTP", ports.map(|p| p.rtp), remote.map(|r| r.rtp))
                .with("stats", direction.map_or_else(Entries::new, |d| stats(&d)));
            let control = component("RTCP", ports.map(|p| p.rtcp), remote.map(|r| r.rtcp))
                .with("stats", direction.map_or_else(Entries::new, |d| rtcp(d.rtcp_packets)));
            let mut media = Entries::new()
                .with("index", place as u64 + 1)
                .with("streams", vec![Item::from(rtp), Item::from(control)]);
            if let Some((kind, protocol)) = branch.lines.get(place) {
                media.put("type", &**kind);
                media.put("protocol", &**protocol);
            }
            Item::from(media)
        })
        .collect()
}

fn component(flag: &str, local: Option<SocketAddr>, remote: Option<SocketAddr>) -> Entries {
    let mut entries = Entries::new().with("flags", vec![Item::from(flag)]);
    if let Some(local) = local {
        entries.put("local port", u64::from(local.port()));
    }
    if let Some(remote) = remote {
        let family = if remote.is_ipv4() { "IPv4" } else { "IPv6" };
        let endpoint = Entries::new()
            .with("family", family)
            .with("address", remote.ip().to_string())
            .with("port", u64::from(remote.port()));
        entries.put("endpoint", endpoint);
    }
    entries
}

fn stats(direction: &DirectionReport) -> Entries {
    Entries::new()
        .with("packets", direction.packets)
        .with("bytes", direction.bytes)
        .with("errors", direction.dropped)
}
