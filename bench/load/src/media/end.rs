//! One end of a group of sessions: the sockets that they share and their flows.

use std::net::SocketAddr;

use crate::ids::{Kind, Side, StreamId};
use crate::media::flow::Flow;
use crate::media::layout::Layout;
use crate::media::packet::Shape;
use crate::media::sockets::Pair;

/// RTP or RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Port {
    Rtp,
    Rtcp,
}

/// The sockets and flows of one side of one group.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) group: u32,
    pub(crate) side: Side,
    /// `None`: this run has no video.
    pub(crate) pairs: [Option<Pair>; 2],
    /// Bit `n`: the session in slot `n` sends.
    pub(crate) active: u64,
    /// Whether a burst of this kind is in the schedule.
    pub(crate) scheduled: [bool; 2],
    pub(crate) flows: Vec<[Option<Flow>; 2]>,
}

impl End {
    pub(crate) fn new(group: u32, side: Side, pairs: [Option<Pair>; 2], slots: u32) -> End {
        End {
            group,
            side,
            pairs,
            active: 0,
            scheduled: [false; 2],
            flows: (0..slots).map(|_| [None, None]).collect(),
        }
    }

    /// The flow that a packet of `stream` from `source` belongs to, if it belongs here at all.
    pub(crate) fn home(
        &mut self,
        layout: Layout,
        stream: StreamId,
        arrived: (Kind, Port, SocketAddr),
    ) -> Option<&mut Flow> {
        let (kind, port, source) = arrived;
        let here = layout.group(stream.session) == self.group
            && stream.side == self.side.other()
            && stream.kind == kind;
        let flow = self.flows[layout.slot(stream.session)][kind.index()].as_mut()?;
        (here && expected_source(flow, port) == source).then_some(flow)
    }

    /// Whether any session's media of `kind` may come from `source`. A scan, for broken packets only.
    pub(crate) fn knows(&self, kind: Kind, port: Port, source: SocketAddr) -> bool {
        let mut flows = self.flows.iter().filter_map(|flows| flows[kind.index()].as_ref());
        flows.any(|flow| expected_source(flow, port) == source)
    }

    /// The first time from `now_ns` on at which this end's bursts of `kind` are due: the ends are
    /// spread evenly over the period, and those that share a socket go together.
    pub(crate) fn first_due_ns(&self, shape: &Shape, ends: u64, now_ns: u64) -> u64 {
        let place = u64::from(self.group) * 2 + self.side.index() as u64;
        let period = shape.frame_period_ns;
        let phase = period * (place % ends) / ends;
        let start = now_ns - now_ns % period + phase;
        if start >= now_ns { start } else { start + period }
    }
}

fn expected_source(flow: &Flow, port: Port) -> SocketAddr {
    match port {
        Port::Rtp => flow.remote.rtp,
        Port::Rtcp => flow.remote.rtcp,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_spread_over_the_packet_time() {
        let mut dues: Vec<u64> = (0..10)
            .map(|group| {
                let end = End::new(group, Side::Caller, [None, None], 1);
                end.first_due_ns(&Shape::AUDIO, 20, 1_000_000_007)
            })
            .collect();
        dues.sort_unstable();
        assert!(dues.iter().all(|&due| (1_000_000_007..1_020_000_007).contains(&due)));
        assert!(dues.windows(2).all(|pair| pair[1] - pair[0] == 2_000_000), "{dues:?}");
    }
}
