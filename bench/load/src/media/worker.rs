//! A media thread: sends what is due each tick, and reads what has arrived.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::TryRecvError;

use nix::sys::epoll::{Epoll, EpollEvent, EpollTimeout};

use crate::ids::{Kind, SessionId, Side, StreamId};
use crate::media::end::{End, Port};
use crate::media::flow::{Flow, Remote};
use crate::media::inbox::Inbox;
use crate::media::layout::Layout;
use crate::media::mmsg::{BATCH, SendBatch};
use crate::media::orders::Orders;
use crate::media::packet::Press;
use crate::media::rtcp;
use crate::media::stats::{Live, Tally};
use crate::os;

/// How often the thread looks at its schedule: 80 ticks spread the streams over 20 ms finely enough
/// that a node sees a steady trickle, while the wake-ups cost 2 % of a core.
pub(crate) const TICK_NS: u64 = 250_000;

/// Sockets are read every this many ticks: receive times come from the kernel, so reading late
/// costs nothing and larger batches are cheaper.
const TICKS_PER_READ: u32 = 4;

/// Bursts sent before the sockets are read again, when the thread has fallen behind: at most
/// 64 sessions of 8 packets each, so some 30,000 packets or 0.1 s.
const BURSTS_PER_TICK_MAX: u32 = 64;

/// Readiness events taken at once.
const EVENTS: usize = 256;

/// Rounds of [`EVENTS`] before the schedule is looked at again.
const EVENT_ROUNDS_MAX: u32 = 16;

/// Spreads the first reports of the flows over this time, as RFC 3550 6.2 asks of members that
/// join at once.
const FIRST_REPORT_SPREAD_NS: u64 = 200_000_000;

/// A time that no clock reaches.
const NEVER_NS: u64 = u64::MAX;

/// What the signalling tells a media thread.
#[derive(Debug)]
pub(crate) enum Command {
    /// Both ends of a session are up: their remotes, `[side][kind]`.
    Start(SessionId, Box<[[Option<Remote>; 2]; 2]>),
    /// Sends no more for this session; what is under way is still received.
    Stop(SessionId),
    /// Latency and lateness so far are not to count.
    ForgetTimes,
    /// Count up and end.
    Finish,
}

/// Which socket an event is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct SocketKey {
    pub(crate) end: usize,
    pub(crate) kind: Kind,
    pub(crate) port: Port,
}

impl SocketKey {
    pub(crate) const fn pack(self) -> u64 {
        let port = match self.port {
            Port::Rtp => 0,
            Port::Rtcp => 1,
        };
        (self.end as u64) << 2 | (self.kind.index() as u64) << 1 | port
    }

    const fn unpack(packed: u64) -> SocketKey {
        SocketKey {
            end: (packed >> 2) as usize,
            kind: if packed & 2 == 0 { Kind::Audio } else { Kind::Video },
            port: if packed & 1 == 0 { Port::Rtp } else { Port::Rtcp },
        }
    }
}

/// The state of one media thread.
pub(crate) struct Worker {
    pub(crate) layout: Layout,
    pub(crate) press: Arc<Press>,
    pub(crate) live: Arc<Live>,
    pub(crate) commands: Orders,
    /// Whether the streams send RTCP.
    pub(crate) reports: bool,
    pub(crate) epoll: Epoll,
    pub(crate) inbox: Inbox,
    pub(crate) batch: SendBatch,
    /// The slot that each datagram of `batch` belongs to.
    pub(crate) batch_slots: [u8; BATCH],
    /// Two a group of this thread: caller, callee.
    pub(crate) ends: Vec<End>,
    /// Bursts by due time: end and kind.
    pub(crate) schedule: BinaryHeap<Reverse<(u64, usize, usize)>>,
    pub(crate) tally: Tally,
    pub(crate) sent: u64,
}

impl Worker {
    /// Runs until told to finish, or until whoever commands is gone.
    pub(crate) fn run(mut self) -> Tally {
        let mut ticks = 0u32;
        loop {
            if !self.obey() {
                break;
            }
            self.send_due();
            ticks = ticks.wrapping_add(1);
            if ticks.is_multiple_of(TICKS_PER_READ) {
                self.read();
                self.publish();
            }
            os::sleep_until((os::monotonic_ns() + 1).next_multiple_of(TICK_NS));
        }
        self.read();
        self.count_up();
        self.publish();
        self.tally
    }

