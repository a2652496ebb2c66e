//! Reads sockets and judges what came.

use std::os::fd::AsFd;

use crate::media::end::{End, Port};
use crate::media::layout::Layout;
use crate::media::mmsg::{BATCH, Datagram, ReceiveBatch};
use crate::media::packet::{Fault, Press};
use crate::media::rtcp;
use crate::media::stats::Tally;
use crate::media::window::Arrival;
use crate::media::worker::SocketKey;
use crate::os;

/// Batches read from one socket before the others have their turn.
const BATCHES_PER_SOCKET_MAX: u32 = 8;

/// The receiving half of a media thread.
pub(crate) struct Inbox {
    batch: ReceiveBatch,
    /// `CLOCK_REALTIME` less `CLOCK_MONOTONIC`: kernel receive times are in the one, send times in
    /// the other. Taken anew before each read, so that a step of the wall clock does no harm.
    realtime_ahead_ns: u64,
    /// Packet numbers that were skipped and have not come later.
    pub(crate) missing: u64,
}

impl Inbox {
    pub(crate) fn new() -> Inbox {
        Inbox { batch: ReceiveBatch::new(), realtime_ahead_ns: 0, missing: 0 }
    }

    pub(crate) fn set_clock(&mut self) {
        let before = os::monotonic_ns();
        let realtime = os::realtime_ns();
        let after = os::monotonic_ns();
        self.realtime_ahead_ns = realtime.saturating_sub(before + (after - before) / 2);
    }

    /// Reads one ready socket.
    pub(crate) fn drain(
        &mut self,
        end: &mut End,
        key: SocketKey,
        layout: Layout,
        press: &Press,
        tally: &mut Tally,
    ) {
        for _ in 0..BATCHES_PER_SOCKET_MAX {
            let Some(pair) = &end.pairs[key.kind.index()] else { return };
            let count = match key.port {
                Port::Rtp => self.batch.receive(pair.rtp.as_fd()),
                Port::Rtcp => self.batch.receive(pair.rtcp.as_fd()),
            };
            for at in 0..count {
                let datagram = self.batch.datagram(at);
                match key.port {
                    Port::Rtp => {
                        let received_ns = self.monotonic(&datagram);
                        let gap = judge_rtp(end, key, &datagram, received_ns, layout, press, tally);
                        self.missing = self.missing.saturating_add_signed(gap);
                    }
                    Port::Rtcp => judge_rtcp(end, key, &datagram, layout, press, tally),
                }
            }
            if count < BATCH {
                return;
            }
        }
    }

    fn monotonic(&self, datagram: &Datagram<'_>) -> u64 {
        match datagram.received_realtime_ns {
            0 => os::monotonic_ns(),
            realtime_ns => realtime_ns.saturating_sub(self.realtime_ahead_ns),
        }
    }
}

/// Counts an RTP datagram and returns by how much the number of missing packets changes.
fn judge_rtp(
    end: &mut End,
    key: SocketKey,
    datagram: &Datagram<'_>,
    received_ns: u64,
    layout: Layout,
    press: &Press,
    tally: &mut Tally,
) -> i64 {
    let arrived = (key.kind, Port::Rtp, datagram.source);
    let stamp = match press.judge(datagram.bytes) {
        Ok(stamp) => stamp,
        Err(Fault::Foreign) => {
            tally.rtp.misdelivered += 1;
            return 0;
        }
        Err(Fault::Changed(stream)) => {
            let home = end.home(layout, stream, arrived).is_some();
            *(if home { &mut tally.rtp.corrupt } else { &mut tally.rtp.misdelivered }) += 1;
            return 0;
        }
        Err(Fault::Unreadable) => {
            let known = end.knows(key.kind, Port::Rtp, datagram.source);
            *(if known { &mut tally.rtp.corrupt } else { &mut tally.rtp.misdelivered }) += 1;
            return 0;
        }
    };
    let Some(flow) = end.home(layout, stamp.stream, arrived) else {
        tally.rtp.misdelivered += 1;
        return 0;
    };
    let transit_ns = received_ns.saturating_sub(stamp.sent_ns);
    match flow.arrive(stamp.number, transit_ns) {
        Arrival::New { skipped } => {
            tally.rtp.received += 1;
            tally.latency_ns[key.kind.index()].saturating_record(transit_ns.max(1));
            skipped.cast_signed()
        }
        Arrival::Late => {
            tally.rtp.received += 1;
            tally.rtp.reordered += 1;
            tally.latency_ns[key.kind.index()].saturating_record(transit_ns.max(1));
            -1
        }
        Arrival::Duplicate => {
            tally.rtp.duplicate += 1;
            0
        }
    }
}

fn judge_rtcp(
    end: &mut End,
    key: SocketKey,
    datagram: &Datagram<'_>,
    layout: Layout,
    press: &Press,
    tally: &mut Tally,
) {
    let arrived = (key.kind, Port::Rtcp, datagram.source);
    let Some((stream, number)) = rtcp::judge(press, datagram.bytes) else {
        let known = end.knows(key.kind, Port::Rtcp, datagram.source);
        *(if known { &mut tally.rtcp.corrupt } else { &mut tally.rtcp.misdelivered }) += 1;
        return;
    };
    let Some(flow) = end.home(layout, stream, arrived) else {
        tally.rtcp.misdelivered += 1;
        return;
    };
    match flow.report_window.arrive(number) {
        Arrival::New { .. } => {
            flow.reports_received += 1;
            tally.rtcp.received += 1;
        }
        Arrival::Late => {
            flow.reports_received += 1;
            tally.rtcp.received += 1;
            tally.rtcp.reordered += 1;
        }
        Arrival::Duplicate => tally.rtcp.duplicate += 1,
    }
}