    /// Takes the commands that have come; `false` when it is time to end.
    fn obey(&mut self) -> bool {
        loop {
            match self.commands.try_next() {
                Ok(Command::Start(session, remotes)) => self.start(session, &remotes),
                Ok(Command::Stop(session)) => self.stop(session),
                Ok(Command::ForgetTimes) => self.tally.forget_times(),
                Ok(Command::Finish) | Err(TryRecvError::Disconnected) => return false,
                Err(TryRecvError::Empty) => return true,
            }
        }
    }

    fn ends_of(&self, session: SessionId) -> [usize; 2] {
        let first = self.layout.local_group(self.layout.group(session)) * 2;
        [first, first + 1]
    }

    fn start(&mut self, session: SessionId, remotes: &[[Option<Remote>; 2]; 2]) {
        let now_ns = os::monotonic_ns();
        let slot = self.layout.slot(session);
        for (side, end) in Side::BOTH.into_iter().zip(self.ends_of(session)) {
            for kind in Kind::BOTH {
                let Some(remote) = remotes[side.index()][kind.index()] else { continue };
                let outbound = StreamId { session, side, kind };
                let spread = u64::from(self.press.ssrc(outbound)) % FIRST_REPORT_SPREAD_NS;
                let first_report_ns = if self.reports { now_ns + spread } else { NEVER_NS };
                let flow = Flow::new(outbound, remote, first_report_ns);
                self.ends[end].flows[slot][kind.index()] = Some(flow);
                self.plan(end, kind, now_ns);
            }
            self.ends[end].active |= 1 << slot;
        }
    }

    /// Puts the end's bursts into the schedule unless they are there.
    fn plan(&mut self, at: usize, kind: Kind, now_ns: u64) {
        let ends = u64::from(self.layout.groups()) * 2;
        let end = &mut self.ends[at];
        if !std::mem::replace(&mut end.scheduled[kind.index()], true) {
            let due_ns = end.first_due_ns(self.press.shape(kind), ends, now_ns);
            self.schedule.push(Reverse((due_ns, at, kind.index())));
        }
    }

    fn stop(&mut self, session: SessionId) {
        let bit = 1 << self.layout.slot(session);
        for end in self.ends_of(session) {
            self.ends[end].active &= !bit;
        }
    }

    fn send_due(&mut self) {
        for _ in 0..BURSTS_PER_TICK_MAX {
            let now_ns = os::monotonic_ns();
            let Some(&Reverse((due_ns, at, kind_index))) = self.schedule.peek() else { return };
            if due_ns > now_ns {
                return;
            }
            self.schedule.pop();
            let kind = Kind::BOTH[kind_index];
            if self.ends[at].active == 0 {
                self.ends[at].scheduled[kind_index] = false;
                continue;
            }
            // A burst goes out at the first tick from its due time on; only what is later is late.
            let late_ns = now_ns.saturating_sub(due_ns.next_multiple_of(TICK_NS));
            self.tally.late_ns.saturating_record(late_ns.max(1));
            self.burst(at, kind, now_ns);
            let next_ns = due_ns + self.press.shape(kind).frame_period_ns;
            self.schedule.push(Reverse((next_ns, at, kind_index)));
        }
    }

    /// Sends one frame of every active session of an end, and the reports that are due.
    fn burst(&mut self, at: usize, kind: Kind, now_ns: u64) {
        let press = Arc::clone(&self.press);
        let frame = press.shape(kind).packets_per_frame;
        let mut rest = self.ends[at].active;
        while rest != 0 {
            let slot = rest.trailing_zeros() as usize;
            rest &= rest - 1;
            for _ in 0..frame {
                if self.batch.is_full() {
                    self.flush(at, kind);
                }
                self.queue(&press, (at, slot, kind));
            }
            self.report(&press, (at, slot, kind), now_ns);
        }
        self.flush(at, kind);
    }

    fn queue(&mut self, press: &Press, (at, slot, kind): (usize, usize, Kind)) {
        let Some(flow) = self.ends[at].flows[slot][kind.index()].as_mut() else { return };
        self.batch_slots[self.batch.len()] = slot as u8;
        let stamp = flow.next_stamp(os::monotonic_ns());
        self.batch.push(flow.remote.rtp, |head| press.write(stamp, head));
    }

    fn flush(&mut self, at: usize, kind: Kind) {
        let end = &mut self.ends[at];
        let Some(pair) = &end.pairs[kind.index()] else { return };
        let sent = self.batch.flush(pair.rtp.as_fd());
        self.sent += sent.taken as u64;
        self.tally.send_failures += u64::from(sent.refused.count_ones());
        let mut refused = sent.refused;
        while refused != 0 {
            let slot = usize::from(self.batch_slots[refused.trailing_zeros() as usize]);
            refused &= refused - 1;
            if let Some(flow) = end.flows[slot][kind.index()].as_mut() {
                flow.refused += 1;
            }
        }
    }

    fn report(&mut self, press: &Press, (at, slot, kind): (usize, usize, Kind), now_ns: u64) {
        let end = &mut self.ends[at];
        let Some(pair) = &end.pairs[kind.index()] else { return };
        let Some(flow) = end.flows[slot][kind.index()].as_mut() else { return };
        if flow.report_due_ns > now_ns {
            return;
        }
        flow.report_due_ns = now_ns + rtcp::REPORT_PERIOD_NS;
        let facts = flow.next_report(press, os::realtime_ns());
        let packet = rtcp::build(press, flow.outbound, facts);
        if pair.rtcp.send_to(&packet, flow.remote.rtcp).is_err() {
            flow.reports_refused += 1;
            self.tally.send_failures += 1;
        }
    }

    fn read(&mut self) {
        self.inbox.set_clock();
        let mut events = [EpollEvent::empty(); EVENTS];
        for _ in 0..EVENT_ROUNDS_MAX {
            // The only errors are EINTR and programming errors; the next tick asks again.
            let ready = self.epoll.wait(&mut events, EpollTimeout::ZERO).unwrap_or(0);
            for event in &events[..ready] {
                let key = SocketKey::unpack(event.data());
                let end = &mut self.ends[key.end];
                self.inbox.drain(end, key, self.layout, &self.press, &mut self.tally);
            }
            if ready < EVENTS {
                return;
            }
        }
    }

    fn publish(&self) {
        self.live.sent.store(self.sent, Ordering::Relaxed);
        self.live.received.store(self.tally.rtp.received, Ordering::Relaxed);
        self.live.missing.store(self.inbox.missing, Ordering::Relaxed);
        self.live.cpu_ns.store(os::thread_cpu_ns(), Ordering::Relaxed);
    }

    /// Compares what one end of each session sent with what the other received.
    fn count_up(&mut self) {
        let tally = &mut self.tally;
        for pair in self.ends.chunks(2) {
            let [caller, callee] = pair else { continue };
            for (caller, callee) in caller.flows.iter().zip(&callee.flows) {
                count_session(tally, caller, callee);
            }
            for pair in pair.iter().flat_map(|end| end.pairs.iter().flatten()) {
                tally.receive_drops += super::sockets::dropped(&pair.rtp);
                tally.receive_drops += super::sockets::dropped(&pair.rtcp);
            }
        }
        tally.cpu_ns = os::thread_cpu_ns();
    }
}

fn count_session(tally: &mut Tally, caller: &[Option<Flow>; 2], callee: &[Option<Flow>; 2]) {
    let (mut lossy, mut silent) = (false, false);
    let both = caller.iter().flatten().zip(callee.iter().flatten());
    for (from, to) in both.flat_map(|(caller, callee)| [(caller, callee), (callee, caller)]) {
        let lost = from.sent().saturating_sub(to.received);
        tally.rtp.sent += from.sent();
        tally.rtp.lost += lost;
        tally.rtcp.sent += from.reports();
        tally.rtcp.lost += from.reports().saturating_sub(to.reports_received);
        tally.jitter_ns_max = tally.jitter_ns_max.max(to.jitter_ns());
        lossy |= lost > 0;
        silent |= from.sent() > 0 && to.received == 0;
    }
    if lossy {
        tally.sessions_with_loss += 1;
        tally.lossy.extend(caller.iter().flatten().next().map(|flow| flow.outbound.session));
    }
    tally.sessions_silent += u64::from(silent);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_key_survives_packing() {
        for end in [0, 1, 77] {
            for kind in Kind::BOTH {
                for port in [Port::Rtp, Port::Rtcp] {
                    let key = SocketKey::unpack(SocketKey { end, kind, port }.pack());
                    assert_eq!((key.end, key.kind, key.port), (end, kind, port));
                }
            }
        }
    }
}
